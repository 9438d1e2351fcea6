"""Who takes every symbol, at which rate, and how far each of them was told of the streams.

Such a client is in no stream's tables, so a stream costs it nothing, and it costs a stream nothing. What it gets of a
stream begins when it is told where the stream is. There may be a hundred thousand, so that is a tour in slices: the
streams have numbers in the order in which they were made, and the tour of a client is at one of these.

A client that asks for everything again is on tour again. Of a stream that it was not told of again yet it goes on
getting what it got before, at the rate it had.

Who may see some symbols only has tables apart, so that this costs the others nothing. Which of them may see a symbol is
worked out once, and again when one of them comes, goes or may see something else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from gateway.fanout.outbox import Outbox
from gateway.fanout.stream import Stream
from gateway.protocol.values import EVERYTHING
from ticks.access.patterns import ALL, Patterns

__all__ = ["NOTHING", "Everything"]

NOTHING: Final = -1.0
"""Stands for the rate of clients that get nothing."""

_number: Final = attrgetter("number")


class _Tour:
    """How far one client was told."""

    __slots__ = ("at", "before", "early", "end", "known")

    def __init__(self, before: float | None, end: int, known: Patterns | None = None) -> None:
        """``before``: at which rate it gets what it was not told of yet. ``end``: the number of the last stream that it
        is told of; those that are made later introduce themselves. ``known``: what it may see already, where it is told
        of what else it may see from now on.
        """
        self.before = before
        self.known = known
        self.at = 0
        self.end = end
        self.early: set[str] = set()
        """What it was told of out of turn."""

    def is_known(self, stream: Stream) -> bool:
        """Whether the client need not be told of a stream."""
        return self.known is not None and self.known.covers(stream.symbol)

    def has_passed(self, stream: Stream) -> bool:
        return not self.at < stream.number <= self.end or stream.symbol in self.early


class Everything:
    """The clients of one process that take every symbol."""

    def __init__(self, clients: Mapping[Outbox, Mapping[str, float | None]]) -> None:
        """``clients``: all of the process, and what each subscribed to at which rate."""
        self._clients = clients
        self.has_unrated = False
        """Whether anybody takes every tick."""
        self.rates: dict[float, dict[Outbox, None]] = {}
        """Those who chose a rate and may see all; who changes it is in two of these tables while it is on tour."""
        self.limits: dict[Outbox, Patterns] = {}
        """What those may see who may not see all, whether or not they take everything."""
        self._unrated: dict[Outbox, None] = {}
        self._limited: dict[float | None, dict[Outbox, None]] = {}
        """Those of the limited who take everything, by rate."""
        self._seers: dict[str, list[Outbox]] = {}
        """Which of the limited may see a symbol, as far as somebody asked."""
        self.tours: dict[Outbox, _Tour] = {}

    # Who gets what

    def covers(self, outbox: Outbox, stream: Stream) -> bool:
        """Whether a client gets a stream because it takes everything."""
        return self._includes(outbox, stream) and self._rate(outbox, stream) != NOTHING

    def takes_all(self, outbox: Outbox) -> bool:
        """Whether a client gets every stream, by name or because it takes everything."""
        return outbox not in self.tours and outbox not in self.limits

    def may_see(self, outbox: Outbox, symbol: str) -> bool:
        limit = self.limits.get(outbox)
        return limit is None or limit.covers(symbol)

    def _includes(self, outbox: Outbox, stream: Stream) -> bool:
        """Whether a stream is part of what everything is for this client: it may see it, and did not subscribe to it by
        name. This, with ``_seers``, is the one place where that is decided.
        """
        return stream.symbol not in self._clients[outbox] and self.may_see(outbox, stream.symbol)

    def _rate(self, outbox: Outbox, stream: Stream) -> float | None:
        tour = self.tours.get(outbox)
        if tour is None or tour.has_passed(stream):
            return self._clients[outbox][EVERYTHING]
        return tour.before if tour.known is None or tour.is_known(stream) else NOTHING

    def who_takes(self, stream: Stream, rate: float | None) -> list[Outbox]:
        """Those who get a stream, at this rate, because they take everything."""
        table = self._unrated if rate is None else self.rates.get(rate, {})
        if self.tours:
            takers = self._takers(table, stream, rate)
        else:
            symbol, clients = stream.symbol, self._clients  # paid for every tick: what _takers does, without tours
            takers = [outbox for outbox in table if symbol not in clients[outbox]]
        if limited := self._limited.get(rate):
            seeing = self._seeing(stream.symbol)
            takers += self._takers([outbox for outbox in seeing if outbox in limited], stream, rate)
        return takers

    def _takers(self, outboxes: Iterable[Outbox], stream: Stream, rate: float | None) -> list[Outbox]:
        return [outbox for outbox in outboxes if self._includes(outbox, stream) and self._rate(outbox, stream) == rate]

    def _seeing(self, symbol: str) -> list[Outbox]:
        if symbol not in self._seers:
            everybody = dict.fromkeys(chain(*self._limited.values()))
            self._seers[symbol] = [outbox for outbox in everybody if self.may_see(outbox, symbol)]
        return self._seers[symbol]

    def audience(self, stream: Stream) -> Iterator[Outbox]:
        """All who get a stream because they take everything."""
        for rate in (None, *self.rates):
            yield from self.who_takes(stream, rate)

    def __iter__(self) -> Iterator[Outbox]:
        """All who take everything, each once."""
        yield from dict.fromkeys(chain(self._unrated, *self.rates.values(), *self._limited.values()))

    # Who comes and goes

    def begin(self, outbox: Outbox, rate: float | None, before: float | None, end: int) -> None:
        """A client takes everything from now on, at another rate than ``before``; it is told up to number ``end``."""
        self._enter(outbox, rate)
        self.tours[outbox] = _Tour(before, end)

    def limit(self, outbox: Outbox, patterns: Patterns) -> None:
        """A client may see what the patterns cover from now on, and nothing else."""
        rates = [rate for rate in (None, *self.rates) if self._leave(outbox, rate)]
        if patterns.is_all:
            self.limits.pop(outbox, None)
        else:
            self.limits[outbox] = patterns
        for rate in rates:
            self._enter(outbox, rate)

    def widen(self, outbox: Outbox, patterns: Patterns, end: int) -> None:
        """A client that is not on tour may see more than before: it is told of that up to number ``end``."""
        known = self.limits.get(outbox, ALL)
        self.limit(outbox, patterns)
        self.tours[outbox] = _Tour(self._clients[outbox][EVERYTHING], end, known)

    def arrive(self, outbox: Outbox) -> None:
        """A tour is over."""
        before = self.tours.pop(outbox).before
        if before != self._clients[outbox][EVERYTHING]:
            self._leave(outbox, before)

    def end(self, outbox: Outbox) -> None:
        """A client no longer takes everything, or is gone."""
        self.tours.pop(outbox, None)
        for rate in (None, *self.rates):
            self._leave(outbox, rate)

    def forget(self, outbox: Outbox) -> None:
        """A client is gone."""
        self.end(outbox)
        self.limits.pop(outbox, None)

    def _enter(self, outbox: Outbox, rate: float | None) -> None:
        table = self._unrated if rate is None else self.rates.setdefault(rate, {})
        if outbox in self.limits:
            table = self._limited.setdefault(rate, {})
            self._seers.clear()
        table[outbox] = None
        self.has_unrated = bool(self._unrated or None in self._limited)

    def _leave(self, outbox: Outbox, rate: float | None) -> bool:
        """Says whether it was there."""
        free = self._unrated if rate is None else self.rates.get(rate, {})
        limited = self._limited.get(rate, {})
        was_there = outbox in free or outbox in limited
        free.pop(outbox, None)
        if outbox in limited:
            del limited[outbox]
            self._seers.clear()
            if not limited:
                del self._limited[rate]
        if rate is not None and not free and rate not in self._limited:
            self.rates.pop(rate, None)
        self.has_unrated = bool(self._unrated or None in self._limited)
        return was_there

    # Tours

    def ahead(self, outbox: Outbox, streams: Mapping[str, Stream]) -> list[Stream]:
        """The streams that a client's tour has before it."""
        tour = self.tours[outbox]
        ordered = list(streams.values())
        return ordered[bisect_right(ordered, tour.at, key=_number) : bisect_right(ordered, tour.end, key=_number)]

    def move(self, outbox: Outbox, streams: Sequence[Stream]) -> list[Stream]:
        """Moves a tour past the next ``streams``; returns those that the client is to be told of now."""
        tour = self.tours[outbox]
        told = [
            stream
            for stream in streams
            if self._includes(outbox, stream) and not tour.has_passed(stream) and not tour.is_known(stream)
        ]
        for stream in told:
            self.release(outbox, stream)
        tour.at = streams[-1].number
        for stream in told:
            self.hold(outbox, stream)
        return told

    def skip(self, outbox: Outbox, stream: Stream) -> None:
        """A client is told of a stream out of turn."""
        if outbox in self.tours:
            self.tours[outbox].early.add(stream.symbol)

    def release(self, outbox: Outbox, stream: Stream) -> None:
        """Gives a client what a rate keeps back for it of a stream."""
        rate = self._rate(outbox, stream)
        if rate is not None and rate in stream.paces:
            stream.paces[rate].release(outbox)

    def hold(self, outbox: Outbox, stream: Stream) -> None:
        """A client holds the newest tick of a stream, whatever a rate still keeps back for others."""
        rate = self._rate(outbox, stream)
        if rate is not None and rate in stream.paces:
            stream.paces[rate].note(outbox)
