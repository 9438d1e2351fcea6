"""A client that chose a rate gets the newest at that rate, and how many came in between."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.fanout.outbox import Outbox
from gateway.fanout.pace import Pace
from gateway.fanout.writer import Writer
from gateway.protocol.frames import text_frame
from tests.gateway.fakes import NEVER, FakeWire, until

QUICK = 100.0


class Member:
    """A client of a pace; ``got`` has the ticks by number, and the numbers of receipts as text."""

    def __init__(self) -> None:
        self.wire = FakeWire()
        self.outbox = Outbox(self.wire, patience=60)

    @property
    def got(self) -> list[int | str]:
        messages = map(json.loads, self.wire.texts)
        return [message if isinstance(message, int) else _receipt(message) for message in messages]


def _receipt(message: dict[str, object]) -> str:
    assert message["type"] == "conflated"
    skipped = message["skipped"]
    assert isinstance(skipped, dict)
    return f"{message['reason']} {skipped['A']}"


@pytest.fixture
def writer() -> Writer:
    return Writer()


def tick(number: int) -> bytes:
    return text_frame(str(number).encode())


def pace_of(writer: Writer, rate: float, *members: Member) -> Pace:
    pace = Pace("A", rate, writer)
    for member in members:
        pace.add(member.outbox)
    return pace


async def test_the_first_goes_out_at_once_and_then_the_newest(writer: Writer) -> None:
    member = Member()
    pace = pace_of(writer, QUICK, member)
    pace.offer(tick(1), 1)
    assert member.got == [1]
    assert pace.is_settled
    pace.offer(tick(2), 1)
    pace.offer(tick(5), 3)
    assert member.got == [1]
    assert not pace.is_settled
    await until(lambda: pace.is_settled)
    assert member.got == [1, "rate 3", 5]
    assert (writer.delivered, writer.skipped) == (2, 3)
    pace.stop()


async def test_after_quiet_a_tick_goes_out_at_once_again(writer: Writer) -> None:
    member = Member()
    pace = pace_of(writer, 1_000, member)
    for number in range(1, 5):
        pace.offer(tick(number), 1)
        assert member.got[-1] == number
        await asyncio.sleep(0.005)  # longer than the interval, so its timer is through
    pace.stop()


async def test_a_burst_after_quiet_is_its_newest(writer: Writer) -> None:
    member = Member()
    pace = pace_of(writer, NEVER, member)
    pace.offer(tick(10), 10)
    assert member.got == ["rate 9", 10]
    pace.stop()


async def test_who_comes_while_ticks_wait_is_told_only_of_those_behind_its_snapshot(writer: Writer) -> None:
    early, late, last = Member(), Member(), Member()
    pace = pace_of(writer, NEVER, early)
    pace.offer(tick(1), 1)
    pace.offer(tick(3), 2)
    pace.add(late.outbox)
    pace.offer(tick(6), 3)
    pace.add(last.outbox)
    pace.flush()
    assert (early.got, late.got, last.got) == ([1, "rate 4", 6], ["rate 2", 6], [])
    assert (writer.delivered, writer.skipped) == (3, 6)
    pace.offer(tick(8), 2)
    pace.flush()
    assert early.got[3:] == late.got[2:] == last.got == ["rate 1", 8]
    pace.stop()


async def test_a_flush_with_nothing_waiting_changes_nothing(writer: Writer) -> None:
    member = Member()
    pace = pace_of(writer, NEVER, member)
    pace.flush()
    pace.offer(tick(1), 1)
    pace.flush()
    pace.offer(tick(2), 1)
    assert member.got == [1]
    pace.stop()


async def test_a_member_behind_is_parked_and_both_reasons_are_told(writer: Writer) -> None:
    slow, member = Member(), Member()
    pace = pace_of(writer, NEVER, slow, member)
    slow.wire.full = True
    pace.offer(tick(1), 1)
    pace.offer(tick(4), 3)
    pace.flush()
    pace.offer(tick(9), 5)
    pace.flush()
    assert slow.got == [1]
    assert member.got == [1, "rate 2", 4, "rate 4", 9]
    slow.wire.drain()
    assert slow.got == [1, "rate 6", "slow 1", 9]
    pace.stop()


async def test_who_leaves_gets_no_more_and_the_last_takes_what_waits_along(writer: Writer) -> None:
    one, two = Member(), Member()
    pace = pace_of(writer, NEVER, one, two)
    pace.offer(tick(1), 1)
    pace.offer(tick(2), 1)
    pace.remove(one.outbox)
    assert list(pace.members) == [two.outbox]
    pace.flush()
    assert (one.got, two.got) == ([1], [1, 2])
    pace.offer(tick(3), 1)
    pace.remove(two.outbox)
    assert not pace.members
    assert pace.is_settled
    pace.remove(two.outbox)


async def test_who_is_released_is_given_what_waits_for_it(writer: Writer) -> None:
    one, two, late = Member(), Member(), Member()
    pace = pace_of(writer, NEVER, one, two)
    pace.offer(tick(1), 1)
    pace.offer(tick(4), 3)
    pace.add(late.outbox)
    pace.release(one.outbox)
    pace.release(late.outbox)
    assert (one.got, two.got, late.got) == ([1, "rate 2", 4], [1], [])
    assert list(pace.members) == [two.outbox]
    pace.release(two.outbox)
    assert two.got == [1, "rate 2", 4]
    assert not pace.members


async def test_a_member_that_is_lost_in_the_middle_costs_the_others_nothing(writer: Writer) -> None:
    first, lost, last = Member(), Member(), Member()
    pace = pace_of(writer, NEVER, first, lost, last)
    first.wire.on_send = lost.wire.lose
    pace.offer(tick(1), 1)
    assert (first.got, lost.got, last.got) == ([1], [], [1])
    pace.stop()
