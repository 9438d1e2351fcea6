"""Every client gets the ticks of its symbols in order, or is told what it did not get."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import weakref
from collections.abc import Iterator

import pytest

from bus.contract import Packet, Position, Since
from gateway.fanout.heartbeat import ROUNDS
from gateway.fanout.recent import Room
from gateway.fanout.stream import Resumption
from gateway.protocol.frames import PING
from gateway.protocol.messages import pong_frame
from tests.gateway.fakes import NEVER, FakeBus, FakeClient, FakeRing, until

FAST = 1_000.0


@pytest.fixture(params=[None, FakeRing], ids=["calls", "ring"])
async def bus(request: pytest.FixtureRequest) -> FakeBus:
    return FakeBus(ring=request.param and request.param())


def run(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def beat(bus: FakeBus, rounds: int = ROUNDS) -> None:
    for _ in range(rounds):
        run(bus.hub.heartbeat.beat(1.0))


def beat_slowly(bus: FakeBus) -> None:
    """A period as it is by default."""
    for _ in range(ROUNDS):
        run(bus.hub.heartbeat.beat(5.0))


def totals(bus: FakeBus, *names: str) -> tuple[int, ...]:
    counts = bus.hub.counts()
    return tuple(counts[f"{name}_total"] for name in names)


# Passes


async def test_a_tick_reaches_its_subscribers_and_nobody_else(bus: FakeBus) -> None:
    one, both, other, none = [await bus.subscriber(*symbols) for symbols in (["A"], ["A", "B"], ["B"], [])]
    bus.publish("A")
    assert [client.news() for client in (one, both, other, none)] == [["A1"], ["A1"], [], []]


async def test_a_pass_writes_once_to_each_client_and_keeps_the_order_of_a_symbol(bus: FakeBus) -> None:
    client, other = await bus.subscriber("A", "B"), await bus.subscriber("B", "C")
    writes = len(client.wire.writes), len(other.wire.writes)
    bus.publish("A", "B", "A", "C", "X", "B")
    assert client.news() == ["A1", "A2", "B1", "B2"]
    assert other.news() == ["B1", "B2", "C1"]
    assert (len(client.wire.writes), len(other.wire.writes)) == (writes[0] + 1, writes[1] + 1)


async def test_many_ticks_of_one_symbol_are_one_write(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    before = len(client.wire.writes)
    bus.hub.deliver([bus.accept("A", 3), bus.accept("A"), bus.accept("A")])
    assert client.news() == ["A1", "A2", "A3", "A4", "A5"]
    assert len(client.wire.writes) == before + 1


async def test_what_is_delivered_is_counted(bus: FakeBus) -> None:
    bus.accept("A")
    bus.accept("B")
    for _ in range(3):
        await bus.subscriber("A", "B")
    everything = await bus.subscriber("*")
    everything.wire.full = True
    bus.publish("A", "B", "A")
    bus.publish("B")
    assert totals(bus, "delivered", "parked", "passes") == (15, 1, 2)


async def test_arrivals_that_fail_on_the_way_cost_nobody_a_tick(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    first = bus.accept("A")

    def failing() -> Iterator[Packet]:
        yield first
        raise ValueError("nonsense")

    with pytest.raises(ValueError, match="nonsense"):
        bus.hub.deliver(failing())
    bus.hub.deliver([first])
    bus.publish("A")
    assert client.news() == ["A1", "A2"]


async def test_after_an_unsubscribe_nothing_comes(bus: FakeBus) -> None:
    client = await bus.subscriber("A", "B")
    client.unsubscribe("A", "C")
    bus.publish("A", "B")
    assert client.news() == ["unsubscribed", "B1"]
    assert list(bus.hub.symbols(client.outbox)) == ["B"]


async def test_subscribing_twice_is_subscribing_once(bus: FakeBus) -> None:
    client = await bus.subscriber("A", "A")
    bus.publish("A")
    await client.subscribe("A", "B")
    bus.publish("A")
    assert client.news() == ["A1", "subscribed", "=A1", "A2"]
    assert list(bus.hub.symbols(client.outbox)) == ["A", "B"]


async def test_a_subscription_that_fails_changes_nothing(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.is_away = True
    with pytest.raises(ConnectionError):
        await client.subscribe("A", "B", rate=5)
    bus.publish("A", "B")
    assert client.news() == ["A1"]
    assert list(bus.hub.symbols(client.outbox)) == ["A"]
    assert list(bus.hub.subscriptions.streams) == ["A"]


async def test_when_all_are_gone_nothing_is_left(bus: FakeBus) -> None:
    bus.publish("A", "S1")
    clients = [await bus.subscriber("A", f"S{number}") for number in range(10)]
    clients += [await bus.subscriber("A", rate=rate) for rate in (NEVER, NEVER, 0.02)]
    clients += [await bus.subscriber("*"), await bus.subscriber("A", "*", rate=NEVER), await bus.subscriber()]
    clients[0].wire.full = True
    bus.publish("A", "S1", "T")
    bus.publish("A", "A")
    clients[1].wire.lose()
    for client in clients:
        bus.hub.remove(client.outbox)
    await until(lambda: not bus.memberships.joined)
    now = ("connections", "subscriptions", "symbols", "memberships", "behind", "rates")
    assert {name: bus.hub.counts()[name] for name in now} == dict.fromkeys(now, 0)
    assert all(client.wire.released for client in clients)
    bus.publish("A")
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Snapshots


async def test_the_first_subscriber_gets_a_snapshot_and_then_the_ticks_behind_it(bus: FakeBus) -> None:
    bus.accept("A", 41)
    client = bus.client()
    assert await client.subscribe("A", "B") == {
        "A": {"seq": 41, "epoch": bus.epoch},
        "B": {"seq": 0, "epoch": bus.epoch},
    }
    bus.publish("A", "B")
    assert client.news() == ["subscribed", "=A41", "A42", "B1"]


async def test_a_later_subscriber_gets_what_the_first_one_holds(bus: FakeBus) -> None:
    await bus.subscriber("A")
    bus.publish("A", "A")
    bus.accept("A")  # on its way
    client = await bus.subscriber("A")
    assert client.places["A"].seq == 2
    bus.hub.deliver([Packet("A", bus.epoch, 3, [bus.place("A").message])])
    assert client.news() == ["A3"]


async def test_what_arrives_before_the_bus_has_said_where_the_stream_is_leaves_no_gap_and_no_overlap(
    bus: FakeBus,
) -> None:
    bus.accept("A", 5)
    bus.hub.subscriptions.open(["A"])
    sixth = bus.accept("A")
    place = bus.place("A")
    bus.hub.deliver([sixth, bus.accept("A")])
    bus.hub.recovery.settle({"A": place})
    client = await bus.subscriber("A")
    assert client.places["A"].seq == 7
    bus.publish("A")
    assert client.news() == ["A8"]
    assert totals(bus, "gaps") == (0,)


async def test_ticks_on_their_way_to_a_stream_that_nobody_has_yet_are_no_gap(bus: FakeBus) -> None:
    bus.hub.subscriptions.open(["A"])
    bus.hub.deliver([bus.accept("A")])
    late = bus.accept("A", 3)
    bus.hub.recovery.settle({"A": bus.place("A")})
    bus.hub.deliver([late])
    client = await bus.subscriber("A")
    assert client.places["A"].seq == 4
    assert totals(bus, "gaps", "missed") == (0, 0)


async def test_who_wants_no_snapshot_gets_none(bus: FakeBus) -> None:
    bus.accept("A", 3)
    client = bus.client()
    await client.subscribe("A", snapshot=False)
    bus.publish("A")
    assert client.news() == ["subscribed", "A4"]


# Duplicates and gaps


async def test_what_was_there_already_is_dropped(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    first, second = bus.accept("A", 3), bus.accept("A", 2)
    bus.hub.deliver([first, first])
    bus.hub.deliver([first])
    bus.hub.deliver([second])
    bus.hub.deliver([first, second])
    assert client.news() == ["A1", "A2", "A3", "A4", "A5"]


async def test_of_a_partial_overlap_only_what_is_new_is_delivered(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    all_five = bus.accept("A", 5)
    bus.hub.deliver([all_five._replace(messages=all_five.messages[:3])])
    bus.hub.deliver([all_five._replace(seq=2, messages=all_five.messages[1:])])
    assert client.news() == ["A1", "A2", "A3", "A4", "A5"]


async def test_a_tick_missing_on_the_way_is_told_before_the_next_one(bus: FakeBus) -> None:
    client, other = await bus.subscriber("A"), await bus.subscriber("B")
    bus.publish("A")
    bus.accept("A", 3)
    bus.publish("A", "B")
    await bus.answered()
    assert client.news() == ["A1", "A gap 3", "=A5"]
    assert other.news() == ["B1"]
    assert totals(bus, "gaps", "missed") == (1, 3)


async def test_what_is_in_doubt_holds_up_nothing_else_of_its_pass(bus: FakeBus) -> None:
    client = await bus.subscriber("A", "B")
    early = bus.accept("A", 2)
    bus.accept("A")
    bus.hub.deliver([early, bus.accept("B"), bus.accept("A"), bus.accept("A")])
    assert client.news() == ["A1", "A2", "B1"]
    await bus.answered()
    assert client.news() == ["A gap 2", "=A5"]


async def test_a_new_epoch_is_a_gap_of_unknown_size(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A", "A")
    bus.forget()
    bus.publish("A")
    await bus.answered()
    assert client.news() == ["A1", "A2", "A gap ?", "=A1"]
    assert client.places["A"] == Since(bus.epoch, 1)
    bus.forget()
    bus.accept("A", 6)
    bus.publish("A")
    await bus.answered()
    assert client.news() == ["A gap ?", "=A7"]


# Packets that are not the bus's


def forged(bus: FakeBus, seq: int, *prices: int, epoch: str = "") -> Packet:
    return Packet("A", epoch or bus.epoch, seq, [f'"symbol":"A","price":{price}' for price in prices])


@pytest.mark.parametrize("epoch", ["", "e9999999"])
@pytest.mark.parametrize("seq", [1_000_000, 5, 0])
async def test_a_packet_that_is_not_the_buss_changes_nothing(bus: FakeBus, seq: int, epoch: str) -> None:
    client, everything = await bus.subscriber("A"), await bus.subscriber("*")
    bus.publish("A", "A")
    await bus.answered()
    bus.hub.deliver([forged(bus, seq, -1, epoch=epoch)])
    bus.publish("A")
    await bus.answered()
    bus.publish("A")
    assert client.news() == everything.news() == ["=A1", "A2", "A3", "A4"]
    assert totals(bus, "refuted") == (int(seq > 0 or bool(epoch)),)


async def test_a_stream_does_not_begin_where_a_stranger_says(bus: FakeBus) -> None:
    everything = await bus.subscriber("*")
    bus.hub.deliver([forged(bus, 77, -1), forged(bus, 1, -1, epoch="e9999999")])
    await bus.answered()
    assert everything.news() == []
    assert not bus.hub.subscriptions.streams
    bus.publish("A")
    await bus.answered()
    bus.publish("A")
    assert everything.news() == ["=A1", "A2"]


async def test_a_packet_in_the_place_of_the_next_is_put_right_when_that_comes(bus: FakeBus) -> None:
    client, rated = await bus.subscriber("A"), await bus.subscriber("A", rate=FAST)
    client.books._prices = None  # they are not the bus's for a moment
    bus.publish("A")
    bus.hub.deliver([forged(bus, 2, -1)])
    assert client.news() == ["A1", "A2"]
    bus.publish("A")
    await bus.answered()
    assert client.news() == ["A gap ?", "=A2"]
    assert client.books.prices["A"] == bus.newest("A")
    bus.publish("A")
    assert client.news() == ["A3"]
    await until(lambda: '"seq":3' in rated.wire.texts[-1])


async def test_a_packet_that_takes_the_places_of_many_is_put_right_when_they_come() -> None:
    bus = FakeBus(room=Room(100, 60.0, 10_000))
    client = await bus.subscriber("A")
    client.books._prices = None
    bus.publish("A")
    bus.hub.deliver([forged(bus, 2, *range(-9, 0))])
    bus.publish("A")
    await bus.answered()
    assert client.news()[-2:] == ["A gap ?", "=A2"]
    bus.publish("A")
    assert client.news() == ["A3"]


async def test_a_flood_of_them_asks_the_bus_a_few_times(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    for seq in range(10_000):
        bus.hub.deliver([forged(bus, 100 + seq, -1)])
        if seq % 100 == 0:
            bus.publish("A")
            await asyncio.sleep(0)
    await bus.answered()
    assert client.news() == [f"A{seq}" for seq in range(1, 101)]
    assert bus.questions < 100


async def test_what_follows_while_the_bus_is_asked_is_not_lost(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    bus.accept("A", 2)
    bus.answers.clear()
    bus.publish("A")
    await until(lambda: bus.questions)
    bus.publish("A")
    bus.publish("A", "A")
    assert client.news() == ["A1"]
    bus.answers.set()
    await bus.answered()
    assert client.news() == ["A gap 2", "=A4", "A5", "A6", "A7"]


async def test_a_bus_that_cannot_be_asked_is_asked_again(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    bus.accept("A", 2)
    bus.is_silent = True
    bus.publish("A")
    await until(lambda: bus.questions)
    bus.is_silent = False
    await bus.answered()
    assert client.news() == ["A1", "A gap 2", "=A4"]


# Outages


async def test_after_an_outage_the_missed_are_told_and_the_newest_comes(bus: FakeBus) -> None:
    client, lucky = await bus.subscriber("A", "B"), await bus.subscriber("B")
    bus.publish("A", "B")
    bus.accept("A", 4)
    bus.settle()
    assert client.news() == ["A1", "B1", "A gap 3", "=A5"]
    assert lucky.news() == ["B1"]
    bus.publish("A", "B")
    assert client.news() == ["A6", "B2"]


async def test_after_an_outage_that_missed_one_tick_only_that_tick_comes(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    bus.accept("A")
    bus.settle()
    assert client.news() == ["A1", "=A2"]
    assert totals(bus, "gaps") == (0,)


async def test_after_an_outage_that_missed_nothing_nothing_is_said(bus: FakeBus) -> None:
    client = await bus.subscriber("A", "B")
    bus.publish("A")
    bus.settle()
    assert client.news() == ["A1"]


async def test_what_arrived_before_the_bus_was_asked_is_not_reported(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.accept("A", 2)
    place = bus.place("A")
    bus.publish("A")
    bus.hub.recovery.settle({"A": place, "B": place})
    assert client.news() == ["A gap 1", "=A2", "A3"]


async def test_after_the_bus_lost_its_memory_the_old_value_is_gone(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A", "A")
    bus.forget()
    bus.settle()
    assert client.news() == ["A1", "A2", "A gap ?"]
    late = bus.client()
    assert await late.subscribe("A") == {"A": {"seq": 0, "epoch": bus.epoch}}
    assert late.news() == ["subscribed"]
    bus.publish("A")
    assert client.news() == late.news() == ["A1"]


async def test_after_the_bus_lost_its_memory_the_first_new_value_comes(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A", "A")
    bus.forget()
    bus.accept("A", 3)
    bus.settle()
    assert client.news() == ["A1", "A2", "A gap ?", "=A3"]
    assert client.places["A"] == Since(bus.epoch, 3)


async def test_a_last_message_that_is_no_tick_is_missed(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    bus.hub.recovery.settle({"A": Position(bus.epoch, 4, None)})
    bus.accept("A", 3)
    bus.publish("A")
    assert client.news() == ["A1", "A gap 3", "A5"]


# Clients that fall behind


async def test_a_client_behind_costs_the_others_nothing_and_ends_on_the_newest(bus: FakeBus) -> None:
    slow, client = await bus.subscriber("A", "B"), await bus.subscriber("A", "B")
    slow.wire.full = True
    for _ in range(10):
        bus.publish("A")
        bus.publish("A", "B")
    assert len(client.news()) == 30
    assert slow.news() == ["A1"]
    assert slow.drain() == ["slow A+18 B+9", "A20", "B10"]
    assert totals(bus, "skipped", "parked") == (27, 29)
    assert slow.books.skipped["slow"] == slow.outbox.waiting.skipped == 27
    bus.publish("A")
    assert slow.news() == client.news() == ["A21"]


@pytest.mark.parametrize("symbols", [["A"], ["A", "B"]], ids=["one symbol", "many"])
@pytest.mark.parametrize("subscription", ["A", "*"])
async def test_the_tick_a_client_fell_behind_with_is_not_sent_again(
    bus: FakeBus, symbols: list[str], subscription: str
) -> None:
    client = await bus.subscriber(subscription)
    await client.subscribe("B")
    bus.publish("A", "B")
    client.news()
    client.wire.full = True
    bus.publish(*symbols)
    client.news()
    assert client.drain() == []
    bus.publish("A")
    assert client.news() == ["A3"]


async def test_a_client_can_fall_behind_again_with_what_waited(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    client.wire.full = True
    bus.publish("A")
    bus.publish("A")
    assert client.drain(full=True) == ["A1", "A2"]
    bus.publish("A")
    bus.publish("A")
    assert client.news() == []
    assert client.drain() == ["slow A+1", "A4"]


async def test_a_gap_comes_behind_what_a_client_behind_had_and_before_its_newest(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    client.wire.full = True
    for _ in range(3):
        bus.publish("A")
    bus.accept("A", 5)
    bus.publish("A")
    await bus.answered()
    bus.publish("A")
    client.news()
    assert client.drain() == ["slow A+1", "A3", "A gap 5", "slow A+1", "A10"]


async def test_a_client_behind_is_told_of_every_gap(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    client.wire.full = True
    bus.publish("A")
    bus.accept("A", 2)
    bus.settle()
    bus.forget()
    bus.settle()
    bus.accept("A")
    bus.publish("A")
    await bus.answered()
    client.news()
    assert client.drain() == ["A gap 1", "=A3", "A gap ?", "A gap 1", "=A2"]


# A ring runs nothing of ours in the middle of a pass.
in_the_middle = pytest.mark.parametrize("bus", [None], ids=["calls"], indirect=True)


@in_the_middle
async def test_clients_fall_behind_and_come_back_in_the_middle_of_a_pass(bus: FakeBus) -> None:
    clients = [await bus.subscriber("A") for _ in range(5)]
    clients[1].wire.full = clients[3].wire.full = True
    bus.publish("A")
    assert totals(bus, "parked") == (0,)
    # While the third is written to, two have drained; one of them fills up again with what waited.
    bus.publish("A")

    def drain() -> None:
        clients[1].wire.drain()
        clients[3].wire.drain(full=True)

    clients[2].wire.on_send = drain
    bus.publish("A")
    clients[2].wire.on_send = None
    bus.publish("A")
    clients[3].drain()
    bus.publish("A")
    for client in clients:
        client.news()
        assert client.places["A"].seq == 5
        assert client.books.prices["A"] == bus.newest("A")


@in_the_middle
async def test_a_connection_that_is_lost_in_the_middle_of_a_pass_is_not_written_to_again(bus: FakeBus) -> None:
    first, second, third, last = [await bus.subscriber("A") for _ in range(4)]
    first.wire.on_send = third.wire.lose  # the one that comes later in the same pass
    second.wire.on_send = second.wire.lose  # its own
    bus.publish("A")
    first.wire.on_send = second.wire.on_send = None
    bus.publish("A")
    bus.publish("A", "B")
    assert first.news() == last.news() == ["A1", "A2", "A3"]
    assert second.news() == third.news() == []
    assert second.wire.refused == third.wire.refused == 1
    assert bus.hub.counts()["behind"] == 2
    bus.hub.remove(second.outbox)
    bus.hub.remove(third.outbox)
    assert bus.hub.counts()["behind"] == 0


async def test_a_connection_that_breaks_without_a_word_is_no_trouble_to_the_others(bus: FakeBus) -> None:
    first, broken, last = [await bus.subscriber("A", "B") for _ in range(3)]
    broken.wire.is_lost = True
    bus.publish("A")
    bus.publish("A", "B")
    assert first.news() == last.news() == ["A1", "A2", "B1"]
    assert not broken.outbox.behind  # the server finds out when it reads


async def test_a_socket_that_takes_nothing_is_a_full_one(bus: FakeBus) -> None:
    first, stuck, last = [await bus.subscriber("A") for _ in range(3)]

    def block() -> None:
        stuck.wire.on_send = None
        stuck.wire.writes.append(b"")
        raise BlockingIOError

    stuck.wire.on_send = block
    bus.publish("A")
    assert stuck.outbox.behind
    bus.publish("A")
    assert first.news() == last.news() == ["A1", "A2"]
    assert stuck.news() == ["A1"]
    assert stuck.drain() == ["A2"]


@pytest.mark.parametrize("subscription", ["A", "*"])
async def test_what_waits_of_a_symbol_goes_with_its_subscription(bus: FakeBus, subscription: str) -> None:
    bus.accept("A")
    bus.accept("B")
    client = await bus.subscriber(subscription, "B")
    client.wire.full = True
    bus.publish("A", "B")
    bus.publish("A", "B")
    client.unsubscribe(subscription)
    client.news()
    assert client.drain() == ["unsubscribed", "B3"]


async def test_what_a_client_skipped_is_counted_when_it_is_gone(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    client.wire.full = True
    for _ in range(5):
        bus.publish("A")
    client.drain()
    bus.hub.remove(client.outbox)
    assert totals(bus, "skipped") == (3,)


@pytest.mark.parametrize("subscription", ["A", "*"])
async def test_a_snapshot_comes_unasked_where_it_takes_the_place_of_what_waited(
    bus: FakeBus, subscription: str
) -> None:
    bus.accept("A")
    client = await bus.subscriber(subscription)
    client.wire.full = True
    bus.publish("A")
    bus.publish("A")
    await client.subscribe(subscription, snapshot=False)
    client.news()
    assert client.drain() == ["subscribed", "=A3"]


async def test_what_waits_of_a_symbol_that_is_subscribed_to_again_is_in_its_snapshot(bus: FakeBus) -> None:
    client = await bus.subscriber("A", "B")
    client.wire.full = True
    bus.publish("A", "B")
    bus.publish("A", "B")
    await client.subscribe("A")
    bus.publish("A")
    client.news()
    assert client.drain() == ["subscribed", "=A2", "B2", "A3"]


# Resuming


def resumptions() -> list[Resumption]:
    """All that something still refers to."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Resumption)]


async def comes_back(bus: FakeBus, client: FakeClient, *symbols: str) -> FakeClient:
    """The client leaves, and comes back to where it was; its news are not read yet."""
    places = dict(client.places)
    bus.hub.remove(client.outbox)
    client = bus.client(places)
    await client.subscribe(*(symbols or places), since=places)
    return client


async def test_a_client_that_missed_nothing_is_told_so(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    client.news()
    client = await comes_back(bus, client)
    bus.publish("A")
    assert client.news() == ["subscribed A:True", "A2"]
    assert bus.asked == []
    assert totals(bus, "recovered", "not_recovered") == (1, 0)


async def test_what_a_client_missed_comes_from_the_history(bus: FakeBus) -> None:
    client = await bus.subscriber("A", "B")
    await bus.subscriber("A", "B")
    bus.publish("A", "B")
    client.news()
    places = dict(client.places)
    bus.hub.remove(client.outbox)
    bus.publish("A", "A", "A")
    client = bus.client(places)
    assert await client.subscribe("A", "B", since=places) == {
        "A": {"seq": 4, "epoch": bus.epoch, "recovered": True},
        "B": {"seq": 1, "epoch": bus.epoch, "recovered": True},
    }
    bus.publish("A")
    assert client.news() == ["subscribed A:True B:True", "A2", "A3", "A4", "A5"]


async def test_what_this_process_has_delivered_itself_is_not_asked_for() -> None:
    bus = FakeBus(room=Room(100, 60.0, 10_000))
    client = await bus.subscriber("A", "B")
    other = await bus.subscriber("A", "B")
    bus.publish("A", "B")
    client.news()
    places = dict(client.places)
    bus.hub.remove(client.outbox)
    bus.hub.deliver([bus.accept("A", 3), bus.accept("B")])
    bus.publish("A")
    client = bus.client(places)
    await client.subscribe("A", "B", since=places)
    bus.publish("A")
    assert client.news() == ["subscribed A:True B:True", "A2", "A3", "A4", "A5", "B2", "A6"]
    assert bus.asked == []
    bus.accept("A", 2)
    bus.settle()  # what was missed by this process is missed by all
    client = await comes_back(bus, client)
    bus.accept("A", 2)
    other.news()
    places = dict(other.places)
    bus.settle()
    other = bus.client(places)
    await other.subscribe("A", since={"A": places["A"]})
    assert other.news() == ["subscribed A:True", "A9", "A10"]
    assert bus.asked[-1] == {"A": places["A"]}


async def test_all_who_come_back_at_once_are_one_question(bus: FakeBus) -> None:
    symbols = [f"S{number}" for number in range(30)]
    for symbol in symbols:
        bus.accept(symbol, 5)
    bus.answers.clear()
    clients = [bus.client({symbol: Since(bus.epoch, number % 5) for symbol in symbols}) for number in range(50)]
    coming = [asyncio.create_task(client.subscribe(*symbols, since=client.places)) for client in clients]
    await until(lambda: bus.asked)
    for _ in range(5):
        await asyncio.sleep(0)
    bus.answers.set()
    await asyncio.gather(*coming)
    for client in clients:
        assert set(client.news()[0].split()[1:]) == {f"{symbol}:True" for symbol in symbols}
        assert {place.seq for place in client.places.values()} == {5}
    assert [len(asked) for asked in bus.asked] == [20, 10]  # at a time, for all of them


async def test_a_client_that_has_nothing_yet_gets_all_from_the_start(bus: FakeBus) -> None:
    bus.accept("A", 3)
    client = bus.client({"A": Since(bus.epoch, 0)})
    await client.subscribe("A", "B", since=client.places)
    assert client.news() == ["subscribed A:True", "A1", "A2", "A3"]


async def test_ticks_that_come_while_the_history_is_asked_for_come_once_and_in_order(bus: FakeBus) -> None:
    other = await bus.subscriber("A")
    bus.publish("A", "A", "A")
    bus.answers.clear()
    client = bus.client({"A": Since(bus.epoch, 1)})
    subscribing = asyncio.create_task(client.subscribe("A", since=client.places))
    await until(lambda: bus.asked)
    bus.publish("A")
    bus.publish("A", "B", "A")
    bus.answers.set()
    await subscribing
    bus.publish("A")
    assert client.news() == ["subscribed A:True", "A2", "A3", "A4", "A5", "A6", "A7"]
    assert other.news() == ["A1", "A2", "A3", "A4", "A5", "A6", "A7"]


async def test_a_client_ahead_of_this_process_brings_it_forward(bus: FakeBus) -> None:
    other = await bus.subscriber("A")
    bus.publish("A")
    on_its_way = bus.accept("A", 5)
    client = bus.client({"A": Since(bus.epoch, 4)})
    await client.subscribe("A", since=client.places)
    assert client.news() == ["subscribed A:True", "A5", "A6"]
    assert other.news() == ["A1", "A2", "A3", "A4", "A5", "A6"]
    bus.hub.deliver([on_its_way])
    assert client.news() == other.news() == []


async def test_a_client_that_was_away_for_too_long_gets_a_snapshot(bus: FakeBus) -> None:
    bus.keeps = 3
    bus.accept("A", 10)
    client = bus.client({"A": Since(bus.epoch, 6)})
    await client.subscribe("A", since=client.places, snapshot=False)
    bus.publish("A")
    assert client.news() == ["subscribed A:False", "=A10", "A11"]
    assert totals(bus, "recovered", "not_recovered") == (0, 1)


async def test_a_client_of_another_epoch_gets_a_snapshot(bus: FakeBus) -> None:
    places = {"A": Since(bus.epoch, 2), "B": Since(bus.epoch, 2)}
    bus.accept("A", 2)
    bus.forget()
    bus.accept("A", 2)
    client = bus.client(places)
    await client.subscribe("A", "B", since=places)
    assert client.news() == ["subscribed A:False B:False", "=A2"]
    assert bus.asked == []


async def test_a_client_that_knows_more_than_the_bus_gets_a_snapshot(bus: FakeBus) -> None:
    bus.accept("A", 2)
    client = bus.client({"A": Since(bus.epoch, 7)})
    await client.subscribe("A", since=client.places)
    assert client.news() == ["subscribed A:False", "=A2"]


async def test_without_a_history_a_client_gets_a_snapshot(bus: FakeBus) -> None:
    await bus.subscriber("A")
    bus.publish("A", "A", "A")
    bus.is_away = True
    client = bus.client({"A": Since(bus.epoch, 1)})
    await client.subscribe("A", since=client.places)
    bus.publish("A")
    assert client.news() == ["subscribed A:False", "=A3", "A4"]


async def test_what_a_stream_jumps_over_while_the_history_is_asked_for_is_asked_for_again(bus: FakeBus) -> None:
    other = await bus.subscriber("A")
    bus.publish("A", "A")
    bus.answers.clear()
    client = bus.client({"A": Since(bus.epoch, 1)})
    subscribing = asyncio.create_task(client.subscribe("A", since=client.places))
    await until(lambda: bus.asked)
    bus.accept("A", 2)
    bus.publish("A")
    bus.settle()  # as a worker does that has just started
    bus.answers.set()
    await subscribing
    bus.publish("A")
    assert client.news() == ["subscribed A:True", "A2", "A3", "A4", "A5", "A6"]
    assert other.news() == ["A1", "A2", "A gap 2", "=A5", "A6"]
    assert bus.asked == [{"A": Since(bus.epoch, 1)}] * 2
    assert totals(bus, "recovered", "not_recovered") == (1, 0)
    client.unsubscribe("A")
    assert not resumptions()


async def test_a_stream_that_does_not_stop_jumping_is_not_passed_off_as_whole(bus: FakeBus) -> None:
    await bus.subscriber("A")
    bus.publish("A", "A")
    bus.answers.clear()
    client = bus.client({"A": Since(bus.epoch, 1)})
    subscribing = asyncio.create_task(client.subscribe("A", since=client.places))
    for time in range(1, 5):
        await until(lambda time=time: len(bus.asked) == time or subscribing.done())  # type: ignore[misc]
        bus.accept("A", 2)
        bus.settle()
        bus.answers.set()
        await asyncio.sleep(0)
        bus.answers.clear()
    await subscribing
    assert client.news()[0] == "subscribed A:False"
    assert len(bus.asked) == 3


async def test_an_epoch_that_ends_while_its_history_is_asked_for_stays_ended(bus: FakeBus) -> None:
    other = await bus.subscriber("A")
    bus.publish("A", "A")
    bus.answers.clear()
    client = bus.client({"A": Since(bus.epoch, 1)})
    bus.accept("A")
    subscribing = asyncio.create_task(client.subscribe("A", since=client.places))
    await until(lambda: bus.asked)
    bus.forget()
    bus.publish("A")
    bus.answers.set()
    await bus.answered()
    await subscribing
    assert client.news() == ["subscribed A:False", "=A1"]
    assert other.news() == ["A1", "A2", "A gap ?", "=A1"]
    assert client.places["A"] == other.places["A"] == Since(bus.epoch, 1)


async def test_a_symbol_that_is_up_to_date_stays_so_while_another_ones_history_is_asked_for(bus: FakeBus) -> None:
    await bus.subscriber("A", "B")
    bus.publish("A", "B", "B")
    bus.answers.clear()
    client = bus.client({"A": Since(bus.epoch, 1), "B": Since(bus.epoch, 1)})
    subscribing = asyncio.create_task(client.subscribe("A", "B", since=client.places))
    await until(lambda: bus.asked)
    bus.publish("A")
    bus.answers.set()
    await subscribing
    assert client.news() == ["subscribed A:True B:True", "A2", "B2"]


async def test_who_is_subscribed_already_can_resume_too(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A", "A")
    client.news()
    bus.publish("A")
    bus.publish("A")
    await client.subscribe("A", since={"A": Since(bus.epoch, 3)})
    bus.publish("A")
    texts = [json.loads(text) for text in client.wire.texts[-5:]]
    assert [(message["type"], message.get("seq")) for message in texts] == [
        ("tick", 3), ("tick", 4), ("subscribed", None), ("tick", 4), ("tick", 5)
    ]  # fmt: skip


async def test_some_symbols_can_be_resumed_and_others_begun(bus: FakeBus) -> None:
    bus.accept("A", 3)
    bus.accept("B", 2)
    client = bus.client({"A": Since(bus.epoch, 2)})
    await client.subscribe("B", "A", since=client.places)
    assert client.news() == ["subscribed A:True", "=B2", "A3"]


async def test_resuming_at_a_rate_gives_all_that_was_missed_at_once(bus: FakeBus) -> None:
    bus.accept("A", 3)
    client = bus.client({"A": Since(bus.epoch, 1)})
    await client.subscribe("A", since=client.places, rate=NEVER)
    bus.publish("A")
    bus.publish("A")
    assert client.news() == ["subscribed A:True", "A2", "A3", "A4"]


async def test_a_client_that_leaves_while_its_history_is_asked_for_leaves_nothing(bus: FakeBus) -> None:
    await bus.subscriber("A")
    bus.publish("A", "A")
    bus.answers.clear()
    client = bus.client({"A": Since(bus.epoch, 1)})
    subscribing = asyncio.create_task(client.subscribe("A", "B", since=client.places))
    await until(lambda: bus.asked)
    subscribing.cancel()
    await asyncio.wait([subscribing])
    bus.hub.remove(client.outbox)
    bus.publish("A")
    await until(lambda: set(bus.memberships.joined) == {"A"})
    assert client.news() == []
    del subscribing  # its traceback holds on to what it had
    assert not resumptions()


async def test_a_client_that_has_come_back_is_not_remembered(bus: FakeBus) -> None:
    bus.accept("A", 3)
    await bus.subscriber("A", since={"A": Since(bus.epoch, 1)})
    bus.publish("A")
    assert not resumptions()


# Rates


async def test_the_first_tick_after_quiet_goes_out_at_once_and_the_newest_comes_in_the_end(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=50)
    for _ in range(4):
        bus.publish("A")
    assert client.news() == ["A1"]
    await until(lambda: client.outbox.behind or len(client.wire.texts) > 2)
    assert client.news() == ["A4+2"]
    assert client.books.prices["A"] == bus.newest("A")
    assert totals(bus, "rate_skipped", "delivered") == (2, 2)


async def test_a_rate_is_kept_however_fast_a_symbol_ticks(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=20)
    loop = asyncio.get_running_loop()
    times: list[float] = []
    client.wire.on_send = lambda: times.append(loop.time())
    async with asyncio.timeout(10):
        while len(times) < 4:
            bus.publish("A")
            await asyncio.sleep(0.001)
    client.news()
    # Timers are exact to the clock's resolution, and never early by more.
    assert all(later - earlier > 0.045 for earlier, later in itertools.pairwise(times))


async def test_a_client_that_joins_while_ticks_wait_is_not_told_of_those_before(bus: FakeBus) -> None:
    first = await bus.subscriber("A", rate=50)
    for _ in range(3):
        bus.publish("A")
    second = await bus.subscriber("A", rate=50)
    assert second.places["A"].seq == 3
    for _ in range(2):
        bus.publish("A")
    await until(lambda: len(second.wire.texts) > 2)
    assert first.news() == ["A1", "A5+3"]
    assert second.news() == ["A5+1"]


async def test_a_client_that_joins_with_the_newest_is_not_sent_it_again(bus: FakeBus) -> None:
    first = await bus.subscriber("A", rate=FAST)
    bus.publish("A")
    bus.publish("A")
    second = await bus.subscriber("A", rate=FAST)
    await until(lambda: "A2" in first.news())
    assert second.news() == []
    bus.publish("A")
    await until(lambda: "A3" in second.news())


async def test_clients_with_the_same_rate_share_the_work(bus: FakeBus) -> None:
    clients = [await bus.subscriber("A", "B", rate=NEVER) for _ in range(5)] + [await bus.subscriber("A", rate=0.02)]
    assert bus.hub.counts()["rates"] == 3
    bus.publish("A")
    bus.publish("A")
    assert [client.news() for client in clients] == [["A1"]] * 6
    for client in clients[:-1]:
        bus.hub.remove(client.outbox)
    assert bus.hub.counts()["rates"] == 1


async def test_everybody_gets_the_ticks_at_their_own_rate(bus: FakeBus) -> None:
    slow, fast, whole = [await bus.subscriber("A", rate=rate) for rate in (NEVER, FAST, None)]
    for _ in range(5):
        bus.publish("A")
    assert whole.news() == ["A1", "A2", "A3", "A4", "A5"]
    assert slow.news() == ["A1"]
    await until(lambda: len(fast.wire.texts) > 2)
    assert fast.news() == ["A1", "A5+3"]
    assert slow.news() == []


async def test_a_rate_and_a_full_socket_are_told_apart(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=FAST)
    other = await bus.subscriber("A", rate=FAST)
    client.wire.full = True
    bus.publish("A")
    for last in (4, 7):
        for _ in range(3):
            bus.publish("A")
        await until(lambda last=last: other.news() and other.places["A"].seq == last)  # type: ignore[misc]
    assert client.news() == ["A1"]
    slow, newest = client.drain()
    assert (slow.split()[0], newest.split("+")[0]) == ("slow", "A7")
    assert set(client.books.skipped) == {"rate", "slow"}
    assert client.books.skipped.total() == 5


async def test_changing_the_rate_starts_from_a_snapshot(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=NEVER)
    for _ in range(3):
        bus.publish("A")
    await client.subscribe("A", rate=0.02)
    bus.publish("A")
    bus.publish("A")
    assert client.news() == ["A1", "A3+1", "subscribed", "=A3", "A4"]
    await client.subscribe("A", snapshot=False)
    bus.publish("A")
    assert client.news() == ["A5", "subscribed", "A6"]
    assert bus.hub.counts()["rates"] == 0


async def test_a_gap_comes_behind_what_a_rate_kept_back(bus: FakeBus) -> None:
    client, whole = await bus.subscriber("A", rate=NEVER), await bus.subscriber("A")
    for _ in range(4):
        bus.publish("A")
    bus.accept("A", 2)
    bus.publish("A")
    await bus.answered()
    assert client.news() == ["A1", "A4+2", "A gap 2"]
    assert whole.news() == ["A1", "A2", "A3", "A4", "A gap 2", "=A7"]


async def test_a_gap_is_no_reason_to_go_faster(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=NEVER)
    bus.publish("A")
    bus.accept("A", 2)
    bus.publish("A")
    await bus.answered()
    assert client.news() == ["A1", "A gap 2"]


async def test_a_gap_at_a_rate_is_told_to_a_client_behind_in_order(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=NEVER)
    client.wire.full = True
    for _ in range(4):
        bus.publish("A")
    bus.accept("A", 2)
    bus.settle()
    client.news()
    assert client.drain()[:3] == ["A4+2", "A gap 1"]


async def test_what_waits_for_its_time_goes_with_the_subscription(bus: FakeBus) -> None:
    client, other = await bus.subscriber("A", rate=50), await bus.subscriber("A", rate=50)
    bus.publish("A")
    bus.publish("A")
    client.unsubscribe("A")
    await until(lambda: "A2" in other.news())
    assert client.news() == ["A1", "unsubscribed"]


async def test_a_client_that_falls_behind_with_one_symbol_has_its_rated_ones_parked(bus: FakeBus) -> None:
    client = await bus.subscriber("A", "C")
    await client.subscribe("B", rate=NEVER)
    client.news()
    client.wire.full = True
    bus.publish("B", "A", "C")
    bus.publish("A", "C")
    client.news()
    client.drain()
    assert (client.places["A"].seq, client.places["B"].seq, client.places["C"].seq) == (2, 1, 2)


# Everything


async def test_who_takes_everything_gets_each_tick_once(bus: FakeBus) -> None:
    bus.accept("A", 3)
    bus.accept("B")
    client = bus.client()
    positions = await client.subscribe("*")
    assert {symbol: position["seq"] for symbol, position in positions.items()} == {"A": 3, "B": 1}
    bus.publish("A")
    bus.publish("A", "B", "A")
    assert client.news() == ["subscribed", "=A3", "=B1", "A4", "A5", "A6", "B2"]
    assert list(bus.hub.symbols(client.outbox)) == ["*"]
    assert bus.hub.counts()["memberships"] == 1


async def test_a_symbol_that_ticks_for_the_first_time_comes_as_a_snapshot_to_who_takes_everything(bus: FakeBus) -> None:
    client, rated = await bus.subscriber("*"), await bus.subscriber("*", rate=NEVER)
    await bus.subscriber("X")
    bus.hub.deliver([bus.accept("A", 2), bus.accept("B")])
    bus.publish("A", "B")
    assert sorted(client.news()) == ["=A1", "=B1", "A2", "A3", "B2"]
    assert sorted(rated.news())[:2] == ["=A1", "=B1"]
    assert {symbol: place.epoch for symbol, place in client.places.items()} == dict.fromkeys("AB", bus.epoch)


@pytest.mark.parametrize("rate", [None, NEVER])
async def test_a_new_symbol_that_somebody_asks_for_by_name_comes_to_who_takes_everything_too(
    bus: FakeBus, rate: float | None
) -> None:
    client, named = await bus.subscriber("*", rate=rate), await bus.subscriber("A")
    bus.publish("A")
    assert client.news() == ["=A1"]
    assert named.news() in (["A1"], ["=A1"])


@pytest.mark.parametrize("rate", [None, NEVER])
async def test_a_new_symbol_whose_first_tick_the_bus_tells_before_it_arrives_comes_to_who_takes_everything(
    bus: FakeBus, rate: float | None
) -> None:
    client = await bus.subscriber("*", rate=rate)
    first = bus.accept("A")
    named = await bus.subscriber("A")
    bus.hub.deliver([first])
    assert client.news() == ["=A1"]
    assert named.places["A"].seq == 1


async def test_everything_and_a_symbol_by_name_is_each_tick_once(bus: FakeBus) -> None:
    client = await bus.subscriber("*", "A")
    other = await bus.subscriber("A")
    await other.subscribe("*")
    bus.publish("A", "B")
    bus.publish("A")
    assert sorted(client.news()) == ["=A1", "=B1", "A2"]
    assert sorted(other.news()) == ["=A1", "=B1", "A2", "subscribed"]


async def test_a_symbol_by_name_keeps_its_own_rate_beside_everything(bus: FakeBus) -> None:
    bus.accept("A")
    bus.accept("B")
    one, two = await bus.subscriber("*"), await bus.subscriber("A", rate=NEVER)
    await one.subscribe("A", rate=NEVER)
    await two.subscribe("*")
    one.news()
    two.news()
    for _ in range(3):
        bus.publish("A", "B")
    assert sorted(one.news()) == sorted(two.news()) == ["A2", "B2", "B3", "B4"]


async def test_everything_at_a_rate_beside_a_symbol_in_full(bus: FakeBus) -> None:
    bus.accept("A")
    bus.accept("B")
    client = await bus.subscriber("*", rate=NEVER)
    await client.subscribe("A")
    client.news()
    for _ in range(3):
        bus.publish("A", "B")
    assert sorted(client.news()) == ["A2", "A3", "A4", "B2"]


async def test_subscribing_to_everything_leaves_what_was_asked_for_by_name(bus: FakeBus) -> None:
    bus.accept("A", 2)
    bus.accept("B", 2)
    client = await bus.subscriber("A", rate=NEVER)
    positions = await client.subscribe("*")
    assert list(positions) == ["B"]
    assert client.news() == ["subscribed", "=B2"]


async def test_leaving_a_symbol_by_name_leaves_it_in_everything(bus: FakeBus) -> None:
    bus.accept("A")
    client = await bus.subscriber("*", "A")
    client.unsubscribe("A")
    bus.publish("A")
    assert client.news() == ["unsubscribed", "A2"]


async def test_leaving_a_symbol_with_a_rate_gives_what_waited_to_who_takes_everything(bus: FakeBus) -> None:
    bus.accept("A")
    client = await bus.subscriber("*")
    await client.subscribe("A", rate=NEVER)
    for _ in range(3):
        bus.publish("A")
    client.unsubscribe("A")
    client.news()
    assert client.books.prices["A"] == bus.newest("A")
    bus.publish("A")
    assert client.news() == ["A5"]


async def test_choosing_a_symbol_by_name_gives_what_waited_of_it_in_everything(bus: FakeBus) -> None:
    bus.accept("A")
    client = await bus.subscriber("*", rate=NEVER)
    for _ in range(3):
        bus.publish("A")
    await client.subscribe("A", snapshot=False)
    assert client.news() == ["A2", "A4+1", "subscribed"]
    bus.publish("A")
    assert client.news() == ["A5"]


async def test_leaving_everything_leaves_what_was_asked_for_by_name(bus: FakeBus) -> None:
    bus.accept("A")
    client = await bus.subscriber("A")
    await client.subscribe("*", rate=NEVER)
    bus.publish("A", "B")
    client.news()
    client.unsubscribe("*")
    bus.publish("A", "B", "C")
    assert client.news() == ["unsubscribed", "A3"]
    assert list(bus.hub.symbols(client.outbox)) == ["A"]


async def test_streams_that_nobody_asked_for_by_name_are_dropped_when_everything_is_left(bus: FakeBus) -> None:
    await bus.subscriber("A")
    client = await bus.subscriber("*")
    bus.publish("A", "B", "C")
    assert set(bus.hub.subscriptions.streams) == {"A", "B", "C"}
    client.unsubscribe("*")
    await until(lambda: list(bus.hub.subscriptions.streams) == ["A"])
    bus.publish("B")
    assert list(bus.hub.subscriptions.streams) == ["A"]


async def test_everything_can_be_left_and_taken_again(bus: FakeBus) -> None:
    bus.accept("A")
    client = await bus.subscriber("*")
    client.unsubscribe("*")
    await until(lambda: not bus.hub.subscriptions.streams)
    bus.accept("B", 2)
    await client.subscribe("*")
    bus.publish("A", "B")
    assert client.news() == ["unsubscribed", "subscribed", "=A1", "=B2", "A2", "B3"]


async def test_a_refused_subscription_to_everything_leaves_no_stream(bus: FakeBus) -> None:
    client = bus.client()
    bus.is_away = True
    for symbols in (["A", "*"], ["*", "A"]):
        with pytest.raises(ConnectionError):
            await client.subscribe(*symbols)
        assert not bus.hub.subscriptions.streams
    bus.publish("B")
    assert not bus.hub.subscriptions.streams


async def test_who_takes_everything_is_told_the_place_of_no_stream_that_has_none(bus: FakeBus) -> None:
    await bus.subscriber("*")
    bus.hub.subscriptions.open(["A"])  # somebody's join is under way
    client = bus.client()
    assert await client.subscribe("*") == {}
    bus.accept("A")
    bus.settle()
    assert client.news() == ["subscribed", "=A1"]


async def test_who_takes_everything_can_resume(bus: FakeBus) -> None:
    client = await bus.subscriber("*")
    await bus.subscriber("*")
    bus.publish("A", "B", "C")
    await bus.answered()
    client.news()
    places = {symbol: client.places[symbol] for symbol in "AB"}
    bus.hub.remove(client.outbox)
    bus.publish("A", "C")
    client = bus.client(places)
    await client.subscribe("*", since=places)
    bus.publish("A")
    assert client.news() == ["subscribed A:True B:True", "A2", "=C2", "A3"]


async def test_who_takes_everything_is_told_of_gaps_and_can_fall_behind(bus: FakeBus) -> None:
    client = await bus.subscriber("*")
    await bus.subscriber("X")
    bus.publish("A")
    client.wire.full = True
    bus.publish("A")
    bus.publish("A", "B")
    bus.publish("A")
    bus.accept("A", 2)
    bus.settle()
    client.news()
    client.drain()
    assert {symbol: place.seq for symbol, place in client.places.items()} == {"A": 6, "B": 1}
    assert (client.books.skipped["slow"], client.books.missed) == (1, 1)
    assert client.books.prices == {"A": bus.newest("A"), "B": bus.newest("B")}


# Heartbeats


async def test_a_client_whose_symbols_are_idle_gets_heartbeats(bus: FakeBus) -> None:
    idle, busy, both = await bus.subscriber("A"), await bus.subscriber("B"), await bus.subscriber("A", "B")
    everything, nothing = await bus.subscriber("*"), await bus.subscriber()
    beat(bus)
    for _ in range(3):
        bus.publish("B")
        for client in (idle, busy, both, everything, nothing):
            client.news()
        beat(bus)
        assert idle.news() == nothing.news() == ["beat"]
        assert busy.news() == both.news() == everything.news() == []


async def test_who_was_told_something_within_the_period_gets_no_heartbeat(bus: FakeBus) -> None:
    """Ticks that come at any time of it, answers, and where another symbol rests."""
    often, asking, resting, silent = [await bus.subscriber(symbol) for symbol in "ABCD"]
    bus.publish("A", "C")
    heard: dict[FakeClient, list[str]] = {client: [] for client in (often, asking, resting, silent)}
    for number in range(3 * ROUNDS):
        beat(bus, 1)
        for client, words in heard.items():
            words += [word for word in client.news() if word.startswith("beat")]
        if number % (ROUNDS - 1) == 2:
            bus.publish("A")
            asking.outbox.reply(pong_frame(None))
    assert heard == {often: [], asking: [], resting: ["beat C1", "beat"], silent: ["beat"] * 3}


async def test_a_client_that_hears_nothing_more_gets_a_heartbeat_within_a_period_and_a_round(bus: FakeBus) -> None:
    clients = {symbol: await bus.subscriber(symbol) for symbol in "ABCD"}
    for symbol in clients:
        beat(bus, 1)
        bus.publish(symbol)
    beat(bus, 2)
    assert all(client.news() == [f"{symbol}1"] for symbol, client in clients.items())
    for symbol in clients:
        beat(bus, 1)
        assert {name: news for name, client in clients.items() if (news := client.news())} == {
            symbol: [f"beat {symbol}1"]
        }


async def test_a_client_is_told_once_where_a_symbol_rests(bus: FakeBus) -> None:
    client, everything = await bus.subscriber("A", "B"), await bus.subscriber("*")
    bus.publish("A", "B")
    beat(bus)
    bus.publish("B")
    client.news()
    everything.news()
    beat(bus)
    assert client.news() == everything.news() == ["beat A1"]
    beat(bus)
    assert client.news() == everything.news() == ["beat B2"]
    beat(bus)
    assert client.news() == everything.news() == ["beat"]
    bus.publish("A")
    beat(bus)
    beat(bus)
    assert client.news() == everything.news() == ["A2", "beat A2"]


async def test_a_symbol_that_was_joined_and_does_not_tick_is_idle_at_once(bus: FakeBus) -> None:
    bus.accept("A", 41)
    client = await bus.subscriber("A")
    beat(bus)
    assert client.news() in (["beat"], ["beat A41"])


async def test_among_many_busy_symbols_the_clients_of_idle_ones_are_found(bus: FakeBus) -> None:
    busy = [f"B{number}" for number in range(20)]
    for symbol in busy:
        bus.accept(symbol)
    crowd = [await bus.subscriber(*busy, "A") for _ in range(5)]
    of_one = [await bus.subscriber(symbol) for symbol in busy]
    idle = await bus.subscriber("A")
    beat(bus)
    idle.news()
    for _ in range(3):
        for symbol in busy:
            bus.publish(symbol)
        for client in (*crowd, *of_one):
            client.news()
        beat(bus)
        assert idle.news() == ["beat"]
        assert all(client.news() == [] for client in (*crowd, *of_one))


async def test_every_twenty_seconds_a_heartbeat_takes_a_ping_along_to_whom_the_server_waits_for(bus: FakeBus) -> None:
    asked, other = await bus.subscriber("A"), await bus.subscriber("A")
    asked.wire.asks_along = True
    for _ in range(12):
        beat_slowly(bus)
    begin = [write[:2] == PING for write in asked.wire.writes if b"heartbeat" in write]
    assert len(begin) == 12
    assert [place for place, has_ping in enumerate(begin) if has_ping] == [0, 4, 8]
    assert PING not in b"".join(other.wire.writes)


async def test_clients_that_came_at_once_are_not_pinged_at_once(bus: FakeBus) -> None:
    clients = [await bus.subscriber("A") for _ in range(12)]
    for client in clients:
        client.wire.asks_along = True
    pinged = []
    for _ in range(4):
        beat_slowly(bus)
        pinged.append(sum(client.wire.writes[-1].startswith(PING) for client in clients))
    assert pinged == [4, 4, 4, 0]


async def test_a_ping_goes_along_behind_a_stream_that_has_come_to_rest_too(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    client.wire.asks_along = True
    bus.publish("A")
    for _ in range(2):
        beat_slowly(bus)
    assert client.news() == ["A1", "beat A1"]
    assert client.wire.writes[-1].startswith(PING)


async def test_a_client_behind_gets_no_heartbeat(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    client.wire.full = True
    bus.publish("A")
    for _ in range(3):
        beat(bus)
    client.news()
    assert client.drain() == []
    beat(bus)
    assert client.news() == ["beat"]


async def test_a_heartbeat_does_not_name_a_tick_that_a_rate_keeps_back(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=NEVER)
    whole = await bus.subscriber("A")
    bus.publish("A")
    bus.publish("A")
    client.news()
    for _ in range(3):
        beat(bus)
    assert all(word == "beat" for word in client.news())
    whole.news()
    bus.hub.remove(client.outbox)
    beat(bus)
    assert whole.news() == ["beat A2"]


async def test_a_tick_that_a_rate_keeps_back_while_heartbeats_go_out_is_not_named(bus: FakeBus) -> None:
    bus.accept("A")
    crowd = [await bus.subscriber("A") for _ in range(600)]
    rated = await bus.subscriber("A", rate=NEVER)
    bus.publish("A")
    beat(bus)
    for client in (*crowd, rated):
        client.news()
    for _ in bus.hub.heartbeat.beat(1.0):
        bus.publish("A")
    assert crowd[0].news() == ["beat A2", "A3"]
    assert crowd[-1].news() == ["A3", "beat"]
    assert rated.news() == []


async def test_a_rate_that_keeps_a_tick_back_costs_the_others_no_heartbeat(bus: FakeBus) -> None:
    await bus.subscriber("A", rate=NEVER)
    whole = await bus.subscriber("A")
    bus.publish("A")
    bus.publish("A")
    beat(bus)
    whole.news()
    for _ in range(3):
        beat(bus)
        assert len(whole.news()) == 1


async def test_a_client_with_a_slow_rate_hears_heartbeats_while_its_symbol_ticks(bus: FakeBus) -> None:
    client = await bus.subscriber("A", rate=NEVER)
    bus.publish("A")
    client.news()
    for _ in range(3):
        bus.publish("A")
        beat(bus)
    assert client.news() == ["beat", "beat", "beat"]


@pytest.mark.parametrize("rates", [(None, NEVER), (NEVER, None), (NEVER, NEVER)])
async def test_who_takes_everything_hears_heartbeats_too_while_only_a_slow_rate_ticks(
    bus: FakeBus, rates: tuple[float | None, float | None]
) -> None:
    """``rates``: of everything, and of the one symbol that ticks where it is asked for by name."""
    bus.accept("A")
    client = await bus.subscriber("*", rate=rates[0])
    await client.subscribe("A", rate=rates[1])
    client.news()
    for _ in range(3):
        bus.publish("A")
        beat(bus)
    assert client.news().count("beat") == (0 if rates[1] is None else 3)


async def test_heartbeats_and_news_of_the_bus_can_be_laid_aside(bus: FakeBus) -> None:
    clients = [await bus.subscriber("A") for _ in range(1_200)]
    beat(bus, ROUNDS - 1)
    for steps, word in ((bus.hub.heartbeat.beat(1.0), "beat"), (bus.hub.outage.begin(), "bus away")):
        slices = 0
        for _ in steps:
            slices += 1
            bus.hub.remove(clients.pop().outbox)
        assert slices >= 2
        assert all(client.news() == [word] for client in clients)


# The state of the bus


async def test_clients_are_told_once_that_the_bus_is_away_and_that_it_is_back(bus: FakeBus) -> None:
    client, none = await bus.subscriber("A"), await bus.subscriber()
    outage = bus.hub.outage
    for steps, is_on in ((outage.end, False), (outage.begin, True), (outage.begin, True), (outage.end, False)):
        run(steps())
        assert outage.is_on == is_on
    run(outage.end())
    assert client.news() == none.news() == ["bus away", "bus back"]


async def test_a_client_behind_is_told_that_the_bus_is_away_when_it_reads_again(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    client.wire.full = True
    bus.publish("A")
    bus.publish("A")
    run(bus.hub.outage.begin())
    client.news()
    assert client.drain() == ["bus away", "A2"]


async def test_a_client_that_left_in_an_outage_is_not_remembered(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    run(bus.hub.outage.begin())
    assert client.news() == ["bus away"]
    bus.hub.remove(client.outbox)
    wire = weakref.ref(client.wire)
    del client
    gc.collect()
    assert wire() is None


async def test_a_symbol_that_is_lost_while_it_is_asked_for_again_is_held_again(bus: FakeBus) -> None:
    client = await bus.subscriber("A")
    bus.publish("A", "A")
    client.news()
    client.places["A"] = Since(bus.epoch, 1)  # it lost the other one
    bus.answers.clear()
    asked = asyncio.create_task(client.subscribe("A", since={"A": Since(bus.epoch, 1)}))
    await until(lambda: bus.asked)
    bus.hub.unsubscribe(client.outbox, ["A"])  # as its grant was narrowed
    await asyncio.sleep(0.05)  # longer than a group is kept that nobody holds
    bus.answers.set()
    await asked
    bus.publish("A")
    assert client.news()[-1] == "A3"
    bus.hub.remove(client.outbox)
    await until(lambda: not bus.memberships.joined)


# Everything, a slice at a time


@pytest.fixture
async def sliced(bus: FakeBus) -> FakeBus:
    """It has A, B, C and D, and tells of one at a time."""
    await bus.subscriber("A", "B", "C", "D")
    bus.publish("A", "B", "C", "D")
    bus.hub.introductions.slice = 1
    return bus


async def introduced(bus: FakeBus) -> None:
    await until(lambda: not bus.hub.subscriptions.everything.tours)


@pytest.mark.parametrize("rate", [None, NEVER])
async def test_of_everything_a_client_is_told_a_slice_at_a_time(sliced: FakeBus, rate: float | None) -> None:
    client = sliced.client()
    positions = await client.subscribe("*", rate=rate)
    assert list(positions) == ["A"]
    sliced.publish("A", "B", "C")
    assert client.news() == ["subscribed", "=A1", "A2"]
    await introduced(sliced)
    sliced.publish("D")
    assert client.news() == ["introduced B", "=B2", "introduced C", "=C2", "introduced D", "=D1", "D2"]


async def test_without_snapshots_it_is_told_the_positions(sliced: FakeBus) -> None:
    client = sliced.client()
    await client.subscribe("*", snapshot=False)
    sliced.publish("B")
    await introduced(sliced)
    sliced.publish("B", "C")
    assert client.news() == ["subscribed", "introduced B", "introduced C", "introduced D", "B3", "C2"]


async def test_what_is_resumed_is_in_the_answer_however_much_it_is(sliced: FakeBus) -> None:
    since = {symbol: Since(sliced.epoch, 1) for symbol in "BCD"}
    sliced.publish("B", "C")
    client = sliced.client(since)
    assert list(await client.subscribe("*", since=since)) == ["B", "C", "D"]
    await introduced(sliced)
    assert client.news() == ["subscribed B:True C:True D:True", "B2", "C2", "introduced A", "=A1"]


async def test_whoever_no_longer_takes_everything_is_told_no_more(sliced: FakeBus) -> None:
    client = sliced.client()
    await client.subscribe("*")
    await asyncio.sleep(0)
    client.unsubscribe("*")
    assert not sliced.hub.subscriptions.everything.tours
    await asyncio.sleep(0.01)
    sliced.publish("A", "B", "C", "D")
    assert client.news()[-1] == "unsubscribed"


@pytest.mark.parametrize("rate", [None, NEVER])
async def test_a_client_that_leaves_meanwhile_leaves_nothing(sliced: FakeBus, rate: float | None) -> None:
    client = sliced.client()
    await client.subscribe("*", rate=rate)
    sliced.hub.remove(client.outbox)
    assert not sliced.hub.subscriptions.everything.tours
    assert not sliced.hub.counts()["rates"]
    sliced.publish("A", "D")
    await asyncio.sleep(0.01)
    assert client.news() == ["subscribed", "=A1"]


@pytest.mark.parametrize("rate", [None, NEVER])
async def test_a_symbol_asked_for_by_name_meanwhile_is_told_of_once(sliced: FakeBus, rate: float | None) -> None:
    client = sliced.client()
    await client.subscribe("*", rate=rate)
    await client.subscribe("D")
    sliced.publish("D")
    await introduced(sliced)
    assert client.news() == [
        "subscribed", "=A1", "subscribed", "=D1", "D2", "introduced B", "=B1", "introduced C", "=C1",
    ]  # fmt: skip
    client.unsubscribe("D")
    sliced.publish("D")
    assert client.news() == ["unsubscribed", "D3"]


async def test_who_asks_again_meanwhile_is_told_again_afterwards_and_misses_nothing(sliced: FakeBus) -> None:
    client = sliced.client()
    await client.subscribe("*")
    while client.news()[-1:] != ["=B1"]:  # noqa: ASYNC110 - to a turn
        await asyncio.sleep(0)
    sliced.publish("B", "D")
    await client.subscribe("*")
    assert client.news() == ["B2", "introduced C", "=C1", "introduced D", "=D2", "subscribed", "=A1"]
    sliced.publish("A", "B", "C", "D")
    await introduced(sliced)
    assert client.news() == [
        "A2", "B3", "C2", "D3", "introduced B", "=B3", "introduced C", "=C2", "introduced D", "=D3",
    ]  # fmt: skip


@pytest.mark.parametrize("before", [None, NEVER, NEVER / 2])
@pytest.mark.parametrize("rate", [None, NEVER])
async def test_who_asks_again_gets_what_a_rate_kept_back_when_it_is_told_again(
    sliced: FakeBus, before: float | None, rate: float | None
) -> None:
    client = sliced.client()
    other = await sliced.subscriber("*", rate=NEVER)  # whose pace it is, too
    await client.subscribe("*", rate=before)
    await introduced(sliced)
    for _ in range(3):
        sliced.publish("A", "B", "C", "D")
    client.news()
    await client.subscribe("*", rate=rate, snapshot=False)
    for _ in range(2):
        sliced.publish("A", "B", "C", "D")
    await introduced(sliced)
    for _ in range(2):
        sliced.publish("A", "B", "C", "D")
    for stream in sliced.hub.subscriptions.streams.values():
        for pace in list(stream.paces.values()):
            pace.flush()
    client.news(), other.news()  # the books balance
    assert {place.seq for place in (*client.places.values(), *other.places.values())} == {8}
    assert {client.books.prices[symbol] for symbol in "ABCD"} == {sliced.newest(symbol) for symbol in "ABCD"}


async def test_a_name_that_ends_while_everything_is_told_again_goes_on_from_where_it_was(sliced: FakeBus) -> None:
    client = sliced.client()
    other = await sliced.subscriber("*", rate=NEVER)
    await client.subscribe("*", rate=NEVER)
    await introduced(sliced)
    await client.subscribe("D")
    for _ in range(3):
        sliced.publish("D")
    await client.subscribe("*", rate=NEVER / 2)
    client.unsubscribe("D")
    assert client.news()[-1] == "unsubscribed"
    sliced.publish("D")
    await introduced(sliced)
    sliced.publish("D")
    for pace in list(sliced.hub.subscriptions.streams["D"].paces.values()):
        pace.flush()
    client.news(), other.news()
    assert client.places["D"].seq == 6


async def test_a_client_that_takes_nothing_is_told_the_rest_when_it_has_read(sliced: FakeBus) -> None:
    client = sliced.client()
    client.wire.full = True
    await client.subscribe("*")
    await asyncio.sleep(0.01)
    sliced.publish("A", "B")
    assert client.drain() == ["subscribed", "=A1", "A2"]
    await introduced(sliced)
    assert client.news() == ["introduced B", "=B2", "introduced C", "=C1", "introduced D", "=D1"]


async def test_a_gap_and_a_heartbeat_of_what_it_was_not_told_of_do_not_come(sliced: FakeBus) -> None:
    client = sliced.client()
    beat(sliced)
    await client.subscribe("*")
    beat(sliced)
    sliced.accept("D", 3)
    sliced.publish("D")
    await until(lambda: sliced.hub.recovery.doubts.is_over)
    assert not any("gap" in word for word in client.news())


async def test_heartbeats_have_a_bounded_number_of_symbols(bus: FakeBus) -> None:
    symbols = [f"S{number}" for number in range(1_200)]
    client = await bus.subscriber(*symbols)
    everything = await bus.subscriber("*")
    bus.publish(*symbols)
    client.news(), everything.news()
    await introduced(bus)
    beat(bus)
    read = len(client.wire.texts)
    beat(bus)
    for each, texts in ((client, client.wire.texts[read:]), (everything, everything.wire.texts)):
        beats = [json.loads(text)["seqs"] for text in texts if "seqs" in text]
        assert [len(seqs) for seqs in beats] == [500, 500, 200]
        assert {symbol for seqs in beats for symbol in seqs} == set(symbols)
        each.news()
