"""The supervisor, with tiny programs as workers: it keeps them running, replaces and stops them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.server import supervisor as module
from gateway.server.lifeline import BEAT_SECONDS
from gateway.server.supervisor import Supervisor, bind, url
from tests.gateway.server.memory import until
from tests.servers import is_running

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

BEGIN = "import os, signal, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); "
READY = "os.write(int(sys.argv[2]), b'R'); "
SERVE = BEGIN + READY + "signal.pause()"
STUBBORN = BEGIN + "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY + "\nwhile True: signal.pause()"
ALIVE = BEGIN + READY + "import time\nwhile True: time.sleep(0.1); os.write(int(sys.argv[2]), b'A')"
WAIT = BEGIN + "os.write(int(sys.argv[2]), b'A'); signal.pause()"
END_SLOWLY = BEGIN + READY + "import time; os.write(int(sys.argv[2]), b'E'); time.sleep(2)"
HANG = BEGIN + "signal.pause()"
TELL = BEGIN + (
    "\ndef end(number, _): open(sys.argv[1] + '.signals', 'a').write(f'{number} '); os._exit(0)"
    "\nfor each in (1, 2, 15): signal.signal(each, end)\n" + READY + "\nwhile True: signal.pause()"
)
FAIL = BEGIN + "sys.exit(3)"


class Workers:
    """A supervisor and its workers. ``programs``: one for each start, of which the last is used again and again."""

    def __init__(
        self,
        directory: Path,
        *programs: str,
        count: int = 1,
        in_terminal: bool = False,
        silence: float = 600.0,
        patience: float = 0.0,
    ) -> None:
        self.listeners = bind("127.0.0.1", 0, count)
        self.started: list[int] = []
        """The number of the worker, for each start."""
        self.is_ready = False
        self.supervisor = Supervisor(
            self.listeners,
            self._command,
            os.environ,
            self._announce,
            in_terminal,
            silence=silence,
            patience=patience,
            merge=bytes.__add__,
        )
        self._pids = directory / "pids"
        self._programs = list(programs)

    def start(self) -> asyncio.Task[int]:
        return asyncio.create_task(self.supervisor._supervise())

    @property
    def pids(self) -> list[int]:
        """The processes that have begun, oldest first."""
        return [int(line) for line in self._pids.read_text().splitlines()] if self._pids.exists() else []

    def _command(self, number: int, _: int, lifeline_fd: int, __: int) -> Sequence[str]:
        program = self._programs.pop(0) if len(self._programs) > 1 else self._programs[0]
        self.started.append(number)
        return [sys.executable, "-I", "-S", "-c", program, str(self._pids), str(lifeline_fd)]

    def _announce(self) -> None:
        self.is_ready = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.02)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A supervisor that ends ignores signals from then on."""
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


async def ended(running: asyncio.Task[int]) -> int:
    return await asyncio.wait_for(running, 30)


async def stop(running: asyncio.Task[int], signum: signal.Signals = signal.SIGTERM) -> int:
    os.kill(os.getpid(), signum)
    return await ended(running)


# Start


async def test_it_says_that_it_is_ready_when_all_workers_are(tmp_path: Path) -> None:
    workers = Workers(tmp_path, HANG, SERVE, count=2)
    running = workers.start()
    await until(lambda: len(workers.pids) == 2)
    assert await stop(running) == 0
    assert not workers.is_ready


async def test_each_worker_is_started_once(tmp_path: Path) -> None:
    workers = Workers(tmp_path, SERVE, count=3)
    running = workers.start()
    await until(lambda: workers.is_ready)
    assert sorted(workers.started) == [0, 1, 2]
    assert await stop(running) == 0


async def test_a_worker_that_cannot_start_ends_all_with_its_exit_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workers = Workers(tmp_path, SERVE, FAIL, count=2)
    assert await ended(workers.start()) == 3
    assert not any(is_running(pid) for pid in workers.pids)
    assert "could not start: it ended with exit code 3" in caplog.text


async def test_a_worker_that_is_killed_before_it_is_ready_ends_all_as_a_shell_would_say(tmp_path: Path) -> None:
    workers = Workers(tmp_path, HANG)
    running = workers.start()
    await until(lambda: workers.pids)
    os.kill(workers.pids[0], signal.SIGKILL)
    assert await ended(running) == 128 + signal.SIGKILL


async def test_a_worker_that_is_killed_while_it_waits_for_redis_is_replaced(tmp_path: Path) -> None:
    workers = Workers(tmp_path, WAIT, SERVE)
    running = workers.start()
    await until(lambda: len(workers.pids) == 1)
    await asyncio.sleep(0.5)  # until its first sign of life is there
    os.kill(workers.pids[0], signal.SIGKILL)
    await until(lambda: workers.is_ready)
    assert workers.started == [0, 0]
    assert await stop(running) == 0


def test_a_run_returns_the_exit_code(tmp_path: Path) -> None:
    assert Workers(tmp_path, FAIL).supervisor.run() == 3


# Workers that die


async def test_a_worker_that_dies_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, SERVE)
    running = workers.start()
    await until(lambda: workers.is_ready)
    os.kill(workers.pids[0], signal.SIGKILL)
    await until(lambda: len(workers.pids) == 2)
    assert "Worker 0 was killed by SIGKILL; starting another" in caplog.text
    assert await stop(running) == 0


async def test_workers_that_die_again_and_again_are_replaced_ever_more_slowly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workers = Workers(tmp_path, SERVE, FAIL)
    running = workers.start()
    await until(lambda: workers.is_ready)
    os.kill(workers.pids[0], signal.SIGKILL)
    await until(lambda: len(workers.started) == 4)
    delays = [message.rpartition(" in ")[2] for message in caplog.messages if "starting another" in message]
    assert delays == ["0.01 s", "0.02 s", "0.02 s"]
    assert await stop(running) == 0


async def test_a_worker_that_served_for_long_is_replaced_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STABLE_SECONDS", 0.0)
    workers = Workers(tmp_path, SERVE)
    running = workers.start()
    await until(lambda: workers.is_ready)
    for count in (1, 2):
        await until(lambda count=count: len(workers.pids) == count)  # type: ignore[misc]
        os.kill(workers.pids[-1], signal.SIGKILL)
    await until(lambda: len(workers.pids) == 3)
    assert caplog.text.count("starting another in 0.01 s") == 2
    assert await stop(running) == 0


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended with exit code 0"), (-15, "was killed by SIGTERM"), (-200, "was killed by signal 200")],
)
def test_an_exit_status_is_described(status: int, words: str) -> None:
    assert module._described(status) == words


# Workers that hang


async def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, SERVE, ALIVE, silence=2 * BEAT_SECONDS)
    running = workers.start()
    await until(lambda: len(workers.pids) == 2)
    assert f"Worker 0 (pid {workers.pids[0]}) has shown no sign of life for 1 s: killing it" in caplog.text
    assert not is_running(workers.pids[0])
    await asyncio.sleep(4 * BEAT_SECONDS)
    assert workers.started == [0, 0]
    assert await stop(running) == 0


async def test_a_worker_that_hangs_before_it_can_serve_is_killed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", BEAT_SECONDS)
    assert await ended(Workers(tmp_path, HANG).start()) == 128 + signal.SIGKILL
    assert "no sign of life for 0.5 s" in caplog.text


async def test_a_worker_that_ends_in_order_may_fall_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, END_SLOWLY, SERVE, silence=BEAT_SECONDS)
    running = workers.start()
    await until(lambda: "ended with exit code 0" in caplog.text)
    assert "no sign of life" not in caplog.text
    assert await stop(running) == 0


# A rolling restart


async def test_at_a_restart_each_worker_is_replaced_after_its_replacement_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    workers = Workers(tmp_path, SERVE, count=2)
    running = workers.start()
    await until(lambda: workers.is_ready)
    old = workers.pids
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "Worker 1 was replaced" in caplog.text)
    assert workers.started[2:] == [0, 1]
    assert not any(is_running(pid) for pid in old)
    assert all(is_running(pid) for pid in workers.pids[2:])
    assert await stop(running) == 0


@pytest.mark.parametrize(
    ("program", "seconds", "problem"),
    [(FAIL, 60.0, "ended with exit code 3"), (HANG, 0.1, "was not ready after 0.1 s")],
    ids=["fails", "hangs"],
)
async def test_a_worker_whose_replacement_cannot_serve_stays_and_so_do_the_others(
    program: str,
    seconds: float,
    problem: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers = Workers(tmp_path, SERVE, SERVE, program, count=2)
    running = workers.start()
    await until(lambda: workers.is_ready)
    old = workers.pids
    monkeypatch.setattr(module, "START_SECONDS", seconds)
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "stays as it is" in caplog.text)
    assert problem in caplog.text
    assert len(workers.started) == 3
    assert all(is_running(pid) for pid in old)
    assert await stop(running) == 0


async def test_a_worker_whose_replacement_cannot_even_be_started_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers = Workers(tmp_path, SERVE)
    running = workers.start()
    await until(lambda: workers.is_ready)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "could not be started" in caplog.text)
    assert is_running(workers.pids[0])
    assert await stop(running) == 0


async def test_a_restart_can_be_asked_for_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    workers = Workers(tmp_path, SERVE)
    running = workers.start()
    await until(lambda: workers.is_ready)
    for count in (1, 2):
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda count=count: caplog.text.count("was replaced") == count)  # type: ignore[misc]
    assert await stop(running) == 0


# End


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_workers(signum: signal.Signals, tmp_path: Path) -> None:
    workers = Workers(tmp_path, SERVE, count=2)
    running = workers.start()
    await until(lambda: workers.is_ready)
    assert await stop(running, signum) == 0
    assert not any(is_running(pid) for pid in workers.pids)
    assert all(listener.fileno() == -1 for listener in workers.listeners)


@pytest.mark.parametrize(
    ("asked", "got"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGHUP)], ids=["SIGTERM", "Ctrl-C"]
)
async def test_workers_are_told_whether_there_is_time(
    tmp_path: Path, asked: signal.Signals, got: signal.Signals
) -> None:
    workers = Workers(tmp_path, TELL)
    running = workers.start()
    await until(lambda: workers.is_ready)
    assert await stop(running, asked) == 0
    assert (tmp_path / "pids.signals").read_text() == f"{got} "


async def test_a_worker_that_was_replaced_is_told_so(tmp_path: Path) -> None:
    workers = Workers(tmp_path, TELL)
    running = workers.start()
    await until(lambda: workers.is_ready)
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(workers.pids) == 2 and not is_running(workers.pids[0]))
    assert (tmp_path / "pids.signals").read_text() == f"{signal.SIGHUP} "
    assert await stop(running) == 0


async def test_a_worker_that_may_take_its_time_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.0)
    workers = Workers(tmp_path, TELL.replace("os._exit", "import time; time.sleep(0.5); os._exit"), patience=30.0)
    running = workers.start()
    await until(lambda: workers.is_ready)
    assert await stop(running) == 0
    assert (tmp_path / "pids.signals").exists()


async def test_in_a_terminal_its_end_is_the_workers_end_too(tmp_path: Path) -> None:
    workers = Workers(tmp_path, SERVE, in_terminal=True)
    running = workers.start()
    await until(lambda: workers.is_ready)
    assert await stop(running, signal.SIGHUP) == 0


async def test_a_worker_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.05)
    workers = Workers(tmp_path, STUBBORN)
    running = workers.start()
    await until(lambda: workers.is_ready)
    assert await stop(running) == 0
    assert not is_running(workers.pids[0])
    assert "did not stop within 0.05 s: killing it" in caplog.text


async def test_a_worker_that_is_still_starting_is_ended_too(tmp_path: Path) -> None:
    workers = Workers(tmp_path, HANG)
    running = workers.start()
    await until(lambda: workers.pids)
    assert await stop(running) == 0
    assert not is_running(workers.pids[0])


async def test_a_signal_after_the_end_is_no_failure(tmp_path: Path) -> None:
    workers = Workers(tmp_path, SERVE)
    running = workers.start()
    await until(lambda: workers.is_ready)
    await stop(running)
    for signum in SIGNALS:
        assert signal.getsignal(signum) is signal.SIG_IGN


# Sockets


def test_several_sockets_share_a_free_port() -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in bind("127.0.0.1", 0, 3)]
        [address] = {listener.getsockname() for listener in listeners}
        assert address[1] > 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_port_that_is_taken_cannot_be_had(count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1], count)


def test_an_address_is_a_url() -> None:
    [listener] = bind("127.0.0.1", 0, 1)
    with listener:
        assert url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_have_brackets(host: str) -> None:
    [listener] = bind(host, 0, 1)
    with listener:
        assert url(listener) == f"http://[::1]:{listener.getsockname()[1]}/"
