"""How many commands, or frames, a client may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["TOKEN_BYTES", "Budget"]

TOKEN_BYTES: Final = 8_192
"""What a command and its answer may have together. One that is longer counts as several."""


class Budget:
    """A token bucket: ``per_second`` on average, and ``at_once`` after a pause; by default one second's worth."""

    __slots__ = ("_at", "_at_once", "_clock", "_per_second", "_refused", "_tokens")

    def __init__(self, per_second: int, clock: Callable[[], float], at_once: int | None = None) -> None:
        self._per_second = per_second
        self._at_once = float(per_second if at_once is None else at_once)
        self._clock = clock
        self._tokens = self._at_once
        self._at = clock()
        self._refused = 0

    def spend(self) -> bool:
        """True if there is one to be had now."""
        now = self._clock()
        self._tokens = min(self._at_once, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            self._refused += 1
            return False
        self._tokens -= 1
        self._refused = 0
        return True

    def charge(self, size: int) -> None:
        """Takes one more for every ``TOKEN_BYTES`` of what was had: nothing is to be had until that is paid.

        No more than a second's worth is owed, so that a second later there is one to be had again, as clients are told.
        """
        if size >= TOKEN_BYTES:
            self._tokens = max(1.0 - self._per_second, self._tokens - size // TOKEN_BYTES)

    @property
    def exhausted(self) -> bool:
        """True if as many in a row were refused as a second allows: the client does not heed refusals."""
        return self._refused >= self._per_second
