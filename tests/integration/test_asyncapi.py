"""A real gateway sends nothing but what the AsyncAPI document that it serves says, and all of it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from gateway.protocol.asyncapi import encode
from tests.clients import publish, tick
from tests.conformance import PUBLISHERS, SUBSCRIBERS, Conformance, Side, parsed
from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer

PATIENCE = 20.0
"""How long a message may take, in seconds: far longer than any should."""


class Conversation:
    """A client that holds every message, those it sends and those it is sent, to the document."""

    def __init__(self, connection: ClientConnection, client: Side, gateway: Side) -> None:
        self._connection = connection
        self._client = client
        self._gateway = gateway
        self.examples = client.examples
        self.heard: set[str] = set()

    @classmethod
    @asynccontextmanager
    async def at(cls, gateway: GatewayProcess, path: str, key: str = "") -> AsyncIterator[Self]:
        async with httpx.AsyncClient(base_url=gateway.http) as http:
            conformance = Conformance(parsed((await http.get("/api/v1/asyncapi.json")).text))
        url = gateway.ws.removesuffix(SUBSCRIBERS) + path
        headers = {"Authorization": f"Api-Key {key}"} if key else {}
        async with websockets.connect(url, compression=None, additional_headers=headers) as connection:
            yield cls(connection, conformance.client[path], conformance.gateway[path])

    async def say(self, message: Any) -> None:
        self._client.name_of(message)
        await self.blurt(json.dumps(message))

    async def blurt(self, text: str | bytes) -> None:
        """Says something that need not be in the document."""
        await self._connection.send(text)

    async def hear(self, kind: str, where: Callable[[Any], bool] = lambda _: True) -> Any:
        """The next message of that type, where ``where`` holds; others before it must only fit the document."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = parsed(str(await self._connection.recv()))
                self.heard.add(self._gateway.name_of(message))
                if message["type"] == kind and where(message):
                    return message

    async def ask(self, message: Any, kind: str) -> Any:
        await self.say(message)
        return await self.hear(kind)

    async def close_code(self) -> int | None:
        async with asyncio.timeout(PATIENCE):
            await self._connection.wait_closed()
        return self._connection.close_code

    @property
    def unheard(self) -> set[str]:
        return self._gateway.names - self.heard


async def show_token(conversation: Conversation, gateway: GatewayProcess, key: str, audience: str) -> None:
    """The conversation goes on with a part of what its key allows."""
    scope = "publish" if audience == "publish" else "subscribe"
    asked = {"audience": audience, "scopes": {scope: ["AAPL"]}}
    async with httpx.AsyncClient(base_url=gateway.http, headers={"authorization": f"Api-Key {key}"}) as http:
        token = (await http.post("/api/v1/tokens", json=asked)).raise_for_status().json()["token"]
    await conversation.say({"action": "auth", "token": token})
    assert (await conversation.hear("access"))["patterns"] == ["AAPL"]
    await conversation.hear("auth")
    await conversation.say({"action": "auth", "token": "made up"})
    assert (await conversation.hear("error"))["code"] == "auth_failed"


def key_of(gateway: GatewayProcess) -> str:
    return next(word for word in gateway.manage("create_key", "all").split() if word.startswith("mmx_"))


@pytest.fixture
def own_gateway(start_gateway: StartGateway, redis_server: RedisServer) -> GatewayProcess:
    return start_gateway(redis_url=redis_server.url, MARKETMUX_HEARTBEAT_SECONDS="0.2")


async def test_all_that_a_subscriber_is_sent_fits_the_document(
    own_gateway: GatewayProcess, redis_server: RedisServer
) -> None:
    async with (
        httpx.AsyncClient(base_url=own_gateway.http, timeout=PATIENCE) as http,
        Conversation.at(own_gateway, SUBSCRIBERS, key := key_of(own_gateway)) as client,
    ):
        await client.hear("welcome")
        epoch = await _subscribe_and_resume(client, http)
        await _conflate(client, http)
        await _ask_this_and_that(client)
        await _appear(client, http)
        await _lose_the_bus(client, http, redis_server, epoch)
        await show_token(client, own_gateway, key, "ws")
        await _stop(client, own_gateway)
        # For a client that is behind (test_gateway.py), and one that asked for another format (test_subscriber.py).
        assert client.unheard == {"conflated", "ticks"}


async def _subscribe_and_resume(client: Conversation, http: httpx.AsyncClient) -> str:
    answer = await client.ask({"action": "subscribe", "symbol": "AAPL", "id": 1}, "subscribed")
    assert answer["positions"]["AAPL"]["seq"] == 0
    epoch: str = answer["positions"]["AAPL"]["epoch"]
    await publish(http, tick("AAPL", 1) | {"bid": 0, "ask": "2.50", "size": 3})
    assert (await client.hear("tick"))["seq"] == 1
    await client.ask({"action": "subscribe", "symbol": "AAPL"}, "subscribed")
    assert (await client.hear("snapshot"))["seq"] == 1

    await client.ask({"action": "unsubscribe", "symbol": "AAPL"}, "unsubscribed")
    await publish(http, [tick("AAPL", price) for price in (2, 3, 4)])
    since = {"seq": 1, "epoch": epoch}
    answer = await client.ask({"action": "subscribe", "symbol": "AAPL", "since": since}, "subscribed")
    assert answer["positions"]["AAPL"] == {"seq": 4, "epoch": epoch, "recovered": True}
    assert [(await client.hear("tick"))["seq"] for _ in range(3)] == [2, 3, 4]

    elsewhere = {"AAPL": {"seq": 1, "epoch": "0123456789abcdef"}}
    answer = await client.ask({"action": "subscribe", "symbols": ["AAPL", "B"], "since": elsewhere}, "subscribed")
    assert answer["positions"]["AAPL"] == {"seq": 4, "epoch": epoch, "recovered": False}
    assert (await client.hear("snapshot"))["seq"] == 4
    return epoch


async def _conflate(client: Conversation, http: httpx.AsyncClient) -> None:
    await client.ask({"action": "subscribe", "symbol": "AAPL", "max_rate": 1, "snapshot": False}, "subscribed")
    await publish(http, [tick("AAPL", price) for price in range(5, 25)])
    last = 4
    while last < 24:
        message = await client.hear("tick")
        assert message["seq"] - last - 1 == message.get("skipped", 0)
        last = message["seq"]
    await client.hear("heartbeat", lambda message: message.get("seqs", {}).get("AAPL") == 24)


async def _ask_this_and_that(client: Conversation) -> None:
    assert (await client.ask({"action": "list"}, "subscriptions"))["symbols"] == ["AAPL", "B"]
    assert (await client.ask({"action": "ping", "id": "x"}, "pong"))["id"] == "x"
    for text, code in (
        ("nope", "invalid_json"),
        ("[]", "invalid_message"),
        ('{"action":"fly","id":7}', "unknown_action"),
        ('{"action":"subscribe","symbol":"A,B"}', "invalid_symbol"),
        ('{"action":"subscribe","symbol":"A","max_rate":0}', "invalid_message"),
        ('{"action":"subscribe","symbol":"A","since":3}', "invalid_message"),
        (b"\x00", "binary_message"),
    ):
        await client.blurt(text)
        assert (await client.hear("error"))["code"] == code


async def _appear(client: Conversation, http: httpx.AsyncClient) -> None:
    """A symbol appears to a client of all, of which there are more than one message takes."""
    await publish(http, [tick(f"S{number}", 1) for number in range(600)])
    answer = await client.ask({"action": "subscribe", "symbol": "*", "snapshot": False}, "subscribed")
    assert answer["symbols"] == ["*"]
    introduced = await client.hear("introduced")
    assert len(answer["positions"]) <= 500
    assert len(answer["positions"]) + len(introduced["positions"]) == 600
    await publish(http, [tick("NEW", price) for price in (1, 2)])
    assert (await client.hear("snapshot"))["symbol"] == "NEW"
    assert (await client.hear("tick"))["seq"] == 2


async def _lose_the_bus(client: Conversation, http: httpx.AsyncClient, redis: RedisServer, epoch: str) -> None:
    redis.kill()
    await client.hear("bus", lambda message: not message["connected"])
    redis.start()
    gap = await client.hear("gap", lambda message: message["symbol"] == "AAPL")
    assert gap["missed"] is None
    assert gap["epoch"] != epoch
    await client.hear("bus", lambda message: message["connected"])
    await publish(http, tick("AAPL", 1))
    # The first tick of an epoch, to a client of all.
    assert (await client.hear("snapshot", lambda message: message["symbol"] == "AAPL"))["seq"] == gap["seq"] + 1


async def _stop(client: Conversation, gateway: GatewayProcess) -> None:
    gateway.signal(signal.SIGTERM)
    message = await client.hear("closing")
    assert message["reconnect"]
    assert await client.close_code() == message["code"] == 1012


async def test_a_client_that_floods_is_told_so_in_the_documents_words(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_MAX_COMMANDS_PER_SECOND="2")
    async with Conversation.at(gateway, SUBSCRIBERS) as client:
        for _ in range(10):
            await client.say({"action": "ping"})
        await client.hear("error", lambda message: message["code"] == "too_many_commands")
        assert (await client.hear("closing"))["wait"] > 0
        assert await client.close_code() == 1008


async def test_all_that_a_publisher_is_sent_fits_the_document(own_gateway: GatewayProcess) -> None:
    async with Conversation.at(own_gateway, PUBLISHERS, key := key_of(own_gateway)) as publisher:
        await publisher.hear("welcome")
        examples = [example for example in publisher.examples if "action" not in example]
        for example in examples:
            await publisher.blurt(encode(example).decode())
            await publisher.hear("published")
        await publisher.ask({"key": "k1", "ticks": tick("AAPL", 3)}, "published")
        await publisher.ask({"key": "k1", "ticks": [tick("AAPL", 3)]}, "published")
        error = await publisher.ask({"key": "k1", "ticks": tick("AAPL", 4)}, "error")
        assert (error["code"], error["id"]) == ("idempotency_key_reused", len(examples) + 3)
        for text, code in (
            ('{"symbol":"AAPL"}', "invalid_ticks"),
            ('{"key":"a b","ticks":[]}', "invalid_message"),
            ("nope", "invalid_json"),
            (b"[]", "binary_message"),
        ):
            await publisher.blurt(text)
            assert (await publisher.hear("error"))["code"] == code
        await show_token(publisher, own_gateway, key, "publish")
        await _stop(publisher, own_gateway)
        assert publisher.unheard == set()
