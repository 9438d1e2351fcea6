"""What is no argument is an error of the call that was given it, and the client goes on."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from marketmux_client import Backoff, Client, CommandRefused, Refused
from tests.client.fake import FakeGateway, Peer, fake_gateway

URL = "ws://127.0.0.1:1/ws"


class Float:
    """A number of a library that does not derive from Python's, as numpy.float32."""

    def __float__(self) -> float:
        return 5.0


class Whole:
    """As numpy.int64."""

    def __index__(self) -> int:
        return 5


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway() as gateway:
        yield gateway


async def taken(client: Client, peer: Peer, *symbols: str, **options: Any) -> dict[str, Any]:
    call = asyncio.create_task(client.subscribe(*symbols, **options))
    command = await peer.subscribe()
    await call
    return command


def _id(value: object) -> str:
    """The same in every process, which an object's address is not."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize("rate", [5, 5.0, Decimal("5.0"), Fraction(10, 2), Float(), Whole()], ids=_id)
async def test_any_number_is_a_rate(gateway: FakeGateway, rate: Any) -> None:
    async with Client(gateway.url) as client:
        assert (await taken(client, await gateway.peer(), "AAPL", max_rate=rate))["max_rate"] == 5


@pytest.mark.parametrize(
    ("rate", "error"),
    [
        ("5", TypeError),
        (b"5", TypeError),
        (True, TypeError),
        ([5], TypeError),
        (5j, TypeError),
        (object(), TypeError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (Decimal("NaN"), ValueError),
        (Decimal("sNaN"), ValueError),
        (Decimal("Infinity"), ValueError),
        (Decimal("1e999"), ValueError),
        (10**400, ValueError),
        (0, CommandRefused),
        (-1, CommandRefused),
        (Decimal("-0.5"), CommandRefused),
    ],
    ids=_id,
)
async def test_what_is_no_rate_is_an_error_of_the_call(gateway: FakeGateway, rate: Any, error: type[Exception]) -> None:
    async with Client(gateway.url) as client:
        peer = await gateway.peer()
        with pytest.raises(error, match=r"max_rate|signaling"):
            await client.subscribe("AAPL", max_rate=rate)
        # Nothing was asked for, and the client is none the worse.
        assert await taken(client, peer, "MSFT") == {"action": "subscribe", "symbols": ["MSFT"], "id": 1}
        assert client.symbols == ("MSFT",)


@pytest.mark.parametrize("symbols", [(), (["AAPL"],), (b"AAPL",), (None,), ("AAPL", 5), (("AAPL",),)], ids=_id)
async def test_what_is_no_symbol_is_an_error_of_the_call(gateway: FakeGateway, symbols: tuple[Any, ...]) -> None:
    async with Client(gateway.url) as client:
        peer = await gateway.peer()
        with pytest.raises(TypeError, match="symbol"):
            await client.subscribe(*symbols)
        with pytest.raises(TypeError, match="symbol"):
            await client.unsubscribe(*symbols)
        if symbols:
            with pytest.raises(TypeError, match="symbol"):
                client.latest(symbols[-1])
        assert (await taken(client, peer, "MSFT"))["id"] == 1


@pytest.mark.parametrize("snapshot", [None, 0, 1, "no", [], object()], ids=_id)
async def test_what_is_neither_true_nor_false_is_an_error_of_the_call(gateway: FakeGateway, snapshot: Any) -> None:
    async with Client(gateway.url) as client:
        with pytest.raises(TypeError, match="snapshot"):
            await client.subscribe("AAPL", snapshot=snapshot)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key": 5}, TypeError),
        ({"key": b"mmx_1"}, TypeError),
        ({"key": "mmx_1\r\nX: y"}, ValueError),
        ({"key": "mmx_é"}, ValueError),
        ({"connect_timeout": "5"}, TypeError),
        ({"connect_timeout": -1}, ValueError),
        ({"connect_timeout": float("nan")}, ValueError),
        ({"max_queue": 0}, ValueError),
        ({"max_queue": 1.5}, TypeError),
        ({"max_queue": None}, TypeError),
        ({"max_queue": True}, TypeError),
        ({"max_queue": "9"}, TypeError),
        ({"headers": [("X", "y")]}, TypeError),
        ({"headers": {"X": 5}}, TypeError),
        ({"headers": {5: "y"}}, TypeError),
        ({"headers": {"X:": "y"}}, ValueError),
        ({"headers": {"X": "y\r\nZ: a"}}, ValueError),
        ({"ssl": True}, TypeError),
        ({"ssl": ssl.create_default_context()}, ValueError),  # for ws://
        ({"backoff": 5}, TypeError),
        ({"proxy": False}, TypeError),
        ({"proxy": 8080}, TypeError),
        ({"proxy": "127.0.0.1:8080"}, ValueError),
        ({"proxy": "ftp://127.0.0.1"}, ValueError),
        ({"proxy": "http://127.0.0.1:x"}, ValueError),
        ({"refused_for": "60"}, TypeError),
        ({"refused_for": -1}, ValueError),
    ],
    ids=_id,
)
def test_what_a_client_cannot_be_made_of_is_an_error_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Client(URL, **options)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/ws", "ws://", "127.0.0.1:8000/ws", "ws://h:99999/", "ws://h:x/", "ws://h/#a", "", "ws://["],
)
def test_what_is_no_url_is_an_error_at_once(url: str) -> None:
    with pytest.raises(Refused):
        Client(url)


@pytest.mark.parametrize("url", [None, b"ws://127.0.0.1/ws", 5])
def test_a_url_is_a_string(url: Any) -> None:
    with pytest.raises(TypeError, match="url"):
        Client(url)


def test_unusual_numbers_will_do() -> None:
    Client(URL, connect_timeout=Decimal("0.5"), max_queue=Whole(), refused_for=Fraction(1, 2))
    Backoff(base=Decimal("0.5"), cap=Whole(), lasting=Float())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"base": 0}, ValueError),
        ({"base": "1"}, TypeError),
        ({"cap": 0.1}, ValueError),  # below base
        ({"cap": float("inf")}, ValueError),
        ({"lasting": -1}, ValueError),
        ({"uniform": 5}, TypeError),
    ],
    ids=_id,
)
def test_what_is_no_backoff_is_an_error_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Backoff(**options)


async def test_a_client_is_used_in_the_loop_it_was_opened_in(gateway: FakeGateway) -> None:
    async with Client(gateway.url) as client:

        def elsewhere() -> None:
            asyncio.run(client.subscribe("AAPL"))

        with pytest.raises(RuntimeError, match="loop"):
            await asyncio.to_thread(elsewhere)
