"""What a client has sent and its application has not taken yet: bounded, whatever the client does.

A client that sends faster than it is served is not read from until there is room again, so TCP holds it back. No more
than ``MOST_EVENTS`` events, or ``MOST_BYTES`` and one message, wait here. What waits is handed out in turns (turns.py),
so a client that sends many messages at once does not have all of them carried out before anybody else's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from gateway.server.turns import Turns

__all__ = ["MOST_BYTES", "MOST_EVENTS", "Inbox", "Reader", "waiting"]

MOST_EVENTS: Final = 64
MOST_BYTES: Final = 1_048_576
TURN_SECONDS: Final = 0.001
"""For how long an application is handed events in its turn: what it needs for the next is in the processor's caches."""


class Reader(Protocol):
    """The connection that fills an inbox."""

    @property
    def turns(self) -> Turns:
        """In which what it sent is taken."""

    def hold(self) -> None:
        """The inbox is full: puts nothing more into it but a disconnect."""

    def release(self) -> None:
        """There is room again; may put events at once."""


class Inbox:
    """Events for one application: what ``asyncio.Queue`` is here for, in a tenth of its memory."""

    __slots__ = ("_events", "_held", "_reader", "_size", "_until", "_waiting")

    def __init__(self, reader: Reader | None = None) -> None:
        """``reader``: None if no more events come than one has to take."""
        self._reader = reader
        self._events: list[dict[str, Any]] = []
        self._size = 0
        self._held = False
        self._until = 0.0
        self._waiting: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put_nowait(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        self._size += _size(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if (
            self._reader is not None
            and not self._held
            and (len(self._events) >= MOST_EVENTS or self._size >= MOST_BYTES)
        ):
            self._held = True
            self._reader.hold()

    def abandon(self) -> None:
        """The reader is gone."""
        self._reader = None

    async def get(self) -> dict[str, Any]:
        """The next event; one caller at a time."""
        if self._events and self._reader is not None and time.perf_counter() > self._until:
            await self._reader.turns.take()
            self._until = time.perf_counter() + TURN_SECONDS
        while not self._events:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
                self._until = time.perf_counter() + TURN_SECONDS  # it comes in the turn in which it was read
        return self._pop()

    def get_nowait(self) -> dict[str, Any] | None:
        """The next event if it has come and the turn in which the last one was taken goes on."""
        is_now = self._reader is None or time.perf_counter() <= self._until
        return self._pop() if self._events and is_now else None

    def _pop(self) -> dict[str, Any]:
        event = self._events.pop(0)
        self._size -= _size(event)
        if self._held and len(self._events) <= MOST_EVENTS // 4 and self._size <= MOST_BYTES // 4:
            self._held = False
            if self._reader is not None:
                self._reader.release()
        return event


def waiting(receive: Callable[[], Awaitable[dict[str, Any]]]) -> Callable[[], dict[str, Any] | None]:
    """Takes what an application need not wait for. ``receive``: of ASGI; other servers than ours do not tell."""
    inbox = getattr(receive, "__self__", None)
    return inbox.get_nowait if isinstance(inbox, Inbox) else lambda: None


def _size(event: dict[str, Any]) -> int:
    return len(event.get("text") or event.get("bytes") or b"")
