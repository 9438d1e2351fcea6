"""The event loop: one epoll set, a handler per file descriptor."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final

from gateway.loadtest.options import LoadTestError

__all__ = ["READABLE", "WRITABLE", "Loop"]

# epoll rather than selectors: a turn asks for a bounded number of events, so that publishing stays on time while
# thousands of sockets are readable, and an event costs half a microsecond less.
if not hasattr(select, "epoll"):
    raise LoadTestError("The load test needs epoll, which only Linux has.")

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
EVENTS_PER_TURN = 128

Handler = Callable[[int], None]


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def add(self, descriptor: int, events: int, handler: Handler) -> None:
        self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def change(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        del self._handlers[descriptor]

    def turn(self, timeout: float) -> None:
        """Waits at most ``timeout`` seconds for events and handles them."""
        handlers = self._handlers
        for descriptor, events in self._epoll.poll(timeout, EVENTS_PER_TURN):
            # An earlier handler of this turn may have removed the descriptor, and a new socket may have got its number;
            # handlers bear an event that is not true.
            if handler := handlers.get(descriptor):
                handler(events)

    def close(self) -> None:
        self._epoll.close()
