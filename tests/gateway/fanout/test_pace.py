"""A client that chose a rate gets the newest at that rate, and how many came in between."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.fanout.outbox import Outbox
from gateway.fanout.pace import Pace
from gateway.fanout.writer import Writer
from gateway.protocol.frames import text_frame
from tests.gateway.fakes import NEVER, FakeWire, until

QUICK = 100.0


class Member:
    """A client of a pace; ``got`` has the ticks by number, and what was left out before them as text."""

    def __init__(self) -> None:
        self.wire = FakeWire()
        self.outbox = Outbox(self.wire, patience=60)

    @property
    def got(self) -> list[int | str]:
        return [word for text in self.wire.texts for word in _words(json.loads(text))]


def _words(message: dict[str, Any]) -> list[int | str]:
    if message.get("type") == "conflated":
        return [f"{message['reason']} {message['skipped']['A']}"]
    return [f"rate {message['skipped']}", message["seq"]] if "skipped" in message else [message["seq"]]


@pytest.fixture
def writer() -> Writer:
    return Writer()


def tick(number: int) -> bytes:
    return text_frame(b'{"seq":%d}' % number)


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


async def test_what_is_due_at_about_the_same_time_is_one_write(writer: Writer) -> None:
    member = Member()
    paces = [Pace(symbol, 2, writer) for symbol in "ABC"]
    for pace in paces:
        pace.add(member.outbox)
        pace.offer(tick(1), 1)
        pace.offer(tick(3), 2)
    await until(lambda: all(pace.is_settled for pace in paces))
    assert member.got == [1, 1, 1, "rate 1", 3, "rate 1", 3, "rate 1", 3]
    assert len(member.wire.writes) <= 5  # a write for each at first, and then one, or two at the edge of a step
    for pace in paces:
        pace.stop()


async def test_no_more_ticks_come_than_the_rate_allows(writer: Writer) -> None:
    member = Member()
    pace = pace_of(writer, 20, member)
    loop = asyncio.get_running_loop()
    times: list[float] = []
    member.wire.on_send = lambda: times.append(loop.time())
    for number in range(1, 400):
        pace.offer(tick(number), 1)
        await asyncio.sleep(0.001)
    pace.stop()
    # The first at once, the others in steps; on a busy machine one may be late, and the next in its own time.
    assert 2 < len(times) <= 2 + (times[-1] - times[0]) * 20


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
    assert slow.got == [1, "slow 1", "rate 6", 9]
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
