"""How many commands may still be sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Budget"]

_SHARE: Final = 0.8
"""Of what the gateway allows. Commands that were held up on the way arrive closer together than they were sent."""


class Budget:
    """A token bucket for ``per_second`` commands a second, and as many at once. ``clock`` gives seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second = max(1.0, _SHARE * per_second)
        self._clock = clock
        self._tokens = self._per_second
        self._at = clock()

    def spend(self) -> float:
        """Takes one command's worth; returns the seconds to wait before the command may be sent."""
        now = self._clock()
        self._tokens = min(self._per_second, self._tokens + (now - self._at) * self._per_second) - 1
        self._at = now
        return max(0.0, -self._tokens / self._per_second)
