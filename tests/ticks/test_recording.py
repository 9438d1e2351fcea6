"""The process that writes ticks, with a real database: locked, away, killed, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dj_database_url
import pytest
from django.db import connection, connections

from tests.servers import children, is_running, new_database, wait_until
from tests.tables import change, locked, rows
from ticks import recording
from ticks.recorder import Recorder
from ticks.recording import RecordingProcess, Refused, Unavailable
from ticks.tick import Placed, Tick

pytestmark = pytest.mark.database

TIMEOUT = 60.0


def ticks(count: int, first: int = 1) -> list[Placed]:
    return [
        Placed(Tick("AAPL", str(seq), "2026-05-12T15:04:05Z"), seq, "5f3a9c1e") for seq in range(first, first + count)
    ]


@pytest.fixture
def database(tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database, of which the process is told as that of this one."""
    url = new_database(migrated_database, tmp_path / "db.sqlite3")
    monkeypatch.setitem(connections["default"].settings_dict, "NAME", dj_database_url.parse(url)["NAME"])
    return url


@pytest.fixture
def process(database: str) -> Iterator[RecordingProcess]:
    process = RecordingProcess()
    yield process
    process.close()


def recorded(database: str) -> list[int]:
    return [seq for (seq,) in rows(database, "SELECT seq FROM marketmux_ticks_recordedtick ORDER BY id")]


def pid_of(process: RecordingProcess) -> int:
    assert process._process is not None
    return process._process.pid


def test_ticks_are_written_by_another_process(process: RecordingProcess, database: str) -> None:
    process.write(ticks(3), False)
    process.write(ticks(2, 4), False)
    assert recorded(database) == [1, 2, 3, 4, 5]
    assert pid_of(process) in children(os.getpid())


def test_what_may_be_stored_already_is_not_stored_twice(process: RecordingProcess, database: str) -> None:
    process.write(ticks(3), False)
    process.write(ticks(3), True)
    process.write(ticks(2, 4), True)
    assert recorded(database) == [1, 2, 3, 4, 5]


def test_what_is_wrong_with_the_database_may_pass(process: RecordingProcess, database: str) -> None:
    change(database, "ALTER TABLE marketmux_ticks_recordedtick RENAME TO elsewhere")
    with pytest.raises(Unavailable, match=r"no such table|does not exist"):
        process.write(ticks(1), False)
    change(database, "ALTER TABLE elsewhere RENAME TO marketmux_ticks_recordedtick")
    process.write(ticks(1), True)
    assert recorded(database) == [1]


def test_what_is_wrong_with_a_tick_does_not(process: RecordingProcess, database: str) -> None:
    with pytest.raises(Refused, match="ValueError"):
        process.write([Placed(Tick("AAPL", "1", "yesterday"), 1, "5f3a9c1e")], False)
    process.write(ticks(1), False)
    assert recorded(database) == [1]


def test_a_process_that_was_killed_is_started_again(process: RecordingProcess, database: str) -> None:
    process.write(ticks(1), False)
    killed = pid_of(process)
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(Unavailable, match="ended with status -9"):
        process.write(ticks(1, 2), False)
    process.write(ticks(1, 2), True)
    assert pid_of(process) != killed
    assert recorded(database) == [1, 2]


def test_a_process_that_hangs_is_replaced(
    process: RecordingProcess, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.write(ticks(1), False)
    hung = pid_of(process)
    process._socket.settimeout(0.1)  # type: ignore[union-attr]
    os.kill(hung, signal.SIGSTOP)
    with pytest.raises(Unavailable, match="did not answer"):
        process.write(ticks(1, 2), False)
    process.write(ticks(1, 2), True)
    assert not is_running(hung)
    assert recorded(database) == [1, 2]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_for_all_processes_do_not_end_it_before_its_gateway(
    signum: signal.Signals, process: RecordingProcess, database: str
) -> None:
    process.write(ticks(1), False)
    os.kill(pid_of(process), signum)
    process.write(ticks(1, 2), False)
    assert recorded(database) == [1, 2]


def test_it_ends_in_the_middle_of_a_write_when_it_must(process: RecordingProcess, database: str) -> None:
    process.write(ticks(1), False)
    pid = pid_of(process)
    with locked(database):
        writing = threading.Thread(target=_fail_to_write, args=(process,))
        writing.start()
        process.close()
        writing.join(TIMEOUT)
        assert not is_running(pid)
    with pytest.raises(Unavailable, match="the gateway ends"):
        process.write(ticks(1, 2), False)


def _fail_to_write(process: RecordingProcess) -> None:
    with pytest.raises(Unavailable):
        process.write(ticks(1, 2), False)


def test_it_ends_with_a_gateway_that_was_killed(database: str) -> None:
    program = (
        "import django; django.setup()\n"
        "from ticks.recording import RecordingProcess\nfrom ticks.tick import Placed, Tick\n"
        "process = RecordingProcess()\n"
        "process.write([Placed(Tick('AAPL', '1', '2026-05-12T15:04:05Z'), 1, '5f3a9c1e')], False)\n"
        "print(process._process.pid, flush=True)\n"
        "process.write([Placed(Tick('AAPL', '2', '2026-05-12T15:04:05Z'), 2, '5f3a9c1e')] , False)\n"
        "import time; time.sleep(60)"
    )
    environment = os.environ | {
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "tests.gateway_settings",
    }
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as gateway:
        assert gateway.stdout is not None
        pid = int(gateway.stdout.readline())
        with locked(database):  # so the second write hangs, or was quicker
            assert is_running(pid)
            gateway.kill()
            gateway.wait()
            wait_until(lambda: not is_running(pid), TIMEOUT)


@pytest.mark.sqlite
def test_a_recorder_bears_a_lock_longer_than_the_databases_patience(
    process: RecordingProcess, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.ticks.impatient_settings")
    recorder = Recorder(100, process.write, interval=0.0, pause=0.01)
    with locked(database):
        recorder.offer(ticks(3))
        assert not recorder.flush(5.0)
        assert recorder.counts() == {"recorded": 0, "dropped": 0, "waiting": 3}
    assert recorder.flush(TIMEOUT)
    assert recorder.counts() == {"recorded": 3, "dropped": 0, "waiting": 0}
    assert recorded(database) == [1, 2, 3]


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("name", "is_in_memory"),
    [(":memory:", True), ("file:memorydb_default?mode=memory&cache=shared", True), ("/srv/db.sqlite3", False)],
)
def test_a_database_in_memory_is_written_by_this_process(
    monkeypatch: pytest.MonkeyPatch, name: str, is_in_memory: bool
) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", name)
    assert recording.is_in_memory() is is_in_memory
