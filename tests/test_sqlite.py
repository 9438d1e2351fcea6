"""What SQLite writes is for the gateway's user alone."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import clean_environment
from tests.servers import ROOT, SETTINGS


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_a_database_is_created_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    database = tmp_path / "ticks.sqlite3"
    script = (
        "import django, os, stat; django.setup()\n"
        "from django.db import connection\n"
        "connection.cursor().execute('CREATE TABLE one (number)')\n"
        f"for name in sorted(os.listdir({str(tmp_path)!r})):\n"
        f"    print(name, oct(stat.S_IMODE(os.stat(os.path.join({str(tmp_path)!r}, name)).st_mode)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=clean_environment() | {"DATABASE_URL": f"sqlite:///{database}", "DJANGO_SETTINGS_MODULE": SETTINGS},
        umask=umask,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [
        "ticks.sqlite3", "0o600", "ticks.sqlite3-shm", "0o600", "ticks.sqlite3-wal", "0o600",
    ]  # fmt: skip


def test_a_database_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    database = tmp_path / "ticks.sqlite3"
    database.touch(0o640)
    database.chmod(0o640)
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0", "--skip-checks"],
        cwd=ROOT,
        env=clean_environment() | {"DATABASE_URL": f"sqlite:///{database}", "DJANGO_SETTINGS_MODULE": SETTINGS},
        check=True,
    )
    assert stat.S_IMODE(database.stat().st_mode) == 0o640
