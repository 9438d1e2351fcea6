"""What waits for an application: in order, and bounded."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.server.inbox import MOST_BYTES, MOST_EVENTS, Inbox
from gateway.server.turns import Turns


class Reader:
    """Fills an inbox as long as it may, as a connection does whose client never stops."""

    def __init__(self, text: str = "x", left: int = 1_000_000) -> None:
        self.inbox = Inbox(self)
        self.turns = Turns()
        self.held = False
        self.put = 0
        self._text = text
        self._left = left

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        self.fill()

    def fill(self) -> None:
        while not self.held and self.put < self._left:
            self.put += 1
            self.inbox.put_nowait(event(f"{self._text}{self.put}"))


def event(text: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": text}


async def test_events_come_in_their_order() -> None:
    reader = Reader("", left=500)
    reader.fill()
    assert [(await reader.inbox.get())["text"] for _ in range(500)] == [str(number) for number in range(1, 501)]


async def test_whoever_waits_gets_the_next_event() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put_nowait(event("late"))
    assert (await waiting)["text"] == "late"


async def test_no_more_than_the_most_events_wait() -> None:
    reader = Reader()
    reader.fill()
    for _ in range(10 * MOST_EVENTS):
        assert len(reader.inbox) <= MOST_EVENTS
        await reader.inbox.get()
    assert reader.put > 10 * MOST_EVENTS


async def test_few_events_are_too_many_if_they_are_long() -> None:
    reader = Reader("x" * (MOST_BYTES // 4))
    reader.fill()
    assert len(reader.inbox) == 4


async def test_reading_goes_on_only_when_most_is_taken() -> None:
    reader = Reader(left=MOST_EVENTS)
    reader.fill()
    while len(reader.inbox) > MOST_EVENTS // 4:
        assert reader.held
        await reader.inbox.get()
    assert not reader.held


async def test_a_client_that_leaves_is_heard_of_even_when_full() -> None:
    reader = Reader(left=MOST_EVENTS)
    reader.fill()
    reader.inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
    types = [(await reader.inbox.get())["type"] for _ in range(MOST_EVENTS + 1)]
    assert types[-1] == "websocket.disconnect"
