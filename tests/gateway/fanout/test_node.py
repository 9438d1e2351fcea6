"""The node between the hub and a channel bus: what it asks the bus, and what it makes of what the bus says."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from bus.contract import BusUnavailable, Held, Idempotency, Losses, Packet, Position, Reason, Since, Tap, Wish
from bus.memory import MemoryBus
from gateway.edge.process import get_node
from gateway.fanout.heartbeat import ROUNDS
from gateway.fanout.node import Node
from tests.gateway.fakes import NEVER, Books, FakeClient, until
from tests.worst import SLOWNESS
from ticks.access.patterns import Patterns
from ticks.tick import GROUP_PREFIX, Tick, group_name

WHEN = "2026-05-12T15:04:05Z"


class FakeBus:
    """A bus that does and refuses what the test says; what is accepted arrives when the test hands it over."""

    def __init__(self) -> None:
        self.losses = Losses()
        self.epoch = "e0000001"
        self.joined: set[str] = set()
        self.asked: list[Sequence[str]] = []
        """Groups whose positions were asked for, by call."""
        self.is_away = False
        self.hosts = 1
        self.away: set[int] = set()
        self.refused: dict[Reason, int] = {}
        self.has_positions = True
        self.answers = asyncio.Event()
        """Cleared: what the bus says of positions is on its way."""
        self.answers.set()
        self.messages: dict[str, list[Any]] = {}
        self._names: list[str] = []
        self.taps: list[Tap] = []

    def tap(self, tap: Tap) -> None:
        self.taps.append(tap)

    def host_of(self, group: str) -> int:
        """Of two, the second has those of which the symbol begins with B."""
        return int(self.hosts == 2 and group.startswith(f"{GROUP_PREFIX}B"))

    async def check(self, patterns: Sequence[str] = ()) -> Sequence[str]:
        return ()

    async def join(self, groups: Sequence[str]) -> None:
        self._reach()
        self.joined.update(groups)

    async def leave(self, groups: Sequence[str]) -> None:
        self.joined.difference_update(groups)

    async def lease(self, worker: str, wishes: Sequence[Wish], seconds: float) -> tuple[int, list[int]]:
        raise NotImplementedError

    async def spend(self, account: str, amount: int, most: int, seconds: float) -> float:
        raise NotImplementedError

    async def announce(self, worker: str, record: bytes, seconds: float) -> None:
        raise NotImplementedError

    async def announced(self) -> dict[str, bytes]:
        raise NotImplementedError

    async def names(self) -> list[str]:
        raise AssertionError("a node asks for a page at a time")

    async def page(self, first: int, most: int, after: str = "") -> tuple[int, list[str]]:
        self._reach()
        if len(self._names) != len(self.messages):
            self._names = sorted(self.messages)
        start = bisect_right(self._names, after) if after else first
        return len(self._names), self._names[start : start + most]

    async def held(self, seconds: float) -> Held:
        return Held(len(self.messages), 0, 0)

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        self._reach()
        self.asked.append(groups)
        if not self.has_positions:
            raise BusUnavailable("loading")
        answer = {group: self._position(group) for group in groups}
        await asyncio.sleep(0)  # no bus answers at once
        await self.answers.wait()
        return answer

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        self._reach()
        return {
            group: [Packet(group, self.epoch, seq + 1, self.messages[group][seq:])] if epoch == self.epoch else None
            for group, (epoch, seq) in since.items()
        }

    async def publish(
        self, batch: Mapping[str, Sequence[Any]], idempotency: Idempotency | None = None, note: bytes = b""
    ) -> Mapping[str, Since] | None:
        raise AssertionError("a node does not publish")

    async def ping(self) -> None:
        self._reach()

    def accept(self, symbol: str, *messages: Any) -> Packet:
        """The next messages of the symbol's group, ticks at 1, 2, ... unless others are given, as they will arrive."""
        group = group_name(symbol)
        kept = self.messages.setdefault(group, [])
        first = len(kept) + 1
        kept += messages or [Tick(symbol, str(first), WHEN).message()]
        return Packet(group, self.epoch, first, kept[first - 1 :])

    def forget(self) -> None:
        self.epoch = "e0000002"
        self.messages.clear()

    def arrive(self, *packets: Packet) -> None:
        for tap in self.taps:
            tap.arrived(packets)

    def tick(self, *symbols: str) -> None:
        self.arrive(*[self.accept(symbol) for symbol in symbols])

    def _reach(self) -> None:
        if self.is_away:
            raise BusUnavailable("away")

    def _position(self, group: str) -> Position:
        kept = self.messages.get(group, [])
        return Position(self.epoch, len(kept), kept[-1] if kept else None)


@pytest.fixture
async def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
async def node(bus: FakeBus) -> Node:
    return Node(bus, leave_delay=0.01, patience=60)


async def subscriber(node: Node, *symbols: str, **options: Any) -> FakeClient:
    client = FakeClient(node.hub, node.open, Books(options.get("since")))
    if symbols:
        await client.subscribe(*symbols, **options)
    client.news()
    return client


# Joining


async def test_a_tick_comes_with_its_digits(bus: FakeBus, node: Node) -> None:
    client = await subscriber(node, "EUR/USD")
    bus.arrive(bus.accept("EUR/USD", Tick("EUR/USD", "1.0850", WHEN, bid="1.08").message()))
    assert client.wire.texts[-1] == (
        '{"type":"tick","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05Z","bid":1.08,"seq":1}'
    )


async def test_what_arrives_while_the_bus_is_asked_for_the_place_is_neither_lost_nor_sent_twice(
    bus: FakeBus, node: Node
) -> None:
    bus.accept("A")
    bus.accept("B")
    bus.answers.clear()
    client = await subscriber(node)
    subscribing = asyncio.create_task(client.subscribe("A", "B"))
    await until(lambda: bus.asked)
    bus.tick("A")
    bus.tick("A")
    bus.answers.set()
    await subscribing
    bus.tick("A", "B")
    assert client.news() == ["subscribed", "=A3", "=B1", "A4", "B2"]


async def test_groups_are_joined_once_and_left_after_the_last(bus: FakeBus, node: Node) -> None:
    one, two = await subscriber(node, "A", "EUR/USD"), await subscriber(node, "A")
    assert bus.joined == {"ticks.A", "ticks.EUR_sUSD"}
    assert bus.asked == [["ticks.A", "ticks.EUR_sUSD"]]
    node.close(one.outbox)
    await until(lambda: bus.joined == {"ticks.A"})
    node.close(two.outbox)
    await until(lambda: not bus.joined)
    assert not node.hub.subscriptions.streams


async def test_everything_is_one_group(bus: FakeBus, node: Node) -> None:
    bus.accept("A")
    bus.accept("EUR/USD")
    bus.messages["chat.room"] = bus.messages["ticks._x"] = [{"type": "hello"}]
    client = await subscriber(node, "*")
    assert bus.joined == {f"{GROUP_PREFIX}*"}
    bus.tick("A", "EUR/USD", "B")
    assert sorted(client.news()) == ["=B1", "A2", "EUR/USD2"]


async def test_many_symbols_are_asked_for_in_pieces(bus: FakeBus, node: Node) -> None:
    client = await subscriber(node, *[f"S{number}" for number in range(2_500)])
    assert [len(groups) for groups in bus.asked] == [1_000, 1_000, 500]
    assert len(client.places) == 2_500


@pytest.mark.parametrize("symbols", [["A"], ["*"], ["A", "*"]])
async def test_a_subscription_that_the_bus_refuses_leaves_nothing(bus: FakeBus, node: Node, symbols: list[str]) -> None:
    client = await subscriber(node)
    for is_away, has_positions in ((True, True), (False, False)):
        bus.is_away, bus.has_positions = is_away, has_positions
        bus.messages = {"ticks.B": [Tick("B", "1", WHEN).message()]}
        with pytest.raises(BusUnavailable):
            await client.subscribe(*symbols)
        counts = node.counts()
        assert [counts[name] for name in ("subscriptions", "symbols", "memberships")] == [0, 0, 0]
        assert not bus.joined
    bus.has_positions = True
    await client.subscribe(*symbols)


async def test_there_is_one_node_an_event_loop() -> None:
    assert get_node() is get_node()


# Messages that are no ticks


async def test_a_message_that_is_no_tick_is_counted_and_shows_as_a_gap(bus: FakeBus, node: Node) -> None:
    client = await subscriber(node, "A")
    bus.tick("A")
    good = Tick("A", "7", WHEN).message()
    bus.arrive(bus.accept("A", good, {"type": "mystery"}, Tick("B", "1", WHEN).message(), good))
    bus.arrive(bus.accept("A", {**good, "price": "NaN"}))
    bus.tick("A")
    await until(lambda: node.hub.recovery.doubts.is_over)
    assert client.news() == ["A1", "A2", "A gap 4", "=A7"]
    assert node.counts()["malformed_total"] == 3


@pytest.mark.parametrize("packet", [
    Packet("ticks.A", "", 0, [Tick("A", "1", WHEN).message()]),
    Packet("ticks._x", "e0000001", 1, [Tick("A", "1", WHEN).message()]),
    Packet("ticks.", "e0000001", 1, [{}]),
])  # fmt: skip
async def test_what_has_no_place_in_a_stream_costs_nobody_a_tick(
    bus: FakeBus, node: Node, packet: Packet, caplog: pytest.LogCaptureFixture
) -> None:
    client, everything = await subscriber(node, "A", "B"), await subscriber(node, "*")
    bus.tick("A", "B")
    client.news()
    everything.news()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            bus.arrive(bus.accept("A"), packet, bus.accept("B"))
    assert client.news() == everything.news() == ["A2", "B2", "A3", "B3", "A4", "B4"]
    assert node.counts()["malformed_total"] == 3
    assert len(caplog.records) == 1


async def test_what_belongs_to_somebody_else_is_left_alone(bus: FakeBus, node: Node) -> None:
    client = await subscriber(node, "A")
    bus.arrive(Packet("chat.room", "", 0, [{"type": "hello"}]), bus.accept("A"))
    assert client.news() == ["A1"]
    assert node.counts()["malformed_total"] == 0


async def test_a_last_message_that_is_no_tick_is_no_snapshot(bus: FakeBus, node: Node) -> None:
    bus.accept("A", {"type": "mystery"}, {"type": "mystery"})
    client = await subscriber(node)
    assert await client.subscribe("A") == {"A": {"seq": 2, "epoch": bus.epoch}}
    bus.tick("A")
    assert client.news() == ["subscribed", "A3"]


# Resuming


async def test_a_client_that_comes_back_gets_what_it_missed(bus: FakeBus, node: Node) -> None:
    bus.accept("A")
    bus.accept("A")
    bus.accept("A")
    client = await subscriber(node)
    client.books.places["A"] = Since(bus.epoch, 1)
    await client.subscribe("A", since=client.places)
    assert client.news() == ["subscribed A:True", "A2", "A3"]


async def test_a_history_with_a_message_that_is_no_tick_is_not_whole(bus: FakeBus, node: Node) -> None:
    other = await subscriber(node, "A")
    bus.tick("A")
    late = [bus.accept("A"), bus.accept("A", {"type": "mystery"}), bus.accept("A")]
    client = await subscriber(node)
    client.books.places["A"] = Since(bus.epoch, 0)
    await client.subscribe("A", since=client.places)
    bus.arrive(*late)
    await until(lambda: node.hub.recovery.doubts.is_over)
    assert client.news() == ["subscribed A:False", "=A1", "A2", "A gap 1", "=A4"]
    assert other.news() == ["A1", "A2", "A gap 1", "=A4"]
    assert client.books.prices == other.books.prices == {"A": 4}


async def test_a_bus_that_does_not_answer_for_its_history_is_no_error(bus: FakeBus, node: Node) -> None:
    await subscriber(node, "A")
    bus.tick("A", "A")
    client = await subscriber(node)
    client.books.places["A"] = Since(bus.epoch, 1)
    bus.is_away = True
    await client.subscribe("A", since=client.places)
    assert client.news() == ["subscribed A:False", "=A2"]


# Outages


async def outage(bus: FakeBus, node: Node) -> None:
    """The bus goes away, and everybody was told."""
    for tap in bus.taps:
        tap.bus_lost(0)
    await until(lambda: node.hub.outage.is_on)


async def test_an_outage_is_told_and_what_was_missed_in_it(bus: FakeBus, node: Node) -> None:
    client, idle, none = await subscriber(node, "A"), await subscriber(node, "B"), await subscriber(node)
    bus.tick("A", "B")
    await outage(bus, node)
    assert [each.news() for each in (client, idle, none)] == [["A1", "bus away"], ["B1", "bus away"], ["bus away"]]
    for _ in range(3):
        bus.accept("A")
    node.bus_restored()
    await until(lambda: not node.hub.outage.is_on)
    bus.tick("A", "B")
    assert sorted(client.news()) == sorted(["A gap 2", "=A4", "bus back", "A5"])
    assert idle.news() == ["bus back", "B2"]
    assert none.news() == ["bus back"]
    assert node.counts()["bus_lost_total"] == 1


async def test_who_takes_everything_is_told_of_what_is_away_now_and_of_nothing_that_it_may_not_see(
    bus: FakeBus,
) -> None:
    bus.hosts = 2
    node = Node(bus, leave_delay=0.01, patience=60)
    everything, limited, blind = [await subscriber(node, "*") for _ in range(3)]
    node.hub.limit(limited.outbox, Patterns(["B2*"]))
    node.hub.limit(blind.outbox, Patterns(["A*"]))
    bus.tick("A", "B1", "B2")
    await until(lambda: "=B21" in limited.news())
    node.bus_lost(1)
    await until(lambda: node.hub.outage.is_on)
    assert _told_of_the_bus(everything) == ["bus away B1 B2"]
    assert _told_of_the_bus(limited) == ["bus away B2"]
    assert _told_of_the_bus(blind) == []
    await subscriber(node, "B3")
    late = await subscriber(node, "*")
    node.hub.outage.tell(late.outbox)
    assert _told_of_the_bus(late) == ["bus away B1 B2 B3"]


def _told_of_the_bus(client: FakeClient) -> list[str]:
    return [told for told in client.news() if told.startswith("bus")]


async def test_a_bus_that_comes_back_without_its_memory_is_a_new_epoch(bus: FakeBus, node: Node) -> None:
    client, everything = await subscriber(node, "A"), await subscriber(node, "*")
    bus.tick("A")
    bus.tick("A")
    await outage(bus, node)
    bus.forget()
    bus.accept("B")
    node.bus_restored()
    await until(lambda: not node.hub.outage.is_on)
    bus.tick("A")
    client.news()
    everything.news()
    assert client.places == {"A": Since("e0000002", 1)}
    assert everything.places == {"A": Since("e0000002", 1), "B": Since("e0000002", 1)}
    assert client.books.prices == {"A": 1}


async def test_a_symbol_that_began_in_an_outage_comes_to_who_takes_everything(bus: FakeBus, node: Node) -> None:
    client, rated = await subscriber(node, "*"), await subscriber(node, "*", rate=5)
    await outage(bus, node)
    bus.accept("A")
    bus.accept("A")
    node.bus_restored()
    await until(lambda: not node.hub.outage.is_on)
    assert client.news() == rated.news() == ["bus away", "=A2", "bus back"]


async def test_a_bus_that_is_back_but_does_not_answer_yet_is_asked_again(bus: FakeBus, node: Node) -> None:
    client = await subscriber(node, "A")
    await outage(bus, node)
    bus.has_positions = False
    bus.asked.clear()
    bus.accept("A")
    node.bus_restored()
    await until(lambda: bus.asked)
    assert node.hub.outage.is_on
    bus.has_positions = True
    await until(lambda: not node.hub.outage.is_on)
    assert sorted(client.news()) == sorted(["bus away", "=A1", "bus back"])


async def test_a_bus_that_goes_away_again_before_it_has_answered_is_still_away(bus: FakeBus, node: Node) -> None:
    client = await subscriber(node, "A")
    await outage(bus, node)
    bus.answers.clear()
    bus.asked.clear()
    node.bus_restored()
    await until(lambda: bus.asked)
    node.bus_lost()
    bus.answers.set()
    bus.accept("A")
    bus.asked.clear()
    node.bus_restored()
    await until(lambda: not node.hub.outage.is_on)
    assert sorted(client.news()) == sorted(["bus away", "=A1", "bus back"])
    assert node.counts()["bus_lost_total"] == 2


async def test_a_bus_that_was_not_heard_yet_is_away_and_clients_are_told(bus: FakeBus) -> None:
    bus.away = {0}
    node = Node(bus, 1.0, 30.0)
    none = await subscriber(node)
    assert node.counts()["bus_connected"] == 0
    await until(lambda: none.news() == ["bus away"])
    node.bus_restored()
    await until(lambda: none.news() == ["bus back"])
    assert (node.counts()["bus_connected"], node.counts()["bus_lost_total"]) == (1, 0)


async def test_a_bus_that_is_heard_at_once_is_not_mentioned(bus: FakeBus) -> None:
    bus.away = {0}
    node = Node(bus, 1.0, 30.0)
    none = await subscriber(node)
    node.bus_restored()
    await until(lambda: node.counts()["bus_connected"] == 1)
    assert none.news() == []


async def test_a_blink_that_missed_nothing_is_not_mentioned(bus: FakeBus, node: Node) -> None:
    client = await subscriber(node, "A")
    bus.tick("A")
    bus.asked.clear()
    node.bus_lost()
    node.bus_restored()
    await until(lambda: bus.asked)
    bus.tick("A")
    assert client.news() == ["A1", "A2"]


@asynccontextmanager
async def turns(look: Callable[[], object]) -> AsyncIterator[list[float]]:
    """The processor time of each turn of the loop; ``look`` is called in each."""
    seconds: list[float] = []
    last = time.thread_time()

    async def run() -> None:
        nonlocal last
        while True:
            look()
            now = time.thread_time()
            seconds.append(now - last)
            last = now
            await asyncio.sleep(0)

    gc.disable()  # a server's collector sees to that (gateway/server/collector.py)
    running = asyncio.create_task(run())
    try:
        yield seconds
        await asyncio.sleep(0)
    finally:
        gc.enable()
        running.cancel()


def fill(bus: FakeBus, count: int) -> list[str]:
    """Symbols that have ticked."""
    names = [f"S{number}" for number in range(count)]
    for name in names:
        bus.messages[group_name(name)] = [Tick(name, "1", WHEN).message()]
    return names


async def test_who_takes_everything_is_told_of_it_in_bounded_messages_and_holds_up_nobody(
    bus: FakeBus, node: Node
) -> None:
    other, client = await subscriber(node, "A"), await subscriber(node)
    names = fill(bus, 100_000)
    async with turns(lambda: bus.tick("A", names[0], names[50_000], names[-1])) as seconds:
        await client.subscribe("*")
        await until(lambda: not node.hub.subscriptions.everything.tours)
    assert max(seconds) < 0.1 * SLOWNESS
    assert max(map(len, client.wire.texts)) < 64_000
    assert other.news()[:2] == ["A1", "A2"]
    client.news()  # the books balance
    assert len(client.places) == 100_001
    assert client.places[names[-1]] == Since(bus.epoch, len(bus.messages[group_name(names[-1])]))


async def test_heartbeats_and_the_end_of_everything_hold_up_nobody(bus: FakeBus, node: Node) -> None:
    fill(bus, 100_000)
    other, client = await subscriber(node, "A"), await subscriber(node, "*", snapshot=False)
    fast, slow = await subscriber(node, "*", snapshot=False), await subscriber(node, "*", snapshot=False, rate=NEVER)
    await until(lambda: not node.hub.subscriptions.everything.tours)
    beat = partial(node.hub.heartbeat.beat, 1.0)
    for stream in node.hub.subscriptions.streams.values():
        stream.beat -= 1  # all have ticked
    node.hub.unsubscribe(client.outbox, ["*"])
    lengths: list[int] = []
    streams: list[int] = []

    def look() -> None:
        bus.tick("A")
        lengths.append(len(fast.wire.writes))
        streams.append(len(node.hub.subscriptions.streams))

    async with turns(look) as beating:
        for _ in range(ROUNDS + 1):
            for _ in beat():
                await asyncio.sleep(0)
    assert max(beating) < 0.1 * SLOWNESS
    assert max(after - before for before, after in pairwise(lengths)) <= 3  # a heartbeat, and ticks
    beats = [text for text in fast.wire.texts if '"seqs"' in text]
    assert len(beats) >= 200
    assert max(map(len, beats)) < 64_000
    async with turns(look) as ending:
        node.hub.unsubscribe(fast.outbox, ["*"])
        node.close(slow.outbox)
        await until(lambda: list(node.hub.subscriptions.streams) == ["A"])
    assert max(ending) < 0.05
    assert max(before - after for before, after in pairwise(streams)) <= 2_000
    assert not {"bus away", "gap"} & {word for text in other.news() for word in text.split()}


# Lingering


async def test_what_arrives_within_the_linger_is_one_pass(bus: FakeBus) -> None:
    node = Node(bus, leave_delay=0.01, patience=60, linger=0.01)
    client = await subscriber(node, "A", "B")
    writes = len(client.wire.writes)
    bus.tick("A")
    bus.tick("B")
    bus.tick("A")
    assert client.news() == []
    await until(lambda: len(client.wire.writes) > writes)
    assert client.news() == ["A1", "A2", "B1"]
    assert len(client.wire.writes) == writes + 1


async def test_what_lingers_is_not_taken_for_missed(bus: FakeBus) -> None:
    node = Node(bus, leave_delay=0.01, patience=60, linger=60)
    client = await subscriber(node, "A")
    bus.tick("A")
    bus.tick("A")
    bus.tick("A")
    node.bus_lost()
    await until(lambda: node.hub.outage.is_on)
    node.bus_restored()
    await until(lambda: not node.hub.outage.is_on)
    assert [word for word in client.news() if not word.startswith("bus")] == ["A1", "A2", "A3"]
    assert node.counts()["gaps_total"] == 0


async def test_what_lingered_while_the_loop_stood_still_is_a_gap(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.fanout.node.STALL_SECONDS", 0.1)
    node = Node(bus, leave_delay=0.01, patience=60, linger=0.05)
    client = await subscriber(node, "A")
    bus.tick("A")
    bus.tick("A")
    time.sleep(0.2)  # noqa: ASYNC251 - as a process that is stopped
    await until(lambda: client.wire.texts[-1].startswith('{"type":"snapshot"'))
    await until(lambda: not node.hub.outage.is_on)
    assert client.news() == ["A gap 1", "=A2"]
    assert node.counts()["bus_lost_total"] == 1


# Heartbeats


async def test_heartbeats_come_while_there_are_clients_and_no_longer(bus: FakeBus) -> None:
    node = Node(bus, leave_delay=0.0, patience=60, heartbeat=0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for _ in range(2):
        one, two = await subscriber(node, "A"), await subscriber(node)
        await until(lambda one=one: one.news().count("beat"))  # type: ignore[misc]
        node.close(one.outbox)
        two.news()
        await until(lambda two=two: two.news().count("beat"))  # type: ignore[misc]
        node.close(two.outbox)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


async def test_a_crowds_heartbeats_are_spread_over_their_round(bus: FakeBus) -> None:
    node = Node(bus, leave_delay=0.0, patience=60, heartbeat=1.0)
    clients = [await subscriber(node) for _ in range(3_000)]
    loop, sent, times = asyncio.get_running_loop(), [0], [0.0]

    def look() -> None:
        if node.hub.heartbeat.sent > sent[-1]:
            sent.append(node.hub.heartbeat.sent)
            times.append(loop.time())

    async with turns(look):
        await until(lambda: node.hub.heartbeat.sent >= len(clients))
    assert max(after - before for before, after in pairwise(sent)) <= 500
    assert times[-1] - times[1] > 0.05
    for client in clients:
        node.close(client.outbox)


async def test_without_heartbeats_nothing_runs(bus: FakeBus, node: Node) -> None:
    await subscriber(node, "A")
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


async def test_a_stream_that_the_bus_dropped_is_let_go_of_and_begins_again() -> None:
    bus = MemoryBus()
    node = Node(bus, leave_delay=0, patience=30.0)
    holder, everything = await subscriber(node, "A"), await subscriber(node, "*")
    for symbol in ("A", "B"):
        await bus.publish({group_name(symbol): [Tick(symbol, "1", WHEN).message()]})
    for stream in bus._streams.values():
        stream.at -= 8 * 86_400
    assert bus.retain() == 2
    await until(lambda: node.hub.recovery.doubts.is_over)
    assert node.counts()["symbols"] == 1, "the one that is wanted by its name"
    assert (node.counts()["gaps_total"], node.counts()["refuted_total"]) == (2, 0)
    late = await subscriber(node, "A")
    for symbol in ("A", "B"):
        await bus.publish({group_name(symbol): [Tick(symbol, "2", WHEN).message()]})
    await until(lambda: node.hub.recovery.doubts.is_over)
    assert holder.news() == ["=A1", "A gap ?", "=A1"]
    assert late.news() == ["=A1"]
    assert everything.news() == ["=A1", "=B1", "A gap ?", "B gap ?", "=A1", "=B1"]
