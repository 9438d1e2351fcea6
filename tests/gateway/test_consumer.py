"""The consumer's conversation with a client, in process, through the whole application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path
from pytest_django.fixtures import Settings

from gateway.layers import MemoryLayer, RedisLayer
from gateway.node import get_node
from marketmux.asgi import application
from ticks import bus
from ticks.tick import Tick, group_name

WHEN = "2026-05-12T15:04:05Z"


@pytest.fixture(params=["memory", "redis"])
async def layer(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """The default channel layer, made anew."""
    layer = MemoryLayer() if request.param == "memory" else RedisLayer(hosts=[request.getfixturevalue("redis_url")])
    channel_layers.set("default", layer)
    yield layer
    channel_layers.backends.clear()
    await layer.flush()


@pytest.fixture(autouse=True)
def anonymous(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True


class Client:
    """One end of a WebSocket that speaks JSON."""

    def __init__(self, app: Any = application, path: str = "/ws") -> None:
        self.socket = WebsocketCommunicator(app, path)

    async def __aenter__(self) -> Client:
        connected, _ = await self.socket.connect()
        assert connected
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.disconnect()

    async def receive(self) -> Any:
        return json.loads(await self.socket.receive_from(timeout=5))

    async def ask(self, **command: Any) -> Any:
        await self.socket.send_to(text_data=json.dumps(command))
        return await self.receive()

    async def subscribe(self, *symbols: str) -> None:
        assert (await self.receive())["type"] == "welcome"
        assert (await self.ask(action="subscribe", symbols=list(symbols)))["type"] == "subscribed"


async def test_a_conversation(layer: Any) -> None:
    async with Client() as client:
        welcome = await client.receive()
        assert (welcome["type"], welcome["limits"]["symbols"]) == ("welcome", 1000)
        assert await client.ask(action="subscribe", symbol="AAPL", id=1) == {
            "type": "subscribed", "symbols": ["AAPL"], "id": 1
        }  # fmt: skip
        assert await client.ask(action="subscribe", symbols=["EUR/USD", "AAPL", "^GSPC"]) == {
            "type": "subscribed", "symbols": ["AAPL", "EUR/USD", "^GSPC"]
        }  # fmt: skip
        assert (await client.ask(action="unsubscribe", symbol="AAPL", id="x")) == {
            "type": "unsubscribed", "symbols": ["EUR/USD", "^GSPC"], "id": "x"
        }  # fmt: skip
        assert (await client.ask(action="list"))["symbols"] == ["EUR/USD", "^GSPC"]
        assert await client.ask(action="ping", id=9) == {"type": "pong", "id": 9}


async def test_a_published_tick_reaches_its_subscribers_with_its_digits(layer: Any) -> None:
    async with Client() as client, Client() as other:
        await client.subscribe("EUR/USD")
        await other.subscribe("AAPL")
        await bus.publish([Tick("EUR/USD", "1.0850", WHEN, bid="1.08"), Tick("AAPL", "2", WHEN)])
        assert await client.socket.receive_from(timeout=5) == (
            '{"type":"tick","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05Z","bid":1.08}'
        )
        assert (await other.receive())["symbol"] == "AAPL"
        assert await other.socket.receive_nothing(0.05)


class Ordinary(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """What somebody might add to the project: a plain consumer that joins a symbol's group itself."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(group_name("AAPL"), self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(group_name("AAPL"), self.channel_name)

    async def tick(self, event: Any) -> None:
        await self.send_json(event)


@pytest.mark.django_db(transaction=True)  # Channels closes old connections around every event of a consumer
async def test_an_ordinary_consumer_gets_the_ticks_of_a_group_it_joins(layer: Any) -> None:
    async with Client(URLRouter([path("plain", Ordinary.as_asgi())]), "/plain") as plain, Client() as client:
        await client.subscribe("AAPL")
        await bus.publish([Tick("AAPL", "150.250", WHEN), Tick("MSFT", "1", WHEN), Tick("AAPL", "150.260", WHEN)])
        assert await plain.receive() == {"type": "tick", "symbol": "AAPL", "price": "150.250", "timestamp": WHEN}
        assert (await plain.receive())["price"] == "150.260"
        assert (await client.receive())["price"] == 150.25


async def test_messages_that_are_no_ticks_are_counted_and_nobody_is_disconnected(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("AAPL")
        await layer.group_send(group_name("AAPL"), {"type": "mystery"})
        await layer.group_send(
            group_name("AAPL"), {"type": "tick", "symbol": "AAPL", "price": "NaN", "timestamp": WHEN}
        )
        await layer.group_send(group_name("AAPL"), Tick("MSFT", "1", WHEN).message())
        await bus.publish([Tick("AAPL", "2", WHEN)])
        assert (await client.receive())["price"] == 2
        assert get_node().counts()["malformed_total"] == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [("nope", "invalid_json"), ("[]", "invalid_message"), ('{"action":"fly","id":1}', "unknown_action"),
     ('{"action":"subscribe","symbol":"A B"}', "invalid_symbol")],
)  # fmt: skip
async def test_a_bad_message_is_answered_and_the_conversation_goes_on(text: str, code: str) -> None:
    async with Client() as client:
        await client.receive()
        await client.socket.send_to(text_data=text)
        error = await client.receive()
        assert (error["type"], error["code"]) == ("error", code)
        assert (await client.ask(action="ping"))["type"] == "pong"


async def test_binary_is_refused() -> None:
    async with Client() as client:
        await client.receive()
        await client.socket.send_to(bytes_data=b"\x00")
        assert (await client.receive())["code"] == "binary_message"


async def test_a_message_over_the_limit_is_answered_and_ends_the_connection(settings: Settings) -> None:
    settings.MARKETMUX_MAX_MESSAGE_BYTES = 200
    async with Client() as client:
        await client.receive()
        await client.socket.send_to(text_data=json.dumps({"action": "ping", "id": "é" * 50}, ensure_ascii=False))
        assert (await client.receive())["type"] == "pong"
        await client.socket.send_to(text_data=json.dumps({"action": "ping", "id": "é" * 90}, ensure_ascii=False))
        assert (await client.receive())["code"] == "message_too_big"
        assert await client.socket.receive_output(timeout=5) == {
            "type": "websocket.close", "code": 1009, "reason": "The message is too big."
        }  # fmt: skip


async def test_the_limit_of_symbols_holds_and_a_refused_subscribe_changes_nothing(settings: Settings) -> None:
    settings.MARKETMUX_MAX_SYMBOLS = 3
    async with Client() as client:
        await client.subscribe("A", "B")
        error = await client.ask(action="subscribe", symbols=["B", "C", "D"], id=5)
        assert (error["code"], error["id"]) == ("too_many_symbols", 5)
        assert (await client.ask(action="list"))["symbols"] == ["A", "B"]
        assert (await client.ask(action="subscribe", symbols=["A", "B", "C"]))["symbols"] == ["A", "B", "C"]


async def test_commands_over_the_limit_are_refused_and_a_flood_ends_the_connection(settings: Settings) -> None:
    settings.MARKETMUX_MAX_COMMANDS_PER_SECOND = 5
    async with Client() as client:
        await client.receive()
        answers = [await client.ask(action="ping") for _ in range(9)]
        assert [answer["type"] for answer in answers[:5]] == ["pong"] * 5
        assert answers[-1]["code"] == "too_many_commands"
        for _ in range(10):
            await client.socket.send_to(text_data='{"action":"ping"}')
        async with asyncio.timeout(5):
            while (event := await client.socket.receive_output(timeout=5))["type"] == "websocket.send":
                pass
        assert (event["type"], event["code"]) == ("websocket.close", 1008)


async def test_what_a_client_held_is_gone_with_it(layer: Any, settings: Settings) -> None:
    settings.MARKETMUX_LEAVE_DELAY_SECONDS = 0.0
    for _ in range(10):
        async with Client() as client:
            await client.subscribe("A", "B")
            await bus.publish([Tick("A", "1", WHEN)])
    await asyncio.sleep(0.1)
    counts = get_node().counts()
    assert (counts["connections"], counts["subscriptions"], counts["memberships"]) == (0, 0, 0)


async def test_other_paths_are_refused() -> None:
    connected, _ = await WebsocketCommunicator(application, "/elsewhere").connect()
    assert not connected
