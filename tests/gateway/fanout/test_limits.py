"""What clients get of everything who may see a part of it only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fanout.heartbeat import ROUNDS
from tests.gateway.fakes import NEVER, FakeBus, FakeClient
from ticks.access.patterns import ALL, Patterns

SYMBOLS = ("A", "AB", "B", "C", "CA")


@pytest.fixture
async def bus() -> FakeBus:
    """One whose epoch the hub knows."""
    bus = FakeBus()
    await bus.subscriber("X")
    return bus


def limited(bus: FakeBus, patterns: str) -> FakeClient:
    client = bus.client()
    bus.hub.limit(client.outbox, Patterns.parse(patterns))
    return client


@pytest.mark.parametrize("rate", [None, NEVER])
async def test_everything_is_what_may_be_seen(bus: FakeBus, rate: float | None) -> None:
    bus.accept("A")
    bus.accept("B")
    client, free = limited(bus, "A C*"), await bus.subscriber("*")
    positions = await client.subscribe("*", rate=rate)
    assert positions.keys() == {"A"}
    bus.publish(*SYMBOLS)
    assert sorted(client.news()) == ["=A1", "=C1", "=CA1", "A2", "subscribed"]
    assert len(free.news()) == len(SYMBOLS)


async def test_what_may_not_be_seen_is_in_no_heartbeat(bus: FakeBus) -> None:
    client = limited(bus, "A")
    await client.subscribe("*")
    bus.publish("A", "B")
    client.news()
    for _ in range(2 * ROUNDS):
        list(bus.hub.heartbeat.beat(1.0))
    assert not any('"B"' in text for text in client.wire.texts)
    assert any('"A":' in text for text in client.wire.texts)


async def test_what_may_not_be_seen_cannot_be_resumed(bus: FakeBus) -> None:
    bus.accept("A", 3)
    bus.accept("B", 3)
    other = await bus.subscriber("*")
    places = other.places
    bus.accept("A")
    bus.accept("B")
    client = limited(bus, "A")
    positions = await client.subscribe("*", since=places)
    assert positions["B"] == {"seq": 0, "epoch": "", "recovered": False}
    assert not any('"symbol":"B"' in text for text in client.wire.texts)


async def test_a_part_that_is_lost_comes_no_more_and_what_waits_of_it_is_dropped(bus: FakeBus) -> None:
    client = await bus.subscriber("*")
    client.wire.full = True
    bus.publish("B", "A")
    bus.publish("B", "A")
    assert bus.hub.limit(client.outbox, Patterns.parse("A")) == []
    bus.publish("B", "A")
    client.wire.drain()
    assert not any('"symbol":"B"' in text and '"seq":1' not in text for text in client.wire.texts)  # the first was sent
    assert any('"symbol":"A"' in text for text in client.wire.texts)


async def test_a_symbol_by_name_that_is_lost_does_not_come_by_everything(bus: FakeBus) -> None:
    client = await bus.subscriber("*", "B")
    assert bus.hub.limit(client.outbox, Patterns.parse("A")) == ["B"]
    bus.publish("B", "A")
    assert client.news() == ["=A1"]


async def test_of_a_part_that_is_gained_the_client_is_told_before_its_ticks(bus: FakeBus) -> None:
    client = limited(bus, "A")
    await client.subscribe("*")
    bus.publish("A", "B")
    client.news()
    bus.hub.limit(client.outbox, Patterns.parse("A B"))
    bus.publish("A", "B")  # it is not told of B yet
    assert client.news() == ["A2"]
    await settled(bus)
    bus.publish("A", "B")
    news = client.news()
    assert news[-2:] == ["A3", "B3"]
    assert "=B2" in news
    assert "=A2" not in news


class Scripted:
    """One client of everything, limited this way and that, beside one that sees all."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.client = self.bus.client()
        self.patterns = ALL
        self.is_subscribed = False
        self.heard = 0

    async def play(self, step: tuple[str, Any]) -> None:
        match step:
            case "limit", text:
                self.patterns = Patterns.parse(text)
                self.bus.hub.limit(self.client.outbox, self.patterns)
            case "subscribe", rate:
                await self.client.subscribe("*", rate=rate)
                self.is_subscribed = True
            case "unsubscribe", _:
                self.client.unsubscribe("*")
                self.is_subscribed = False
            case "publish", symbols:
                self.bus.publish(*symbols)
            case "turn", _:
                await asyncio.sleep(0)
        self.check()

    def check(self) -> None:
        """Nothing has come since the last step of what could not be seen in it."""
        texts = self.client.wire.texts[self.heard :]
        self.heard += len(texts)
        for symbol in SYMBOLS:
            if not self.patterns.covers(symbol) or not self.is_subscribed:
                assert not any(f'"symbol":"{symbol}"' in text for text in texts), (symbol, texts)


STEPS = st.one_of(
    st.tuples(st.just("limit"), st.sampled_from(["*", "A", "A*", "B C*", "", "A B", "C"])),
    st.tuples(st.just("subscribe"), st.sampled_from([None, None, 1000.0])),
    st.tuples(st.just("unsubscribe"), st.none()),
    st.tuples(st.just("publish"), st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=4)),
    st.tuples(st.just("turn"), st.none()),
)


@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_nothing_is_seen_that_may_not_be_and_in_the_end_all_that_may(steps: list[Any]) -> None:
    async def run() -> None:
        script = Scripted()
        await script.bus.subscriber("X")
        for step in steps:
            await script.play(step)
        await settled(script.bus)
        script.bus.publish(*SYMBOLS)
        await asyncio.sleep(0.01)
        script.check()
        if script.is_subscribed:
            seen = {symbol for symbol in SYMBOLS if script.patterns.covers(symbol)}
            newest = {
                symbol
                for symbol in SYMBOLS
                if f'"price":{script.bus.newest(symbol)}' in "".join(script.client.wire.texts)
            }
            assert seen <= newest

    asyncio.run(run())


async def settled(bus: FakeBus) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
