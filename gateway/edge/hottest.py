"""Which streams have the most ticks: found from where streams are at two moments, so that no tick is counted.

Only so many streams are held against their place at a time. Of more a part is looked at each time, and those that were
among the hottest each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import nlargest
from itertools import islice
from typing import Final

import msgspec

from gateway.fanout.stream import Stream

__all__ = ["MOST_HOT", "Hot", "Hottest"]

MOST_HOT: Final = 10
_AT_ONCE: Final = 10_000
_SLICE: Final = 1_000


class Hot(msgspec.Struct):
    """A symbol, and its ticks a second."""

    symbol: str
    rate: float


class Hottest:
    """The hottest of ``streams``; ``look`` is called from time to time."""

    def __init__(self, streams: Mapping[str, Stream], at_once: int = _AT_ONCE) -> None:
        self.top: list[Hot] = []
        self._streams = streams
        self._at_once = at_once
        self._at = 0.0
        self._sample: list[tuple[Stream, str, int]] = []
        self._rest: Iterator[str] = iter(())

    def look(self, now: float) -> Iterator[None]:
        """Holds the streams of the last sample against their places, and takes the next sample, in slices."""
        elapsed, self._at = now - self._at, now
        found: list[Hot] = []
        for start in range(0, len(self._sample), _SLICE):
            some = self._sample[start : start + _SLICE]
            rates = (
                Hot(stream.symbol, (stream.seq - seq) / elapsed)
                for stream, epoch, seq in some
                if stream.seq > seq and stream.epoch == epoch
            )
            found = nlargest(MOST_HOT, [*found, *rates], key=lambda hot: hot.rate)
            yield
        self.top = found
        sample: list[tuple[Stream, str, int]] = []
        for number, symbol in enumerate(self._next()):
            if (stream := self._streams.get(symbol)) is not None:
                sample.append((stream, stream.epoch, stream.seq))
            if number % _SLICE == _SLICE - 1:
                yield
        self._sample = sample

    def _next(self) -> list[str]:
        """What to look at next: all, or the hottest and a part of the rest."""
        if len(self._streams) <= self._at_once:
            return list(self._streams)
        part = list(islice(self._rest, self._at_once))
        if not part:
            self._rest = iter(list(self._streams))
            part = list(islice(self._rest, self._at_once))
        return list(dict.fromkeys([*(hot.symbol for hot in self.top), *part]))
