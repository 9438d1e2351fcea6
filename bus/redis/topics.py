"""What is subscribed to on a connection: which names are wanted, and which of them Redis has not confirmed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["Topics", "confirmed"]

_STEPS: Final = 12


async def confirmed(
    unconfirmed: Collection[asyncio.Future[None]], seconds: float, is_connected: Callable[[], bool]
) -> bool:
    """Whether all of them were confirmed in time, which bounds the wait for a connection and then that for Redis."""
    # In steps: while thousands of clients arrive the loop may be held up for longer than the time that Redis has, and
    # its answer, which is in the socket already, gets its chance to be read in the next. They begin again at a
    # connection that is there: to make one takes several round trips.
    steps, is_there = _STEPS, is_connected()
    while steps:
        _, pending = await asyncio.wait(unconfirmed, timeout=seconds / _STEPS)
        if not pending:
            return True
        steps -= 1
        if not is_there and is_connected():
            steps, is_there = _STEPS, True
    return False


class Topics:
    """Channels, or patterns: which are wanted, and which of them Redis has not confirmed yet."""

    def __init__(self, subscribe: str, unsubscribe: str) -> None:
        self.subscribe = subscribe
        self.unsubscribe = unsubscribe
        self.wanted: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        # How many confirmations are under way. What was left and joined again at once has two, and an UNSUBSCRIBE
        # between them: only after the last is it sure to be subscribed.
        self._asked: dict[str, int] = {}

    @property
    def is_pending(self) -> bool:
        return bool(self._waiting)

    def want(self, names: Iterable[str], is_asked: bool) -> None:
        for name in names:
            self.wanted.add(name)
            self._wait_for(name)
            if is_asked:
                self._asked[name] = self._asked.get(name, 0) + 1

    def forget(self, names: Iterable[str]) -> list[str]:
        """Those that were wanted."""
        gone = [name for name in names if name in self.wanted]
        self.wanted.difference_update(gone)
        for name in gone:
            self._waiting.pop(name, None)
        return gone

    def start_over(self, asked: Mapping[str, int] = MappingProxyType({})) -> None:
        """Another connection, on which everything is asked for once, beside what was ``asked`` for there before."""
        self._asked = {name: 1 + asked.get(name, 0) for name in self.wanted}
        for name in self.wanted:
            self._wait_for(name)

    def unconfirmed(self, names: Iterable[str]) -> list[asyncio.Future[None]]:
        return [self._waiting[name] for name in names if name in self._waiting]

    def confirm(self, name: str) -> bool:
        """Notes a confirmation; true if it was the last one under way, so that the name is sure to be subscribed."""
        asked = self._asked.pop(name, 1) - 1
        if asked:
            self._asked[name] = asked
            return False
        waiter = self._waiting.pop(name, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return True

    def clear(self) -> None:
        self.wanted.clear()
        self._waiting.clear()

    def _wait_for(self, name: str) -> None:
        if name not in self._waiting:
            self._waiting[name] = asyncio.get_running_loop().create_future()
