"""Limits of owners on real gateways, alone and two on one Redis: nobody gets more, and who may have more gets it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from marketmux_client import Client
from tests.clients import receive, samples, tick
from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer

LIMIT = 200
PRICE = {"price": 1}


class Pair:
    """Two gateways on one Redis and one database, with one worker each."""

    def __init__(self, directory: Path, database: Path, redis_url: str) -> None:
        first = GatewayProcess(directory / "first", database=database, redis_url=redis_url)
        second = GatewayProcess(
            directory / "second", redis_url=redis_url, DATABASE_URL=first.environment["DATABASE_URL"]
        )
        self.gateways = (first, second)

    def key(self, **limits: int) -> dict[str, str]:
        """The header of a new key."""
        code = f"from ticks.access.models import ApiKey; print(ApiKey.objects.issue('k', **{limits})[1])"
        return {"Authorization": f"Api-Key {self.gateways[0].manage('shell', '-v', '0', '-c', code).split()[-1]}"}


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, shared_redis: RedisServer
) -> Iterator[Pair]:
    shared_redis.flush()
    pair = Pair(tmp_path_factory.mktemp("pair"), migrated_database, shared_redis.url)
    for gateway in pair.gateways:
        gateway.start()
    yield pair
    for gateway in pair.gateways:
        gateway.stop()


async def post(http: httpx.AsyncClient, seconds: float, count: int = 10) -> int:
    """Publishes as many batches as are taken, each refused one again after a while; returns how many ticks were."""
    accepted = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        response = await http.post("/api/v1/ticks", json=[tick("AAPL", 1)] * count)
        if response.status_code == 202:
            accepted += count
        else:
            assert response.status_code == 429, response.text
            await asyncio.sleep(0.05)
    return accepted


@contextlib.asynccontextmanager
async def clients(pair: Pair, key: dict[str, str]) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    first, second = pair.gateways
    async with (
        httpx.AsyncClient(base_url=first.http, headers=key, timeout=30) as one,
        httpx.AsyncClient(base_url=second.http, headers=key, timeout=30) as two,
    ):
        yield one, two


# Ticks


@pytest.mark.soak
async def test_a_batch_that_does_not_fit_is_refused_and_told_when_to_come_back(pair: Pair) -> None:
    async with clients(pair, pair.key(ticks_per_second=2)) as (http, _):
        first = await http.post("/api/v1/ticks", json=[tick("AAPL", 1)] * 2)
        assert first.headers["RateLimit-Policy"] == '"ticks";q=2;w=1'
        assert first.headers["RateLimit"].startswith('"ticks";r=')
        refused = await http.post("/api/v1/ticks", json=[tick("NEVER", 1)] * 2)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_ticks")
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["RateLimit"] == '"ticks";r=0;t=1'
        assert (await http.get("/api/v1/ticks/NEVER")).status_code == 404
        await asyncio.sleep(1.1)
        assert (await http.post("/api/v1/ticks", json=[tick("AAPL", 1)])).status_code == 202


async def test_a_batch_of_more_than_a_second_is_not_refused_for_ever(pair: Pair) -> None:
    async with clients(pair, pair.key(ticks_per_second=LIMIT)) as (http, _):
        assert (await http.post("/api/v1/ticks", json=[tick("AAPL", 1)] * 2 * LIMIT)).status_code == 202
        assert int((await http.post("/api/v1/ticks", json=tick("AAPL", 1))).headers["Retry-After"]) in {1, 2}


async def test_one_worker_takes_the_limit_and_no_more(pair: Pair) -> None:
    async with clients(pair, pair.key(ticks_per_second=LIMIT)) as (http, _):
        began = time.monotonic()
        accepted = await post(http, 4)
        took = time.monotonic() - began
    assert accepted <= LIMIT * took + LIMIT
    assert accepted >= 0.7 * LIMIT * 4


async def test_two_workers_share_the_limit(pair: Pair) -> None:
    async with clients(pair, pair.key(ticks_per_second=LIMIT)) as both:
        await asyncio.gather(*(post(http, 2) for http in both))  # each has its part from here on
        began = time.monotonic()
        each = await asyncio.gather(*(post(http, 4) for http in both))
        took = time.monotonic() - began
    assert sum(each) <= LIMIT * took + LIMIT
    assert sum(each) >= 0.7 * LIMIT * 4
    assert min(each) >= 0.2 * LIMIT * 4


async def test_the_busy_one_of_two_workers_gets_nearly_all(pair: Pair) -> None:
    async with clients(pair, pair.key(ticks_per_second=LIMIT)) as (busy, idle):
        await asyncio.gather(post(busy, 2), post(idle, 0.1, 1))
        accepted = await post(busy, 4)
    assert accepted >= 0.7 * LIMIT * 4


async def test_a_publishers_socket_is_told_when_to_come_back(pair: Pair) -> None:
    url = f"{pair.gateways[0].ws}/publish"
    async with connect(url, additional_headers=pair.key(ticks_per_second=2)) as publisher:
        await receive(publisher)
        for _ in range(2):
            await publisher.send(json.dumps([tick("AAPL", 1)] * 2))
        assert (await receive(publisher))["id"] == 1
        error = await receive(publisher)
        assert (error["code"], error["id"]) == ("too_many_ticks", 2)
        assert 0 < error["retry_after"] <= 2
        await asyncio.sleep(error["retry_after"] + 0.2)
        await publisher.send(json.dumps(tick("AAPL", 1)))
        assert (await receive(publisher)) == {"type": "published", "messages": 2, "ticks": 3, "id": 3}


# Connections and symbols


async def test_connections_of_a_key_are_counted_over_all_workers(pair: Pair) -> None:
    key = pair.key(connections=2)
    first, second = pair.gateways
    async with connect(first.ws, additional_headers=key) as one, connect(second.ws, additional_headers=key):
        for gateway in pair.gateways:
            with pytest.raises(websockets.InvalidStatus) as refusal:
                await connect(gateway.ws, additional_headers=key).__aenter__()
            headers = refusal.value.response.headers
            assert (refusal.value.response.status_code, headers["Retry-After"]) == (429, "1")
            assert headers["RateLimit-Policy"] == '"connections";q=2'
        await one.close()
        async with asyncio.timeout(30):
            await until_connected(second.ws, key)


async def test_a_page_too_many_is_closed_with_a_code_since_its_script_sees_no_status(pair: Pair) -> None:
    key, gateway = pair.key(connections=1), pair.gateways[0]
    offered = [Subprotocol("marketmux")]
    async with connect(gateway.ws, additional_headers=key):
        page = await connect(gateway.ws, additional_headers=key, origin=Origin(gateway.http), subprotocols=offered)
        assert page.subprotocol == "marketmux"
        with pytest.raises(websockets.ConnectionClosed) as end:
            await page.recv()
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 4029


async def until_connected(url: str, key: dict[str, str]) -> None:
    while True:
        try:
            async with connect(url, additional_headers=key):
                return
        except websockets.InvalidStatus:
            await asyncio.sleep(0.1)


async def test_the_python_client_comes_back_when_there_is_a_connection_left(pair: Pair) -> None:
    key = pair.key(connections=1)
    gateway = pair.gateways[0]
    async with connect(gateway.ws, additional_headers=key) as taken:
        client = Client(gateway.ws, key=key["Authorization"].split()[1], connect_timeout=30)
        opening = asyncio.create_task(client.open())
        await asyncio.sleep(0.5)
        assert not opening.done()
        await taken.close()
        await opening
        await client.close()


async def test_symbols_of_a_key_are_counted_over_all_its_connections(pair: Pair) -> None:
    key = pair.key(symbols=3)
    first, second = pair.gateways
    async with connect(first.ws, additional_headers=key) as one, connect(second.ws, additional_headers=key) as two:
        await receive(one)
        await receive(two)
        assert (await command(one, "subscribe", "A", "B"))["type"] == "subscribed"
        refused = await command(two, "subscribe", "A", "B")
        assert (refused["code"], refused["retry_after"]) == ("too_many_symbols", 1.0)
        assert (await command(two, "subscribe", "A"))["type"] == "subscribed"
        assert (await command(two, "subscribe", "A"))["type"] == "subscribed"  # which it has
        assert (await command(one, "unsubscribe", "A", "B"))["type"] == "unsubscribed"
        async with asyncio.timeout(30):
            while (await command(two, "subscribe", "B", "C"))["type"] == "error":  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def command(connection: ClientConnection, action: str, *symbols: str) -> Any:
    await connection.send(json.dumps({"action": action, "symbols": symbols, "snapshot": False} if action == "subscribe"
                                     else {"action": action, "symbols": symbols}))  # fmt: skip
    return await receive(connection)


async def test_new_symbols_of_a_key_are_counted_by_the_day(pair: Pair) -> None:
    key = pair.key(new_symbols=2)
    async with httpx.AsyncClient(base_url=pair.gateways[0].http, timeout=30) as others:
        assert (await others.post("/api/v1/ticks", json=tick("AAPL", 1))).status_code == 202
    async with clients(pair, key) as (one, two):
        assert (await one.post("/api/v1/ticks", json=[tick("NEW1", 1), tick("AAPL", 1)])).status_code == 202
        assert (await two.post("/api/v1/ticks", json=[tick("NEW1", 1), tick("NEW2", 1)])).status_code == 202
        for http in (one, two):
            refused = await http.post("/api/v1/ticks", json=[tick("NEW1", 1), tick("NEW3", 1)])
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_new_symbols")
            assert 86_000 < int(refused.headers["Retry-After"]) <= 86_400
            assert (await http.post("/api/v1/ticks", json=[tick("NEW1", 1), tick("NEW2", 1)])).status_code == 202


def limited(gateway: GatewayProcess, reason: str) -> float:
    """How often the gateway refused something for the reason."""
    return sum(
        sample.value
        for sample in samples(gateway)
        if sample.name == "marketmux_limited_total" and sample.labels["reason"] == reason
    )


async def connect_often(url: str) -> None:
    for _ in range(30):
        async with connect(url):
            pass


async def test_handshakes_a_second_are_counted_by_address(tmp_path: Path, migrated_database: Path) -> None:
    gateway = GatewayProcess(tmp_path, database=migrated_database, MARKETMUX_MAX_HANDSHAKES_PER_SECOND="1")
    gateway.start()
    try:
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await connect_often(gateway.ws)
        assert refusal.value.response.status_code == 429
        assert int(refusal.value.response.headers["Retry-After"]) == 1
        assert limited(gateway, "handshakes") == 1
    finally:
        gateway.stop()


def is_refused(port: int, address: str) -> bool:
    """Whether a request over a new connection from the address is not even read."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0)) as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return not client.recv(1)
    except ConnectionError:
        return True


def test_tcp_connections_a_second_are_counted_by_address(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_MAX_TCP_CONNECTIONS_PER_SECOND="1")
    start = time.monotonic()
    refused = sum(is_refused(gateway.port, "127.0.0.2") for _ in range(60))
    allowed = 10 + time.monotonic() - start
    assert 60 - allowed - 1 <= refused <= 50
    assert not is_refused(gateway.port, "127.0.0.3")
    assert not any(is_refused(gateway.port, "127.0.0.1") for _ in range(60))
    assert limited(gateway, "tcp_connections") == refused
