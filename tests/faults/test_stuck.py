"""What a worker needs beside Redis stands still: who reads its log, and the database that knows the keys."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.pulse import Pulse
from tests.faults.watch import Publisher, eventually, reconcile, until_all_hold, until_all_tick, watching
from tests.servers import GatewayProcess, wait_until
from tests.tables import locked

SYMBOLS: Final = [f"S{number}" for number in range(20)]
PIPE_BYTES: Final = 4096


# A log that nobody reads


class UnreadLog:
    """A pipe for a gateway's standard error, of which nobody reads more than the test asks for."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._pipe = os.open(path, os.O_RDWR)
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.launcher = ["sh", "-c", 'exec "$@" 2>"$0"', str(path)]

    def read(self) -> bytes:
        """All that is in the pipe."""
        (size,) = struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, b"0000"))
        return os.read(self._pipe, size) if size else b""

    def fill(self) -> None:
        self.read()
        os.write(self._pipe, b"x" * PIPE_BYTES)

    def close(self) -> None:
        os.close(self._pipe)


async def test_a_log_that_nobody_reads_stops_nobody(tmp_path: Path, migrated_database: Path, redis_url: str) -> None:
    log = UnreadLog(tmp_path / "log")
    gateway = GatewayProcess(
        tmp_path / "gateway", redis_url=redis_url, workers=2, database=migrated_database, launcher=log.launcher
    )
    gateway.start()
    with contextlib.closing(log):
        try:
            gateway.wait_for_output("ready at")
            await _log_much(gateway, log)
        finally:
            log.read()
            gateway.kill()


async def _log_much(gateway: GatewayProcess, log: UnreadLog) -> None:
    publisher = Publisher(gateway.http, SYMBOLS, rate=200, batch=10)
    async with watching(gateway.http, 20, SYMBOLS, 5, reconnect=True) as watchers:
        async with publisher.publishing():
            await until_all_tick(watchers, time.monotonic())
            log.fill()
            for number in range(20):  # each is a line in the log of whichever worker refuses it
                assert await _handshake(gateway, Origin=f"http://{number}.example") == 403
            await until_all_tick(watchers, time.monotonic())
            first = gateway.pids[0]
            os.kill(first, signal.SIGKILL)  # a line in the supervisor's
            took = await eventually(lambda: len(gateway.pids) == 2 and first not in gateway.pids, 30)
            await until_all_tick(watchers, time.monotonic())
        await until_all_hold(watchers, publisher.ledger.last)
    figure(f"standard error is a full pipe: ticks go on, a worker that was killed is replaced after {took:.1f} s")
    assert not reconcile(watchers, publisher.ledger).problems
    read = b""

    def has_read() -> bool:
        nonlocal read
        read += log.read()
        return b"was killed by SIGKILL" in read and b"Refused WebSockets" in read

    await asyncio.to_thread(wait_until, has_read)


async def _handshake(gateway: GatewayProcess, **headers: str) -> int:
    """The status that a handshake is answered with."""
    try:
        async with connect(gateway.ws, additional_headers=headers, proxy=None, open_timeout=30):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


# A database that hangs


@pytest.mark.database
async def test_while_the_database_hangs_only_those_who_need_it_are_refused(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    key = gateway.manage("create_key", "feed").split("mmx_")[1].split()[0]
    headers = {"Authorization": f"Api-Key mmx_{key}"}
    (worker,) = gateway.pids
    publisher = Publisher(gateway.http, SYMBOLS, rate=200, batch=10)
    answers: Counter[tuple[int, str]] = Counter()

    async def ask(http: httpx.AsyncClient) -> float:
        start = time.monotonic()
        response = await http.post("/api/v1/ticks", json={"symbol": "W", "price": 1}, headers=headers)
        answers[response.status_code, response.json().get("code", "")] += 1
        return time.monotonic() - start

    limits = httpx.Limits(max_connections=200)
    with Pulse(gateway, worker) as pulse:
        async with (
            watching(gateway.http, 20, SYMBOLS, 5) as watchers,
            httpx.AsyncClient(base_url=gateway.http, timeout=60, limits=limits) as http,
        ):
            async with publisher.publishing():
                await until_all_tick(watchers, time.monotonic())
                with locked(gateway.database_url, for_readers=True):
                    asked, handshakes, page = await asyncio.gather(
                        asyncio.gather(*(ask(http) for _ in range(100))),
                        asyncio.gather(*(_handshake(gateway, **headers) for _ in range(2))),
                        http.get("/"),
                    )
                    health = (await http.get("/healthz")).status_code
                    await until_all_tick(watchers, time.monotonic())
                refused = answers.copy()
                while not answers[202, ""]:
                    await ask(http)
            await until_all_hold(watchers, publisher.ledger.last)
    figure(f"the database hangs while keys are looked up: {pulse}; {dict(refused)} within {max(asked):.1f} s")
    assert refused == {(503, "database_unavailable"): 100}
    assert handshakes == [503, 503]
    assert (page.status_code, health) == (503, 200)
    assert max(asked) < 10
    assert pulse.worst < 0.25
    assert not reconcile(watchers, publisher.ledger).problems
    assert gateway.output().count("The database cannot be asked") == 1


# A name server that does not answer


@contextlib.contextmanager
def _silent_name_server(directory: Path) -> Iterator[list[str]]:
    """What goes before a command for which no name can be resolved: its name server takes questions and says nothing."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, for a resolv.conf of its own")
    resolv = directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.77\noptions timeout:20 attempts:3\n")
    launcher = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolv)]
    if subprocess.run([*launcher, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("may not mount here")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.77", 53))
        yield launcher


@pytest.mark.soak
async def test_while_a_name_is_looked_up_nobody_waits(tmp_path: Path, migrated_database: Path) -> None:
    with _silent_name_server(tmp_path) as launcher:
        gateway = GatewayProcess(
            tmp_path / "gateway",
            redis_url="redis://redis.example:6379/0",
            database=migrated_database,
            launcher=launcher,
        )
        gateway.start()
        try:
            await _ask_without_names(gateway)
        finally:
            began = time.monotonic()
            gateway.stop()
    figure(f"SIGTERM while a name is looked up: gone after {time.monotonic() - began:.1f} s")
    assert "did not stop within" not in gateway.output()


async def _ask_without_names(gateway: GatewayProcess) -> None:
    (worker,) = gateway.pids
    took: list[float] = []
    with Pulse(gateway, worker) as pulse:
        async with httpx.AsyncClient(base_url=gateway.http, timeout=60) as http:
            for _ in range(10):
                began = time.monotonic()
                answers = await asyncio.gather(
                    http.get("/healthz"),
                    http.get("/api/v1/asyncapi.json"),
                    *(http.post("/api/v1/ticks", json={"symbol": "W", "price": 1}) for _ in range(10)),
                )
                took.append(time.monotonic() - began)
                assert [answer.status_code for answer in answers] == [503, 200, *([503] * 10)]
                assert await _handshake(gateway) == 101
                await asyncio.sleep(1)
    figure(f"a name server that does not answer: {pulse}; all answered within {max(took):.1f} s")
    assert max(took) < 10
    assert pulse.worst < 0.25
