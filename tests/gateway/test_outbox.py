"""A client that keeps up gets everything; one that does not gets the newest of each symbol, and is told."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.errors import SLOW_CONSUMER
from gateway.frames import text_frame
from gateway.outbox import Outbox
from tests.gateway.fakes import FakeWire


@pytest.fixture
def wire() -> FakeWire:
    return FakeWire()


@pytest.fixture
async def outbox(wire: FakeWire) -> Outbox:
    return Outbox(wire, patience=0.05)


def frame(text: str) -> bytes:
    return text_frame(text.encode())


async def test_a_frame_is_written_at_once(wire: FakeWire, outbox: Outbox) -> None:
    outbox.write(frame("a"))
    assert wire.texts == ["a"]
    assert not outbox.behind


async def test_a_pass_is_one_write(wire: FakeWire, outbox: Outbox) -> None:
    outbox.gathered += [frame("a"), frame("b")]
    outbox.flush()
    assert wire.texts == ["a", "b"]
    assert len(wire.writes) == 1
    assert outbox.gathered == []


async def test_a_client_behind_keeps_the_newest_of_each_symbol(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    assert outbox.behind
    outbox.park("B", frame("b1"), 1)
    outbox.park("A", frame("a2"), 1)
    outbox.park("B", frame("b4"), 3)
    assert wire.texts == ["a1"]
    wire.drain()
    receipt, *ticks = wire.texts[1:]
    assert json.loads(receipt) == {"type": "conflated", "reason": "slow", "skipped": {"B": 3}}
    assert ticks == ["b4", "a2"]
    assert len(wire.writes) == 2
    assert not outbox.behind
    assert outbox.skipped == 3


async def test_nothing_skipped_needs_no_receipt(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    outbox.park("A", frame("a2"), 1)
    wire.drain()
    assert wire.texts == ["a1", "a2"]


async def test_answers_wait_in_their_place(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    outbox.park("A", frame("a2"), 1)
    outbox.reply(frame("answer 1"))
    outbox.reply(frame("answer 2"))
    outbox.park("B", frame("b1"), 1)
    wire.drain()
    assert wire.texts == ["a1", "a2", "answer 1", "answer 2", "b1"]


async def test_what_was_unsubscribed_is_not_sent_any_more(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    outbox.park("A", frame("a2"), 5)
    outbox.park("B", frame("b1"), 1)
    outbox.forget("A")
    outbox.forget("C")
    wire.drain()
    assert wire.texts == ["a1", "b1"]


async def test_a_client_can_fall_behind_again_at_once(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    outbox.park("A", frame("a2"), 1)
    wire.drain(full=True)
    assert outbox.behind
    outbox.park("A", frame("a3"), 1)
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


async def test_a_client_that_stays_behind_is_closed(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    waiting = asyncio.create_task(outbox.caught_up())
    await asyncio.sleep(0.15)
    assert wire.closure == SLOW_CONSUMER
    assert waiting.done()
    outbox.reply(frame("late"))
    wire.drain()
    assert wire.texts == ["a1"]


async def test_a_client_that_drains_in_time_is_not_closed(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    wire.drain()
    await asyncio.sleep(0.15)
    assert wire.closure is None


async def test_a_client_that_is_gone_holds_nothing(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    outbox.park("A", frame("a2"), 1)
    waiting = asyncio.create_task(outbox.caught_up())
    await asyncio.sleep(0)
    outbox.discard()
    await waiting
    assert wire.released
    await asyncio.sleep(0.15)
    assert wire.closure is None


async def test_a_connection_that_is_lost_while_behind_is_not_waited_for(wire: FakeWire, outbox: Outbox) -> None:
    wire.full = True
    outbox.write(frame("a1"))
    waiting = asyncio.create_task(outbox.caught_up())
    await asyncio.sleep(0)
    wire.lose()
    await waiting
    await asyncio.sleep(0.15)
    assert wire.closure is None
