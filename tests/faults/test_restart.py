"""Workers that end, for whatever reason: what their clients notice, and that somebody always accepts connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import websockets

from gateway.server.drain import LEAST_PER_SECOND
from tests.clients import RawClient, metrics, publish, tick
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.servers import GatewayProcess, RedisServer, is_running, wait_until

RESTART: Final = {"code": 1012, "reconnect": True, "wait": 0}


# SIGTERM


class Told:
    """``clients`` that read: what each was told at the end."""

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.ends: list[tuple[Any, int | None]] = []
        self.ready = 0

    async def run(self, gateway: GatewayProcess) -> None:
        await asyncio.gather(*(self._follow(gateway) for _ in range(self.clients)))

    async def _follow(self, gateway: GatewayProcess) -> None:
        async with websockets.connect(gateway.ws, compression=None, open_timeout=60, close_timeout=10) as client:
            await client.send('{"action": "subscribe", "symbol": "AAPL"}')
            last = None
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    last = json.loads(await client.recv())
                    self.ready += last["type"] == "subscribed"
            self.ends.append((last, client.close_code))


class Poster:
    """Posts without a pause over connections that are kept, until the gateway is gone."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.statuses: Counter[int] = Counter()
        self.cut: list[Exception] = []
        self._gateway = gateway

    async def run(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=self._gateway.http, timeout=30) as http:
            while True:
                try:
                    response = await http.post("/api/v1/ticks", json=tick("MSFT", number + 1))
                except httpx.ConnectError:
                    return  # no connection any more: this one was never sent
                except httpx.TransportError as error:
                    self.cut.append(error)
                    return
                self.statuses[response.status_code] += 1


@pytest.mark.parametrize("clients", [300, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_sigterm_with_clients_and_posts_in_flight(
    start_gateway: StartGateway, redis_url: str, clients: int
) -> None:
    gateway = start_gateway(redis_url)
    told, poster = Told(clients), Poster(gateway)
    following = asyncio.create_task(told.run(gateway))
    async with asyncio.timeout(120):
        while told.ready < clients:  # noqa: ASYNC110 - counted as they come
            await asyncio.sleep(0.05)
    posting = asyncio.gather(*(poster.run(number) for number in range(8)))
    async with asyncio.timeout(120):
        while poster.statuses[202] < 50:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    began = time.monotonic()
    gateway.signal(signal.SIGTERM)
    async with asyncio.timeout(120):
        await asyncio.gather(following, posting)
    assert await asyncio.to_thread(gateway.wait) == 0
    figure(f"{clients} clients told, {poster.statuses} answered, gone after {time.monotonic() - began:.2f} s")
    assert not poster.cut
    assert set(poster.statuses) == {202}
    assert {code for _, code in told.ends} == {1012}
    assert all(last["type"] == "closing" and last["reconnect"] for last, _ in told.ends)
    spread = min(5, clients / LEAST_PER_SECOND)  # so that not all come back at once
    assert max(last["wait"] for last, _ in told.ends) == pytest.approx(spread, abs=0.1)


def test_a_post_that_waits_for_redis_at_sigterm_is_answered(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url)
    response: dict[str, int] = {}
    redis_server.pause()
    posting = threading.Thread(
        target=lambda: response.update(
            status=httpx.post(f"{gateway.http}/api/v1/ticks", json=tick("AAPL", 1), timeout=30).status_code
        )
    )
    posting.start()
    wait_until(lambda: has_unanswered(gateway))
    gateway.signal(signal.SIGTERM)
    posting.join(30)
    redis_server.resume()
    assert response["status"] in {202, 503}
    assert gateway.wait() == 0


def has_unanswered(gateway: GatewayProcess) -> bool:
    """Whether somebody has a connection to the gateway; what was sent over it is with the gateway soon after."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{gateway.port:04X}") and row[3] == "01" for row in rows)


@contextlib.contextmanager
def kept_connection(gateway: GatewayProcess) -> Iterator[socket.socket]:
    """A connection that has had one request answered."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        assert ask(client).startswith(b"HTTP/1.1 200 ")
        yield client


def ask(client: socket.socket) -> bytes:
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client.recv(65_536)


@pytest.mark.soak
def test_a_kept_connection_without_a_request_is_closed_in_good_order(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    with kept_connection(gateway) as client:
        gateway.signal(signal.SIGTERM)
        assert client.recv(65_536) == b""
    assert gateway.wait() == 0


@pytest.mark.soak
def test_a_request_on_a_kept_connection_is_answered_as_the_last_one(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    body = json.dumps(tick("AAPL", 1)).encode()
    with kept_connection(gateway) as client, RawClient(gateway) as subscriber:
        client.sendall(
            b"POST /api/v1/ticks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        gateway.signal(signal.SIGTERM)
        assert subscriber.read_until({"closing"})[-1].items() >= RESTART.items()  # so it is draining by now
        client.sendall(body)
        answer = client.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert b"connection: close" in answer.lower()
        assert client.recv(65_536) == b""
    assert gateway.wait() == 0


@pytest.mark.soak
def test_a_client_that_does_not_read_does_not_hold_up_the_end(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_UNSENT_BYTES="4096")
    with RawClient(gateway, "AAPL", receive_buffer=4_096), httpx.Client(base_url=gateway.http) as http:
        ticks = [tick("AAPL", price) for price in range(1, 1_001)]

        def is_behind() -> bool:
            assert http.post("/api/v1/ticks", json=ticks).status_code == 202
            return metrics(gateway)["behind"] == 1

        wait_until(is_behind, 30)
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
    assert time.monotonic() - began < 10


# Workers that are replaced


class Callers:
    """Connections opened without a pause, from several threads, with one request each: how each of them went."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        self.longest = 0.0
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            outcome = self._call()
            self.outcomes[outcome] += 1
            self.longest = max(self.longest, time.monotonic() - began)
            self._stop.wait(0.02)

    def _call(self) -> str:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=30) as client:
                answer = ask(client)
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return type(error).__name__
        return "answered" if answer.startswith(b"HTTP/1.1 200 ") else "cut"


def are_ready(gateway: GatewayProcess, workers: list[int]) -> bool:
    """Whether as many workers run as before, none of them of those, and the gateway answers."""
    pids = gateway.pids
    return len(pids) == len(workers) and not set(pids) & set(workers)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_a_rolling_restart_refuses_and_cuts_nobody(start_gateway: StartGateway, redis_url: str, workers: int) -> None:
    gateway = start_gateway(redis_url, workers=workers)
    gateway.wait_for_output("ready at")
    before = gateway.pids
    with Callers(gateway.port) as callers:
        wait_until(lambda: callers.outcomes["answered"] > 20)
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: gateway.output().count("was replaced") == workers, 60)
        answered = callers.outcomes["answered"]
        wait_until(lambda: callers.outcomes["answered"] > answered + 20)
    figure(f"{callers.outcomes}, the longest took {callers.longest:.2f} s")
    assert set(callers.outcomes) == {"answered"}
    assert are_ready(gateway, before)
    assert not any(is_running(pid) for pid in before)


def test_a_rolling_restart_that_cannot_start_leaves_the_workers_alone(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    settings = tmp_path / "changing.py"
    settings.write_text("from tests.gateway_settings import *\n")
    gateway = start_gateway(DJANGO_SETTINGS_MODULE="changing", PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    before = gateway.pids
    settings.write_text("from tests.gateway_settings import *\nASGI_APPLICATION = 'nowhere.application'\n")
    gateway.signal(signal.SIGHUP)
    gateway.wait_for_output("Worker 0 stays as it is")
    assert gateway.pids == before
    assert httpx.get(f"{gateway.http}/healthz").status_code == 200


@pytest.mark.soak
def test_sigterm_in_the_middle_of_a_rolling_restart_ends_all(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    before = gateway.pids
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: len(gateway.pids) == 2)
    pids = gateway.pids
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert set(pids) > set(before)
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_a_worker_that_gets_sigterm_is_replaced_and_nobody_refused(
    start_gateway: StartGateway, redis_url: str, workers: int
) -> None:
    gateway = start_gateway(redis_url, workers=workers)
    gateway.wait_for_output("ready at")
    callers = replace(gateway, signal.SIGTERM)
    assert set(callers.outcomes) == {"answered"}


@pytest.mark.soak
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_a_killed_worker_is_replaced_and_nobody_refused(
    start_gateway: StartGateway, redis_url: str, workers: int
) -> None:
    gateway = start_gateway(redis_url, workers=workers)
    gateway.wait_for_output("ready at")
    callers = replace(gateway, signal.SIGKILL)
    # What it had accepted is cut; what waited in its backlog is not.
    assert callers.outcomes["refused"] == 0
    assert sum(callers.outcomes.values()) - callers.outcomes["answered"] <= 4  # one a thread
    assert callers.longest < 30


def replace(gateway: GatewayProcess, signum: signal.Signals) -> Callers:
    """Ends a worker while clients connect; returns them when the other one serves."""
    before = gateway.pids
    with Callers(gateway.port) as callers:
        wait_until(lambda: callers.outcomes["answered"] > 20)
        os.kill(before[0], signum)
        wait_until(lambda: len(gateway.pids) == len(before) and before[0] not in gateway.pids, 60)
        for _ in range(10):  # some of them on the new one's socket
            assert httpx.get(f"{gateway.http}/healthz", timeout=30).status_code == 200
        answered = callers.outcomes["answered"]
        wait_until(lambda: callers.outcomes["answered"] > answered + 20, 30)
    figure(f"{signum.name}: {callers.outcomes}, the longest took {callers.longest:.2f} s")
    return callers


@pytest.mark.soak
def test_what_waits_in_the_backlog_of_a_killed_worker_is_served_by_the_next(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, workers=2)
    gateway.wait_for_output("ready at")
    # Frozen workers accept nothing: all of these wait in the backlogs, some in that of the one that is killed.
    first, second = gateway.pids
    for pid in (first, second):
        os.kill(pid, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30)) for _ in range(40)
        ]
        for client in clients:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGCONT)
        assert all(client.recv(65_536).startswith(b"HTTP/1.1 200 ") for client in clients)


@pytest.mark.soak
async def test_a_subscriber_can_be_back_before_the_restart_is_over(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url)
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        with RawClient(gateway, "AAPL") as client:
            gateway.signal(signal.SIGHUP)
            messages = await asyncio.to_thread(client.read_until, {"closing"})
            assert messages[-1].items() >= RESTART.items()
            assert await asyncio.to_thread(client.read) == {"close": 1012}
        with RawClient(gateway, "AAPL") as client:
            await publish(http, tick("AAPL", 7))
            await asyncio.to_thread(client.read_until, (), 7)
