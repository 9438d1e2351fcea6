"""Ticks that come in over a WebSocket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.clients import metrics, receive, subscriber, tick
from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer


def publishing(gateway: GatewayProcess, **options: Any) -> Any:
    return websockets.connect(f"{gateway.ws}/publish", compression=None, max_queue=None, **options)


async def acknowledged(publisher: ClientConnection, number: int) -> list[Any]:
    """Answers up to the one that speaks for the message of that number."""
    answers: list[Any] = []
    while not answers or answers[-1]["id"] < number:
        answers.append(await receive(publisher))
    return answers


async def read_ticks(client: ClientConnection, count: int) -> list[tuple[int, int]]:
    """The seq and price of so many ticks; the first may come as a snapshot."""
    ticks: list[tuple[int, int]] = []
    while len(ticks) < count:
        message = await receive(client)
        if message["type"] in {"tick", "snapshot"}:
            ticks.append((message["seq"], message["price"]))
    return ticks


async def read_to(client: ClientConnection, price: int) -> list[tuple[int, int]]:
    """The seq and price of the ticks up to the one with this price."""
    ticks = await read_ticks(client, 1)
    while ticks[-1][1] != price:
        ticks += await read_ticks(client, 1)
    return ticks


@pytest.mark.parametrize("bus", ["memory", "redis"])
@pytest.mark.parametrize("server", ["serve", "daphne", pytest.param("uvicorn", marks=pytest.mark.soak)])
async def test_a_stream_is_published_in_order_and_acknowledged_by_count(
    start_gateway: StartGateway, server: Any, bus: str, request: pytest.FixtureRequest
) -> None:
    gateway = start_gateway(redis_url=request.getfixturevalue("redis_url") if bus == "redis" else None, server=server)
    async with subscriber(gateway, "A") as client, publishing(gateway) as publisher:
        welcome = await receive(publisher)
        assert welcome["limits"] == {"ticks": 1000, "message_bytes": 1_048_576}
        reading = asyncio.create_task(read_to(client, 4_999))
        for start in range(0, 5000, 50):
            await publisher.send(json.dumps([tick("A", number) for number in range(start, start + 50)]))
        answers = await acknowledged(publisher, 100)
        assert answers[-1] == {"type": "published", "messages": 100, "ticks": 5000, "id": 100}
        came = await reading
    # Each has its number; on a busy machine the client may fall behind, and then some are left out.
    assert came == sorted(came)
    assert all(seq == price + 1 for seq, price in came)


async def test_a_bad_message_is_named_and_the_stream_goes_on(gateway: GatewayProcess) -> None:
    async with subscriber(gateway, "BAD") as client, publishing(gateway) as publisher:
        await receive(publisher)
        messages: list[Any] = [tick("BAD", 1), [tick("BAD", 2), {"symbol": "A,B", "price": 1}], "nope", tick("BAD", 3)]
        for message in messages:
            await publisher.send("nope" if message == "nope" else json.dumps(message))
        await publisher.send(b"\x00")
        await publisher.send(json.dumps(tick("BAD", 4)))
        answers = await acknowledged(publisher, 6)
        errors = {answer["id"]: answer for answer in answers if answer["type"] == "error"}
        assert {number: error["code"] for number, error in errors.items()} == {
            2: "invalid_ticks", 3: "invalid_json", 5: "binary_message"
        }  # fmt: skip
        assert [(error["index"], error["field"]) for error in errors[2]["errors"]] == [(1, "symbol")]
        assert answers[-1] == {"type": "published", "messages": 3, "ticks": 3, "id": 6}
        assert await read_ticks(client, 3) == [(1, 1), (2, 3), (3, 4)]


@pytest.mark.parametrize("bus", ["memory", "redis"])
async def test_a_message_with_a_key_is_published_once(
    start_gateway: StartGateway, bus: str, request: pytest.FixtureRequest
) -> None:
    gateway = start_gateway(redis_url=request.getfixturevalue("redis_url") if bus == "redis" else None)
    async with subscriber(gateway, "A") as client, publishing(gateway) as publisher:
        await receive(publisher)
        untimed = {"symbol": "A", "price": 1}
        messages: list[Any] = [
            {"key": "1", "ticks": [untimed, tick("A", 2)]},
            {"ticks": [untimed, tick("A", 2)], "key": "1"},
            {"key": "1", "ticks": tick("A", 3)},
            {"key": "2", "ticks": tick("A", 4)},
            {"key": "", "ticks": tick("A", 5)},
            {"key": "3", "ticks": {"symbol": "A"}},
            {"key": 4, "ticks": tick("A", 6)},
            {"key": "3", "ticks": tick("A", 7)},
        ]
        for message in messages:
            await publisher.send(json.dumps(message))
        answers = await acknowledged(publisher, 8)
        assert {answer["id"]: answer["code"] for answer in answers if answer["type"] == "error"} == {
            3: "idempotency_key_reused", 5: "invalid_message", 6: "invalid_ticks", 7: "invalid_ticks"
        }  # fmt: skip
        assert answers[-1] == {"type": "published", "messages": 4, "ticks": 6, "id": 8}
        assert await read_ticks(client, 4) == [(1, 1), (2, 2), (3, 4), (4, 7)]


async def test_a_publisher_faster_than_the_bus_is_held_back(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_url=redis_server.url)
    batch = json.dumps([tick("A", number) for number in range(500)])
    async with publishing(gateway) as publisher:
        await receive(publisher)
        await publisher.send(batch)
        await acknowledged(publisher, 1)
        before = metrics(gateway)["resident_bytes"]
        redis_server.pause()
        sent = 1
        try:
            while True:
                await asyncio.wait_for(publisher.send(batch), 0.3)
                sent += 1
        except TimeoutError:
            pass
        # What was sent waits in the sockets' buffers, not in the gateway's memory.
        assert metrics(gateway)["resident_bytes"] - before < 20_000_000
        redis_server.resume()
        answers = await acknowledged(publisher, sent - 1)
    codes = {answer["code"] for answer in answers if answer["type"] == "error"}
    assert codes <= {"bus_unavailable"}


async def test_publishing_needs_a_key_and_a_login_is_not_enough(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    key = next(word for word in gateway.manage("create_key", "feed").split() if word.startswith("mmx_"))
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await publishing(gateway)
    async with publishing(gateway, additional_headers={"authorization": f"Api-Key {key}"}) as publisher:
        await receive(publisher)
        await publisher.send(json.dumps(tick("A", 1)))
        assert (await receive(publisher))["ticks"] == 1
