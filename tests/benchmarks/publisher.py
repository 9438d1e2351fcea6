"""How many ticks a second one process publishes with the Python client, and what a tick costs it.

    python -m tests.benchmarks.publisher [--seconds 5] [--workers 1]

The gateway has a Redis and no subscribers. Ticks are offered as fast as the queue takes them, and the clock stops when all
of them are accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table

from marketmux.client import Publisher, SyncPublisher
from tests.servers import GatewayProcess, RedisServer, migrate

SYMBOLS = [f"S{number}" for number in range(100)]
PRICE, BID, ASK = Decimal("150.250"), Decimal("150.24"), Decimal("150.26")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.publisher", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    table = Table("way", "ticks/s", "us of the publisher's processor time a tick")
    with tempfile.TemporaryDirectory(prefix="marketmux-publisher-") as name:
        directory = Path(name)
        migrate(directory / "db.sqlite3")
        redis = RedisServer(directory)
        redis.start()
        gateway = GatewayProcess(
            directory / "gateway", workers=options.workers, redis_url=redis.url, database=directory / "db.sqlite3"
        )
        try:
            gateway.start()
            for way, url in (("/ws/publish", f"{gateway.ws}/publish"), ("HTTP", gateway.http)):
                table.add_row(f"Publisher, {way}", *_row(*asyncio.run(_publish(url, options.seconds))))
                table.add_row(f"SyncPublisher, {way}", *_row(*_publish_sync(url, options.seconds)))
        finally:
            gateway.kill()
            redis.stop()
    Console().print(table)


async def _publish(url: str, seconds: float) -> tuple[int, float, float]:
    async with Publisher(url, max_batch=1000, max_queue=10_000) as publisher:
        await publisher.publish(_tick(0))
        await publisher.flush()
        began, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            for number in range(1000):
                await publisher.publish(_tick(number))
        account = await publisher.flush()
        return account.accepted - 1, time.perf_counter() - began, time.process_time() - used


def _publish_sync(url: str, seconds: float) -> tuple[int, float, float]:
    with SyncPublisher(url, max_batch=1000, max_queue=10_000) as publisher:
        publisher.publish(_tick(0))
        publisher.flush()
        began, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            for number in range(1000):
                publisher.publish(_tick(number))
        account = publisher.flush()
        return account.accepted - 1, time.perf_counter() - began, time.process_time() - used


def _tick(number: int) -> dict[str, object]:
    return {"symbol": SYMBOLS[number % 100], "price": PRICE, "bid": BID, "ask": ASK, "size": 300}


def _row(count: int, elapsed: float, used: float) -> tuple[str, str]:
    return f"{count / elapsed:,.0f}", f"{used / count * 1e6:.1f}"


if __name__ == "__main__":
    main()
