"""Events between the task that reads the socket and the one that iterates."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from marketmux.client.events import Disconnected, Event

__all__ = ["Inbox"]


class Inbox:
    """A queue that is full with ``limit`` events.

    Putting never fails, as one message can make several events. The task that reads the socket awaits ``room`` before
    the next message: a consumer that does not iterate stops the reading, TCP tells the gateway, and the gateway
    conflates. Room is also made while an answer is awaited. Otherwise a consumer that calls ``subscribe`` from inside
    its loop would wait for an answer that stands behind events which only it can take out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[Event] = deque()
        self._end: BaseException | None = None
        self._urgent = 0
        self._is_awaited = False
        self._failure: Disconnected | None = None
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read now."""
        return len(self._events) >= self._limit and not self._urgent

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._filled.set()

    def put_failure(self, event: Disconnected) -> None:
        """An attempt to connect failed, perhaps again: only the last is kept while the consumer does not read."""
        if self._events and self._events[-1] is self._failure:
            self._events.pop()
        self._failure = event
        self.put(event)

    async def get(self) -> Event:
        """The next event; after the last raises what ``finish`` was given. Safe to cancel.

        Raises RuntimeError while another waits: whatever came would go to either.
        """
        if self._is_awaited:
            raise RuntimeError("another task waits for the next event: a client has one consumer")
        self._is_awaited = True
        try:
            while not self._events:
                if self._end is not None:
                    raise self._end
                self._filled.clear()
                await self._filled.wait()
        finally:
            self._is_awaited = False
        event = self._events.popleft()
        if len(self._events) < self._limit:
            self._emptied.set()
        return event

    async def room(self) -> None:
        """Returns when another message may be read."""
        while self.is_full:
            self._emptied.clear()
            await self._emptied.wait()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """There is room meanwhile."""
        self._urgent += 1
        self._emptied.set()
        try:
            yield
        finally:
            self._urgent -= 1

    def purge(self, is_unwanted: Callable[[Event], bool]) -> None:
        """Takes out what is no longer wanted."""
        self._events = deque(event for event in self._events if not is_unwanted(event))
        self._emptied.set()

    def finish(self, end: BaseException, discard: bool = False) -> None:
        """There will be no more events; ``discard`` those that are there, too."""
        if discard:
            self._events.clear()
        if self._end is None:
            self._end = end
        self._filled.set()
        self._emptied.set()
