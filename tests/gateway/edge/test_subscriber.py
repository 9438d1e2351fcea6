"""The consumer's conversation with a client, in process, through the whole application."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path
from pytest_django.fixtures import Settings

from bus.contract import BusUnavailable
from bus.layers import MemoryLayer, RedisLayer
from bus.memory import MemoryBus
from gateway.edge.process import get_node
from gateway.edge.subscriber import TickConsumer
from gateway.protocol.commands import RATES
from gateway.server.inbox import Inbox
from marketmux.asgi import application
from tests.gateway.fakes import FakeWire, until
from ticks import publish
from ticks.access.grant import Grant
from ticks.access.patterns import ALL
from ticks.grammar import now
from ticks.tick import Tick, group_name

WHEN = "2026-05-12T15:04:05Z"
TIMEOUT = 30


@pytest.fixture(params=["memory", "redis"])
async def layer(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A new default channel layer."""
    layer = MemoryLayer() if request.param == "memory" else RedisLayer(hosts=[request.getfixturevalue("redis_url")])
    channel_layers.set("default", layer)
    await until(lambda: get_node().counts()["bus_connected"])
    yield layer
    channel_layers.backends.clear()
    await layer.flush()


@pytest.fixture(autouse=True)
def quiet(settings: Settings) -> None:
    """Anybody may connect, and nothing comes unasked."""
    settings.MARKETMUX_ANONYMOUS = True
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.0


@pytest.fixture
def beating(settings: Settings) -> None:
    """To be named before ``layer``, which makes the node."""
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.05


@pytest.fixture
def hasty(settings: Settings) -> None:
    """The same, with no delay before a group is left."""
    settings.MARKETMUX_LEAVE_DELAY_SECONDS = 0.0


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
        return json.loads(await self.socket.receive_from(timeout=TIMEOUT))

    async def receive_until(self, is_last: Callable[[Any], bool]) -> list[Any]:
        """The messages up to the first that is wanted, and that one."""
        messages = [await self.receive()]
        while not is_last(messages[-1]):
            messages.append(await self.receive())
        return messages

    async def ask(self, **command: Any) -> Any:
        await self.socket.send_to(text_data=json.dumps(command))
        return await self.receive()

    async def subscribe(self, *symbols: str, **options: Any) -> Any:
        """The answer of a connection that has just been made."""
        assert (await self.receive())["type"] == "welcome"
        answer = await self.ask(action="subscribe", symbols=list(symbols), **options)
        assert answer["type"] == "subscribed"
        return answer

    async def seqs(self, count: int) -> list[tuple[str, str, int]]:
        """Type, symbol and seq of the next messages."""
        messages = [await self.receive() for _ in range(count)]
        return [(message["type"], message["symbol"], message["seq"]) for message in messages]


def tick(symbol: str, price: int | str) -> Tick:
    return Tick(symbol, str(price), WHEN)


async def test_a_conversation(layer: Any) -> None:
    async with Client() as client:
        welcome = await client.receive()
        assert (welcome["type"], welcome["limits"]["symbols"], welcome["heartbeat"]) == ("welcome", 1000, 0.0)
        answer = await client.ask(action="subscribe", symbol="AAPL", id=1)
        epoch = answer["positions"]["AAPL"]["epoch"]
        assert re.fullmatch("[0-9a-f]{8,20}", epoch)
        assert answer == {
            "type": "subscribed", "symbols": ["AAPL"], "positions": {"AAPL": {"seq": 0, "epoch": epoch}}, "id": 1
        }  # fmt: skip
        answer = await client.ask(action="subscribe", symbols=["EUR/USD", "AAPL", "^GSPC"])
        assert answer["symbols"] == ["EUR/USD", "AAPL", "^GSPC"]
        assert list(answer["positions"]) == ["EUR/USD", "AAPL", "^GSPC"]
        assert (await client.ask(action="unsubscribe", symbol="AAPL", id="x")) == {
            "type": "unsubscribed", "symbols": ["AAPL"], "id": "x"
        }  # fmt: skip
        assert (await client.ask(action="list"))["symbols"] == ["EUR/USD", "^GSPC"]
        assert await client.ask(action="ping", id=9) == {"type": "pong", "id": 9}


async def test_an_answer_says_what_changed_however_much_is_held(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe(*(f"S{number}" for number in range(500)))
        answer = await client.ask(action="subscribe", symbols=["NEW", "S7", "NEW"], snapshot=False)
        assert (answer["symbols"], list(answer["positions"])) == (["NEW", "S7"], ["NEW", "S7"])
        answer = await client.ask(action="unsubscribe", symbols=["S8", "OTHER", "S7", "S8"])
        assert answer["symbols"] == ["S8", "S7"], "those that it had"
        assert (await client.ask(action="unsubscribe", symbol="S7"))["symbols"] == []
        held = (await client.ask(action="list"))["symbols"]
        assert held == [*(f"S{number}" for number in range(500) if number not in {7, 8}), "NEW"]


async def test_commands_that_come_together_are_answered_in_one_write(layer: Any) -> None:
    names = [f"S{number}" for number in range(40)]
    async with Client() as other:
        await other.subscribe(*names)
        async with Crowded({"action": "subscribe", "symbol": name} for name in names) as crowded:
            await until(lambda: len(crowded.wire.texts) == 41)
            assert [json.loads(text).get("symbols") for text in crowded.wire.texts[1:]] == [[name] for name in names]
            assert len(crowded.wire.writes) == 2, "the welcome, and the answers"


async def test_subscriptions_that_come_together_wait_for_the_bus_together(layer: Any) -> None:
    names = [f"S{number}" for number in range(40)]
    async with Crowded({"action": "subscribe", "symbol": name} for name in [*names, "S7"]) as crowded:
        await until(lambda: len(crowded.wire.texts) == 42)
        assert [json.loads(text).get("symbols") for text in crowded.wire.texts[1:]] == [
            [name] for name in [*names, "S7"]
        ]
        assert len(crowded.wire.writes) == 2, "the welcome, and the answers"
        await publish.publish([tick("S7", 1)])
        await until(lambda: len(crowded.wire.texts) == 43)
        assert json.loads(crowded.wire.texts[-1])["seq"] == 1


async def test_subscriptions_that_come_together_are_refused_one_by_one(layer: Any, settings: Any) -> None:
    settings.MARKETMUX_MAX_SYMBOLS = 3
    names = ["S1", "S2", "\n", "S3", "S1", "S4", "S2"]
    async with Client() as other:
        await other.subscribe("S1", "S2")
        await publish.publish([tick("S2", 1)])
        async with Crowded({"action": "subscribe", "symbol": name} for name in names) as crowded:
            await until(lambda: len(crowded.wire.texts) == 1 + len(names) + 2)
            answers = [json.loads(text) for text in crowded.wire.texts[1:]]
    said = [answer.get("code") or answer.get("symbols") or answer["type"] for answer in answers]
    assert said == [
        *(["S1"], ["S2"], "snapshot", "invalid_symbol", ["S3"], ["S1"], "too_many_symbols", ["S2"], "snapshot"),
    ]


async def test_an_answer_goes_out_before_the_next_command_waits_for_the_bus(layer: Any) -> None:
    async with Client() as other:
        await other.subscribe("OLD")
        commands = [
            {"action": "ping"},
            {"action": "subscribe", "symbol": "OLD"},
            {"action": "subscribe", "symbol": "NEW"},
        ]
        async with Crowded(commands) as crowded:
            await until(lambda: len(crowded.wire.texts) >= 3)
            await publish.publish([tick("OLD", 1)])
            await until(lambda: len(crowded.wire.texts) == 5)
            kinds = [json.loads(text)["type"] for text in crowded.wire.texts]
            assert kinds[:3] == ["welcome", "pong", "subscribed"]
            assert sorted(kinds[3:]) == ["subscribed", "tick"]


class Crowded:
    """A client whose commands have all come when its consumer begins."""

    def __init__(self, commands: Iterable[dict[str, Any]]) -> None:
        self.wire = FakeWire()
        inbox = Inbox()
        for command in commands:
            inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(command)})
        consumer = TickConsumer()
        consumer.scope = {"type": "websocket", "grant": Grant(subscribe=ALL)}
        consumer.base_send = self._send
        self._serving = consumer.serve(inbox.get, self.wire)

    async def _send(self, event: dict[str, Any]) -> None:
        raise AssertionError(f"{event} is for another server")

    async def __aenter__(self) -> Crowded:
        self._task = asyncio.create_task(self._serving)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_a_published_tick_reaches_its_subscribers_with_its_digits(layer: Any) -> None:
    async with Client() as client, Client() as other:
        await client.subscribe("EUR/USD")
        await other.subscribe("AAPL")
        await publish.publish([Tick("EUR/USD", "1.0850", WHEN, bid="1.08"), tick("AAPL", 2)])
        assert await client.socket.receive_from(timeout=TIMEOUT) == (
            '{"type":"tick","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05Z","bid":1.08,"seq":1}'
        )
        assert (await other.receive())["symbol"] == "AAPL"
        assert await other.socket.receive_nothing(0.05)


async def test_a_snapshot_comes_before_the_ticks_behind_it(layer: Any) -> None:
    await publish.publish([Tick("EUR/USD", "1.0850", WHEN), Tick("EUR/USD", "1.0851", WHEN, bid="1.08")])
    async with Client() as client, Client() as later, Client() as bare:
        position = (await client.subscribe("EUR/USD", "AAPL"))["positions"]["EUR/USD"]
        assert position["seq"] == 2
        assert await client.socket.receive_from(timeout=TIMEOUT) == (
            '{"type":"snapshot","symbol":"EUR/USD","price":1.0851,"timestamp":"2026-05-12T15:04:05Z","bid":1.08,'
            f'"seq":2,"epoch":"{position["epoch"]}"}}'
        )
        await publish.publish([tick("EUR/USD", 3)])
        assert await client.seqs(1) == [("tick", "EUR/USD", 3)]
        await later.subscribe("EUR/USD")
        await bare.subscribe("EUR/USD", snapshot=False)
        await publish.publish([tick("EUR/USD", 4)])
        assert await later.seqs(2) == [("snapshot", "EUR/USD", 3), ("tick", "EUR/USD", 4)]
        assert await client.seqs(1) == await bare.seqs(1) == [("tick", "EUR/USD", 4)]


async def test_a_client_that_comes_back_gets_what_it_missed(layer: Any) -> None:
    async with Client() as client:
        position = (await client.subscribe("AAPL"))["positions"]["AAPL"]
        await publish.publish([tick("AAPL", 1)])
        assert await client.seqs(1) == [("tick", "AAPL", 1)]
    await publish.publish([tick("AAPL", price) for price in (2, 3, 4)])
    async with Client() as client:
        answer = await client.subscribe("AAPL", "MSFT", since={"AAPL": {**position, "seq": 1}})
        assert answer["positions"]["AAPL"] == {"seq": 4, "epoch": position["epoch"], "recovered": True}
        assert "recovered" not in answer["positions"]["MSFT"]
        await publish.publish([tick("AAPL", 5)])
        assert await client.seqs(4) == [("tick", "AAPL", seq) for seq in (2, 3, 4, 5)]


async def test_a_client_that_comes_back_too_late_is_told_so(layer: Any) -> None:
    await publish.publish([tick("AAPL", 1)])
    async with Client() as client:
        assert (await client.receive())["type"] == "welcome"
        since = {"seq": 1041, "epoch": "00000000"}
        answer = await client.ask(action="subscribe", symbol="AAPL", since=since, snapshot=False)
        assert answer["positions"]["AAPL"]["recovered"] is False
        assert await client.seqs(1) == [("snapshot", "AAPL", 1)]


async def test_everything_is_every_symbol_now_and_later(layer: Any) -> None:
    await publish.publish([tick("AAPL", 1)])
    async with Client() as client:
        answer = await client.subscribe("*", "MSFT")
        assert answer["symbols"] == ["*", "MSFT"]
        assert {symbol: position["seq"] for symbol, position in answer["positions"].items()} == {"AAPL": 1, "MSFT": 0}
        assert await client.seqs(1) == [("snapshot", "AAPL", 1)]
        await publish.publish([tick("AAPL", 2)])
        await publish.publish([tick("EUR/USD", 1)])
        await publish.publish([tick("EUR/USD", 2)])
        assert await client.seqs(3) == [("tick", "AAPL", 2), ("snapshot", "EUR/USD", 1), ("tick", "EUR/USD", 2)]
        await publish.publish([tick("MSFT", 1)])
        assert (await client.receive())["symbol"] == "MSFT"
        assert await client.socket.receive_nothing(0.05)
        assert (await client.ask(action="unsubscribe", symbol="*"))["symbols"] == ["*"]
        await publish.publish([tick("AAPL", 3), tick("MSFT", 2)])
        assert await client.seqs(1) == [("tick", "MSFT", 2)]


async def test_the_compact_format_is_for_who_asks_in_the_address(layer: Any) -> None:
    async with Client() as plain, Client(path="/ws?format=compact") as compact:
        await plain.subscribe("AAPL", "MSFT")
        assert (await compact.receive())["fields"] == ["symbol", "price", "timestamp", "seq", "bid", "ask", "size"]
        await compact.ask(action="subscribe", symbols=["AAPL", "MSFT"])
        await publish.publish([tick("AAPL", "1.50"), tick("AAPL", 2), tick("MSFT", 3)])
        assert [await plain.seqs(1) for _ in range(3)]
        rows = list(await compact.receive())
        while len(rows) < 3:
            rows += await compact.receive()
        assert sorted(rows) == [["AAPL", 1.5, WHEN, 1], ["AAPL", 2, WHEN, 2], ["MSFT", 3, WHEN, 1]]
        again = await compact.ask(action="subscribe", symbol="AAPL")
        assert (again["type"], (await compact.receive())["type"]) == ("subscribed", "snapshot")


@pytest.mark.parametrize("query", ["format=xml", "format=Compact", "format=compact&format=x"])
async def test_another_format_is_refused(layer: Any, query: str) -> None:
    connected, _ = await WebsocketCommunicator(application, f"/ws?{query}").connect()
    assert not connected


async def test_a_rate_holds_ticks_back_and_says_how_many(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("AAPL", max_rate=1)
        await publish.publish([tick("AAPL", 1)])
        assert await client.seqs(1) == [("tick", "AAPL", 1)]
        await publish.publish([tick("AAPL", price) for price in (2, 3, 4)])
        newest = await client.receive()
        assert (newest["type"], newest["seq"], newest["skipped"]) == ("tick", 4, 2)


async def test_the_answer_says_which_rate_was_taken(layer: Any) -> None:
    async with Client() as client:
        assert (await client.subscribe("AAPL", max_rate=7.3))["max_rate"] == 6
        answer = await client.ask(action="subscribe", symbol="AAPL", snapshot=False)
        assert "max_rate" not in answer


async def test_whatever_rates_clients_choose_there_are_few_timers(layer: Any, settings: Settings) -> None:
    settings.MARKETMUX_MAX_COMMANDS_PER_SECOND = 10_000
    hub = get_node().hub
    async with AsyncExitStack() as stack:
        for number in range(100):
            client = await stack.enter_async_context(Client())
            await client.subscribe("AAPL", max_rate=0.01 + number * 9.9)
        assert hub.counts()["rates"] <= len(RATES)


async def test_an_idle_client_gets_heartbeats(beating: None, layer: Any) -> None:
    async with Client() as client, Client() as silent:
        assert (await silent.receive())["heartbeat"] == 0.05
        await client.socket.send_to(text_data='{"action":"subscribe","symbol":"AAPL"}')
        await client.receive_until(lambda message: message["type"] == "subscribed")
        await publish.publish([tick("AAPL", 1)])
        await client.receive_until(lambda message: message.get("seqs") == {"AAPL": 1})
        told = await client.receive_until(lambda message: "seqs" not in message)
        assert [message.keys() for message in told] == [{"type", "time"}], "what has not changed is told once"
        assert (await silent.receive()).keys() == {"type", "time"}


async def test_a_heartbeat_has_the_time_of_the_gateway(beating: None, layer: Any) -> None:
    async with Client() as client:
        await client.receive()  # the welcome
        before = now()
        times = [(await client.receive())["time"] for _ in range(4)]
        assert before <= times[1] < times[2] < times[3] <= now()


async def test_clients_are_told_that_the_bus_is_away_and_so_are_those_who_come_then(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("AAPL")
        get_node().bus_lost()
        assert await client.receive() == {"type": "bus", "connected": False}
        async with Client() as late:
            assert (await late.receive())["type"] == "welcome"
            assert await late.receive() == {"type": "bus", "connected": False}
            get_node().bus_restored()
            assert await client.receive() == await late.receive() == {"type": "bus", "connected": True}
        async with Client() as later:
            assert (await later.receive())["type"] == "welcome"
            assert (await later.ask(action="ping"))["type"] == "pong"


class AwayBus(MemoryBus):
    """A bus that cannot be reached for as long as a test likes."""

    is_away = True

    async def join(self, groups: Sequence[str]) -> None:
        if self.is_away:
            raise BusUnavailable("away")
        await super().join(groups)


@pytest.fixture
async def away() -> AsyncIterator[AwayBus]:
    """The bus of the default channel layer, out of reach."""
    layer = MemoryLayer()
    layer.bus = AwayBus()
    channel_layers.set("default", layer)
    yield layer.bus
    channel_layers.backends.clear()


async def test_a_bus_that_cannot_be_reached_is_an_error_and_changes_nothing(away: AwayBus) -> None:
    async with Client() as client:
        assert (await client.receive())["type"] == "welcome"
        error = await client.ask(action="subscribe", symbols=["A", "B"], id=3)
        assert (error["type"], error["code"], error["id"]) == ("error", "bus_unavailable", 3)
        assert (await client.ask(action="list"))["symbols"] == []
        away.is_away = False
        assert (await client.ask(action="subscribe", symbol="A"))["symbols"] == ["A"]


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
        await publish.publish([Tick("AAPL", "150.250", WHEN), Tick("MSFT", "1", WHEN), Tick("AAPL", "150.260", WHEN)])
        first, second = await plain.receive(), await plain.receive()
        assert first == {
            "type": "tick", "symbol": "AAPL", "price": "150.250", "timestamp": WHEN, "seq": 1, "epoch": first["epoch"]
        }  # fmt: skip
        assert (second["price"], second["seq"], second["epoch"]) == ("150.260", 2, first["epoch"])
        assert (await client.receive())["price"] == 150.25


async def test_messages_that_are_no_ticks_are_counted_and_nobody_is_disconnected(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("AAPL")
        await layer.group_send(group_name("AAPL"), {"type": "mystery"})
        await layer.group_send(
            group_name("AAPL"), {"type": "tick", "symbol": "AAPL", "price": "NaN", "timestamp": WHEN}
        )
        await layer.group_send(group_name("AAPL"), Tick("MSFT", "1", WHEN).message())
        await publish.publish([Tick("AAPL", "2", WHEN)])
        assert (await client.receive())["price"] == 2
        assert get_node().counts()["malformed_total"] == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [("nope", "invalid_json"), ("[]", "invalid_message"), ('{"action":"fly","id":1}', "unknown_action"),
     ('{"action":"subscribe","symbol":"A,B"}', "invalid_symbol")],
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
        assert await client.receive() == {
            "type": "closing", "code": 1009, "reason": "The message is too big.", "reconnect": False, "wait": 0
        }  # fmt: skip
        assert await client.socket.receive_output(timeout=TIMEOUT) == {
            "type": "websocket.close", "code": 1009, "reason": "The message is too big."
        }  # fmt: skip


async def test_the_limit_of_symbols_holds_and_a_refused_subscribe_changes_nothing(settings: Settings) -> None:
    settings.MARKETMUX_MAX_SYMBOLS = 3
    async with Client() as client:
        await client.subscribe("A", "B")
        error = await client.ask(action="subscribe", symbols=["B", "C", "D"], id=5)
        assert (error["code"], error["id"]) == ("too_many_symbols", 5)
        assert (await client.ask(action="list"))["symbols"] == ["A", "B"]
        assert (await client.ask(action="subscribe", symbols=["A", "*"]))["symbols"] == ["A", "*"]
        assert (await client.ask(action="list"))["symbols"] == ["A", "B", "*"]
        assert (await client.ask(action="subscribe", symbol="C"))["code"] == "too_many_symbols"


async def test_commands_over_the_limit_are_refused_and_a_flood_ends_the_connection(settings: Settings) -> None:
    settings.MARKETMUX_MAX_COMMANDS_PER_SECOND = 5
    async with Client() as client:
        await client.receive()
        answers = [await client.ask(action="ping") for _ in range(9)]
        assert [answer["type"] for answer in answers[:5]] == ["pong"] * 5
        assert answers[-1]["code"] == "too_many_commands"
        for _ in range(10):
            await client.socket.send_to(text_data='{"action":"ping"}')
        said = []
        async with asyncio.timeout(TIMEOUT):
            while (event := await client.socket.receive_output(timeout=TIMEOUT))["type"] == "websocket.send":
                said.append(json.loads(event["text"]))
        assert (event["type"], event["code"]) == ("websocket.close", 1008)
        assert [message["type"] for message in said[-2:]] == ["error", "closing"]
        assert (said[-1]["code"], said[-1]["reconnect"], said[-1]["wait"]) == (1008, True, 5)


LONG = [f"{number:030}" for number in range(1_000)]


@pytest.mark.parametrize(
    "command",
    [
        {"action": "list"},
        {"action": "subscribe", "symbols": LONG, "snapshot": False},
        {"action": "subscribe", "symbol": LONG[0]},
    ],
    ids=["list", "subscribe all", "subscribe one"],
)
async def test_answers_are_bounded_in_bytes_and_not_only_in_number(command: Any) -> None:
    """A thousand times ``list`` are 15 KB, and were answered with 33 MB."""
    async with Client() as client:
        await client.subscribe(*LONG)
        for _ in range(1_000):
            await client.socket.send_to(text_data=json.dumps(command))
        size, codes = 0, set()
        async with asyncio.timeout(TIMEOUT):
            while (event := await client.socket.receive_output(timeout=TIMEOUT))["type"] == "websocket.send":
                size += len(event["text"])
                codes.add(json.loads(event["text"]).get("code"))
        assert event["code"] == 1008
    assert "too_many_commands" in codes
    assert size < 3_000_000


async def test_a_thousand_symbols_one_by_one_are_taken_from_whoever_keeps_the_limit(settings: Settings) -> None:
    settings.MARKETMUX_MAX_COMMANDS_PER_SECOND = 1_000
    async with Client() as client:
        await client.receive()
        for number in range(1_000):
            answer = await client.ask(action="subscribe", symbol=f"S{number}")
            assert answer["type"] == "subscribed"
            assert len(answer["symbols"]) == 1
        assert len((await client.ask(action="list"))["symbols"]) == 1_000


async def test_what_a_client_held_is_gone_with_it(hasty: None, layer: Any) -> None:
    for number in range(10):
        async with Client() as client:
            await client.subscribe("A", "B")
            await client.ask(action="subscribe", symbols=["*", "C"], max_rate=5, id=number)
            await publish.publish([tick("A", 1), tick("D", 1)])
    names = ("connections", "subscriptions", "memberships", "symbols", "rates", "behind")
    await until(lambda: not any(get_node().counts()[name] for name in names))


async def test_other_paths_are_refused() -> None:
    connected, _ = await WebsocketCommunicator(application, "/elsewhere").connect()
    assert not connected
