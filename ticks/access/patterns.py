"""Which symbols somebody may have to do with: symbols by name, beginnings (``BTC-*``), or all (``*``).

Beginnings and no other wildcards: what two sets of patterns share is then again such a set, a symbol is held against
all of them at once, and what they cover lies side by side in the bus's index of symbols.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ticks.grammar import is_symbol

__all__ = ["ALL", "MAX_PATTERNS", "NONE", "Patterns"]

MAX_PATTERNS: Final = 1_000
"""Each is a range of the bus's index when somebody asks for what they may read."""


_WORD: Final = re.compile(r'"((?:[^"]|"")*)"(?=[\s,]|$)|[^\s,]+')


class Patterns:
    """A set of patterns, in its shortest form. Immutable; equal if they cover the same symbols."""

    __slots__ = ("beginnings", "is_all", "symbols")

    def __init__(self, patterns: Iterable[str]) -> None:
        """``ValueError``, with a sentence for their author, if one is no pattern."""
        words = set(patterns)
        if len(words) > MAX_PATTERNS:
            raise ValueError(f"There are at most {MAX_PATTERNS} patterns.")
        beginnings = sorted({_beginning(word) for word in words if word.endswith("*")}, key=len)
        shortest: list[str] = []
        for beginning in beginnings:
            if not beginning.startswith(tuple(shortest)):
                shortest.append(beginning)
        self.beginnings: Final = tuple(sorted(shortest))
        symbols = {_symbol(word) for word in words if not word.endswith("*")}
        self.symbols: Final = frozenset(symbol for symbol in symbols if not symbol.startswith(self.beginnings))
        self.is_all: Final = self.beginnings == ("",)

    @classmethod
    def parse(cls, text: str) -> Patterns:
        """The patterns in a text, with spaces, commas or line ends between them.

        One that has a space stands in quotes, as does one that begins with a quote; there a quote is doubled.
        """
        words = (match[0] if match[1] is None else match[1].replace('""', '"') for match in _WORD.finditer(text))
        return cls(list(words))

    def covers(self, symbol: str) -> bool:
        return symbol in self.symbols or symbol.startswith(self.beginnings)

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and self.covers(symbol)

    def rule(self, symbol: str) -> str | None:
        """The pattern that covers the symbol, None if none does."""
        if symbol in self.symbols:
            return symbol
        return next((f"{beginning}*" for beginning in self.beginnings if symbol.startswith(beginning)), None)

    def __and__(self, other: Patterns) -> Patterns:
        """What both cover."""
        if self.is_all or other.is_all:
            return other if self.is_all else self
        shared = {symbol for symbol in self.symbols | other.symbols if self.covers(symbol) and other.covers(symbol)}
        shared |= {f"{beginning}*" for beginning in self.beginnings if beginning.startswith(other.beginnings)}
        shared |= {f"{beginning}*" for beginning in other.beginnings if beginning.startswith(self.beginnings)}
        return Patterns(shared)

    def __or__(self, other: Patterns) -> Patterns:
        """What one of them covers."""
        return Patterns([*self, *other])

    def __iter__(self) -> Iterator[str]:
        yield from sorted([*self.symbols, *(f"{beginning}*" for beginning in self.beginnings)])

    def __bool__(self) -> bool:
        """False if they cover nothing."""
        return bool(self.symbols or self.beginnings)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Patterns):
            return NotImplemented
        return self.symbols == other.symbols and self.beginnings == other.beginnings

    def __hash__(self) -> int:
        return hash((self.symbols, self.beginnings))

    def __str__(self) -> str:
        """A text for :meth:`parse`."""
        return " ".join(_quoted(pattern) for pattern in self)

    def __repr__(self) -> str:
        return f"Patterns.parse({str(self)!r})"


def _quoted(pattern: str) -> str:
    if " " in pattern or pattern.startswith('"'):
        return '"' + pattern.replace('"', '""') + '"'
    return pattern


def _beginning(pattern: str) -> str:
    beginning = pattern[:-1]
    # A symbol may go on after a space, which it cannot end with.
    if beginning and not is_symbol(beginning) and not (beginning.endswith(" ") and is_symbol(f"{beginning}A")):
        raise _wrong(pattern)
    return beginning


def _symbol(pattern: str) -> str:
    if not is_symbol(pattern):
        raise _wrong(pattern)
    return pattern


def _wrong(pattern: str) -> ValueError:
    example = 'a symbol (AAPL, or in quotes "BRK A"), a beginning (BTC-*), or * for all'
    return ValueError(f"Not a pattern: {pattern[:40]!r}. Write {example}.")


ALL: Final = Patterns(["*"])
NONE: Final = Patterns([])
