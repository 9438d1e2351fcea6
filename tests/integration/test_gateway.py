"""The whole way of a tick through real servers: posted over HTTP, received over WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from tests.clients import RawClient, metrics, publish, receive, subscriber, tick
from tests.conftest import StartGateway
from tests.environment import has_io_uring
from tests.integration.tls import certificate_in, over_tls, trusting
from tests.servers import GatewayProcess, ServerKind, wait_until


@pytest.mark.parametrize("server", ["serve", "daphne", "runserver", "uvicorn"])
async def test_every_server_delivers(start_gateway: StartGateway, server: ServerKind) -> None:
    gateway = start_gateway(server=server)
    async with httpx.AsyncClient(base_url=gateway.http) as http, subscriber(gateway, "EUR/USD") as client:
        await http.post("/api/v1/ticks",
        content=b'{"symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05Z"}',
                        headers={"content-type": "application/json"})  # fmt: skip
        assert await client.recv() == (
            '{"type":"tick","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05Z","seq":1}'
        )
        await publish(http, [tick("EUR/USD", number) for number in range(500)])
        assert [(await receive(client))["price"] for _ in range(500)] == list(range(500))
        await client.send('{"action":"subscribe","symbol":"A,B","id":1}')
        assert (await receive(client))["code"] == "invalid_symbol"
        await client.ping()
    assert "Traceback" not in gateway.output()


@pytest.mark.soak
@pytest.mark.parametrize("io_uring", ["1", "0"])
async def test_many_clients_that_come_and_go_get_their_own_symbol(start_gateway: StartGateway, io_uring: str) -> None:
    """As many as are written to at once; who comes is given the descriptors of those who left."""
    gateway = start_gateway(MARKETMUX_IO_URING=io_uring)
    clients = [(symbol, RawClient(gateway, symbol)) for _ in range(50) for symbol in "AB"]
    assert metrics(gateway)["io_uring"] == (int(io_uring) and has_io_uring())
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        for number in range(1, 6):
            await publish(http, tick("A", number))
            await publish(http, tick("B", number))
            await publish(http, [tick(symbol, 100 * number) for symbol in "AB"])
            for symbol, client in clients:
                ticks = [message for message in client.read_until(price=100 * number) if message["type"] == "tick"]
                assert [(got["symbol"], got["price"]) for got in ticks] == [(symbol, number), (symbol, 100 * number)]
            leaving = clients[:30]
            for _, client in leaving:
                client.close()
            wait_until(lambda: metrics(gateway)["connections"] == 70)
            clients = clients[30:] + [(other, RawClient(gateway, other)) for other in "BA" * 15]
    for _, client in clients:
        client.close()


@pytest.mark.parametrize("server", ["serve", "daphne", "uvicorn"])
async def test_bad_input_is_answered_and_others_notice_nothing(start_gateway: StartGateway, server: ServerKind) -> None:
    gateway = start_gateway(server=server)
    async with httpx.AsyncClient(base_url=gateway.http) as http, subscriber(gateway, "A") as witness:
        assert await _answers(gateway, b"\x00") == ["binary_message"]
        assert await _answers(gateway, "nope", "[]", '{"action":"fly"}') == [
            "invalid_json", "invalid_message", "unknown_action"
        ]  # fmt: skip
        many = json.dumps({"action": "subscribe", "symbols": [f"S{number}" for number in range(5_000)]})
        assert await _answers(gateway, many) == ["too_many_symbols"]
        too_many = json.dumps({"action": "subscribe", "symbols": [f"S{number}" for number in range(10_000)]})
        assert await _answers(gateway, too_many) == ["message_too_big", 1009]
        await publish(http, tick("A", 1))
        assert (await receive(witness))["price"] == 1
    assert "Traceback" not in gateway.output()


async def _answers(gateway: GatewayProcess, *messages: str | bytes) -> list[str | int]:
    """The codes of the errors that answer the messages, and of the close, if they are closed for it."""
    codes: list[str | int] = []
    async with websockets.connect(gateway.ws) as client:
        await client.recv()
        try:
            for message in messages:
                await client.send(message)
                codes.append((await receive(client))["code"])
            await client.send('{"action":"ping"}')
            while json.loads(await client.recv())["type"] != "pong":  # a closing, and heartbeats
                pass
        except websockets.ConnectionClosed as closed:
            codes.append(closed.rcvd.code if closed.rcvd else 1006)
    return codes


def test_a_frame_over_the_hard_limit_ends_the_connection_with_1009(gateway: GatewayProcess) -> None:
    with RawClient(gateway) as client:
        client.socket.sendall(b"\x81\xff" + (2_000_000).to_bytes(8, "big") + bytes(4) + b"x" * 1000)
        assert client.read() == {"close": 1009}


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x81\x02{}", 1002), (b"\xf1\x80" + bytes(4), 1002), (b"\x81\x82" + bytes(4) + b"\xff\xfe", 1007), (b"\x83\x80" + bytes(4), 1002)],
    ids=["unmasked", "reserved bits", "not UTF-8", "reserved opcode"],
)  # fmt: skip
def test_a_breach_of_the_websocket_protocol_ends_the_connection(
    gateway: GatewayProcess, frame: bytes, code: int
) -> None:
    with RawClient(gateway) as client:
        client.socket.sendall(frame)
        assert client.read() == {"close": code}


async def test_over_tls_everything_is_the_same(start_gateway: StartGateway, tmp_path: Path) -> None:
    certificate = certificate_in(tmp_path)
    gateway = over_tls(GatewayProcess(tmp_path / "tls", server="daphne"), certificate)
    trust = trusting(certificate)
    gateway.start(ready=False)
    try:
        await asyncio.to_thread(wait_until, lambda: _tls_answers(gateway, trust), 30)
        url = gateway.ws.replace("ws:", "wss:")
        async with (
            httpx.AsyncClient(base_url=gateway.http.replace("http:", "https:"), verify=trust) as http,
            websockets.connect(url, ssl=trust) as client,
        ):
            await client.recv()
            await client.send('{"action":"subscribe","symbol":"A"}')
            await client.recv()
            await publish(http, [tick("A", number) for number in range(1000)])
            assert [(await receive(client))["price"] for _ in range(1000)] == list(range(1000))
    finally:
        gateway.stop()


def _tls_answers(gateway: GatewayProcess, trust: ssl.SSLContext) -> bool:
    try:
        return httpx.get(gateway.http.replace("http:", "https:") + "/healthz", verify=trust).status_code == 200
    except httpx.TransportError:
        return False


async def test_two_workers_share_what_is_posted_to_either(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url=redis_url, workers=2)
    gateway.wait_for_output("ready at")  # both of them
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(subscriber(gateway, "A")) for _ in range(12)]
        for number in range(20):  # a connection each, so that both workers get some
            async with httpx.AsyncClient(base_url=gateway.http) as http:
                await publish(http, tick("A", number))
        for client in clients:
            assert [(await receive(client))["price"] for _ in range(20)] == list(range(20))
        connections = await asyncio.to_thread(_connections_of_workers, gateway)
        assert connections.keys() == {"0", "1"}
        assert sum(connections.values()) == 12
        assert all(connections.values())


def _connections_of_workers(gateway: GatewayProcess) -> dict[str, float]:
    text = httpx.get(f"{gateway.http}/metrics").text
    return {
        worker: float(count)
        for worker, count in re.findall(r'^marketmux_connections{worker="(\d+)"} (.*)$', text, re.MULTILINE)
    }


async def test_one_subscription_in_redis_however_many_clients(
    start_gateway: StartGateway, redis_url: str, shared_redis: Any
) -> None:
    gateway = start_gateway(redis_url=redis_url, MARKETMUX_LEAVE_DELAY_SECONDS="0")
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(subscriber(gateway, "A"))
        assert shared_redis.call("PUBSUB NUMSUB marketmux.0:{0}__group__ticks.A") == "*2"
        assert metrics(gateway)["memberships"] == 1
        assert shared_redis.call("PUBLISH marketmux.0:{0}__group__ticks.A garbage") == ":1"
    await asyncio.to_thread(
        wait_until, lambda: shared_redis.call("PUBLISH marketmux.0:{0}__group__ticks.A garbage") == ":0"
    )


# Clients that do not read


async def test_a_client_that_stops_reading_costs_others_nothing_and_ends_on_the_newest(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(MARKETMUX_SLOW_CLIENT_SECONDS="600")
    with RawClient(gateway, "A", "B", receive_buffer=65_536) as stalled:
        await _compare_with_a_reader(gateway, stalled)


async def _compare_with_a_reader(gateway: GatewayProcess, stalled: RawClient) -> None:
    async with httpx.AsyncClient(base_url=gateway.http) as http, subscriber(gateway, "A", "B") as client:
        before = metrics(gateway)["resident_bytes"]
        count = 30_000
        reading = asyncio.create_task(_prices(client, 2 * count))
        for start in range(0, count, 500):
            await publish(http, [tick(symbol, number) for number in range(start, start + 500) for symbol in "AB"])
        prices = await reading
        assert prices["A"] == prices["B"] == list(range(count))
        during = metrics(gateway)
        assert during["behind"] == 1
        assert during["resident_bytes"] - before < 20_000_000
        messages = await asyncio.to_thread(_read_to_the_end, stalled, count - 1)
    receipts = [message for message in messages if message["type"] == "conflated"]
    skipped = Counter[str]()
    for receipt in receipts:
        assert receipt["reason"] == "slow"
        skipped.update(receipt["skipped"])
    for symbol in "AB":
        ticks = [message["price"] for message in messages if message["type"] == "tick" and message["symbol"] == symbol]
        assert ticks == sorted(ticks)
        assert ticks[-1] == count - 1
        assert len(ticks) + skipped[symbol] == count
        assert skipped[symbol] > 0


async def _prices(client: Any, count: int) -> dict[str, list[int]]:
    prices: dict[str, list[int]] = {"A": [], "B": []}
    for _ in range(count):
        message = await receive(client)
        prices[message["symbol"]].append(message["price"])
    return prices


def _read_to_the_end(client: RawClient, last: int) -> list[Any]:
    """Messages until both symbols have had the price ``last``."""
    messages: list[Any] = []
    lasts = 0
    while lasts < 2:
        messages.append(client.read())
        lasts += messages[-1].get("price") == last
    return messages


@pytest.mark.soak
async def test_a_client_that_does_not_read_for_too_long_is_closed(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_SLOW_CLIENT_SECONDS="1")
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        stalled = RawClient(gateway, "A", receive_buffer=4096)
        deadline = time.monotonic() + 20
        while metrics(gateway)["connections"] and time.monotonic() < deadline:
            await publish(http, [tick("A", number) for number in range(1000)])
    assert metrics(gateway)["connections"] == 0
    assert metrics(gateway)["behind"] == 0
    stalled.close()


async def test_a_client_that_floods_without_reading_is_held_back(start_gateway: StartGateway) -> None:
    """Its answers fill its socket; then no more of its commands are read, so nothing piles up in the gateway."""
    gateway = start_gateway(MARKETMUX_MAX_COMMANDS_PER_SECOND="1000000", MARKETMUX_SLOW_CLIENT_SECONDS="60")
    flooder = RawClient(gateway, *[f"SYMBOL-{number:020}" for number in range(300)], receive_buffer=4096)
    before = metrics(gateway)["resident_bytes"]
    flooder.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        _flood(flooder)
    assert metrics(gateway)["behind"] == 1
    assert metrics(gateway)["resident_bytes"] - before < 20_000_000
    async with httpx.AsyncClient(base_url=gateway.http) as http, subscriber(gateway, "A") as client:
        await publish(http, tick("A", 1))
        assert (await receive(client))["price"] == 1
    flooder.close()
    wait_until(lambda: metrics(gateway)["connections"] == 0)


def _flood(client: RawClient) -> None:
    for _ in range(200_000):
        client.send(b'{"action":"list"}' + b" " * 1000)


# Clients that come and go


# On Redis tests/faults/test_crowds.py shows the same with a thousand.
@pytest.mark.soak
@pytest.mark.parametrize("bus", ["memory", pytest.param("redis", marks=pytest.mark.soak)])
async def test_when_thousands_have_come_and_gone_nothing_is_left(
    start_gateway: StartGateway, bus: str, request: pytest.FixtureRequest
) -> None:
    redis_url = request.getfixturevalue("redis_url") if bus == "redis" else None
    gateway = start_gateway(redis_url=redis_url, MARKETMUX_LEAVE_DELAY_SECONDS="0.1")
    held = ("connections", "subscriptions", "symbols", "memberships", "behind", "tasks", "open_files")
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        stop = asyncio.Event()
        traffic = asyncio.create_task(_traffic(http, stop))
        await asyncio.to_thread(_come_and_go, gateway, 250)  # whatever is made once is made now
        await asyncio.sleep(0.5)
        before = metrics(gateway)
        await asyncio.to_thread(_come_and_go, gateway, 1_000)
        await asyncio.to_thread(wait_until, lambda: metrics(gateway)["memberships"] == 0)
        stop.set()
        await traffic
        # Daphne looks for connections that ended once a second.
        await asyncio.to_thread(
            wait_until,
            lambda: all(metrics(gateway)[name] <= before[name] for name in held),
            10,
            "something was left behind",
        )
        after = metrics(gateway)
    # The garbage of the last few hundred clients waits for a collection; all of them would be 17 MB.
    assert after["resident_bytes"] - before["resident_bytes"] < 10_000_000
    assert "Traceback" not in gateway.output()


async def _traffic(http: httpx.AsyncClient, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        await publish(http, [tick(f"S{symbol}", number) for symbol in range(20)])
        await asyncio.sleep(0.01)


def _come_and_go(gateway: GatewayProcess, count: int) -> None:
    """Clients subscribe, read a little or nothing, and leave in every way there is."""
    for number in range(count):
        with RawClient(gateway, f"S{number % 20}", f"S{(number + 7) % 40}") as client:
            match number % 4:
                case 0:
                    client.read_until(("tick",))
                case 1:
                    client.send(b"", opcode=8)
                case 2:
                    client.send(b'{"action":"unsubscribe","symbol":"S1"}')
