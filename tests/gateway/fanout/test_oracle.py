"""Whatever happens, a client ends on the last accepted tick, and every tick it did not get is accounted for.

Hypothesis drives a node on the in-memory bus (hub, streams, paces, outboxes, memberships) with random joins, leaves,
bursts, stalls and failures. The oracle is simple: what the bus accepted, by symbol, and arithmetic.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.contract import BusUnavailable, Packet, Position, Since, Tap
from bus.memory import MemoryBus
from gateway.fanout.conflation import Conflation, KeepAll
from gateway.fanout.heartbeat import ROUNDS
from gateway.fanout.node import Node
from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import NO_ROOM, Room
from gateway.protocol.messages import subscribed_frame
from gateway.wires.rewriting import RewritingWire
from tests.gateway.fakes import FakeRing, FakeWire, until
from ticks.tick import Tick, group_name

SYMBOLS = ["A", "B", "C"]
FAST = 1_000.0
"""Ticks a second: a rate whose interval a test can wait for."""


class FaultyBus(MemoryBus):
    """The bus in memory with a network between it and the node."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False
        self.refuses = False

    def tap(self, tap: Tap) -> None:
        super().tap(_Line(self, tap))

    async def join(self, groups: Sequence[str]) -> None:
        self._refuse()
        await super().join(groups)

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        self._refuse()
        return await super().positions(groups)

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        await asyncio.sleep(0)
        self._refuse()
        return await super().history(since)

    def _refuse(self) -> None:
        if self.refuses:
            raise BusUnavailable("away")


class _Line:
    """Loses what is sent while it is cut."""

    def __init__(self, bus: FaultyBus, tap: Tap) -> None:
        self._bus = bus
        self._tap = tap

    def arrived(self, packets: Sequence[Packet]) -> None:
        if not self._bus.is_cut:
            self._tap.arrived(packets)

    def bus_lost(self, host: int) -> None:
        self._tap.bus_lost(host)

    def bus_restored(self, host: int) -> None:
        self._tap.bus_restored(host)


class Reader:
    """A client's books: fails at the first frame that does not follow."""

    def __init__(self) -> None:
        self.places: dict[str, Since] = {}
        self.prices: dict[str, int] = {}
        self.skipped: dict[str, int] = {}
        self.reasons: set[str] = set()
        self.asked: list[dict[str, Since]] = []
        self._read = 0

    def read(self, wire: FakeWire) -> None:
        texts = wire.texts
        for text in texts[self._read :]:
            message = json.loads(text)
            if "id" in message:
                message["request"] = message.pop("id")
            getattr(self, f"on_{message.pop('type')}")(**message)
        self._read = len(texts)

    def on_subscribed(self, symbols: list[str], positions: dict[str, Any], request: int) -> None:
        since = self.asked[request]
        for symbol, position in positions.items():
            self.skipped.pop(symbol, None)
            recovered = position.pop("recovered", None)
            if recovered:
                if self.places.get(symbol) != since[symbol]:
                    self.prices.pop(symbol, None)  # it claimed to be where it was not, such as where the stream is now
                self.places[symbol] = since[symbol]
                assert position["epoch"] == since[symbol].epoch
            else:
                # Nothing is known until the snapshot, or from here on if none was asked for.
                self.places[symbol] = Since(**position)
                self.prices.pop(symbol, None)
                if not position["epoch"]:
                    del self.places[symbol]  # it has not ticked in this epoch, and will introduce itself

    def on_introduced(self, positions: dict[str, Any]) -> None:
        self.asked.append({})
        self.on_subscribed(["*"], positions, -1)
        self.asked.pop()

    def on_snapshot(self, symbol: str, seq: int, epoch: str, price: int, **_: Any) -> None:
        place = self.places.get(symbol)
        if place is not None:
            follows = place.seq + self.skipped.pop(symbol, 0)
            assert place.epoch == epoch
            assert seq in {follows, follows + 1}
        self.places[symbol] = Since(epoch, seq)
        self.prices[symbol] = price

    def on_tick(self, symbol: str, seq: int, price: int, skipped: int = 0, **_: Any) -> None:
        place = self.places[symbol]
        assert seq == place.seq + self.skipped.pop(symbol, 0) + skipped + 1
        self.places[symbol] = Since(place.epoch, seq)
        self.prices[symbol] = price

    def on_gap(self, symbol: str, missed: int | None, seq: int, epoch: str) -> None:
        place = self.places.get(symbol)
        skipped = self.skipped.pop(symbol, 0)
        if place is None:
            pass  # a subscriber to everything hears of it for the first time
        elif missed is None:
            assert epoch != place.epoch
        else:
            assert (epoch, seq) == (place.epoch, place.seq + skipped + missed)
        self.places[symbol] = Since(epoch, seq)

    def on_conflated(self, reason: str, skipped: dict[str, int]) -> None:
        self.reasons.add(reason)
        for symbol, count in skipped.items():
            assert count > 0
            self.skipped[symbol] = self.skipped.get(symbol, 0) + count

    def on_heartbeat(self, time: str, seqs: Mapping[str, int] | None = None) -> None:
        for symbol, seq in (seqs or {}).items():
            assert self.places[symbol].seq == seq
            assert not self.skipped.get(symbol)

    def on_bus(self, connected: bool) -> None: ...


def shouted(frames: bytes) -> bytes:
    """Done twice it would not be seen."""
    return frames.replace(b'"tick"', b"<>").replace(b'"TICK"', b'"tick"').replace(b"<>", b'"TICK"')


class ShoutingWire(FakeWire):
    """Of a client whose ticks have a form of their own."""

    @property
    def texts(self) -> list[str]:
        found = super().texts
        assert not any('"tick"' in text for text in found)
        return [text.replace('"TICK"', '"tick"') for text in found]


class Client:
    def __init__(
        self, node: Node, ring: FakeRing | None, conflation: Conflation | None = None, is_formed: bool = False
    ) -> None:
        self.node = node
        self.wire = (ShoutingWire if is_formed else FakeWire)(ring, answers_pings=True)
        self.reader = Reader()
        self.conflation = conflation
        self.is_formed = is_formed
        wire = RewritingWire(self.wire, shouted, is_shared=True) if is_formed else self.wire
        self.outbox = Outbox(wire, 60, node.hub.delivery.moved, conflation, node.hub.freshness.staleness)
        node.hub.add(self.outbox)

    def read_on(self) -> None:
        """Takes all that was written and is written then."""
        self.wire.drain()
        while self.wire.answer():
            self.wire.drain()

    @property
    def symbols(self) -> set[str]:
        held = set(self.node.hub.symbols(self.outbox))
        return set(SYMBOLS) if "*" in held else held

    async def subscribe(self, symbols: list[str], snapshot: bool, rate: float | None, since: dict[str, Since]) -> None:
        self.reader.asked.append(since)
        reception = await self.node.hub.subscribe(self.outbox, symbols, snapshot=snapshot, rate=rate, since=since)
        request = len(self.reader.asked) - 1
        self.outbox.reply(subscribed_frame(symbols, reception.positions, request) + reception.frames)


symbols = st.lists(st.sampled_from([*SYMBOLS, "*"]), min_size=1, max_size=3, unique=True)
who = st.integers(0, 2)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("subscribe"),
            who,
            st.tuples(symbols, st.booleans(), st.sampled_from([None, None, FAST]), st.sampled_from(["", "own", "old", "future"])),
        ),
        st.tuples(st.just("unsubscribe"), who, symbols),
        st.tuples(st.just("publish"), who, st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=6)),
        st.tuples(st.just("publish while subscribing"), who, symbols),
        st.tuples(st.sampled_from(["stall", "drain", "leave", "cut", "heal", "refuse", "forget", "beat", "wait", "turn", "lag", "read", "read on"]), who, st.none()),
    ),
    max_size=40,
)  # fmt: skip


@given(steps, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_everybody_ends_on_the_last_tick_and_what_is_missing_is_accounted_for(
    script: list[Any], by_ring: bool, asks: bool, keeps: bool, slices: bool
) -> None:
    asyncio.run(_play(script, by_ring, asks, keeps, slices))


@pytest.mark.soak
@settings(max_examples=10_000)
@given(steps, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_the_same_ten_thousand_times(script: list[Any], by_ring: bool, asks: bool, keeps: bool, slices: bool) -> None:
    asyncio.run(_play(script, by_ring, asks, keeps, slices))


_TOLD_AGAIN: list[Any] = [
    ("subscribe", 0, (["*", "B", "C"], True, FAST, "")),
    ("publish while subscribing", 1, ["*"]),
    ("publish while subscribing", 2, ["*"]),
    ("turn", 0, None),
    ("unsubscribe", 2, ["A"]),
    ("read on", 1, None),
    ("unsubscribe", 0, ["A", "C"]),
    ("publish", 0, ["C", "B", "A", "C", "B"]),
    ("subscribe", 2, (["B", "*", "C"], True, FAST, "future")),
    ("unsubscribe", 2, ["A", "C", "B"]),
    ("publish while subscribing", 2, ["C", "*", "A"]),
    ("publish while subscribing", 2, ["C"]),
    ("publish while subscribing", 0, ["B"]),
    ("publish", 0, ["B"]),
    ("publish", 0, ["A", "A", "B", "A", "C", "C"]),
    ("wait", 0, None),
    ("unsubscribe", 1, ["A", "C", "B"]),
    ("publish", 0, ["A", "C", "C"]),
    ("publish", 0, ["A", "C", "A", "A", "B", "C"]),
    ("forget", 0, None),
]
"""Clients of everything at one rate; one of them asks again, without a rate, while ticks wait for it at the old one."""


def test_who_is_told_of_everything_again_while_ticks_wait_at_a_rate() -> None:
    asyncio.run(_play(_TOLD_AGAIN, by_ring=False, asks=False, keeps=True, slices=True))


class Play:
    def __init__(self, by_ring: bool, asks: bool, keeps: bool, slices: bool) -> None:
        self.bus = FaultyBus()
        self.ring = FakeRing() if by_ring else None
        room = Room(4, 60.0, 3_000) if keeps else NO_ROOM
        self.node = Node(self.bus, leave_delay=0.0, patience=60, staleness=float(asks), ring=self.ring, room=room)
        if slices:
            self.node.hub.introductions.slice = 1
        kinds = (None, False), (None, True), (KeepAll(100_000), False)
        self.clients = [Client(self.node, self.ring, conflation, is_formed) for conflation, is_formed in kinds]
        self.last: dict[str, int] = {}
        self.number = 0
        self.turns = 0

    async def publish(self, symbols: list[str]) -> None:
        batch: dict[str, list[Any]] = {}
        for symbol in symbols:
            self.number += 1
            self.last[symbol] = self.number
            tick = Tick(symbol, str(self.number), "2026-05-12T15:04:05Z")
            batch.setdefault(group_name(symbol), []).append(tick.message())
        await self.bus.publish(batch)

    async def subscribe(self, client: Client, names: list[str], snapshot: bool, rate: float | None, kind: str) -> None:
        since = {}
        if kind:
            shift = {"own": 0, "old": -2, "future": 5}[kind]
            for symbol, place in client.reader.places.items():
                if "*" in names or symbol in names:
                    since[symbol] = Since(place.epoch, max(0, place.seq + shift))
        asked = asyncio.create_task(client.subscribe(names, snapshot, rate, since))
        while not asked.done():
            await asyncio.sleep(0)
            if "*" in names and client.outbox in self.node.hub.subscriptions.everything.tours:
                client.read_on()  # or it never ends: what it was told of everything before comes first
        try:
            await asked
        except BusUnavailable:
            assert self.bus.refuses

    async def heal(self) -> None:
        self.bus.is_cut = self.bus.refuses = False
        self.node.bus_restored()
        await self.settled()

    async def settled(self) -> None:
        if self.node._syncing:
            await asyncio.wait(self.node._syncing.values())

    def check(self) -> None:
        for client in self.clients:
            client.reader.read(client.wire)
            if isinstance(client.conflation, KeepAll):
                assert "slow" not in client.reader.reasons


async def _play(script: list[Any], by_ring: bool, asks: bool, keeps: bool, slices: bool) -> None:
    play = Play(by_ring, asks, keeps, slices)
    for action, index, argument in script:
        await _step(play, action, play.clients[index], argument)
        play.check()
    for client in play.clients:
        client.read_on()
    await play.heal()
    await asyncio.sleep(3 / FAST)
    for stream in play.node.hub.subscriptions.streams.values():
        for pace in list(stream.paces.values()):
            pace.flush()  # a busy machine may be late
    for client in play.clients:
        client.read_on()
    play.check()
    for client in play.clients:
        await _check_end(play, client)
    for client in play.clients:
        play.node.close(client.outbox)
    names = ("connections", "subscriptions", "symbols", "memberships", "behind", "rates")
    await until(lambda: not any(play.node.counts()[name] for name in names))


async def _check_end(play: Play, client: Client) -> None:
    groups = {symbol: group_name(symbol) for symbol in client.symbols}
    positions = await play.bus.positions(list(groups.values()))
    for symbol, group in groups.items():
        place = positions[group]
        assert not client.reader.skipped.get(symbol)
        if place.seq:
            assert client.reader.places[symbol] == Since(place.epoch, place.seq)
            assert client.reader.prices.get(symbol, play.last[symbol]) == play.last[symbol]


async def _step(play: Play, action: str, client: Client, argument: Any) -> None:  # noqa: PLR0912 - a step, a branch
    match action:
        case "subscribe":
            await play.subscribe(client, *argument)
        case "unsubscribe":
            play.node.hub.unsubscribe(client.outbox, argument)
            play.check()
            for symbol in set(client.reader.places) - client.symbols:
                client.reader.skipped.pop(symbol, None)
        case "publish":
            await play.publish(argument)
        case "publish while subscribing":
            task = asyncio.create_task(play.subscribe(client, argument, True, None, "old"))
            for _ in range(3):
                await asyncio.sleep(0)
                await play.publish(["A"])
            await task
        case "stall":
            client.wire.full = True
        case "drain":
            client.wire.drain()
        case "turn":
            play.turns += 1
            play.node.hub.freshness.next_turn(1e9 * play.turns, 0)
        case "lag":
            if play.node.hub.freshness.staleness:
                client.outbox.lag()
        case "read":
            client.wire.answer(1)
        case "read on":
            client.read_on()
        case "leave":
            play.node.close(client.outbox)
            again = KeepAll(100_000) if client.conflation else None
            play.clients[play.clients.index(client)] = Client(play.node, play.ring, again, client.is_formed)
        case "cut":
            play.bus.is_cut = True
        case "heal":
            await play.heal()
        case "refuse":
            play.bus.refuses = True
        case "forget":
            play.bus.forget()
        case "beat":
            for _ in range(ROUNDS):
                list(play.node.hub.heartbeat.beat(1.0))
        case "wait":
            await asyncio.sleep(1 / FAST)
