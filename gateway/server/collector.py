"""When the garbage collector runs, and over which objects.

Left to itself it walks every live object from time to time, a hundred for each client. With thousands of clients that
stops the process for a tenth of a second and more, in the middle of a pass. So what stays is frozen: what is alive
after the start, clients soon after they came, and whatever else made a collection take long. What remains are requests,
which are cycles and end within milliseconds. The few that are alive during a collection move to an older generation, so
old objects are collected often, which is cheap while they are few.

A client of our own server that leaves is no cycle and needs no collector. But what was frozen by mistake, such as a
request under way, is not seen again. So after many departures everything is unfrozen and collected once; sooner under
other servers, whose connections are cycles.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Collector", "freeze"]

_THRESHOLDS: Final = (5_000, 5, 5)
"""Allocations before a young collection, young ones before a middle one, middle ones before one of what is old."""
_LONG_SECONDS: Final = 0.01
"""What a collection may take. If it takes longer, what it walked is frozen: it has just proved to be alive."""
_NEW: Final = 40
"""Clients that come before they are frozen: so few that the collector has hardly walked them yet."""
_FEWEST: Final = 10_000
"""Clients that must have left before everything is collected."""
_UNTIDY: Final = 20
"""How many departures one counts for that leaves a cycle behind."""
_DELAY_SECONDS: Final = 5.0
"""From the last of these departures to the collection: connections take a moment to end."""


def freeze() -> None:
    """Freezes what is alive now, modules and classes mostly. Called once, after start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.callbacks.append(Watch())


class Watch:
    """Told by the collector when it begins and when it ends."""

    def __init__(self, keep: Callable[[], object] = gc.freeze) -> None:
        self._keep = keep
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._began = time.perf_counter()
        elif time.perf_counter() - self._began > _LONG_SECONDS:
            self._keep()


def _keep() -> None:
    gc.collect()  # what is garbage already must not be frozen; not much is unfrozen, so this is cheap
    gc.freeze()


def _collect() -> None:
    gc.unfreeze()
    _keep()


class Collector:
    """Freezes the clients that came, and collects everything when enough have left."""

    def __init__(self, keep: Callable[[], object] = _keep, collect: Callable[[], object] = _collect) -> None:
        """``keep`` freezes what is alive, ``collect`` collects everything; both can be replaced."""
        self._keep = keep
        self._collect = collect
        self._arrived = 0
        self._departed = 0
        self._timer: asyncio.TimerHandle | None = None
        self.collections = 0

    def arrived(self) -> None:
        """One client has come."""
        self._arrived += 1
        if self._arrived == _NEW:
            self._arrived = 0
            asyncio.get_running_loop().call_soon(self._keep)

    def departed(self, remaining: int, is_tidy: bool = True) -> None:
        """One client has left, ``remaining`` are there. ``is_tidy``: nothing of it needs a collector."""
        self._departed += 1 if is_tidy else _UNTIDY
        if self._timer is None and self._departed >= max(_FEWEST, 2 * remaining):
            self._timer = asyncio.get_running_loop().call_later(_DELAY_SECONDS, self._run)

    def _run(self) -> None:
        self._timer = None
        self._departed = 0
        self._collect()
        self.collections += 1
