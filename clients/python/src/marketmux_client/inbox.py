"""Events between the task that reads the socket and the one that iterates."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from .backlog import Backlog
from .events import Disconnected, Event

__all__ = ["Inbox"]

_SLICE: Final = 0.05
"""Seconds after which a consumer that never waits lets the socket be read."""
_TURNS: Final = 8
"""Turns of the loop that this takes: one to find what came, one to read it, one to wake the reader, and some more."""


class Inbox:
    """A queue that keeps everything as long as the consumer keeps up, and the newest of each symbol when it does not.

    The client reads on while its consumer is slow. Otherwise what it has not read would grow old in the sockets of both
    sides, where nobody sees it, and would come as new. So when ``limit`` events wait, or the first has waited for
    longer than ``max_age`` seconds, all that waits becomes a :class:`Backlog`, until the consumer has come to its end.
    """

    def __init__(self, limit: int, max_age: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._max_age = max_age
        self._clock = clock
        self._events: deque[tuple[float, Event]] = deque()
        self._backlog = Backlog()
        self._is_behind = False
        self._due: deque[Event] = deque()
        """What the backlog has given out: a price and what comes before it, which belong together."""
        self._end: BaseException | None = None
        self._failure: Disconnected | None = None
        self._filled = asyncio.Event()
        self._is_awaited = False
        self._waited_at = clock()

    @property
    def skipped(self) -> int:
        """Prices that were left out for newer ones."""
        return self._backlog.skipped

    def put(self, event: Event) -> None:
        if self._is_behind:
            self._backlog.put(event)
        else:
            self._events.append((self._clock(), event))
        self._filled.set()

    def put_failure(self, event: Disconnected) -> None:
        """An attempt to connect failed, perhaps again: only the last is kept while the consumer does not read."""
        if self._events and self._events[-1][1] is self._failure:
            self._events.pop()
        self._failure = event
        self.put(event)

    async def room(self) -> None:
        """Returns when another message may be read: at once, or after a chance for the consumer to make room.

        One read of the socket may bring more than the queue holds, which is no fault of the consumer's.
        """
        if len(self._events) >= self._limit:
            await asyncio.sleep(0)
            if len(self._events) >= self._limit:
                self._fall_behind()

    async def get(self) -> Event:
        """The next event; after the last raises what ``finish`` was given. Safe to cancel.

        Raises RuntimeError while another waits: whatever came would go to either.
        """
        if self._is_awaited:
            raise RuntimeError("another task waits for the next event: a client has one consumer")
        self._is_awaited = True
        try:
            await self._let_read()
            while (event := self._next()) is None:
                if self._end is not None:
                    raise self._end
                self._filled.clear()
                await self._filled.wait()
                self._waited_at = self._clock()
        finally:
            self._is_awaited = False
        return event

    def purge(self, is_unwanted: Callable[[str], bool]) -> None:
        """Takes out the symbols that are no longer wanted."""

        def is_wanted(event: Event) -> bool:
            symbol = getattr(event, "symbol", None)
            return symbol is None or not is_unwanted(symbol)

        self._events = deque((at, event) for at, event in self._events if is_wanted(event))
        self._due = deque(filter(is_wanted, self._due))
        self._backlog.purge(is_unwanted)

    def finish(self, end: BaseException, discard: bool = False) -> None:
        """There will be no more events; ``discard`` those that are there, too."""
        if discard:
            self._events.clear()
            self._due.clear()
            self._backlog.clear()
        if self._end is None:
            self._end = end
        self._filled.set()

    async def _let_read(self) -> None:
        """A consumer that finds an event each time it asks, and waits for nothing else, would hold up the loop."""
        if self._clock() - self._waited_at > _SLICE and (self._events or self._is_behind):
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            self._waited_at = self._clock()

    def _next(self) -> Event | None:
        if self._events and self._is_old(*self._events[0]):
            self._fall_behind()
        if self._events:
            return self._events.popleft()[1]
        if not self._due and self._backlog:
            self._due.extend(self._backlog.take())
        if self._due:
            return self._due.popleft()
        self._is_behind = False
        return None

    def _is_old(self, at: float, event: Event) -> bool:
        """Whether a price has waited for too long."""
        return self._max_age is not None and hasattr(event, "symbol") and self._clock() - at > self._max_age

    def _fall_behind(self) -> None:
        self._is_behind = True
        for _, event in self._events:
            self._backlog.put(event)
        self._events.clear()
