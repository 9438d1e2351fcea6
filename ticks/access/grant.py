"""What somebody may do: one object a connection or request, found at the door and held as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ticks.access.patterns import NONE, Patterns

__all__ = ["NOBODY", "UNLIMITED", "Grant", "Limits", "Scope"]


class Scope(StrEnum):
    """What can be done with a symbol."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of everything; None is what the settings say for all."""

    ticks_per_second: int | None = None
    connections: int | None = None
    symbols: int | None = None
    new_symbols: int | None = None


UNLIMITED: Final = Limits()


@dataclass(frozen=True, slots=True)
class Grant:
    """Who it is, what it may do, and for how long."""

    owner: str = ""
    """Whose it is, for what is counted and kept for each: ``key:12``, ``user:7``, ``anonymous:192.0.2.1``."""
    who: str = "nobody"
    """The same for people to read."""
    publish: Patterns = NONE
    subscribe: Patterns = NONE
    read: Patterns = NONE
    limits: Limits = UNLIMITED
    expires: float | None = None
    """The time (of ``time.time()``) at which it ends by itself."""
    stands_on: frozenset[str] = frozenset()
    """What it was made from, such as ``key:12`` or ``user:7``: when one of these changes, ``renew`` asks anew."""
    renew: Callable[[], Grant | None] | None = field(default=None, compare=False, repr=False)
    """Asks the database what is left of it; None if nothing is. There is nothing to ask where this is None."""

    def of(self, scope: Scope) -> Patterns:
        """The symbols with which that may be done."""
        patterns: Patterns = getattr(self, scope)
        return patterns

    def denied(self, scope: Scope, symbols: Iterable[str]) -> list[str]:
        """Those of ``symbols`` with which it may not be done."""
        patterns = self.of(scope)
        return [] if patterns.is_all else [symbol for symbol in symbols if not patterns.covers(symbol)]


NOBODY: Final = Grant()
