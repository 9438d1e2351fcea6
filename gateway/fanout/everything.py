"""Who takes every symbol, at which rate, and how far each of them was told of the streams.

Such a client is in no stream's tables, so a stream costs it nothing, and it costs a stream nothing. What it gets of a
stream begins when it is told where the stream is. There may be a hundred thousand, so that is a tour in slices: the
streams have numbers in the order in which they were made, and the tour of a client is at one of these.

A client that asks for everything again is on tour again. Of a stream that it was not told of again yet it goes on
getting what it got before, at the rate it had.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from gateway.fanout.outbox import Outbox
from gateway.fanout.stream import Stream
from gateway.protocol.values import EVERYTHING

__all__ = ["NOTHING", "Everything"]

NOTHING: Final = -1.0
"""Stands for the rate of whoever gets nothing."""

_number: Final = attrgetter("number")


class _Tour:
    """How far one client was told."""

    __slots__ = ("at", "before", "early", "end")

    def __init__(self, before: float | None, end: int) -> None:
        """``before``: at which rate it gets what it was not told of yet. ``end``: the number of the last stream that it
        is told of; those that are made later introduce themselves.
        """
        self.before = before
        self.at = 0
        self.end = end
        self.early: set[str] = set()
        """What it was told of out of turn."""

    def has_passed(self, stream: Stream) -> bool:
        return not self.at < stream.number <= self.end or stream.symbol in self.early


class Everything:
    """The clients of one process that take every symbol."""

    def __init__(self, clients: Mapping[Outbox, Mapping[str, float | None]]) -> None:
        """``clients``: all of the process, and what each subscribed to at which rate."""
        self._clients = clients
        self.unrated: dict[Outbox, None] = {}
        """Those who take every tick."""
        self.rates: dict[float, dict[Outbox, None]] = {}
        """Those who chose a rate; who changes it is in two of these tables while it is on tour."""
        self.tours: dict[Outbox, _Tour] = {}

    # Who gets what

    def covers(self, outbox: Outbox, stream: Stream) -> bool:
        """Whether a client gets a stream because it takes everything."""
        return self._includes(outbox, stream) and self._rate(outbox, stream) != NOTHING

    def takes_all(self, outbox: Outbox) -> bool:
        """Whether a client gets every stream, by name or because it takes everything."""
        return outbox not in self.tours

    def _includes(self, outbox: Outbox, stream: Stream) -> bool:
        """Whether a stream is part of what everything is for this client: it did not subscribe to it by name.

        This is the one place where that is decided.
        """
        return stream.symbol not in self._clients[outbox]

    def _rate(self, outbox: Outbox, stream: Stream) -> float | None:
        tour = self.tours.get(outbox)
        return self._clients[outbox][EVERYTHING] if tour is None or tour.has_passed(stream) else tour.before

    def who_takes(self, stream: Stream, rate: float | None) -> list[Outbox]:
        """Those who get a stream, at this rate, because they take everything."""
        table = self.unrated if rate is None else self.rates.get(rate, {})
        if self.tours:
            return [outbox for outbox in table if self._includes(outbox, stream) and self._rate(outbox, stream) == rate]
        symbol, clients = stream.symbol, self._clients  # paid for every tick: what stands above, without tours
        return [outbox for outbox in table if symbol not in clients[outbox]]

    def audience(self, stream: Stream) -> Iterator[Outbox]:
        """All who get a stream because they take everything."""
        for rate in (None, *self.rates):
            yield from self.who_takes(stream, rate)

    def __iter__(self) -> Iterator[Outbox]:
        """All who take everything, each once."""
        yield from dict.fromkeys(chain(self.unrated, *self.rates.values()))

    # Who comes and goes

    def begin(self, outbox: Outbox, rate: float | None, before: float | None, end: int) -> None:
        """A client takes everything from now on, at another rate than ``before``; it is told up to number ``end``."""
        table = self.unrated if rate is None else self.rates.setdefault(rate, {})
        table[outbox] = None
        self.tours[outbox] = _Tour(before, end)

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

    def _leave(self, outbox: Outbox, rate: float | None) -> None:
        if rate is None:
            self.unrated.pop(outbox, None)
        elif rate in self.rates:
            self.rates[rate].pop(outbox, None)
            if not self.rates[rate]:
                del self.rates[rate]

    # Tours

    def ahead(self, outbox: Outbox, streams: Mapping[str, Stream]) -> list[Stream]:
        """The streams that a client's tour has before it."""
        tour = self.tours[outbox]
        ordered = list(streams.values())
        return ordered[bisect_right(ordered, tour.at, key=_number) : bisect_right(ordered, tour.end, key=_number)]

    def move(self, outbox: Outbox, streams: Sequence[Stream]) -> list[Stream]:
        """Moves a tour past the next ``streams``; returns those that the client is to be told of now."""
        tour = self.tours[outbox]
        told = [stream for stream in streams if self._includes(outbox, stream) and not tour.has_passed(stream)]
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
