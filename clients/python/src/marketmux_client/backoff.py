"""How long to wait before connecting again."""

from __future__ import annotations

import random
from collections.abc import Callable

from .arguments import Number, above_zero, not_negative

__all__ = ["Backoff", "Refusals"]


class Backoff:
    """Exponential backoff with full jitter: anything between 0 and a bound that doubles with each attempt.

    ``base`` and ``cap``: the first bound and the last, in seconds. ``lasting``: how many seconds a connection must have
    lasted for the next to begin at ``base`` again. One that is closed as soon as it is there does not count, or a
    gateway that accepts and closes would be stormed.
    """

    def __init__(
        self,
        base: Number = 0.5,
        cap: Number = 30.0,
        lasting: Number = 10.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.base = above_zero("base", base)
        self.cap = above_zero("cap", cap)
        self.lasting = not_negative("lasting", lasting)
        if self.cap < self.base:
            raise ValueError(f"cap is not below base: {cap} < {base}")
        if not callable(uniform):
            raise TypeError("uniform is a function of two bounds")
        self._uniform = uniform
        self._bound = self.base

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        bound = self._bound
        self._bound = min(self.cap, 2 * bound)
        return self._uniform(0.0, bound)

    def ended(self, after: float) -> None:
        """Notes that a connection has ended that lasted ``after`` seconds."""
        if after >= self.lasting:
            self._bound = self.base


class Refusals:
    """How long refusals are borne. A proxy that reloads, or a rotated key, refuses a client that will be welcome again.

    ``limit``: seconds of nothing but refusals, for a client that was welcomed before. ``clock`` gives seconds.
    """

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._began: float | None = None
        self._was_welcomed = False

    def welcomed(self) -> None:
        self._was_welcomed = True
        self.interrupted()

    def interrupted(self) -> None:
        """An attempt ended in another way."""
        self._began = None

    def left(self) -> float:
        """Notes a refusal; returns for how many seconds there is still use in trying again."""
        if not self._was_welcomed:
            return 0.0
        now = self._clock()
        if self._began is None:
            self._began = now
        return max(0.0, self._began + self._limit - now)
