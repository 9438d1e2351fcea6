"""How many commands a client may send."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CommandBudget"]


class CommandBudget:
    """A token bucket of ``per_second`` commands that holds one second's worth."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._tokens = float(per_second)
        self._at = clock()
        self._refused = 0

    def spend(self) -> bool:
        """True if one more command may be carried out now."""
        now = self._clock()
        self._tokens = min(self._per_second, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            self._refused += 1
            return False
        self._tokens -= 1
        self._refused = 0
        return True

    @property
    def exhausted(self) -> bool:
        """True if as many commands in a row were refused as a second allows: the client does not heed refusals."""
        return self._refused >= self._per_second
