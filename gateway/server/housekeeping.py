"""Ends what takes too long: silent clients, slow requests, applications that outlive their clients.

Daphne does this in two chains of timers. An exception in either ends it for the whole process, and one in the middle of
a response is enough. The chains also follow the wall clock, and go through all connections without a pause. Here it is
one task instead, which follows the monotonic clock, pauses, and survives what it meets.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Generic, TypeVar

from gateway.server.http import GatewayHTTPConnection
from gateway.server.timeouts import Timeouts
from gateway.server.websocket import GatewayProtocol

__all__ = ["SLICE", "Housekeeping", "Schedule", "cut"]

logger = logging.getLogger(__name__)

SLICE: Final = 200
"""Connections that are looked at before others get their turn on the event loop."""

_STALL_SECONDS: Final = 2.5

T = TypeVar("T")


class Schedule(Generic[T]):
    """What is looked at in which round: nothing before it is due, as a look at each of thousands is not free."""

    def __init__(self, round_seconds: float) -> None:
        self._round_seconds = round_seconds
        self._now = 0
        self._rounds: dict[int, dict[T, None]] = {}
        self._round_of: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._round_of)

    def __iter__(self) -> Iterator[T]:
        return iter(self._round_of)

    def put(self, item: T, seconds: float) -> None:
        """Makes it due in the first round that is so many seconds away, and in the next one if that is now."""
        if item in self._round_of:
            self.remove(item)
        due = self._now + max(1, math.ceil(seconds / self._round_seconds))
        self._round_of[item] = due
        self._rounds.setdefault(due, {})[item] = None

    def remove(self, item: T) -> None:
        due = self._round_of.pop(item, None)
        if due is not None:
            del self._rounds[due][item]

    def turn(self) -> Iterator[T]:
        """Goes on to the next round: what is due, and then no longer on the schedule. What is removed first is not."""
        self._now += 1
        due = self._rounds.get(self._now, {})
        for item in _present(due):
            del self._round_of[item], due[item]
            yield item
        self._rounds.pop(self._now, None)


class Housekeeping:
    """Looks at everything that is due, once a round of ``Timeouts.round`` seconds.

    ``websockets`` are due after as many seconds as their last check returned; the handshakes among them, as the server
    says. ``http_connections`` are checked in every round. Both must be removed when they have ended.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self.websockets: Schedule[GatewayProtocol] = Schedule(timeouts.round)
        self.http_connections: set[GatewayHTTPConnection] = set()
        self._timeouts = timeouts
        self._leaving: dict[Any, tuple[asyncio.Task[None], float]] = {}

    def client_left(self, protocol: Any, application: asyncio.Task[None]) -> None:
        """The application has ``Timeouts.leave`` seconds to end from now on."""
        self._leaving[protocol] = application, time.monotonic()

    def application_ended(self, protocol: Any) -> None:
        self._leaving.pop(protocol, None)

    async def run(self) -> None:
        while True:
            await self.check()
            due = time.monotonic() + self._timeouts.round
            await asyncio.sleep(self._timeouts.round)
            late = time.monotonic() - due
            if late > _STALL_SECONDS:
                self.forgive(late)

    def forgive(self, seconds: float) -> None:
        """This process stood still for so long: that is taken off everybody's time."""
        for connection in (*self.websockets, *self.http_connections):
            connection.forgive(seconds)
        self._leaving = {each: (task, since + seconds) for each, (task, since) in self._leaving.items()}

    async def check(self) -> None:
        for number, (check, item) in enumerate(self._due(), 1):
            try:
                check(item)
            except Exception:
                logger.exception("Could not check %r; cutting its connection", item)
                cut(item)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def _due(self) -> Iterator[tuple[Callable[[Any], None], Any]]:
        """Each check and what it is for. Lazily: what ends during the round is not checked any more."""
        for websocket in self.websockets.turn():
            yield self._check_websocket, websocket
        for connection in _present(self.http_connections):
            yield self._check_connection, connection
        for protocol in _present(self._leaving):
            yield self._check_application, protocol

    def _check_connection(self, connection: GatewayHTTPConnection) -> None:
        if _waits_for_us(connection):
            connection.forgive(self._timeouts.round)
        else:
            connection.check_timeouts()

    def _check_websocket(self, protocol: GatewayProtocol) -> None:
        if _waits_for_us(protocol):
            protocol.forgive(self._timeouts.round)
            self.websockets.put(protocol, self._timeouts.round)
            return
        seconds = protocol.check_timeouts()
        if seconds is not None:
            self.websockets.put(protocol, seconds)

    def _check_application(self, protocol: Any) -> None:
        application, since = self._leaving[protocol]
        seconds = time.monotonic() - since
        if seconds > self._timeouts.leave:
            del self._leaving[protocol]
            logger.warning("The application of %r did not end within %d s of its client", protocol, seconds)
            application.cancel()


def _present(items: Collection[T]) -> Iterator[T]:
    """All items, except those that are removed before their turn."""
    return (item for item in list(items) if item in items)


def _waits_for_us(connection: Any) -> bool:
    """Whether the client has sent something that was not read yet, since others have their turn (reactor.py).

    It must not be cut for that. When a crowd comes back, who is cut comes again, and there is no end to it.
    """
    return getattr(connection.transport, "is_in_line", False) is True


def cut(protocol: Any) -> None:
    """Ends a connection at once."""
    transport = getattr(protocol, "transport", None)
    if transport is not None:
        transport.abortConnection()
