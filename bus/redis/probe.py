"""Whether a connection that listens is alive, and what it brings is new."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from redis.exceptions import ConnectionError as RedisConnectionError

from bus.stall import STALL_SECONDS, boottime

__all__ = ["Probe"]

_STEP: Final = 0.25
_EVERY: Final = 4
"""Steps after which Redis is asked for a sign of life."""
_PATIENCE: Final = 10
"""Steps in which nothing came, after which the connection is dead."""


class Probe:
    """Knows whether a connection brings something, and how long what it brings has waited to be read.

    Steps, each a timer of its own, say that the loop runs. Redis is asked for a sign of life every few steps; its
    answer comes behind what it sent before. ``ask`` asks, and says whether the answer counts.

    Silence is counted in steps instead of looking at the clock: when this process was stopped for a moment itself, or
    its loop was held up, Redis's answer may be in the socket already, and gets its chance to be read.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._steps = self._silent = 0
        self._seen = boottime()
        """When the loop was last known to run."""
        self._asked: deque[float] = deque()
        """When what has not been answered yet was asked; infinity if its answer does not count."""

    @contextmanager
    def watching(self, patience: asyncio.Timeout) -> Iterator[None]:
        """Reschedules ``patience`` to the moment at which the connection is to be given up."""
        self._patience = patience
        self._timer = self._loop.call_later(_STEP, self._step)
        try:
            yield
        finally:
            self._timer.cancel()

    def check(self) -> None:
        """``ConnectionError`` if what is there to be read has waited for too long."""
        now = boottime()
        if now - self._seen > STALL_SECONDS:
            raise RedisConnectionError(f"this process stood still for {now - self._seen:.1f} s.")
        if self._asked and now - self._asked[0] > STALL_SECONDS:
            raise RedisConnectionError(f"what it sent has waited for {now - self._asked[0]:.1f} s.")

    def heard(self) -> None:
        self._silent = 0

    def answered(self) -> None:
        if self._asked:
            self._asked.popleft()

    def _step(self) -> None:
        self._silent += 1
        self._steps += 1
        if self._silent >= _PATIENCE or boottime() - self._seen > STALL_SECONDS:
            self._patience.reschedule(self._loop.time())
            return
        self._seen = boottime()
        if self._steps % _EVERY == 0:
            self._asked.append(self._seen if self._ask() else math.inf)
        self._timer = self._loop.call_later(_STEP, self._step)
