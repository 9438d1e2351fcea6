"""Clients that are gone, slow, too many or too fast, and an application that fails: what the server makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from gateway.server.inbox import MOST_EVENTS
from gateway.server.timeouts import Timeouts
from tests.clients import RawClient, publish, receive, subscriber, tick
from tests.faults.figures import figure
from tests.faults.lone import LONG_BODY, LoneServer, frame, open_websocket
from tests.faults.network import Namespace
from tests.servers import GatewayProcess, RedisServer, wait_until

PING, PONG, CLOSE = 9, 10, 8
QUICK = Timeouts(
    ping=0.5, pong=0.5, handshake=2, closing=1, head=0.5, body=1.0, answer=1.0, leave=1.0, idle=1.5, round=0.1
)


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    with LoneServer(tmp_path_factory.mktemp("lone"), QUICK) as server:
        yield server


def until_closed(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection, orderly or not."""
    received = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while data := client.recv(65_536):
            received += data
    return received


# Half-open connections


def test_a_client_that_answers_no_ping_is_dropped(lone: LoneServer) -> None:
    with open_websocket(lone.port) as client:
        began = time.monotonic()
        assert until_closed(client) == bytes([0x80 | PING, 0]) * 2  # it is asked twice
    assert time.monotonic() - began >= QUICK.ping + QUICK.pong


def test_a_client_that_answers_pings_stays(lone: LoneServer) -> None:
    with open_websocket(lone.port) as client:
        for _ in range(6):
            assert client.recv(64) == bytes([0x80 | PING, 0])
            client.sendall(frame(b"", PONG))


def test_a_client_that_sends_messages_needs_no_ping(lone: LoneServer) -> None:
    with open_websocket(lone.port) as client:
        client.settimeout(QUICK.ping / 10)
        until = time.monotonic() + 3 * QUICK.ping
        while time.monotonic() < until:
            client.sendall(frame(b"x"))
            with pytest.raises(TimeoutError):
                client.recv(64)


@pytest.mark.soak
def test_half_open_connections_are_found_within_30_seconds(tmp_path: Path, migrated_database: Path) -> None:
    if obstacle := Namespace.obstacle():
        pytest.skip(obstacle)
    with Namespace() as namespace:
        gateway = GatewayProcess(
            tmp_path,
            database=migrated_database,
            arguments=("--feed", "--feed-rate=5000"),
            host=namespace.inside,
            launcher=namespace.launcher,
            ALLOWED_HOSTS=namespace.inside,
            MARKETMUX_UNSENT_BYTES="4096",
            MARKETMUX_SLOW_CLIENT_SECONDS="300",
        )
        with stopped_afterwards(gateway):
            gateway.manage("seed_instruments")
            gateway.start()
            # One that hears nothing, and one that is sent so much that its socket fills up once nobody is there.
            with RawClient(gateway), RawClient(gateway, "*") as busy:
                threading.Thread(target=until_closed, args=(busy.socket,)).start()
                wait_until(lambda: inside(namespace, gateway, "delivered_total") > 10_000, 30)
                namespace.drop(gateway.port)
                began = time.monotonic()
                wait_until(lambda: inside(namespace, gateway, "connections") == 0, 60)
                took = time.monotonic() - began
    figure(f"both half-open connections found after {took:.1f} s")
    assert took < 30


def inside(namespace: Namespace, gateway: GatewayProcess, metric: str) -> float:
    """A metric of the gateway, as it tells somebody who can still reach it."""
    fetch = f"from urllib.request import urlopen; print(urlopen('{gateway.http}/metrics').read().decode())"
    page = subprocess.run(
        [*namespace.launcher, sys.executable, "-c", fetch], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    line = next(line for line in page.splitlines() if line.startswith(f"marketmux_{metric}{{"))
    return float(line.split()[-1])


# Slow requests


def test_a_request_whose_head_dribbles_in_is_cut(lone: LoneServer) -> None:
    began = time.monotonic()
    received = dribble(lone, b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-Slow: x\r\n")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began >= QUICK.head


def test_a_request_whose_body_dribbles_in_is_cut(lone: LoneServer) -> None:
    began = time.monotonic()
    received = dribble(lone, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", b"x")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began >= QUICK.body


def test_a_request_whose_body_stalls_is_cut(lone: LoneServer) -> None:
    with socket.create_connection(("127.0.0.1", lone.port), timeout=30) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
        assert until_closed(client).startswith(b"HTTP/1.1 408 ")


def test_a_connection_without_a_request_is_closed(lone: LoneServer) -> None:
    with socket.create_connection(("127.0.0.1", lone.port), timeout=30) as client:
        assert until_closed(client) == b""


def test_a_kept_connection_may_be_idle_for_longer_than_a_request_may_take(lone: LoneServer) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", lone.port), timeout=30) as client:
        for _ in range(2):
            client.sendall(request)
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
            time.sleep(2 * QUICK.head)  # what is tested is that time passes and nothing happens
        assert until_closed(client) == b""


def test_requests_that_follow_each_other_at_once_are_all_answered(lone: LoneServer) -> None:
    with socket.create_connection(("127.0.0.1", lone.port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
        assert until_closed(client).count(b"HTTP/1.1 200 ") == 5


def test_a_view_that_hangs_is_answered_for_and_cancelled(lone: LoneServer) -> None:
    cancelled = lone.state()["cancelled"]
    assert lone.get("/hung").status_code == 503
    wait_until(lambda: lone.state()["cancelled"] == cancelled + 1)


def dribble(server: LoneServer, beginning: bytes, drop: bytes) -> bytes:
    """Sends drop after drop until the server answers or closes; returns all it has said."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.05) as client:
        client.sendall(beginning)
        while True:
            try:
                received = client.recv(65_536)
            except TimeoutError:
                client.sendall(drop)
            else:
                client.settimeout(30)
                return received + until_closed(client)


def test_a_long_response_reaches_a_client_that_reads_slowly_whole(lone: LoneServer) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # so that it has to be sent in many pieces
        client.settimeout(30)
        client.connect(("127.0.0.1", lone.port))
        client.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        time.sleep(0.2)
        assert until_closed(client).partition(b"\r\n\r\n")[2] == LONG_BODY


def test_a_request_that_was_answered_leaves_nothing_behind(tmp_path: Path) -> None:
    with LoneServer(tmp_path, Timeouts()) as lone, httpx.Client(base_url=f"http://127.0.0.1:{lone.port}") as client:
        for _ in range(50):
            client.get("/")
        assert client.get("/state").json()["connections"] == 1  # the one that tells


# An application that fails


def test_an_exception_before_the_response_is_a_500(lone: LoneServer) -> None:
    assert lone.get("/early").status_code == 500


def test_an_exception_in_the_middle_of_a_response_cuts_it(lone: LoneServer) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        lone.get("/broken")


def test_after_an_exception_in_a_response_the_housekeeping_goes_on(lone: LoneServer) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        lone.get("/broken")
    # Applications that are done are reaped, errors are answered, silent clients are found, and what hangs is ended.
    wait_until(lambda: lone.state()["applications"] == 1)  # the one that tells
    assert lone.get("/early").status_code == 500
    with open_websocket(lone.port) as client:
        until_closed(client)
    assert lone.get("/hung").status_code == 503


# Inbound floods


def test_a_client_that_sends_faster_than_it_is_served_is_held_back(lone: LoneServer) -> None:
    taken = lone.state()["taken"]
    message = frame(b"x" * 100)
    with open_websocket(lone.port, "/gated") as client:
        sent = flood(client, message)
        assert sent > 100 * MOST_EVENTS
        assert lone.state()["waiting"] == MOST_EVENTS
        lone.get("/open")
        client.settimeout(30)
        client.sendall(message[sent % len(message) :])
        wait_until(lambda: lone.state()["taken"] == taken + sent // len(message) + 1, 60)
        client.sendall(frame(b"", CLOSE))
        assert until_closed(client).endswith(b"\x88\x02\x03\xe8")  # closed: 1000


def flood(client: socket.socket, message: bytes) -> int:
    """Sends the message over and over until the connection takes no more for a second; returns how many bytes."""
    block = memoryview(message * 1000)
    client.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += client.send(block[sent % len(message) :])
    return sent


# Open files


@pytest.fixture
def limited_gateway(redis_server: RedisServer, tmp_path: Path, migrated_database: Path) -> Iterator[GatewayProcess]:
    """A gateway that may have 160 files open, and no more."""
    limited = ("/bin/sh", "-c", 'ulimit -n 160 && exec "$@"', "sh")
    gateway = GatewayProcess(
        tmp_path / "gateway", launcher=limited, database=migrated_database, redis_url=redis_server.url
    )
    with stopped_afterwards(gateway):
        gateway.start()
        yield gateway


@contextlib.contextmanager
def stopped_afterwards(gateway: GatewayProcess) -> Iterator[None]:
    try:
        yield
        gateway.stop()
    finally:
        gateway.kill()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_refused(port: int) -> bool:
    """Whether the server closes a new connection at once, rather than leaving it to wait."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        try:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return client.recv(65_536) == b""
        except ConnectionError:
            return True


async def test_a_full_gateway_makes_room_and_keeps_serving_who_is_there(
    limited_gateway: GatewayProcess, redis_server: RedisServer
) -> None:
    gateway = limited_gateway
    async with (
        httpx.AsyncClient(base_url=gateway.http) as publisher,
        subscriber(gateway, "AAPL") as client,
    ):
        await publish(publisher, tick("AAPL", 1))
        await price(client, 1)
        with contextlib.ExitStack() as stack:
            for _ in range(2 * 160):
                stack.enter_context(open_websocket(gateway.port, "/ws"))
            await publish(publisher, tick("AAPL", 2))
            await price(client, 2)

            # What the gateway itself needs open it still opens.
            redis_server.kill()
            redis_server.start()
            posting = asyncio.create_task(post_over_and_over(publisher, tick("AAPL", 3)))
            await price(client, 3)
            posting.cancel()

            used = cpu_seconds(gateway.pids[0])
            await asyncio.sleep(1)  # what is tested is that nothing happens meanwhile
            assert cpu_seconds(gateway.pids[0]) - used < 0.5
    assert gateway.output().count("are all that the limit of open files has room for") == 1


async def price(client: ClientConnection, expected: int) -> None:
    """Returns when a tick or snapshot with this price comes."""
    async with asyncio.timeout(30):
        while (await receive(client)).get("price") != expected:
            pass


async def post_over_and_over(publisher: httpx.AsyncClient, ticks: Any) -> None:
    while True:
        await publisher.post("/api/v1/ticks", json=ticks)
        await asyncio.sleep(0.1)


def test_without_any_descriptor_left_connections_are_refused_and_nothing_spins(tmp_path: Path) -> None:
    with LoneServer(tmp_path, Timeouts()) as lone, open_websocket(lone.port) as client:
        control = http.client.HTTPConnection("127.0.0.1", lone.port, timeout=30)
        ask(control, "/exhaust")
        assert all(is_refused(lone.port) for _ in range(5))
        used = cpu_seconds(lone.pid)
        with socket.create_connection(("127.0.0.1", lone.port), timeout=5):
            time.sleep(1)  # what is tested is that nothing happens meanwhile
        assert cpu_seconds(lone.pid) - used < 0.5
        client.sendall(frame(b"", PING))
        assert client.recv(64) == bytes([0x80 | PONG, 0])
        ask(control, "/relieve")
        wait_until(lambda: not is_refused(lone.port))
        control.close()


def ask(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    assert connection.getresponse().read() == b"ok"
