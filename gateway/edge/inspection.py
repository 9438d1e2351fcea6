"""What this worker does and holds at the moment: tasks, threads, objects, collector, open files, memory.

Nothing is kept up for it: it is looked at when somebody asks, and what is long is looked at in slices. Stacks are names
of functions and lines; values are not shown.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from traceback import walk_stack
from types import CodeType
from typing import Any, Final

import msgspec

from gateway.edge import profiling
from gateway.edge.profiling import Profile
from gateway.server.exchange import Answering

__all__ = ["ANSWERING", "LOOK", "MEMORY", "TRACE", "Block", "Kind", "Look", "Stack"]

LOOK: Final = "look"
MEMORY: Final = "memory"
TRACE: Final = "trace"

_SLICE: Final = 10_000
"""Objects that are counted in one go: about a millisecond."""
_TASKS: Final = 500
"""Tasks that are looked at in one go."""
_KINDS: Final = 400
"""Rows of the table of objects: a connection alone has objects of dozens of types."""
_MOST: Final = 60
"""Rows of each table."""
_DEEPEST: Final = 60
_ROOTS: Final = (
    f"{Path(__file__).resolve().parents[2]}/",
    "/site-packages/",
    f"/python{sys.version_info[0]}.{sys.version_info[1]}/",
)


class Stack(msgspec.Struct):
    """A stack, the innermost function last, and how many have it."""

    name: str
    count: int
    frames: list[str]


class Kind(msgspec.Struct):
    """A type, its objects, and how many more they are than at the look before."""

    name: str
    count: int
    growth: int


class Generation(msgspec.Struct):
    collections: int
    collected: int
    uncollectable: int
    waiting: int
    """Objects made since it was collected last; of the older ones, collections of the one before."""
    threshold: int


class Files(msgspec.Struct):
    open: int
    most: int
    names: list[tuple[str, int]]


class Look(msgspec.Struct):
    pid: int
    tasks: int
    stacks: list[Stack]
    """Of tasks."""
    threads: list[Stack]
    objects: int
    kinds: list[Kind]
    seconds: float
    """Since the objects were counted before; 0 at the first time."""
    generations: list[Generation]
    frozen: int
    files: Files
    traced_bytes: int
    """What tracemalloc has seen allocated and costs itself; both 0 while it is off."""
    tracing_bytes: int
    profile: Profile | None


class Block(msgspec.Struct):
    """A line, and the memory that it allocated since tracemalloc is on."""

    place: str
    bytes: int
    blocks: int


class _Counts:
    """Objects by type when they were counted last."""

    def __init__(self) -> None:
        self.at = 0.0
        self.kinds: Counter[str] = Counter()

    async def count(self) -> tuple[int, list[Kind], float]:
        """All that the collector knows, those that grew first; and how long ago the last count was."""
        kinds = await _by_type()
        before, now = self.kinds, time.monotonic()
        seconds = now - self.at if before else 0.0
        self.at, self.kinds = now, kinds
        grown = [Kind(name, kinds[name], kinds[name] - before[name] if before else 0) for name in kinds | before]
        grown.sort(key=lambda kind: (-kind.growth, -kind.count))
        most = sorted(grown[_KINDS // 2 :], key=lambda kind: -kind.count)
        return kinds.total(), [*grown[: _KINDS // 2], *most[: _KINDS // 2]], seconds


_counts: Final = _Counts()


async def _by_type() -> Counter[str]:
    types: Counter[type] = Counter()
    objects = gc.get_objects()  # alone holds the loop up: 16 to 19 ms for 240,000
    for start in range(0, len(objects), _SLICE):
        types.update(map(type, objects[start : start + _SLICE]))
        await asyncio.sleep(0)
    names: Counter[str] = Counter()
    for kind, count in types.items():
        names[f"{kind.__module__}.{kind.__qualname__}"] += count
    return names


async def _look(_: bytes) -> bytes:
    profile = profiling.state()
    # Who waits for a profile looks again and again, which would be in it; and growth would be of seconds.
    is_counted = profile is None or not profile.is_running
    objects, kinds, seconds = await _counts.count() if is_counted else (0, [], 0.0)
    tasks, stacks = await _tasks()
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    look = Look(
        pid=os.getpid(),
        tasks=tasks,
        stacks=stacks,
        threads=_threads(),
        objects=objects,
        kinds=kinds,
        seconds=seconds,
        generations=_generations(),
        frozen=gc.get_freeze_count(),
        files=await asyncio.to_thread(_files),
        traced_bytes=traced,
        tracing_bytes=tracemalloc.get_tracemalloc_memory() if tracemalloc.is_tracing() else 0,
        profile=profile,
    )
    return msgspec.json.encode(look)


async def _memory(_: bytes) -> bytes:
    if not tracemalloc.is_tracing():
        return b"[]"
    snapshot = tracemalloc.take_snapshot()  # holds the worker up: about a second for a million blocks
    found = await asyncio.to_thread(snapshot.statistics, "lineno")
    blocks = [
        Block(f"{_short(one.traceback[0].filename)}:{one.traceback[0].lineno}", one.size, one.count)
        for one in found[:_MOST]
    ]
    return msgspec.json.encode(blocks)


async def _trace(text: bytes) -> bytes:
    if text == b"on":
        tracemalloc.start()
    else:
        tracemalloc.stop()
    return b""


ANSWERING: Final[Mapping[str, Answering]] = {LOOK: _look, MEMORY: _memory, TRACE: _trace}
"""What a worker answers, by topic: a look, where memory was allocated, and whether that is traced."""


# Tasks and threads


async def _tasks() -> tuple[int, list[Stack]]:
    """How many there are, and their stacks; those that wait in the same place stand together."""
    tasks = list(asyncio.all_tasks())
    found: Counter[tuple[str, ...]] = Counter()
    for number, task in enumerate(tasks):
        found[tuple(_awaited(task.get_coro()))] += 1
        if number % _TASKS == _TASKS - 1:
            await asyncio.sleep(0)
    stacks = [Stack(frames[0] if frames else "done", count, [*frames]) for frames, count in found.most_common(_MOST)]
    return len(tasks), stacks


def _awaited(awaited: Any) -> Iterable[str]:
    """From the task's coroutine to what waits in the end; ``Task.get_stack`` has the first alone."""
    for _ in range(_DEEPEST):
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield _place(frame.f_code, frame.f_lineno)
                break
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
        if awaited is None:
            return


def _threads() -> list[Stack]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        Stack(names.get(ident, str(ident)), 1, [_place(at.f_code, line) for at, line in walk_stack(frame)][::-1])
        for ident, frame in sys._current_frames().items()
    ]


def _place(code: CodeType, line: int | None) -> str:
    return f"{_short(code.co_filename)}:{line} {code.co_qualname}"


def _short(path: str) -> str:
    for root in _ROOTS[1:]:
        path = path.rpartition(root)[2]
    return path.removeprefix(_ROOTS[0])


# Collector and files


def _generations() -> list[Generation]:
    return [
        Generation(**stats, waiting=waiting, threshold=threshold)
        for stats, waiting, threshold in zip(gc.get_stats(), gc.get_count(), gc.get_threshold(), strict=True)
    ]


def _files() -> Files:
    """Open files by name; of sockets and pipes the number of each kind."""
    directory, names = Path("/proc/self/fd"), Counter[str]()
    for entry in directory.iterdir() if directory.is_dir() else ():
        with suppress(FileNotFoundError):  # closed meanwhile
            names[str(entry.readlink()).partition(":[")[0]] += 1
    return Files(names.total(), resource.getrlimit(resource.RLIMIT_NOFILE)[0], names.most_common(_MOST))
