"""A client that asked for traces, in a hub: it is in the same tables, and falls behind and catches up like others."""

from __future__ import annotations

import json
from typing import Any

from bus.contract import Packet
from gateway.fanout.traces import Traces
from gateway.protocol.frames import texts
from tests.gateway.fakes import NEVER, FakeBus, FakeClient, FakeRing
from ticks.origin import Origin
from ticks.tick import group_name


def publish(bus: FakeBus, symbol: str, received: int) -> None:
    """As a node does: what came with a packet is kept before it is delivered."""
    packet = bus.accept(symbol)
    if bus.hub.traces:
        note = Origin(received).note()
        bus.hub.traces.arrived([packet._replace(group=group_name(symbol), at=received + 1, note=note)])
    bus.hub.deliver([packet])


def traces(client: FakeClient) -> list[Any]:
    return [json.loads(text).get("trace", {}).get("received") for text in _ticks(client)]


def _ticks(client: FakeClient) -> list[str]:
    return [text for frames in client.wire.writes for text in texts(frames) if '"type":"tick"' in text]


async def test_a_ring_writes_to_all_others() -> None:
    bus = FakeBus(ring=FakeRing())
    tracer, other = await bus.subscriber("A", trace=True), await bus.subscriber("A")
    assert (tracer.outbox.descriptor, other.outbox.descriptor >= 0) == (-1, True)
    publish(bus, "A", 7)
    assert (tracer.news(), other.news()) == (["A1"], ["A1"])
    assert (traces(tracer), traces(other)) == ([7], [None])
    tracer.unsubscribe("A")
    await tracer.subscribe("A")
    tracer.news()
    assert tracer.outbox.descriptor >= 0
    publish(bus, "A", 8)
    assert traces(tracer) == [7, None]


async def test_what_waits_is_traced_when_it_is_sent() -> None:
    bus = FakeBus()
    client = await bus.subscriber("A", trace=True)
    client.wire.full = True
    for received in (1, 2, 3, 4):
        publish(bus, "A", received)
    assert client.outbox.behind
    assert client.drain() == ["A1", "slow A+2", "A4"]
    assert traces(client) == [1, 4]
    assert not client.outbox.behind
    publish(bus, "A", 5)
    assert client.news() == ["A5"]


async def test_a_client_that_is_behind_can_ask_and_stop_asking() -> None:
    bus = FakeBus()
    client = await bus.subscriber("A", "B")
    client.wire.full = True
    publish(bus, "A", 1)
    await client.subscribe("A", trace=True)
    publish(bus, "A", 2)
    publish(bus, "B", 3)
    assert client.drain() == ["A1", "subscribed", "=A1", "A2", "B1"]
    assert traces(client) == [None, 2, None]
    client.wire.full = True
    publish(bus, "A", 4)
    await client.subscribe("A")
    publish(bus, "A", 5)
    client.drain()
    assert traces(client)[-1] is None
    assert client.books.prices["A"] == bus.newest("A")


async def test_at_a_rate_it_is_the_tick_that_is_sent() -> None:
    bus = FakeBus()
    client = await bus.subscriber("A", trace=True, rate=NEVER)
    for received in (1, 2, 3):
        publish(bus, "A", received)
    client.unsubscribe("A")
    assert traces(client) == [1]
    client = await bus.subscriber("A", trace=True, rate=NEVER)
    for received in (4, 5, 6):
        publish(bus, "A", received)
    await client.subscribe("A", trace=True)
    assert traces(client) == [4, 6]


async def test_a_tick_of_another_epoch_is_another() -> None:
    bus = FakeBus()
    client = await bus.subscriber("A", trace=True)
    publish(bus, "A", 1)
    bus.forget()
    bus.accept("A")
    bus.settle()
    assert client.news() == ["A1", "A gap ?", "=A1"]
    [snapshot] = [json.loads(text) for text in client.wire.texts if '"snapshot"' in text]
    assert snapshot["trace"].keys() == {"published", "sent"}


async def test_what_is_kept_is_bounded() -> None:
    bus = FakeBus()
    client = await bus.subscriber("*", trace=True)
    known: Traces = bus.hub.traces
    for start in range(1, 100_000, 1_000):
        known.arrived([Packet("ticks.A", "e", start, [None] * 1_000, 1, b"")])
    assert 20_000 <= len(known._newer) + len(known._older) <= 41_000
    client.unsubscribe("*")
    assert not known
    assert not known._newer
