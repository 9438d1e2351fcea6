"""The consumer of ``/ws/publish`` and a publisher, in process, through the whole application, on the bus in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from pytest_django.fixtures import Settings

from bus.contract import BusUnavailable, Idempotency, Limits, Since
from bus.layers import MemoryLayer
from bus.memory import MemoryBus
from gateway.edge.publisher import WINDOW
from gateway.wires import asgi
from marketmux.asgi import application
from tests.clients import tick
from tests.gateway.fakes import until
from ticks import publish
from ticks.models import ApiKey


class GatedBus(MemoryBus):
    """A bus that takes batches only while its gate is open, and none while it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_away = False
        self.offered = 0

    async def publish(
        self, batch: Mapping[str, Sequence[Any]], idempotency: Idempotency | None = None, note: bytes = b""
    ) -> dict[str, Since] | None:
        self.offered += 1
        await self.gate.wait()
        if self.is_away:
            raise BusUnavailable("away")
        return await super().publish(batch, idempotency, note)


@pytest.fixture(autouse=True)
async def bus(settings: Settings) -> AsyncIterator[GatedBus]:
    """The bus; anybody may publish."""
    settings.MARKETMUX_ANONYMOUS = True
    layer = MemoryLayer()
    layer.bus = GatedBus()
    channel_layers.set("default", layer)
    yield layer.bus
    channel_layers.backends.clear()


class Publisher:
    """The other end of ``/ws/publish``, which has been welcomed."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.socket = WebsocketCommunicator(application, "/ws/publish", headers=list(headers))
        self.welcome: Any = None

    async def __aenter__(self) -> Publisher:
        connected, _ = await self.socket.connect(timeout=5)
        assert connected
        self.welcome = await self.receive()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.disconnect(timeout=5)

    async def send(self, message: Any) -> None:
        await self.socket.send_to(text_data=message if isinstance(message, str) else json.dumps(message))

    async def receive(self) -> Any:
        return json.loads(await self.socket.receive_from(timeout=5))

    async def ask(self, message: Any) -> Any:
        await self.send(message)
        return await self.receive()

    async def answers(self, number: int) -> list[Any]:
        """The answers up to the one for the message of that number."""
        answers: list[Any] = []
        while not answers or answers[-1]["id"] < number:
            answers.append(await self.receive())
        return answers


def published(messages: int, ticks: int, number: int) -> dict[str, Any]:
    return {"type": "published", "messages": messages, "ticks": ticks, "id": number}


async def latest(symbol: str) -> tuple[int, str]:
    """Seq and price of the last tick of ``symbol``; seq 0 if there is none."""
    found = (await publish.latest_of([symbol])).get(symbol)
    return (0, "") if found is None else (found.seq, found.tick.price)


async def test_a_publisher_is_told_its_limits() -> None:
    async with Publisher() as publisher:
        assert publisher.welcome["type"] == "welcome"
        assert publisher.welcome["limits"] == {"ticks": 1000, "message_bytes": 1_048_576}


async def test_a_tick_or_an_array_of_ticks_is_published_and_counted() -> None:
    async with Publisher() as publisher:
        assert await publisher.ask(tick("A", 1)) == published(1, 1, 1)
        assert await publisher.ask([tick("A", 2), tick("B", 1), tick("A", 3)]) == published(2, 4, 2)
    assert (await latest("A"), await latest("B")) == ((3, "3"), (1, "1"))


@pytest.mark.parametrize(
    ("message", "code"),
    [("nope", "invalid_json"), (" ", "invalid_json"), ([tick("A,B", 1)], "invalid_ticks"),
     ({"symbol": "A"}, "invalid_ticks"), ({"key": "", "ticks": tick("A", 1)}, "invalid_message"),
     ({"key": "x" * 256, "ticks": tick("A", 1)}, "invalid_message"),
     ({"key": 4, "ticks": tick("A", 1)}, "invalid_ticks"), ({"key": "1", "ticks": {}}, "invalid_ticks"),
     ('{"ticks":' + "[" * 3000, "invalid_json")],
)  # fmt: skip
async def test_a_bad_message_is_named_and_the_next_one_is_taken(message: Any, code: str) -> None:
    async with Publisher() as publisher:
        error = await publisher.ask(message)
        assert (error["type"], error["code"], error["id"]) == ("error", code, 1)
        assert await publisher.ask(tick("A", 1)) == published(1, 1, 2)
    assert await latest("A") == (1, "1")


async def test_an_invalid_item_is_named_and_nothing_of_its_message_is_published() -> None:
    async with Publisher() as publisher:
        error = await publisher.ask([tick("A", 1), {"symbol": "A", "price": "x"}])
        assert [(item["index"], item["field"]) for item in error["errors"]] == [(1, "price")]
    assert await latest("A") == (0, "")


async def test_a_binary_message_is_refused() -> None:
    async with Publisher() as publisher:
        await publisher.socket.send_to(bytes_data=b"\x00")
        error = await publisher.receive()
        assert (error["code"], error["id"]) == ("binary_message", 1)
        assert await publisher.ask(tick("A", 1)) == published(1, 1, 2)


async def test_an_error_is_answered_after_the_messages_before_it(bus: GatedBus) -> None:
    async with Publisher() as publisher:
        bus.gate.clear()
        for message in (tick("A", 1), tick("A", 2), "nope", tick("A", 3)):
            await publisher.send(message)
        await until(lambda: bus.offered == 2)
        assert await publisher.socket.receive_nothing(0.05)
        bus.gate.set()
        answers = await publisher.answers(4)
    assert [(answer["type"], answer["id"]) for answer in answers] == [("published", 2), ("error", 3), ("published", 4)]
    assert answers[-1] == published(3, 3, 4)


async def test_one_answer_speaks_for_all_messages_that_are_done(bus: GatedBus) -> None:
    async with Publisher() as publisher:
        bus.gate.clear()
        for price in range(3):
            await publisher.send(tick("A", price))
        await until(lambda: bus.offered == 3)
        bus.gate.set()
        assert await publisher.receive() == published(3, 3, 3)


async def test_no_more_messages_than_the_window_holds_are_under_way(bus: GatedBus) -> None:
    async with Publisher() as publisher:
        bus.gate.clear()
        for price in range(3 * WINDOW):
            await publisher.send(tick("A", price))
        await until(lambda: bus.offered == WINDOW)
        await asyncio.sleep(0.02)
        assert bus.offered == WINDOW
        bus.gate.set()
        assert (await publisher.answers(3 * WINDOW))[-1] == published(3 * WINDOW, 3 * WINDOW, 3 * WINDOW)
    assert await latest("A") == (3 * WINDOW, str(3 * WINDOW - 1))


async def test_a_message_that_is_too_big_is_answered_and_ends_the_connection() -> None:
    async with Publisher() as publisher:
        await publisher.send(tick("A", 1))
        await publisher.send("[" + " " * 1_048_576 + "]")
        assert await publisher.receive() == published(1, 1, 1)
        error = await publisher.receive()
        assert (error["code"], error["id"]) == ("message_too_big", 2)
        assert (await publisher.receive())["type"] == "closing"
        closed = await publisher.socket.receive_output(timeout=5)
        assert (closed["type"], closed["code"]) == ("websocket.close", 1009)


async def test_a_message_with_a_key_is_published_once() -> None:
    keyed = {"key": "1", "ticks": [{"symbol": "A", "price": 1}, tick("A", 2)]}
    async with Publisher() as publisher:
        assert await publisher.ask(keyed) == published(1, 2, 1)
        assert await publisher.ask(keyed) == published(2, 4, 2)
        assert await publisher.ask({"key": "2", "ticks": tick("A", 3)}) == published(3, 5, 3)
    async with Publisher() as publisher:
        assert await publisher.ask(keyed) == published(1, 2, 1)
    assert await latest("A") == (3, "3")


async def test_a_key_in_quotes_is_the_same_key() -> None:
    async with Publisher() as publisher:
        for key in ("1", '"1"'):
            await publisher.ask({"key": key, "ticks": tick("A", 1)})
    assert await latest("A") == (1, "1")


async def test_a_key_that_was_used_for_other_ticks_is_a_conflict() -> None:
    async with Publisher() as publisher:
        await publisher.ask({"key": "1", "ticks": tick("A", 1)})
        error = await publisher.ask({"key": "1", "ticks": tick("A", 2)})
        assert (error["code"], error["id"]) == ("idempotency_key_reused", 2)
        assert await publisher.ask(tick("A", 3)) == published(2, 2, 3)
    assert await latest("A") == (2, "3")


@pytest.mark.django_db(transaction=True)
async def test_a_key_for_messages_is_its_publishers_own() -> None:
    _, plaintext = await sync_to_async(ApiKey.objects.issue)("feed")
    keyed = {"key": "1", "ticks": tick("A", 1)}
    async with Publisher() as anonymous, Publisher((b"authorization", f"Api-Key {plaintext}".encode())) as feed:
        for publisher in (anonymous, feed):
            await publisher.ask(keyed)
            await publisher.ask(keyed)
    assert await latest("A") == (2, "1")


async def test_a_bus_that_is_away_is_an_error_and_the_message_can_be_sent_again(bus: GatedBus) -> None:
    async with Publisher() as publisher:
        bus.is_away = True
        error = await publisher.ask(tick("A", 1))
        assert (error["code"], error["id"]) == ("bus_unavailable", 1)
        bus.is_away = False
        assert await publisher.ask(tick("A", 1)) == published(1, 1, 2)
    assert await latest("A") == (1, "1")


async def test_what_was_sent_before_a_disconnect_is_published(bus: GatedBus) -> None:
    publisher = Publisher()
    async with publisher:
        bus.gate.clear()
        for price in range(3):
            await publisher.send(tick("A", price))
        await until(lambda: bus.offered == 3)
        await publisher.socket.send_input({"type": "websocket.disconnect", "code": 1006})
        await asyncio.sleep(0.02)
        assert await latest("A") == (0, "")
        bus.gate.set()
        await publisher.socket.wait(timeout=5)
    assert await latest("A") == (3, "2")


async def test_a_publisher_is_told_that_there_are_too_many_symbols(bus: GatedBus) -> None:
    bus._limits = Limits(streams=1, keys=1)
    async with Publisher() as publisher:
        assert (await publisher.ask(tick("A", 1)))["type"] == "published"
        error = await publisher.ask(tick("B", 1))
        assert (error["code"], error["id"]) == ("too_many_streams", 2)
        assert (await publisher.ask({"key": "1", "ticks": tick("A", 2)}))["type"] == "published"
        assert (await publisher.ask({"key": "2", "ticks": tick("A", 2)}))["code"] == "too_many_keys"


class Unread:
    """A publisher of bad messages whose server takes the answers only once it is let: the second fills the socket."""

    def __init__(self, messages: int) -> None:
        many = [{"symbol": "A", "price": f"bad{number}"} for number in range(1000)]  # an error of some kB
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        for _ in range(messages):
            self.incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(many)})
        self.is_read = asyncio.Event()
        self.sent: list[Any] = []
        scope = {"type": "websocket", "path": "/ws/publish", "headers": [], "query_string": b""}
        self.consumer = asyncio.ensure_future(application(scope, self.incoming.get, self.send))

    async def send(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            await self.is_read.wait()
            self.sent.append(json.loads(event["text"]))


async def test_a_publisher_that_does_not_read_its_answers_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_FULL", 4_096)
    publisher = Unread(messages=3)
    await until(lambda: publisher.incoming.qsize() <= 1)
    await asyncio.sleep(0.02)
    assert publisher.incoming.qsize() == 1
    publisher.is_read.set()
    await until(publisher.incoming.empty)
    publisher.incoming.put_nowait({"type": "websocket.disconnect"})
    await asyncio.wait_for(publisher.consumer, 5)
    assert [message.get("code") for message in publisher.sent] == [None, *["invalid_ticks"] * 3]


async def test_nothing_more_is_sent_to_a_publisher_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_FULL", 4_096)
    publisher = Unread(messages=2)
    await until(publisher.incoming.empty)
    publisher.consumer.cancel()
    await asyncio.wait([publisher.consumer])
    publisher.is_read.set()
    await asyncio.sleep(0.02)
    assert publisher.sent == []
