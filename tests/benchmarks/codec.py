"""What turns bytes into ticks and commands, and ticks into frames."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from gateway.protocol.commands import parse
from gateway.protocol.messages import tick_frame
from tests.benchmarks.measure import Benchmark, Effort, Work, finished
from ticks.decode import decode, decode_carefully
from ticks.grammar import check_symbol
from ticks.tick import Tick

__all__ = ["BENCHMARKS", "counted", "sample_ticks"]

COMMAND = '{"action":"subscribe","symbols":["AAPL","MSFT","EUR/USD"],"id":1}'


def sample_ticks(count: int, symbols: int = 100) -> list[Tick]:
    """Ticks of so many symbols in turn, no two alike."""
    return [
        Tick(f"S{number % symbols:02}", f"{150 + number % 90}.{number % 97:02}", f"2026-05-12T15:04:05.{number:06}Z")
        for number in range(count)
    ]


def _body(count: int) -> bytes:
    items = [json.loads(f"{{{tick.json()}}}") for tick in sample_ticks(count)]
    return json.dumps(items[0] if count == 1 else items, separators=(",", ":")).encode()


@asynccontextmanager
async def each(effort: Effort, *, values: Callable[[], list[Any]], change: Callable[[Any], Any]) -> AsyncIterator[Work]:
    """``change`` on one value after the other."""
    some = values()[: effort.of(1_000)]

    async def work() -> int:
        return finished(len(some), sum(1 for _ in _changed(some, change)))

    yield work


def _changed(values: list[Any], change: Callable[[Any], Any]) -> Iterator[Any]:
    return filter(None, map(change, values))


@asynccontextmanager
async def decoding(effort: Effort, *, ticks: int, way: Callable[[bytes], list[Tick]]) -> AsyncIterator[Work]:
    """Bodies of ``ticks`` ticks each."""
    body = _body(ticks)
    bodies = effort.of(max(1, 200 // ticks))

    async def work() -> int:
        return finished(bodies * ticks, sum(len(way(body)) for _ in range(bodies)))

    yield work


def _decoding(name: str, way: Callable[[bytes], list[Tick]]) -> Iterator[Benchmark]:
    for ticks in (1, 100, 1_000):
        yield Benchmark(f"{name}, {counted(ticks)} a body", "tick", partial(decoding, ticks=ticks, way=way))


def counted(ticks: int) -> str:
    """The number with its noun."""
    return "1 tick" if ticks == 1 else f"{ticks:,} ticks"


def _each(
    values: Callable[[], list[Any]], change: Callable[[Any], Any]
) -> Callable[[Effort], AbstractAsyncContextManager[Work]]:
    return partial(each, values=values, change=change)


BENCHMARKS = [
    Benchmark("tick_frame", "tick", _each(lambda: sample_ticks(1_000), lambda tick: tick_frame(tick.json(), 1_000))),
    Benchmark(
        "Tick.from_message",
        "tick",
        _each(lambda: [tick.message() for tick in sample_ticks(1_000)], Tick.from_message),
    ),
    Benchmark("check_symbol, ASCII", "symbol", _each(lambda: ["AAPL", "BTC-USD"] * 500, check_symbol)),
    Benchmark("protocol.parse, a subscribe to 3 symbols", "command", _each(lambda: [COMMAND] * 1_000, parse)),
    *_decoding("decode, fast", decode),
    *_decoding("decode, carefully", decode_carefully),
]
