"""A PostgreSQL of the tests' own, on which everything that touches the database can run in SQLite's place.

``python -m tests.postgresql COMMAND`` starts one and runs the command with ``TEST_DATABASE_URL``, which names a database
with all tables. It is the template of the others: the tests' own and one for each gateway that is started.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.servers import ROOT, TEST_DATABASE_URL, free_port, migrate_url, wait_until

__all__ = ["NotInstalled", "postgresql"]


HASTY: Final = (
    "synchronous_commit=off", "full_page_writes=off", "autovacuum=off", "jit=off",
    "wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "checkpoint_timeout=1h",
)  # fmt: skip
"""It need not survive a crash, nor grow old."""


class NotInstalled(Exception):
    """There is no PostgreSQL here, or not its driver."""


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Runs a server; the URL of a database in it that has all tables."""
    try:
        import psycopg  # noqa: PLC0415 - not everywhere
    except ImportError:
        raise NotInstalled("needs psycopg") from None
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, default=None)
    as_user = _unprivileged()
    if binaries is None or as_user is None:
        raise NotInstalled("needs PostgreSQL (Debian's package postgresql)")
    with tempfile.TemporaryDirectory(prefix="marketmux-postgresql-") as name:
        directory, port = Path(name), free_port()
        if as_user:
            os.chown(directory, as_user["user"], as_user["group"])
        data = directory / "data"
        command: list[Any] = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **as_user)
        command = [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F", "-N", "500"]
        command += [f"-c{setting}" for setting in HASTY]
        url = f"postgres://postgres@127.0.0.1:{port}/"
        with (
            (directory / "log").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **as_user) as server,
        ):

            def answers() -> bool:
                assert server.poll() is None, (directory / "log").read_text()
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(f"{url}postgres").close()
                    return True
                return False

            try:
                wait_until(answers, 60)
                with psycopg.connect(f"{url}postgres", autocommit=True) as connection:
                    connection.execute("CREATE DATABASE marketmux")
                migrate_url(f"{url}marketmux")
                yield f"{url}marketmux"
            finally:
                server.send_signal(signal.SIGINT)  # it does not wait for clients


def _unprivileged() -> dict[str, Any] | None:
    """For a subprocess that must not run as root; None where there is no user for it."""
    if os.geteuid() != 0:
        return {}
    for user in pwd.getpwall():
        if user.pw_name == "postgres":
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return None


def _version(binaries: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", binaries.parent.name)]


def main(command: list[str]) -> int:
    with postgresql() as url:
        return subprocess.run(command, cwd=ROOT, env={**os.environ, TEST_DATABASE_URL: url}, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NotInstalled as error:
        sys.exit(f"tests on PostgreSQL: it {error}")
