"""When the garbage collector may walk the whole heap.

A full collection looks at every object alive, a few hundred for each client: with thousands of clients it stops the
process for a tenth of a second, and left to itself it comes in the middle of a pass. So what is alive after the start
is frozen, young objects are collected as ever (DRF's requests are cycles, and die young), and a full collection is
only made when it is worth it: when as many clients have left as are still there, whose protocols, transports and
timers refer to each other in circles.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

__all__ = ["Collector", "freeze"]

_THRESHOLDS: Final = (5_000, 20, 1_000_000)
"""Allocations before a young collection, young ones before a middle one, and never a full one by itself."""
_FEWEST: Final = 500
"""Clients that must have left before their garbage is worth a full collection."""
_DELAY_SECONDS: Final = 5.0
"""From the departure that made it worth it to the collection: Daphne lets go of a connection within two seconds."""


def freeze() -> None:
    """Takes what is alive now, modules and classes mostly, out of the collector's sight. Called once, after start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


class Collector:
    """Collects everything when enough clients have left."""

    def __init__(self, collect: Callable[[], object] = gc.collect) -> None:
        self._collect = collect
        self._departed = 0
        self._timer: asyncio.TimerHandle | None = None
        self.collections = 0

    def departed(self, remaining: int) -> None:
        """One client has left, ``remaining`` are there."""
        self._departed += 1
        if self._timer is None and self._departed >= max(_FEWEST, remaining):
            self._timer = asyncio.get_running_loop().call_later(_DELAY_SECONDS, self._run)

    def _run(self) -> None:
        self._timer = None
        self._departed = 0
        self._collect()
        self.collections += 1
