"""The client with tokens: asked for before each connection, and replaced before one ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from marketmux_client import Backoff, Client, Refused
from tests.client.fake import TIMEOUT, FakeGateway, eventually, fake_gateway


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway() as gateway:
        yield gateway


class Source:
    """Gives tokens, each another one; raises as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.given = 0
        self.failures = failures

    async def __call__(self) -> str:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("nobody answers")
        self.given += 1
        return f"token{self.given}"


def client(gateway: FakeGateway, **options: object) -> Client:
    return Client(gateway.url, backoff=Backoff(base=0.001, cap=0.01), connect_timeout=TIMEOUT, **options)  # type: ignore[arg-type]


def shown(gateway: FakeGateway) -> list[str]:
    return [request.headers["Authorization"] for request in gateway.handshakes]


async def test_a_token_is_shown_in_the_handshake(gateway: FakeGateway) -> None:
    async with client(gateway, token="mmt_x"):
        assert shown(gateway) == ["Bearer mmt_x"]


async def test_each_connection_is_given_another_one(gateway: FakeGateway) -> None:
    async with client(gateway, token=Source()):
        (await gateway.peer()).cut()
        (await gateway.peer()).cut()
        await gateway.peer()
        assert shown(gateway)[:3] == ["Bearer token1", "Bearer token2", "Bearer token3"]


async def test_a_source_that_fails_is_asked_again(gateway: FakeGateway) -> None:
    async with client(gateway, token=Source(failures=3)):
        assert shown(gateway) == ["Bearer token1"]


async def test_why_there_was_no_token_is_said(gateway: FakeGateway) -> None:
    with pytest.raises(TimeoutError, match="no token: nobody answers"):
        await Client(gateway.url, token=Source(failures=1_000), connect_timeout=0.5).open()


async def test_a_token_is_replaced_before_the_connection_ends(gateway: FakeGateway) -> None:
    gateway.expires_at = in_seconds(2)
    async with client(gateway, token=Source()) as connected:
        peer = await gateway.peer()
        command = await peer.command("auth")
        assert command["token"] == "token2"
        await peer.send({"type": "auth", "expires_at": in_seconds(2), "id": command["id"]})
        command = await peer.command("auth")
        assert command["token"] == "token3"
        await peer.error(command, "auth_failed")
        command = await peer.command("auth")  # another one may do
        await peer.send({"type": "auth", "id": command["id"]})
        subscribing = asyncio.create_task(connected.subscribe("AAPL"))
        await peer.subscribe()
        await subscribing
        assert len(gateway.handshakes) == 1


async def test_a_string_is_not_shown_again(gateway: FakeGateway) -> None:
    gateway.expires_at = in_seconds(1)
    async with client(gateway, token="x") as connected:
        peer = await gateway.peer()
        subscribing = asyncio.create_task(connected.subscribe("AAPL"))
        await peer.subscribe()
        await subscribing
        await eventually(lambda: connected.is_connected)


async def test_a_token_that_is_refused_at_first_is_the_end(gateway: FakeGateway) -> None:
    gateway.status = 401
    with pytest.raises(Refused):
        await client(gateway, token="x").open()


@pytest.mark.parametrize("token", ["a\nb", "\u20ac"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="Authorization"):
        Client("ws://localhost/ws", token=token)


def test_a_client_shows_a_key_or_a_token() -> None:
    with pytest.raises(ValueError, match="not both"):
        Client("ws://localhost/ws", key="k", token="t")
    with pytest.raises(TypeError):
        Client("ws://localhost/ws", token=5)  # type: ignore[arg-type]
