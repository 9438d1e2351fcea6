"""Latencies, kept as counts."""

from __future__ import annotations

import math
from collections import defaultdict

__all__ = ["Histogram"]

BUCKET_NS = 10_000


class Histogram:
    """Counts durations in buckets of ten microseconds: its size grows with their spread, not with their number."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int)

    def add(self, nanoseconds: int) -> None:
        self._counts[nanoseconds // BUCKET_NS] += 1

    def merge(self, other: Histogram) -> None:
        for bucket, count in other._counts.items():
            self._counts[bucket] += count

    def __len__(self) -> int:
        return sum(self._counts.values())

    def percentile(self, share: float) -> float | None:
        """Milliseconds that ``share`` (0 to 1) of the durations do not exceed, by nearest rank; None without any.

        The upper edge of the bucket is given, so the true value is less by at most ten microseconds.
        """
        rank = max(1, math.ceil(len(self) * share))
        for bucket in sorted(self._counts):
            rank -= self._counts[bucket]
            if rank <= 0:
                return (bucket + 1) * BUCKET_NS / 1e6
        return None
