"""Histograms that cost little enough for the way of a tick: an array of counts, to which one number is added."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

__all__ = ["COUNTS", "FINE_SECONDS", "SECONDS", "Histogram", "geometric"]


class Histogram:
    """How many values there were up to each of ``bounds``, and beyond the last. Used by one thread at a time."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """What is negative, by clocks that do not agree, is nothing."""
        if value > 0:
            self.total += value * times
        self.counts[bisect_left(self.bounds, value)] += times


def geometric(first: float, last: float, steps: int = 1) -> tuple[float, ...]:
    """Bounds from ``first`` to ``last``, so many ``steps`` to a doubling; with six digits, as they are to be read."""
    bounds = [first]
    while bounds[-1] < last:
        bounds.append(first * 2 ** (len(bounds) / steps))
    return tuple(float(f"{bound:.6g}") for bound in bounds)


SECONDS: Final = geometric(0.000_1, 50.0)
"""From a tenth of a millisecond to 50 s."""

FINE_SECONDS: Final = (*geometric(0.000_1, 0.000_8), *geometric(0.001, 4.0, 8), *geometric(8.0, 64.0))
"""Between a millisecond and four seconds each is 9 % over the one before: so near a percentile is to the true one."""

COUNTS: Final = geometric(1, 65_536)
"""Of things that are counted."""
