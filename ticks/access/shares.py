"""Rules for what each owner may have of what all share: how fast, and how much. No I/O; ``clock`` is in seconds.

Everything here is of constant size for an owner, and forgets owners that are idle.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["Buckets", "Flow", "OverShare", "limited"]

_REASONS: Final = (
    *("tcp_connections", "handshakes", "connections", "symbols", "ticks", "new_symbols"),
    *("unknown_keys", "unknown_sessions"),
)

limited: Counter[str] = Counter(dict.fromkeys(_REASONS, 0))
"""What this process refused, by the limit that was reached; and credentials that there are not."""

_OWNERS: Final = 10_000
_WISH_SECONDS: Final = 0.5
"""A burst is no rate: what is asked for is looked at over so long at least."""


class OverShare(Exception):
    """An owner has reached the ``limit`` of ``what``; ``wait``: seconds after which there is something again."""

    def __init__(self, what: str, limit: int, message: str, wait: float) -> None:
        super().__init__(message)
        self.what = what
        self.limit = limit
        self.message = message
        self.wait = wait
        limited[what] += 1


class Buckets:
    """A bucket for each owner, which holds ``burst`` and is filled by ``rate`` a second.

    Of more than ``most`` owners the ones are forgotten that were seen first: it is a bound for memory.
    """

    def __init__(
        self, rate: float, burst: float, most: int = _OWNERS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / rate
        self._depth = burst / rate
        self._most = most
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When each owner's bucket will be full again."""

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, owner: str) -> float:
        """0 if there was one left, else, and none is taken, in how many seconds there is."""
        now = self._clock()
        full_at = max(self._full_at.get(owner, 0.0), now) + self._interval
        wait = full_at - now - self._depth
        if wait > 1e-9:
            return wait
        self._full_at[owner] = full_at
        self._full_at.move_to_end(owner)
        self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        for _ in range(2):
            owner, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._most:
                break
            del self._full_at[owner]
            if not self._full_at:
                break


class Flow:
    """The ticks of one owner in one worker: at most ``rate`` a second, and a second's at once.

    A batch of more than that is taken when nothing was for a second; what comes next then waits until it is paid.
    """

    __slots__ = ("_asked", "_at", "_before", "_tokens", "limit", "rate", "used_at")

    def __init__(self, limit: int, rate: float, now: float) -> None:
        self.limit = limit
        """Of all workers together."""
        self.rate = rate
        """Of this one."""
        self.used_at = now
        self._at = now
        self._tokens = rate
        self._asked = self._before = 0.0

    def take(self, count: int, now: float) -> float:
        """0 if they are taken, else, and none is, in how many seconds they may be."""
        self._accrue(now)
        self.used_at = now
        self._asked += count
        needed = min(count, self.rate)
        if self.rate > 0 and self._tokens >= needed - 1e-6:
            self._tokens -= count
            return 0.0
        return (needed - self._tokens) / self.rate if self.rate > 0 else 1.0

    def lease(self, rate: float, now: float) -> None:
        """Its part of the limit is another one from now on."""
        self._accrue(now)
        self.rate = rate
        self._tokens = min(self._tokens, rate)

    def wish(self, seconds: float) -> int:
        """How many a second were asked for lately; called every so many seconds."""
        asked, self._asked = self._asked / max(seconds, _WISH_SECONDS), 0.0
        self._before = min(self.limit, max(asked, 0.7 * self._before))
        return math.ceil(self._before)

    def left(self) -> int:
        """How many may come at once."""
        return max(0, math.floor(self._tokens + 1e-6))

    def _accrue(self, now: float) -> None:
        self._tokens = min(self.rate, self._tokens + (now - self._at) * self.rate)
        self._at = now
