"""When what goes out at one rate goes out again. Time has steps, so what is due at about the same time is one pass.

A client of fifty symbols at five ticks a second would otherwise be written to 250 times a second, once for every tick.
A first interval is up to a quarter longer than the rate asks, at most 0.1 s; a busy symbol then keeps its step.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final, Protocol

from gateway.fanout.outbox import Outbox

__all__ = ["Due", "Schedule"]

_LEAST_STEPS: Final = 4
_LONGEST_STEP: Final = 0.1


class Due(Protocol):
    """What goes out at a rate."""

    def turn(self, step: int, touched: list[Outbox]) -> bool:
        """Gathers for those who are ``touched``; says whether they are to be asked how far they have read."""


class Schedule:
    """The turns of all that goes out at one rate."""

    def __init__(self, rate: float, write: Callable[[list[Outbox], bool], None]) -> None:
        """``write``: sends what was gathered for those who were touched, and asks them."""
        self._steps = max(_LEAST_STEPS, math.ceil(1 / rate / _LONGEST_STEP))
        """Of an interval."""
        self._step = 1 / rate / self._steps
        self._write = write
        self._waiting: dict[int, tuple[asyncio.TimerHandle, dict[Due, None]]] = {}

    def rest(self, due: Due, turn: int | None) -> int:
        """Its next turn is an interval after this one, or after now; returns at which step."""
        loop = asyncio.get_running_loop()
        now = loop.time() / self._step
        step = self._steps + (math.ceil(now) if turn is None else max(turn, int(now)))
        if step not in self._waiting:
            self._waiting[step] = loop.call_at(step * self._step, self._arrive, step), {}
        self._waiting[step][1][due] = None
        return step

    def forget(self, due: Due, step: int) -> None:
        """It has no turn at that step."""
        if step not in self._waiting:
            return  # that is now
        timer, waiting = self._waiting[step]
        del waiting[due]
        if not waiting:
            timer.cancel()
            del self._waiting[step]

    def _arrive(self, step: int) -> None:
        touched: list[Outbox] = []
        asks = [due.turn(step, touched) for due in self._waiting.pop(step)[1]]
        self._write(touched, any(asks))
