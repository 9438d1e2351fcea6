"""RFC 3339 timestamps to the nanosecond, which is finer than ``datetime`` goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

__all__ = ["Stamps", "nanoseconds"]

SECOND = 1_000_000_000


class Stamps:
    """Timestamps of now, strictly increasing: where the clock stands still or steps back, a nanosecond is added."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> str:
        self._last = max(self._clock(), self._last + 1)
        seconds, fraction = divmod(self._last, SECOND)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"


def nanoseconds(stamp: str) -> int:
    """Nanoseconds since the epoch of a timestamp in UTC with Z; ``ValueError`` if it is none."""
    if not stamp.endswith("Z"):
        raise ValueError(f"Not in UTC: {stamp}")
    moment, _, fraction = stamp[:-1].partition(".")
    seconds = int(datetime.fromisoformat(f"{moment}+00:00").timestamp())
    return seconds * SECOND + int(fraction.ljust(9, "0")[:9])
