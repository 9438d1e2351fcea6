"""Clients that read what is no longer new: who is asked, who is found, and what becomes of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.fanout.freshness import Freshness
from gateway.fanout.heartbeat import ROUNDS
from gateway.fanout.outbox import Outbox
from gateway.protocol.codes import SLOW_CONSUMER
from gateway.wires.wire import Queue
from tests.gateway.fakes import NEVER, FakeBus, FakeClient, FakeRing, until

STALENESS = 1.0
TURN = STALENESS / 16


class Time:
    """Turns of a bus's hub, on a clock of its own behind that of the loop: what is asked now is asked in its past."""

    def __init__(self, bus: FakeBus) -> None:
        self._freshness = bus.hub.freshness
        self._now = asyncio.get_running_loop().time()
        self.pass_by()

    def pass_by(self, seconds: float = TURN) -> None:
        """On time."""
        for _ in range(round(seconds / TURN)):
            self._now += TURN
            self._freshness.next_turn(self._now, 0)

    def stall(self, seconds: float) -> None:
        """Nothing of this process ran for so long."""
        self._now += seconds
        self._freshness.next_turn(self._now, 0)


@pytest.fixture(params=[False, True], ids=["by calls", "by a ring"])
async def bus(request: pytest.FixtureRequest) -> FakeBus:
    return FakeBus(ring=FakeRing() if request.param else None, staleness=STALENESS)


@pytest.fixture
async def time(bus: FakeBus) -> Time:
    return Time(bus)


def read(client: FakeClient) -> list[str]:
    """The client reads and answers all that was written to it, and all that is written then."""
    while client.wire.answer():
        pass
    return client.news()


async def trusted(bus: FakeBus, time: Time, *symbols: str, **options: Any) -> FakeClient:
    """A client that has answered a ping."""
    client = await bus.subscriber(*symbols, **options)
    bus.publish("A")
    assert client.wire.answer() == 1
    client.news()
    return client


async def test_a_ping_goes_with_the_ticks_and_not_with_every_tick(bus: FakeBus, time: Time) -> None:
    client = await bus.subscriber("A")
    writes = len(client.wire.writes)
    for _ in range(5):
        bus.publish("A")
    assert len(client.wire.writes) == writes + 6
    assert len(client.wire.pings) == 1


async def test_who_is_sent_nothing_is_asked_nothing(bus: FakeBus, time: Time) -> None:
    client = await bus.subscriber("A")
    time.pass_by(10)
    for _ in range(ROUNDS):
        list(bus.hub.heartbeat.beat(1.0))
    assert client.news()[-1] == "beat"
    assert client.wire.pings == []


async def test_who_answers_is_asked_again_later(bus: FakeBus, time: Time) -> None:
    client = await trusted(bus, time, "A")
    time.pass_by(STALENESS / 4)
    bus.publish("A")
    assert client.wire.answer() == 0
    time.pass_by(STALENESS / 2)
    bus.publish("A")
    assert client.wire.answer() == 1


@pytest.mark.parametrize(
    ("symbols", "published"),
    [(["A"], "A"), (["A", "B"], "AB"), (["*"], "A"), (["*"], "AB")],
    ids=["one", "several", "everything", "several of everything"],
)
async def test_whoever_gets_ticks_is_asked(bus: FakeBus, time: Time, symbols: list[str], published: str) -> None:
    await bus.subscriber("A", "B")  # so that there are streams of everything
    client = await bus.subscriber(*symbols)
    bus.publish(*published)
    bus.publish(*published)
    assert client.wire.pings == [1]
    assert len(client.news()) == 2 * len(published)


async def test_whoever_chose_a_rate_is_asked(bus: FakeBus, time: Time) -> None:
    client = await bus.subscriber("A", rate=NEVER)
    bus.publish("A")
    assert client.wire.pings == [1]


async def test_of_many_clients_a_part_is_asked_in_a_turn_and_all_in_time(bus: FakeBus, time: Time) -> None:
    clients = [await bus.subscriber("A") for _ in range(40)]
    asked = []
    for _ in range(3):
        bus.publish("A")
        asked.append(sum(bool(client.wire.pings) for client in clients))
        time.pass_by()
    assert asked == [8, 16, 24]


async def test_who_does_not_read_is_behind_when_the_time_is_over_and_gets_the_newest_then(
    bus: FakeBus, time: Time
) -> None:
    client = await trusted(bus, time, "A")
    time.pass_by(9 * TURN)  # which it owes the answer from the start, by the clock of the turns
    for _ in range(5):
        bus.publish("A")
    time.pass_by(6 * TURN)
    assert not client.outbox.behind
    time.pass_by(3 * TURN)
    assert client.outbox.behind
    for _ in range(100):
        bus.publish("A")
    assert read(client) == ["A2", "A3", "A4", "A5", "A6", "slow A+99", "A106"]
    await until(lambda: not client.outbox.behind)
    bus.publish("A")
    assert client.news() == ["A107"]
    assert bus.hub.counts()["stale_total"] == 1


async def test_while_it_is_behind_it_is_sent_nothing_that_it_has_not_the_time_to_read(bus: FakeBus, time: Time) -> None:
    client = await trusted(bus, time, "A", "B")
    client.outbox.lag()
    for _ in range(3):
        bus.publish("A", "B")
    assert client.news() == []
    client.wire.answer(1)
    assert client.news() == ["slow A+2", "A4"], "one message at first, and not the newest of all at once"
    bus.publish("A", "B")
    assert client.news() == []
    client.wire.answer(1)
    assert client.news() == ["slow B+3", "B4"]
    assert read(client) == ["A5"]
    await until(lambda: not client.outbox.behind)


async def test_what_a_stall_of_the_gateway_kept_unread_is_no_fault_of_the_client(bus: FakeBus, time: Time) -> None:
    client = await trusted(bus, time, "A")
    time.pass_by(STALENESS)
    bus.publish("A")
    assert not client.wire.pings[2:]
    time.stall(10 * STALENESS)
    assert not client.outbox.behind
    client.wire.answer()
    time.pass_by(STALENESS / 2)
    assert not client.outbox.behind


async def test_who_never_answered_is_not_judged_by_its_silence(bus: FakeBus, time: Time) -> None:
    client = await bus.subscriber("A")
    for _ in range(30):
        bus.publish("A")
        time.pass_by(STALENESS)
    assert not client.outbox.behind
    assert len(client.wire.pings) == 1


async def test_a_line_that_takes_less_than_it_is_given_is_found_before_the_time_is_over(
    bus: FakeBus, time: Time
) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    client.wire.state = Queue(waiting=20_000, acknowledged=1_000, round_trip=0.01)
    time.pass_by()
    client.wire.state = Queue(waiting=30_000, acknowledged=1_500, round_trip=0.01)
    time.pass_by()
    assert client.outbox.behind
    client.wire.state = Queue(waiting=0, acknowledged=31_500, round_trip=0.01)
    bus.publish("A")
    bus.publish("A")
    time.pass_by()
    assert client.news() == ["A1", "slow A+1", "A3"]
    assert not client.outbox.behind


async def test_a_burst_on_a_fast_line_is_no_slow_line(bus: FakeBus, time: Time) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    for taken in range(0, 1_000_000, 50_000):
        client.wire.state = Queue(waiting=300_000, acknowledged=taken, round_trip=0.01)
        time.pass_by()
    assert not client.outbox.behind


async def test_a_far_client_is_not_judged_before_it_can_have_answered(bus: FakeBus, time: Time) -> None:
    client = await bus.subscriber("A")
    bus.publish("A")
    client.wire.state = Queue(waiting=20_000, acknowledged=1_000, round_trip=0.3)
    time.pass_by(8 * TURN)
    assert not client.outbox.behind


async def test_who_reads_slowly_is_told_of_every_tick_it_was_not_sent(bus: FakeBus, time: Time) -> None:
    client, paced = await trusted(bus, time, "A"), await bus.subscriber("A", rate=NEVER)
    client.outbox.lag()
    paced.outbox.lag()
    for _ in range(50):
        bus.publish("A")
        client.wire.answer(1)
        client.news()
    read(client)
    assert client.books.prices == {"A": bus.newest("A")}
    assert read(paced)[-1:] == [f"A{client.places['A'].seq}"] or paced.books.skipped["slow"] == 0


async def test_commands_of_a_client_that_is_behind_are_carried_out_as_their_answers_are_taken(
    bus: FakeBus, time: Time
) -> None:
    client = await trusted(bus, time, "A")
    client.outbox.lag()
    async with asyncio.timeout(5):
        await client.outbox.caught_up()
    client.unsubscribe("A")
    waiting = asyncio.create_task(client.outbox.caught_up())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert client.wire.reading
    assert read(client) == ["unsubscribed"]
    async with asyncio.timeout(5):
        await waiting


async def test_who_reads_nothing_any_more_is_closed(bus: FakeBus, time: Time) -> None:
    client = await trusted(bus, time, "A")
    impatient = Outbox(client.wire, patience=0.05, staleness=STALENESS)
    client.wire.open(impatient)
    impatient.write(impatient.ask())
    client.wire.answer()
    impatient.lag()
    await until(lambda: client.wire.closure)
    assert client.wire.closure == SLOW_CONSUMER


async def test_who_reads_something_now_and_then_is_not_closed(bus: FakeBus, time: Time) -> None:
    client = await trusted(bus, time, "A")
    patient = Outbox(client.wire, patience=0.5, staleness=STALENESS)
    client.wire.open(patient)
    patient.lag()
    for number in range(12):
        patient.park("A", [b"\x81\x01x"])
        await asyncio.sleep(0.1)
        patient.answered(number + 1)
    assert client.wire.closure is None


async def test_nobody_is_asked_where_it_is_switched_off() -> None:
    bus = FakeBus(staleness=0.0)
    client = await bus.subscriber("A")
    bus.publish("A")
    assert client.wire.pings == []


async def has_come_to_rest(freshness: Freshness) -> bool:
    """Whether no turn passes in fifty times as long as one takes."""
    before = freshness.turn
    await asyncio.sleep(0.05)
    return freshness.turn == before


async def test_no_turns_pass_while_nothing_is_sent_and_nobody_owes_an_answer(bus: FakeBus) -> None:
    freshness = bus.hub.freshness
    freshness.staleness = 0.016
    client = await bus.subscriber("A")
    looking = asyncio.create_task(bus.hub.look_after_freshness())
    await asyncio.sleep(0)
    for count in (1, 2):
        assert await has_come_to_rest(freshness)
        turn = freshness.turn
        bus.publish("A")
        assert client.wire.pings == list(range(1, count + 1))
        await until(lambda turn=turn: freshness.turn > turn + 3)  # type: ignore[misc] # it owes an answer
        while client.wire.answer() or not await has_come_to_rest(freshness):
            pass
    looking.cancel()
    await asyncio.wait([looking])
