"""The command line of the soak."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from tests import soak
from tests.servers import GatewayProcess, RedisServer, migrate
from tests.soak.display import summary
from tests.soak.soak import Outcome, Soak

UNSENT_BYTES: Final = "65536"
SLOW_CLIENT_SECONDS: Final = "10"
"""So that who never reads is behind and closed within a soak, and not only after minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=soak.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="default: %(default)g")
    arguments = parser.parse_args()
    if not 0.1 <= arguments.minutes <= 1_440:
        parser.error("0.1 to 1,440 minutes")
    console = Console()
    with tempfile.TemporaryDirectory() as directory:
        outcome = run(Path(directory), arguments.minutes, console)
    console.print(summary(outcome))
    sys.exit(1 if outcome.problems else 0)


def run(directory: Path, minutes: float, console: Console) -> Outcome:
    """On a Redis and a gateway started for it below ``directory``."""
    migrate(directory / "db.sqlite3")
    redis = RedisServer(directory)
    redis.start()
    gateway = GatewayProcess(
        directory / "gateway", redis_url=redis.url, database=directory / "db.sqlite3",
        MARKETMUX_UNSENT_BYTES=UNSENT_BYTES, MARKETMUX_SLOW_CLIENT_SECONDS=SLOW_CLIENT_SECONDS,
    )  # fmt: skip
    try:
        gateway.start()
        outcome = Soak(gateway, redis, minutes).run(console.print)
        gateway.stop()
    finally:
        gateway.kill()
        redis.stop()
    return outcome


if __name__ == "__main__":
    main()
