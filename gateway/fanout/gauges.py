"""What passes are measured by: how long they took, how many ticks they had, and how old these were when they were sent.

Nothing here is done for each client, and for each tick only while there are few, since to find its age costs more than
to make its frame. At most a thousand ticks a second are looked at, and each stands for the deliveries since the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING, Final

from bus.histogram import COUNTS, FINE_SECONDS, SECONDS, Histogram
from ticks.age import Seconds

if TYPE_CHECKING:
    from gateway.fanout.stream import Stream

__all__ = ["Gauges"]

_LOOKS: Final = 16
"""In one pass."""
_LOOKS_PER_SECOND: Final = 1_000


class Gauges:
    """The histograms of one hub. Ages are by the ticks' own timestamps, which are their publishers'."""

    def __init__(self) -> None:
        self.pass_seconds = Histogram(SECONDS)
        self.pass_ticks = Histogram(COUNTS)
        self.arrival_age = Histogram(FINE_SECONDS)
        self.send_age = Histogram(FINE_SECONDS)
        self._seconds = Seconds()
        self._seen = 0
        self._look_at = 0.0

    def arrived(self, stamp: str) -> None:
        """A packet has come whose last tick has this timestamp."""
        self.arrival_age.add(time() - self._seconds.of(stamp))

    def made(self, began: float, due: Mapping[Stream, Sequence[bytes]], delivered: int) -> None:
        """A pass is over. ``delivered``: ticks written to clients, since the start."""
        now = perf_counter()
        self.pass_seconds.add(now - began)
        self.pass_ticks.add(sum(map(len, due.values())))
        if now >= self._look_at and delivered != self._seen:
            looks = self._look(due, delivered - self._seen)
            self._seen = delivered
            self._look_at = now + looks / _LOOKS_PER_SECOND

    def _look(self, due: Mapping[Stream, Sequence[bytes]], deliveries: int) -> int:
        """Takes the ages of some ticks of a pass for those of all since the last look; returns of how many."""
        now = time()
        ticks = [(frame, len(stream.ready.outboxes) or 1) for stream, frames in due.items() for frame in frames]
        ticks = ticks[:: 1 + len(ticks) // _LOOKS]
        clients = sum(count for _, count in ticks)
        for frame, count in ticks:
            share = deliveries * count // clients
            deliveries -= share
            clients -= count
            if (stamp := self._seconds.of_frame(frame)) is not None:
                self.send_age.add(now - stamp, share)
        return len(ticks)
