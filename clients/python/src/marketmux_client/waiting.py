"""Ticks that wait to be sent: bounded, with a rule for when there is no room. No I/O; safe between threads."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from .errors import QueueFull
from .outgoing import Outgoing

__all__ = ["POLICIES", "Policy", "Waiting"]

Policy: TypeAlias = Literal["wait", "drop_oldest", "raise"]
POLICIES: Final = ("wait", "drop_oldest", "raise")


class Waiting:
    """A queue of at most ``limit`` ticks.

    ``wake`` is called, in the thread of the one who puts, when as many ticks wait as :meth:`is_due` asked for.
    """

    def __init__(self, limit: int, policy: Policy, wake: Callable[[], None]) -> None:
        self._limit = limit
        self._policy = policy
        self._wake = wake
        self._wake_at = 0
        self._lock = threading.Lock()
        self._ticks: OrderedDict[int, Outgoing] = OrderedDict()
        self._numbers: dict[str, deque[int]] = {}
        """Of each symbol that waits, the numbers of its ticks. Kept for ``drop_oldest`` alone."""
        self._many: OrderedDict[str, None] = OrderedDict()
        """The symbols of which more than one tick waits."""
        self._last = 0
        self.offered = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._ticks)

    @property
    def first(self) -> int:
        """The number of the oldest tick that waits; the next one's if none does."""
        with self._lock:
            return next(iter(self._ticks), self._last + 1)

    @property
    def last(self) -> int:
        """The number of the tick that was put last."""
        return self._last

    def put(self, tick: Outgoing) -> bool:
        """Returns False if the tick has to wait for room. Raises QueueFull if that is the rule."""
        with self._lock:
            if len(self._ticks) >= self._limit:
                if self._policy == "wait":
                    return False
                if self._policy == "raise":
                    raise QueueFull(self._limit)
                self._drop_for(tick.symbol)
            self.offered += 1
            self._last += 1
            self._ticks[self._last] = tick
            if self._policy == "drop_oldest":
                self._note(tick.symbol)
            is_due = 0 < self._wake_at <= len(self._ticks)
            if is_due:
                self._wake_at = 0
        if is_due:
            self._wake()
        return True

    def is_due(self, count: int) -> bool:
        """Whether so many ticks wait already. If not, ``wake`` is called when they do."""
        with self._lock:
            is_due = len(self._ticks) >= min(count, self._limit)
            self._wake_at = 0 if is_due else min(count, self._limit)
            return is_due

    def take(self, count: int, size: int) -> list[Outgoing]:
        """The oldest ticks: at most ``count``, of ``size`` bytes together."""
        taken: list[Outgoing] = []
        with self._lock:
            while self._ticks and len(taken) < count:
                number = next(iter(self._ticks))
                size -= len(self._ticks[number].json) + 1
                if size < 0 and taken:
                    break
                taken.append(self._pop(number))
        return taken

    def _drop_for(self, symbol: str) -> None:
        """Makes room: by the oldest tick of the same symbol, else of one that has a newer one, else of all."""
        numbers = self._numbers.get(symbol)
        if not numbers and self._many:
            numbers = self._numbers[next(iter(self._many))]
        self._pop(numbers[0] if numbers else next(iter(self._ticks)))
        self.dropped += 1

    def _note(self, symbol: str) -> None:
        numbers = self._numbers.setdefault(symbol, deque())
        numbers.append(self._last)
        if len(numbers) > 1:
            self._many[symbol] = None

    def _pop(self, number: int) -> Outgoing:
        tick = self._ticks.pop(number)
        if self._policy == "drop_oldest":
            numbers = self._numbers[tick.symbol]
            numbers.popleft()  # the oldest of its symbol, wherever it is in the queue
            if len(numbers) < 2:
                self._many.pop(tick.symbol, None)
            if not numbers:
                del self._numbers[tick.symbol]
        return tick
