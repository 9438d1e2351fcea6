"""How many commands, or frames, a client may send."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Budget"]


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

    def charge(self, tokens: float) -> None:
        """Takes more for what was had, if it turned out to cost more: nothing is to be had until that is paid."""
        self._tokens -= tokens

    @property
    def exhausted(self) -> bool:
        """True if as many in a row were refused as a second allows: the client does not heed refusals."""
        return self._refused >= self._per_second
