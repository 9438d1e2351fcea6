"""Runs a piece of work until the figures mean something, and keeps the books.

A benchmark is prepared once, in an async context on an event loop of its own, and hands out its *work*: a coroutine
function that does a chunk of it, waits until all of that has come out at the other end, and returns how many units
that was. A repetition calls it for some fixed time; a figure is the median of the repetitions, with the lowest and the
highest beside it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "FULL",
    "QUICK",
    "Benchmark",
    "Clock",
    "Effort",
    "Figure",
    "Result",
    "Unfinished",
    "Work",
    "cpu_clock",
    "finished",
    "run",
]

Work = Callable[[], Awaitable[int]]
"""Does a chunk and returns how many units of it were finished."""
Clock = Callable[[], float]
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: ``repeats`` of ``seconds`` each. ``share`` of the named sizes is used: less than 1 only
    shows that the benchmarks still run."""

    repeats: int
    seconds: float
    share: float = 1.0

    def of(self, size: int) -> int:
        return max(2, round(size * self.share))


FULL = Effort(repeats=5, seconds=0.25)
QUICK = Effort(repeats=3, seconds=0.1)


class Unfinished(Exception):
    """Work that did not come out at the other end: its time means nothing."""


def finished(due: int, done: int) -> int:
    """``done`` if it is all that was due, else :class:`Unfinished`."""
    if done != due:
        raise Unfinished(f"{done} of {due} units came out")
    return done


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``unit`` is what one is counted of. CPU time is this process's unless ``clock`` says whose it is."""

    name: str
    unit: str
    prepare: Callable[[Effort], AbstractAsyncContextManager[Work]]
    clock: Clock = time.process_time


@dataclass(frozen=True, slots=True)
class Figure:
    """Nanoseconds a unit."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, runs: Sequence[float]) -> Figure:
        return cls(statistics.median(runs), min(runs), max(runs))


@dataclass(frozen=True, slots=True)
class Result:
    """``cpu`` is processor time, ``wall`` the time that passed."""

    name: str
    unit: str
    cpu: Figure
    wall: Figure

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def run(benchmark: Benchmark, effort: Effort) -> Result:
    """:class:`Unfinished` if something got lost on the way."""
    return asyncio.run(_run(benchmark, effort))


async def _run(benchmark: Benchmark, effort: Effort) -> Result:
    async with benchmark.prepare(effort) as work:
        await work()  # caches, connections and scripts are the start's business
        runs = [await _repetition(work, benchmark.clock, effort.seconds) for _ in range(effort.repeats)]
    cpu, wall = zip(*runs, strict=True)
    return Result(benchmark.name, benchmark.unit, Figure.of(cpu), Figure.of(wall))


async def _repetition(work: Work, clock: Clock, seconds: float) -> tuple[float, float]:
    """CPU and wall nanoseconds a unit."""
    gc.collect()
    units = 0
    cpu, wall = clock(), time.perf_counter()
    end = wall + seconds
    while not units or time.perf_counter() < end:
        units += await work()
    return (clock() - cpu) / units * 1e9, (time.perf_counter() - wall) / units * 1e9


def cpu_clock(pid: int) -> Clock:
    """The CPU seconds of another process, threads that have ended included, to the nanosecond (Linux).

    The sum of utime and stime in /proc/<pid>/stat, which shows them in hundredths of a second only.
    """
    clock_id = (~pid << 3) | 2  # as clock_getcpuclockid(3) makes it
    return lambda: time.clock_gettime(clock_id)
