"""Whether this process stood still: stopped, suspended with its machine, or held up by a call that took too long.

What waited meanwhile, in our own buffers or the kernel's, is as old as the stall was long. So nothing of it is taken
for new. The listener gives up its connection (bus/redis/listener.py). What publishers had sent is refused for a moment:
they have given up waiting, and a tick without a timestamp would get the time of the waking.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

from bus.histogram import SECONDS, Histogram
from bus.loops import once_a_loop

__all__ = ["STALL_SECONDS", "Watch", "boottime", "is_waking", "lag", "watch"]

STALL_SECONDS: Final = 2.5
"""A shorter one is no stall."""
_STEP_SECONDS: Final = 0.25
_WAKING_SECONDS: Final = 1.0
"""How long after a stall what comes in may have waited through it: as long as it takes to read what is there."""

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

lag: Final = Histogram(SECONDS)
"""How much later than it should this process's loop came to its timer."""


def boottime() -> float:
    """Seconds on a clock that goes on while the machine is suspended, as Linux's monotonic clock does not."""
    return time.clock_gettime(_CLOCK)


class Watch:
    """A timer's signs of life on one event loop; a loop that stood still gives none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._seen = boottime()
        self._woke = -math.inf
        self._call_later = loop.call_later
        self._due = self._seen
        self._latest = 0.0
        self._step()

    @property
    def is_waking(self) -> bool:
        """Whether the loop has just stood still; known before the timer fires, behind what is to be read."""
        now = boottime()
        if now - self._seen > STALL_SECONDS:
            self._woke = self._seen = now
        return now - self._woke < _WAKING_SECONDS

    def latest(self) -> float:
        """How late the loop came to the timer at most since this was asked last, in seconds."""
        latest, self._latest = self._latest, 0.0
        return latest

    def _step(self) -> None:
        _ = self.is_waking  # notes a stall
        self._seen = boottime()
        late = self._seen - self._due
        lag.add(late)
        self._latest = max(self._latest, late)
        self._due = self._seen + _STEP_SECONDS
        self._call_later(_STEP_SECONDS, self._step)


@once_a_loop
def watch() -> Watch:
    """That of the event loop that runs; it sees stalls from the first call on."""
    return Watch(asyncio.get_running_loop())


def is_waking() -> bool:
    """Whether the event loop that runs has just stood still."""
    return watch().is_waking
