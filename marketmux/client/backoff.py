"""How long to wait before connecting again."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Exponential backoff with full jitter: anything between 0 and a bound that doubles with each attempt.

    ``base`` and ``cap``: the first bound and the last, in seconds. ``lasting``: how many seconds a connection must have
    lasted for the next to begin at ``base`` again. One that is closed as soon as it is there does not count, or a
    gateway that accepts and closes would be stormed.
    """

    def __init__(
        self,
        base: float = 0.5,
        cap: float = 30.0,
        lasting: float = 10.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.base = base
        self.cap = cap
        self.lasting = lasting
        self._uniform = uniform
        self._bound = base

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        bound = self._bound
        self._bound = min(self.cap, 2 * bound)
        return self._uniform(0.0, bound)

    def ended(self, after: float) -> None:
        """Notes that a connection has ended that lasted ``after`` seconds."""
        if after >= self.lasting:
            self._bound = self.base
