"""A client that keeps up gets everything; one that does not gets the newest of each symbol, and is told."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.fanout.outbox import Outbox
from gateway.protocol.codes import SERVICE_RESTART, SLOW_CONSUMER, TOO_BIG
from gateway.protocol.frames import text_frame
from tests.gateway.fakes import FakeRing, FakeWire, until


@pytest.fixture
def wire() -> FakeWire:
    return FakeWire()


@pytest.fixture
def moves() -> list[str]:
    """What the outbox has told."""
    return []


@pytest.fixture
async def outbox(wire: FakeWire, moves: list[str]) -> Outbox:
    return Outbox(wire, patience=60, moved=lambda outbox: moves.append("behind" if outbox.behind else "back"))


@pytest.fixture
async def impatient(wire: FakeWire) -> Outbox:
    return Outbox(wire, patience=0.01)


def frame(text: str) -> bytes:
    return text_frame(text.encode())


def park(outbox: Outbox, symbol: str, newest: bytes, count: int, skipped: int = 0) -> None:
    """``count`` ticks; ``skipped`` before them were left out because of a rate."""
    outbox.waiting.park(symbol, [frame("older")] * (count - 1) + [newest], skipped)


def receipt(reason: str, **skipped: int) -> str:
    return json.dumps({"type": "conflated", "reason": reason, "skipped": skipped}, separators=(",", ":"))


async def test_a_frame_is_written_at_once(wire: FakeWire, outbox: Outbox) -> None:
    outbox.write(frame("a"))
    assert wire.texts == ["a"]
    assert not outbox.behind


async def test_a_pass_is_one_write(wire: FakeWire, outbox: Outbox) -> None:
    outbox.gathered += [frame("a"), frame("b")]
    outbox.write(outbox.collect())
    assert wire.texts == ["a", "b"]
    assert len(wire.writes) == 1
    assert outbox.gathered == []


async def test_a_client_behind_keeps_the_newest_of_each_symbol(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    assert outbox.behind
    park(outbox, "B", frame("b1"), 1)
    park(outbox, "A", frame("a2"), 1)
    park(outbox, "B", frame("b4"), 3)
    assert wire.texts == ["a1"]
    wire.drain()
    assert wire.texts == ["a1", receipt("slow", B=3), "b4", "a2"]
    assert len(wire.writes) == 2
    assert not outbox.behind
    assert outbox.waiting.skipped == 3


async def test_nothing_skipped_needs_no_receipt(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    park(outbox, "A", frame("a2"), 1)
    wire.drain()
    assert wire.texts == ["a1", "a2"]


async def test_ticks_left_out_by_rate_and_by_a_full_socket_are_told_apart(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    for newest in ("a5", "a9"):
        park(outbox, "A", frame(json.dumps({"tick": newest}, separators=(",", ":"))), 1, 3)
    park(outbox, "B", frame("b1"), 1)
    wire.drain()
    assert wire.texts == ["a1", receipt("slow", A=1), '{"tick":"a9","skipped":6}', "b1"]
    assert outbox.waiting.skipped == 1


async def test_answers_come_before_the_ticks_that_wait(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    park(outbox, "A", frame("a3"), 2)
    outbox.reply(frame("answer 1"))
    outbox.reply(frame("answer 2"))
    park(outbox, "B", frame("b1"), 1)
    wire.drain()
    assert wire.texts == ["a1", "answer 1", "answer 2", receipt("slow", A=1), "a3", "b1"]
    outbox.reply(frame("answer 3"))
    assert wire.texts[-1] == "answer 3"


async def test_an_answer_that_waited_is_sent_once(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    outbox.reply(frame("answer"))
    wire.drain(full=True)
    outbox.reply(frame("another"))
    wire.drain()
    assert wire.texts == ["a1", "answer", "another"]


async def test_a_report_comes_between_the_ticks_before_it_and_those_behind_it(wire: FakeWire, outbox: Outbox) -> None:
    outbox.report("A", frame("gap 0"))
    wire.full = True
    outbox.write(frame("a1"))
    park(outbox, "B", frame("b1"), 1)
    park(outbox, "A", frame('{"tick":"a5"}'), 2, 2)
    outbox.report("A", frame("gap 1"))
    outbox.report("A", frame("gap 2"))
    park(outbox, "A", frame("a9"), 3)
    wire.drain()
    assert wire.texts == [
        "gap 0", "a1", receipt("slow", A=1), '{"tick":"a5","skipped":2}', "gap 1", "gap 2", receipt("slow", A=2), "b1", "a9"
    ]  # fmt: skip
    assert outbox.waiting.skipped == 3


async def test_what_was_unsubscribed_is_not_sent_any_more(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    park(outbox, "A", frame("a2"), 5, 5)
    park(outbox, "B", frame("b1"), 1)
    assert outbox.waiting.forget("A")
    assert not outbox.waiting.forget("A")
    assert not outbox.waiting.forget("C")
    park(outbox, "A", frame("a3"), 1)
    wire.drain()
    assert wire.texts == ["a1", "b1", "a3"]


async def test_it_is_told_who_is_behind(wire: FakeWire, outbox: Outbox, moves: list[str]) -> None:
    outbox.write(frame("a1"))
    assert moves == []
    wire.full = True
    outbox.write(frame("a2"))
    assert moves == ["behind"]
    park(outbox, "A", frame("a3"), 1)
    wire.drain(full=True)
    assert moves == ["behind", "back", "behind"]
    wire.drain()
    assert moves == ["behind", "back", "behind", "back"]
    outbox.discard()
    assert moves[4:] == ["behind"]


async def test_a_writer_may_write_by_itself_and_say_what_the_socket_took(
    wire: FakeWire, outbox: Outbox, moves: list[str]
) -> None:
    wire.full = True
    data = frame("a1")
    outbox.took(data, outbox.send(data))
    assert outbox.behind
    assert moves == ["behind"]
    assert wire.texts == ["a1"]


async def test_a_connection_that_is_gone_takes_no_more_and_is_not_behind(wire: FakeWire, outbox: Outbox) -> None:
    wire.is_lost = True
    outbox.write(frame("a1"))
    assert not outbox.behind


async def test_a_client_can_fall_behind_again_at_once(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    park(outbox, "A", frame("a2"), 1)
    wire.drain(full=True)
    assert outbox.behind
    park(outbox, "A", frame("a3"), 1)
    wire.drain()
    assert wire.texts == ["a1", "a2", "a3"]


async def test_commands_are_not_read_while_behind(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    waiting = asyncio.create_task(outbox.caught_up())
    await asyncio.sleep(0)
    assert not wire.reading
    assert not waiting.done()
    wire.drain()
    await waiting
    assert wire.reading


async def test_a_client_that_stays_behind_is_closed(wire: FakeWire, impatient: Outbox) -> None:
    wire.full = True
    impatient.write(frame("a1"))
    async with asyncio.timeout(5):
        await impatient.caught_up()
    assert wire.closure == SLOW_CONSUMER
    impatient.reply(frame("late"))
    impatient.report("A", frame("late"))
    wire.drain()
    assert wire.texts == ["a1"]


async def test_a_client_that_drains_in_time_is_not_closed(wire: FakeWire, impatient: Outbox) -> None:
    later = Outbox(later_wire := FakeWire(), patience=0.05)
    wire.full = later_wire.full = True
    impatient.write(frame("a1"))
    wire.drain(full=True)
    impatient.reply(frame("a2"))
    wire.drain()
    later.write(frame("a1"))
    await until(lambda: later_wire.closure)
    assert wire.closure is None


async def test_a_planned_close_is_announced(wire: FakeWire, outbox: Outbox) -> None:
    outbox.close(SERVICE_RESTART)
    assert wire.closure == SERVICE_RESTART
    assert [json.loads(text)["type"] for text in wire.texts] == ["closing"]
    outbox.close(TOO_BIG)
    outbox.reply(frame("late"))
    assert wire.closure == SERVICE_RESTART
    assert len(wire.texts) == 1


async def test_a_close_is_not_announced_to_a_client_that_takes_nothing(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    outbox.close(SERVICE_RESTART)
    assert wire.closure == SERVICE_RESTART
    assert wire.texts == ["a1"]


async def test_an_announcement_that_fills_the_socket_is_the_last(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.close(SERVICE_RESTART)
    wire.drain()
    outbox.reply(frame("late"))
    assert wire.closure == SERVICE_RESTART
    assert [json.loads(text)["type"] for text in wire.texts] == ["closing"]


async def test_a_client_that_is_gone_holds_nothing(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    park(outbox, "A", frame("a2"), 1)
    waiting = asyncio.create_task(outbox.caught_up())
    await asyncio.sleep(0)
    outbox.discard()
    async with asyncio.timeout(5):
        await waiting
    assert wire.released
    assert wire.closure is None


async def test_a_connection_that_is_lost_while_behind_is_not_waited_for(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    waiting = asyncio.create_task(outbox.caught_up())
    await asyncio.sleep(0)
    wire.lose()
    async with asyncio.timeout(5):
        await waiting
    wire.drain()
    outbox.close(SERVICE_RESTART)
    assert wire.closure is None
    assert wire.texts == ["a1"]


async def test_an_outbox_that_is_let_go_of_has_no_descriptor() -> None:
    ring = FakeRing()
    outbox = Outbox(FakeWire(ring), patience=60)
    assert outbox.descriptor == 0
    outbox.let_go()
    assert outbox.descriptor == -1
