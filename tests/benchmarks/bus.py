"""The channel layers: publishing batches, and what comes back through the listener; and what both cost Redis itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import Redis

from bus.contract import Packet
from bus.layers import MemoryLayer, RedisLayer
from tests.benchmarks.capacity import SHAPES
from tests.benchmarks.codec import counted, sample_ticks
from tests.benchmarks.measure import Benchmark, Effort, Work, cpu_clock, finished
from tests.servers import RedisServer
from ticks.tick import group_name

__all__ = ["memory_benchmarks", "redis_benchmarks"]

Layer = Any
"""Either of the gateway's two: Channels has no types."""

TIMEOUT = 20.0

_PUBLISH_MANY = "for i = 1, ARGV[2] do redis.call('PUBLISH', KEYS[1], ARGV[1]) end"
"""One short command that makes Redis send many messages: so this process pays for receiving them and little else."""


class Sink:
    """Counts what a layer hands over."""

    def __init__(self, layer: Layer) -> None:
        self.count = 0
        self._due = 0
        self._arrived = asyncio.Event()
        layer.bus.tap(self)

    def expect(self, count: int) -> None:
        self._arrived.clear()
        self._due = self.count + count

    async def wait(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            await self._arrived.wait()

    def arrived(self, packets: Sequence[Packet]) -> None:
        self.count += sum(len(packet.messages) for packet in packets)
        if self.count >= self._due:
            self._arrived.set()

    def bus_lost(self, host: int) -> None:
        """Who waits finds out by the time-out."""

    bus_restored = bus_lost


@asynccontextmanager
async def _open(layer: Layer) -> AsyncIterator[Layer]:
    try:
        yield layer
    finally:
        await layer.flush()


def _batch(ticks: int, symbols: int) -> dict[str, list[Any]]:
    batch: dict[str, list[Any]] = {}
    for tick in sample_ticks(ticks, symbols):
        batch.setdefault(group_name(tick.symbol), []).append(tick.message())
    return batch


@asynccontextmanager
async def publishing(
    effort: Effort, *, make: Callable[[], Layer], ticks: int, symbols: int = 100, listeners: int = 0
) -> AsyncIterator[Work]:
    """Batches of ``ticks`` of ``symbols``, one after the other, each acknowledged, to ``listeners`` that are members of all groups.

    The memory layer always has one: it is its own listener.
    """
    batch = _batch(ticks, symbols)
    groups = list(batch)
    batches = effort.of(max(1, 200 // ticks))
    async with _open(make()) as layer, _audience(make, groups, listeners) as sinks:
        if isinstance(layer, MemoryLayer):
            sinks.append(Sink(layer))
            await layer.bus.join(groups)

        async def work() -> int:
            before = [sink.count for sink in sinks]
            for sink in sinks:
                sink.expect(batches * ticks)
            for _ in range(batches):
                await layer.bus.publish(batch)
            for sink, count in zip(sinks, before, strict=True):
                await sink.wait()
                finished(batches * ticks, sink.count - count)
            return batches * ticks

        yield work


@asynccontextmanager
async def _audience(make: Callable[[], Layer], groups: list[str], listeners: int) -> AsyncIterator[list[Sink]]:
    layers = [make() for _ in range(listeners)]
    sinks = [Sink(layer) for layer in layers]
    try:
        for layer in layers:
            await layer.bus.join(groups)
        yield sinks
    finally:
        for layer in layers:
            await layer.flush()


@asynccontextmanager
async def receiving(effort: Effort, *, url: str) -> AsyncIterator[Work]:
    """Messages of one group, from Redis through the listener and the layer to the tap."""
    (tick,) = sample_ticks(1)
    group = group_name(tick.symbol)
    count = effort.of(1_000)
    async with _open(RedisLayer(hosts=[url])) as layer, Redis.from_url(url) as redis:
        sink = Sink(layer)
        await layer.bus.join([group])
        await layer.bus.publish({group: [tick.message()]})
        (payload,) = await redis.hmget("marketmux.0:{0}:streams", [group])  # a packet as it was published
        assert isinstance(payload, bytes)
        publish_many = redis.register_script(_PUBLISH_MANY)
        channel = f"marketmux.0:{{0}}__group__{group}"

        async def work() -> int:
            before = sink.count
            sink.expect(count)
            await publish_many(keys=[channel], args=[payload, count])
            await sink.wait()
            return finished(count, sink.count - before)

        yield work


def memory_benchmarks() -> Iterator[Benchmark]:
    for ticks in (1, 100, 1_000):
        yield Benchmark(
            f"publish in memory, {counted(ticks)} a batch", "tick", partial(publishing, make=MemoryLayer, ticks=ticks)
        )


def redis_benchmarks(redis: RedisServer) -> Iterator[Benchmark]:
    """``redis`` runs; the last ones are about its own CPU time."""

    def make() -> Layer:
        return RedisLayer(hosts=[redis.url])

    for ticks in (1, 100, 1_000):
        yield Benchmark(
            f"publish into Redis, {counted(ticks)} a batch", "tick", partial(publishing, make=make, ticks=ticks)
        )
    yield Benchmark("from Redis through the listener to the tap", "tick", partial(receiving, url=redis.url))
    clock = cpu_clock(redis.pid)
    for name, shape in SHAPES.items():
        prepare: Callable[[Effort], AbstractAsyncContextManager[Work]] = partial(
            publishing, make=make, **shape._asdict()
        )
        yield Benchmark(f"Redis's own CPU, {name}", "tick", prepare, clock)
