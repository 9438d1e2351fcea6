"""What a tick costs the busiest primary of a Redis Cluster, beside what it costs one Redis, at the same load, and how long
publishers wait.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.table import Table

from bus.layers import RedisLayer
from tests.benchmarks.bus import Sink
from tests.benchmarks.codec import sample_ticks
from tests.benchmarks.display import duration
from tests.benchmarks.measure import Clock, Effort, cpu_clock
from tests.cluster import RedisCluster
from tests.servers import RedisServer
from ticks.tick import group_name

__all__ = ["LOADS", "Spread", "measure", "row", "table"]

SYMBOLS: Final = 1_000
PUBLISHERS: Final = 32
"""Batches that are under way at a time; what waits meanwhile shares calls."""
LOADS: Final = {"single ticks": 1, "batches of ten": 10, "batches of a hundred": 100}
"""Ticks a batch, of symbols that take their turns."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Nanoseconds of CPU a tick, of one Redis and of each primary; and how long the median publisher waited, in ns."""

    load: str
    one: float
    primaries: Sequence[float]
    wait: float
    """With one Redis."""
    waits: float
    """With the cluster."""

    @property
    def share(self) -> float:
        """Of the busiest primary in what one Redis would have to do."""
        return max(self.primaries) / self.one

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"share": self.share}


def measure(load: str, redis: RedisServer, cluster: RedisCluster, effort: Effort) -> Spread:
    """Both run; with somebody who listens to all symbols."""
    ticks = LOADS[load]
    (one,), wait = asyncio.run(_cost(redis.url, [cpu_clock(redis.pid)], ticks, effort))
    clocks = [cpu_clock(node.pid) for node in cluster.primaries]
    primaries, waits = asyncio.run(_cost(cluster.url, clocks, ticks, effort))
    return Spread(load, one, primaries, wait, waits)


async def _cost(url: str, clocks: Sequence[Clock], ticks: int, effort: Effort) -> tuple[list[float], float]:
    layer: Any = RedisLayer(hosts=[url])
    sink = Sink(layer)
    batches = itertools.cycle(_batches(ticks))
    rounds = effort.of(max(1, 100 // ticks))
    waits: list[float] = []

    async def publish() -> None:
        for _ in range(rounds):
            began = time.perf_counter()
            await layer.bus.publish(next(batches))
            waits.append(time.perf_counter() - began)

    async def work() -> int:
        count = PUBLISHERS * rounds * ticks
        sink.expect(count)
        await asyncio.gather(*(publish() for _ in range(PUBLISHERS)))
        await sink.wait()
        return count

    try:
        await layer.bus.join([group_name(tick.symbol) for tick in sample_ticks(SYMBOLS, SYMBOLS)])
        await work()
        waits.clear()
        runs = [await _repetition(work, clocks, effort.seconds) for _ in range(effort.repeats)]
    finally:
        await layer.flush()
    return [statistics.median(run) for run in zip(*runs, strict=True)], statistics.median(waits) * 1e9


async def _repetition(work: Any, clocks: Sequence[Clock], seconds: float) -> list[float]:
    units, before, end = 0, [clock() for clock in clocks], time.perf_counter() + seconds
    while not units or time.perf_counter() < end:
        units += await work()
    return [(clock() - start) / units * 1e9 for clock, start in zip(clocks, before, strict=True)]


def _batches(ticks: int) -> list[Mapping[str, Sequence[Any]]]:
    """As many as it takes for each symbol to have had its turn."""
    messages = [(group_name(tick.symbol), [tick.message()]) for tick in sample_ticks(SYMBOLS, SYMBOLS)]
    return [dict(messages[first : first + ticks]) for first in range(0, SYMBOLS, ticks)]


def table(effort: Effort) -> Table:
    table = Table(
        title=f"A cluster: Redis's own CPU a tick, median of {effort.repeats} x {effort.seconds:g} s, "
        f"{SYMBOLS:,} symbols, {PUBLISHERS} publishers",
        title_justify="left",
    )
    table.add_column("load")
    for heading in ("one Redis", "busiest primary", "share", "all primaries", "p50, one", "p50, cluster"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def row(spread: Spread) -> tuple[str, ...]:
    return (
        spread.load,
        duration(spread.one),
        duration(max(spread.primaries)),
        f"{spread.share:.2f}",
        duration(sum(spread.primaries)),
        duration(spread.wait),
        duration(spread.waits),
    )
