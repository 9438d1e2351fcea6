"""What a deployment needs, computed from measured costs: ``python -m tests.benchmarks.capacity --clients 100000``.

The model. A worker is a process that fills one core. What it does in a second is

    fan-out    its clients' writes x the cost of a write, and their ticks x the cost of a tick within one
    bus        every tick of a symbol that one of its clients has, once, however many clients
    ingest     its part of the ticks that come in, by POST
    upkeep     pings and timeouts of its clients, and its own timers

A client gets at most one write a pass, so the more ticks a pass brings, the less a delivery costs; the two costs are
fitted to the scenarios that were measured. The number of workers is the smallest that leaves the headroom, and in
which the last client of a pass does not wait longer than it may.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["MEASURED", "SHAPES", "Fit", "Load", "Measured", "Needs", "Point", "RedisCosts", "Shape", "needs"]


@dataclass(frozen=True, slots=True)
class Point:
    """A measured scenario: ``us`` is server CPU per delivery, ingest included. A client had ``share`` of the symbols;
    ``rate`` ticks a second, ``batch`` in each POST, came to ``subscribers`` clients each."""

    name: str
    share: float
    subscribers: float
    rate: float
    batch: float
    us: float


class Shape(NamedTuple):
    """A batch, and how many gateways get it."""

    ticks: int
    symbols: int
    listeners: int = 0


_LISTENERS: Final = 8
SHAPES: Final = {
    "a tick alone": Shape(1, 1),
    "ten of ten symbols": Shape(10, 10),
    "a hundred of one symbol": Shape(100, 1),
    f"ten of ten symbols, {_LISTENERS} gateways listen": Shape(10, 10, _LISTENERS),
}
"""What is measured of Redis: it tells what a script call, each symbol in it and each tick of these costs."""


@dataclass(frozen=True, slots=True)
class RedisCosts:
    """Microseconds of Redis's own CPU: for a script call, for each symbol in a batch, for each tick of it, and for each
    gateway that gets what the batch has of a symbol.
    """

    call_us: float
    symbol_us: float
    tick_us: float
    listener_us: float

    @classmethod
    def of(cls, alone: float, ten: float, hundred: float, ten_heard: float) -> RedisCosts:
        """From what a tick costs in each of :data:`SHAPES`."""
        tick_us = max(0.0, (100 * hundred - alone) / 99)
        symbol_us = max(0.0, (10 * ten - alone) / 9 - tick_us)
        call_us = max(0.0, alone - symbol_us - tick_us)
        return cls(*map(_rounded, (call_us, symbol_us, tick_us, max(0.0, ten_heard - ten) / _LISTENERS)))

    def per_post(self, ticks: float, symbols: float, calls: float = 1.0) -> float:
        """Of a POST that is so many script calls by itself: what comes together shares one."""
        return calls * self.call_us + symbols * self.symbol_us + ticks * self.tick_us


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, in microseconds of CPU and in KB; the comments name the command's figure.

    ``points`` are whole-server runs; ``post_us`` and ``batch_us`` such runs with one client, per tick, in POSTs of one
    and of a hundred ticks. ``redis`` is Redis's own CPU, by the shape of a batch. ``upkeep_us`` is a client's, a second,
    and ``worker_us`` that of a worker without any. ``kernel_kb`` is one end of an idle connection in the kernel.

    ``hop_us`` is what a POST costs each further gateway that hears it, beside its ticks and writes, and ``redis_hop_us``
    what that costs Redis. Redis' costs are those of a busy one: one that rests in between takes ``cold`` times as much,
    since it is woken up and finds its caches cold. ``redis_own_us`` is what it takes a second for its own timers, and
    ``redis_worker_us`` what each gateway asks of it while nothing is published.
    """

    points: tuple[Point, ...]
    post_us: float
    batch_us: float
    bus_us: float
    accept_us: float
    upkeep_us: float
    client_kb: float
    process_mb: float
    redis: RedisCosts
    worker_us: float
    kernel_kb: float
    hop_us: float
    redis_hop_us: float
    cold: float
    redis_own_us: float
    redis_worker_us: float


# Measured with
#     .venv/bin/python -m tests.benchmarks.predicted --json bench.json
# which is what it needs of `make bench`, and two workers and eight besides, and written with
#     .venv/bin/python -m tests.benchmarks.capacity --bench bench.json --compare compare.json --source
# whose second file, larger runs of compare.py, has the points, accepting and memory; all within an hour.
MEASURED: Final = Measured(
    points=(  # compare.py --rounds 2
        Point("one", share=1.0, subscribers=1_000, rate=50, batch=1, us=4.78),
        Point("wide", share=1.0, subscribers=5_000, rate=10, batch=1, us=5.47),
        Point("mixed", share=0.2, subscribers=100, rate=1_000, batch=10, us=4.06),
        Point("busy", share=0.2, subscribers=100, rate=5_000, batch=50, us=1.19),
        Point("burst", share=1.0, subscribers=100, rate=10_000, batch=100, us=0.257),
    ),
    post_us=592.0,  # server: posts
    batch_us=18.9,  # server: stream
    bus_us=8.53,  # from Redis through the listener to the tap + Tick.from_message + tick_frame
    accept_us=450.0,  # compare.py: wide
    upkeep_us=2.26,  # server: idle, cores by clients
    client_kb=10.9,  # compare.py: wide
    process_mb=118.0,  # server: idle
    redis=RedisCosts(call_us=31.8, symbol_us=5.25, tick_us=0.8, listener_us=0.67),  # Redis's own CPU, by shape
    worker_us=2_400.0,  # server: idle, with eight workers and with one
    kernel_kb=5.0,  # hundred
    hop_us=478.0,  # server: mixed, with two workers and with one
    redis_hop_us=0.0,
    cold=2.96,
    redis_own_us=1_540.0,
    redis_worker_us=121.0,
)

# Taken from specifications, not measured.
SEGMENT_BYTES: Final = 1_448
"""Payload of a TCP segment on Ethernet, with timestamps."""
SEGMENT_OVERHEAD: Final = 90
"""Ethernet with its preamble and gap (38), IPv4 (20), TCP with timestamps (32)."""
BUS_OVERHEAD: Final = 60
"""A message on the bus beyond the frame's own bytes: MessagePack's keys, the channel's name, RESP."""


@dataclass(frozen=True, slots=True)
class Load:
    """``rate`` is ticks a second over all symbols, in batches of ``batch``; a client has ``per_client`` of ``symbols``.

    ``frame_bytes`` is a tick's WebSocket frame. ``linger_ms`` is MARKETMUX_LINGER_MS: ticks that come within it are one
    pass. ``buckets`` are those of a cluster: a POST is a script call for each that it touches.
    """

    clients: int
    symbols: int = 1_000
    per_client: int = 20
    rate: float = 1_000.0
    batch: float = 10.0
    frame_bytes: float = 105.0
    linger_ms: float = 0.0
    buckets: int = 1

    @property
    def share(self) -> float:
        return self.per_client / self.symbols

    @property
    def symbols_per_post(self) -> float:
        return self.symbols * touched(1 / self.symbols, self.batch)

    @property
    def buckets_per_post(self) -> float:
        return self.buckets * touched(1 / self.buckets, self.symbols_per_post)

    @property
    def ticks_per_pass(self) -> float:
        return max(1.0, self.batch, self.rate * self.linger_ms / 1_000)

    @property
    def deliveries(self) -> float:
        """A second."""
        return self.clients * self.share * self.rate


@dataclass(frozen=True, slots=True)
class Limits:
    """``use`` is how much of a core may be busy in the mean: the rest is the headroom for bursts, accepts and
    collections. ``pass_ms`` is how long the last client of a pass may wait behind the others. ``machine_cores`` are those
    of a machine, each for a worker."""

    use: float = 0.6
    pass_ms: float = 50.0
    machine_cores: int = 16


STEPS: Final = 50
FAN_OUT_SHARE: Final = 0.25
"""Part of a point's cost that must be fan-out for the point to be of use."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Microseconds: a delivery costs ``write_us`` by the ticks of a write, and ``tick_us``. ``error`` is the largest
    factor by which it misses a point."""

    write_us: float
    tick_us: float
    error: float

    @classmethod
    def to(cls, measured: Measured) -> Fit:
        """Least squares of the ratios' logarithms: twice as much is as wrong as half as much. No cost is below zero.

        A point of which little is left when the way in is taken off says nothing of the fan-out; ``ValueError`` if
        fewer than two do.
        """
        points = [point for point in measured.points if _fan_out(point, measured) >= FAN_OUT_SHARE * point.us]
        if len(points) < 2:
            raise ValueError("fewer than two points tell what the fan-out costs")
        rows = [(1 / ticks_per_write(point.share, point.batch), _fan_out(point, measured)) for point in points]
        write_us, tick_us = _solve([(inverse, us, 1 / us**2) for inverse, us in rows])
        for _ in range(STEPS):
            write_us, tick_us = _solve([_linear(inverse, us, write_us * inverse + tick_us) for inverse, us in rows])
        ratios = [(write_us * inverse + tick_us) / us for inverse, us in rows]
        return cls(write_us, tick_us, max(max(ratio, 1 / ratio) for ratio in ratios))

    def per_delivery(self, ticks: float) -> float:
        """The cost of a delivery that shares its write with others: ``ticks`` in the mean."""
        return self.write_us / ticks + self.tick_us


def _fan_out(point: Point, measured: Measured) -> float:
    """A delivery's cost without its part of the tick's way in, which all subscribers share, and of the client's upkeep."""
    post_us, tick_us = ingest_costs(measured)
    way_in = (post_us / point.batch + tick_us + measured.bus_us) / point.subscribers
    return point.us - way_in - measured.upkeep_us / (point.rate * point.share)


def ingest_costs(measured: Measured) -> tuple[float, float]:
    """What a POST costs and what each tick in it does, from runs with POSTs of 1 and of 100. Their one subscriber's
    delivery is part of it; the bus is not."""
    post_us = (measured.post_us - measured.batch_us) / (1 - 1 / 100)
    return post_us, max(0.0, measured.post_us - post_us - measured.bus_us)


def _linear(inverse: float, us: float, fitted: float) -> tuple[float, float, float]:
    """A row whose squared error is, near ``fitted``, that of the logarithm; large steps are cut short."""
    step = min(max(math.log(us / fitted), -0.5), 0.5)
    return inverse, fitted * (1 + step), 1 / fitted**2


def _solve(weighted: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Slope and intercept, neither below zero, of the line through ``(x, y, weight)``."""
    weight = sum(w for _, _, w in weighted)
    mean_x = sum(w * x for x, _, w in weighted) / weight
    mean_y = sum(w * y for _, y, w in weighted) / weight
    spread = sum(w * (x - mean_x) ** 2 for x, _, w in weighted)
    slope = sum(w * (x - mean_x) * (y - mean_y) for x, y, w in weighted) / spread if spread else 0.0
    if slope < 0:
        return 0.0, mean_y
    if mean_y < slope * mean_x:
        return sum(w * x * y for x, y, w in weighted) / sum(w * x * x for x, _, w in weighted), 0.0
    return slope, mean_y - slope * mean_x


def touched(share: float, ticks: float) -> float:
    """How likely a pass of ``ticks`` ticks has one for a client that has ``share`` of the symbols."""
    return 1.0 if share >= 1 else 1 - (1 - share) ** ticks


def ticks_per_write(share: float, ticks: float) -> float:
    return ticks * share / touched(share, ticks)


@dataclass(frozen=True, slots=True)
class Needs:
    """``cores`` is what the workers are busy with in the mean, ``workers`` how many leave the headroom: None if none
    do, since each has to read the whole bus. Bits are those on the wire."""

    delivery_us: float
    ticks_per_write: float
    workers: int | None
    cores: float
    memory_gb: float
    pass_ms: float
    redis_cores: float
    redis_messages: float
    redis_mbit: float
    egress_gbit: float
    packets: float
    storm_seconds: float
    machines: int
    redis_nodes: int
    failover_seconds: float
    """Until the clients of a machine that died are back, accepted by what the others have left."""
    first: str
    """What limits: ``Redis``, which is one and has no headroom left; else what the number of workers follows from, their
    ``cores`` or the ``pass`` to each one's clients.
    """


def needs(
    load: Load, measured: Measured = MEASURED, limits: Limits | None = None, *, workers: int | None = None
) -> Needs:
    """What ``load`` takes: with so many ``workers``, or as many as it needs."""
    limits = limits or Limits()
    fit = Fit.to(measured)
    found = workers or _smallest(load, measured, fit, limits)
    workers = found or 1
    per_write = ticks_per_write(load.share, load.ticks_per_pass)
    writes = load.deliveries / per_write
    segments = writes * math.ceil(per_write * load.frame_bytes / SEGMENT_BYTES)
    listened = workers * _heard(load, workers)
    redis_cores = _redis_cores(load, measured, workers)
    busy, pass_ms = _busy(load, measured, fit, workers), _pass_ms(load, fit, workers)
    woken = _woken(load, measured, workers, busy)
    bus_bytes = load.frame_bytes + BUS_OVERHEAD
    return Needs(
        delivery_us=fit.per_delivery(per_write),
        ticks_per_write=per_write,
        workers=found,
        cores=workers * (busy + woken),
        memory_gb=workers * measured.process_mb / 1024
        + load.clients * (measured.client_kb + measured.kernel_kb) / 1024**2,
        pass_ms=pass_ms,
        redis_cores=redis_cores,
        redis_messages=load.rate + listened,
        redis_mbit=(load.rate + listened) * bus_bytes * 8 / 1e6,
        egress_gbit=(load.deliveries * load.frame_bytes + segments * SEGMENT_OVERHEAD) * 8 / 1e9,
        packets=segments,
        storm_seconds=load.clients * measured.accept_us / workers / 1e6,
        machines=(machines := math.ceil(workers / limits.machine_cores)),
        redis_nodes=math.ceil(redis_cores / limits.use),
        failover_seconds=_failover_seconds(load, measured, workers, machines, busy),
        first=_first(limits, busy, pass_ms, redis_cores),
    )


def _failover_seconds(load: Load, measured: Measured, workers: int, machines: int, busy: float) -> float:
    """Infinite for the last machine, and where the others have nothing left for the dead one's clients."""
    if machines == 1:
        return math.inf
    left = workers * (1 - 1 / machines)
    free = left - workers * busy
    return load.clients / machines * measured.accept_us / 1e6 / free if free > 0 else math.inf


def _redis_cores(load: Load, measured: Measured, workers: int) -> float:
    posts = load.rate / load.batch
    heard = touched(load.share, load.clients / workers)
    us = measured.redis.per_post(load.batch, load.symbols_per_post, load.buckets_per_post)
    us += load.symbols_per_post * heard * workers * measured.redis.listener_us
    busy = posts * us / 1e6
    rest = 1 - min(busy, Limits().use)
    hops = posts * _hearing(load, workers) * measured.redis_hop_us / 1e6
    timers = (measured.redis_own_us + workers * measured.redis_worker_us) / 1e6
    return busy * (1 + (measured.cold - 1) * rest) + hops * rest + timers


def _hearing(load: Load, workers: int) -> float:
    """How many workers a POST goes to."""
    return workers * touched(touched(load.share, load.clients / workers), load.symbols_per_post)


def _first(limits: Limits, busy: float, pass_ms: float, redis_cores: float) -> str:
    if redis_cores > limits.use:
        return "Redis"
    return "cores" if busy / limits.use >= pass_ms / limits.pass_ms else "pass"


def _smallest(load: Load, measured: Measured, fit: Fit, limits: Limits) -> int | None:
    """The fewest workers that stay within the limits: doubled until enough, then narrowed down."""

    def is_enough(workers: int) -> bool:
        return _busy(load, measured, fit, workers) <= limits.use and _pass_ms(load, fit, workers) <= limits.pass_ms

    most = 1
    while not is_enough(most):
        most *= 2
        if most > load.clients * 2 and most > 1_024:
            return None
    fewest = most // 2
    while most - fewest > 1:
        middle = (most + fewest) // 2
        fewest, most = (fewest, middle) if is_enough(middle) else (middle, most)
    return most


def _busy(load: Load, measured: Measured, fit: Fit, workers: int) -> float:
    """The part of a core that each of so many workers uses."""
    per_write = ticks_per_write(load.share, load.ticks_per_pass)
    post_us, tick_us = ingest_costs(measured)
    shared = (
        load.deliveries * fit.per_delivery(per_write)
        + load.rate * (post_us / load.batch + tick_us)
        + load.clients * measured.upkeep_us
    )
    return (shared / workers + _heard(load, workers) * measured.bus_us + measured.worker_us) / 1e6


def _woken(load: Load, measured: Measured, workers: int, busy: float) -> float:
    """What is added to ``busy`` since each POST wakes each worker that hears it.

    One that finds the worker at work goes along with what comes next and costs nothing, so this is no reason for more
    workers. The first worker's is in what a POST was measured to cost.
    """
    wakes = load.rate / load.batch * max(0.0, _hearing(load, workers) - 1) / workers * measured.hop_us / 1e6
    return wakes * (1 - min(1.0, busy)) / (1 + wakes)


def _heard(load: Load, workers: int) -> float:
    """Ticks a second that a worker gets from Redis: those of symbols that at least one of its clients has."""
    return load.rate * touched(load.share, load.clients / workers)


def _pass_ms(load: Load, fit: Fit, workers: int) -> float:
    ticks = load.ticks_per_pass
    clients = load.clients / workers
    return clients * (touched(load.share, ticks) * fit.write_us + ticks * load.share * fit.tick_us) / 1_000


# From the benchmarks' own figures


def from_bench(record: Mapping[str, Any]) -> Measured:
    """The costs in what ``python -m tests.benchmarks --json`` wrote, of a full run."""
    parts = {part["name"]: part["cpu"]["median"] / 1_000 for part in record["parts"]}
    runs = [each for each in record["servers"] if each["system"] == "marketmux"]
    servers = {each["scenario"]: each for each in runs if each.get("workers", 1) == 1}
    idle, idling = servers["idle"], [each for each in runs if each["scenario"] == "idle"]
    shared = max(idling, key=lambda run: run.get("workers", 1))  # a crowd comes to workers that share their cores
    rest = _rest(idling)
    bus_us = _rounded(sum(_named(parts, name) for name in ("to the tap", "from_message", "tick_frame")))
    redis = RedisCosts.of(*(parts[f"Redis's own CPU, {shape}"] for shape in SHAPES))
    return Measured(
        points=tuple(_bench_point(servers[name]) for name in ("crowd", "hot", "mixed", "burst")),
        post_us=_rounded(servers["posts"]["cpu_per_delivery"]),
        batch_us=_rounded(servers["stream"]["cpu_per_delivery"]),
        bus_us=bus_us,
        accept_us=_rounded(shared["cpu_per_connection"]),
        upkeep_us=_rounded((idle["cores"] * 1e6 - idle["rest_us"]) / idle["clients"]),
        client_kb=_rounded(servers["crowd"]["kb_per_connection"]),
        process_mb=_rounded(idle["process_mb"]),
        redis=redis,
        kernel_kb=MEASURED.kernel_kb,
        **rest,
        **_hops(record, redis, bus_us, rest),
    )


def _rest(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What passes while nothing happens, from one gateway and from many, if there was a run of many."""
    few, many = (pick(runs, key=lambda run: run.get("workers", 1)) for pick in (min, max))
    more = many.get("workers", 1) - 1
    if not more:
        own_us = max(0.0, few["redis_rest_us"] - MEASURED.redis_worker_us)
        return {"worker_us": few["rest_us"], "redis_own_us": own_us, "redis_worker_us": MEASURED.redis_worker_us}
    each_us = max(0.0, (many["redis_rest_us"] - few["redis_rest_us"]) / more)
    return {
        "worker_us": _rounded(max(0.0, (many["rest_us"] - few["rest_us"]) / more)),
        "redis_own_us": _rounded(max(0.0, few["redis_rest_us"] - each_us)),
        "redis_worker_us": _rounded(each_us),
    }


def _hops(record: Mapping[str, Any], redis: RedisCosts, bus_us: float, rest: Mapping[str, float]) -> dict[str, float]:
    """From the same load on one gateway and on two, if it was run on two."""
    runs = {each.get("workers", 1): each for each in record["servers"] if each["scenario"] == "mixed"}
    if 2 not in runs:
        return {name: getattr(MEASURED, name) for name in ("hop_us", "redis_hop_us", "cold")}
    one, two = runs[1], runs[2]
    batch, rate = one["batch"], one["rate"]
    symbols = one["symbols"] * touched(1 / one["symbols"], batch)
    deliveries = rate * one["clients"] * one["per_client"] / one["symbols"]
    further = (two["cpu_per_delivery"] - one["cpu_per_delivery"]) * deliveries - rest["worker_us"] - rate * bus_us
    first_us, second_us = (
        batch * (run["redis_per_tick"] - (rest["redis_own_us"] + count * rest["redis_worker_us"]) / rate)
        for count, run in ((1, one), (2, two))
    )
    redis_hop = max(0.0, second_us - first_us - symbols * redis.listener_us)
    alone = first_us - redis_hop
    return {
        "hop_us": _rounded(max(0.0, further / (rate / batch))),
        "redis_hop_us": _rounded(redis_hop),
        "cold": _rounded(max(1.0, alone / (redis.per_post(batch, symbols) + symbols * redis.listener_us))),
    }


def with_compare(measured: Measured, record: Mapping[str, Any]) -> Measured:
    """``measured`` with MarketMux's figures of what ``compare.py --json`` wrote in place of those it has."""
    runs = {name: systems["marketmux"] for name, systems in record.items() if "marketmux" in systems}
    fullest = max(runs.values(), key=lambda run: run["rounds"][0]["conns"])
    return replace(
        measured,
        points=tuple(_compare_point(name, run) for name, run in runs.items()),
        accept_us=_rounded(fullest["us_per_connect"]),
        client_kb=_rounded(fullest["kb_per_conn"]),
    )


def _bench_point(run: Mapping[str, Any]) -> Point:
    share = run["per_client"] / run["symbols"]
    us = _rounded(run["cpu_per_delivery"])
    return Point(run["scenario"], share, run["clients"] * share, run["rate"], run["batch"], us)


def _compare_point(name: str, run: Mapping[str, Any]) -> Point:
    first = run["rounds"][0]
    subscribers = first["expected"] / first["ticks"]
    return Point(
        name,
        share=_rounded(subscribers / first["conns"]),
        subscribers=round(subscribers),
        rate=_rounded(first["ticks_per_s"]),
        batch=round(first["ticks"] / first["posts"]),
        us=run["us_per_delivery"],
    )


def _named(parts: Mapping[str, float], text: str) -> float:
    return next(us for name, us in parts.items() if text in name)


def _rounded(value: float) -> float:
    """To three digits that count."""
    return float(f"{value:.3g}")


# Printing


def assumptions(measured: Measured, limits: Limits) -> Iterator[str]:
    fit = Fit.to(measured)
    post_us, tick_us = ingest_costs(measured)
    yield f"A write to a client costs {fit.write_us:.2f} µs and each tick in it {fit.tick_us:.2f} µs: fitted, to within a factor of {fit.error:.1f}, to"
    for point in measured.points:
        per_write = ticks_per_write(point.share, point.batch)
        model, us = fit.per_delivery(per_write), _fan_out(point, measured)
        unused = "" if us >= FAN_OUT_SHARE * point.us else " (mostly ingest, left out)"
        yield (
            f"    {point.name}: {per_write:.1f} ticks a write, {point.us:.2f} µs a delivery, of it fan-out "
            f"{us:.2f}, fitted {model:.2f}{unused}"
        )
    yield f"Taking ticks in costs {post_us:.0f} µs a POST and {tick_us:.1f} µs a tick; POSTs are spread over the workers."
    yield f"Each worker pays {measured.bus_us:.1f} µs for each tick of the symbols that its clients have between them."
    yield f"A client costs {measured.client_kb:.1f} KB in its worker and {measured.kernel_kb:.1f} KB in the kernel,"
    yield f"    {measured.accept_us:.0f} µs to accept, and {measured.upkeep_us:.1f} µs a second of pings and timers."
    yield f"A worker has {measured.process_mb:.0f} MB before its first client, costs {measured.worker_us / 1_000:.1f} ms a second for its own timers,"
    yield f"    and has at most {limits.use:.0%} of a core busy; the last client of a pass waits at most {limits.pass_ms:g} ms for the others."
    redis = measured.redis
    yield (
        f"Redis spends {redis.call_us:.1f} µs a POST, {redis.symbol_us:.2f} µs a symbol in it and {redis.tick_us:.2f} µs a "
        f"tick, and {redis.listener_us:.2f} µs for each gateway that a symbol's ticks of a POST go to."
    )
    yield (
        f"    One that rests in between takes {measured.cold:.1f} times as much. A POST costs each further gateway that hears "
        f"it {measured.hop_us:.0f} µs beside its ticks, and Redis {measured.redis_hop_us:.0f} µs more."
    )
    yield (
        f"    Its own timers cost {measured.redis_own_us / 1_000:.1f} ms a second, and each gateway "
        f"{measured.redis_worker_us / 1_000:.2f} ms."
    )
    yield f"On the wire {SEGMENT_OVERHEAD} bytes are added to each TCP segment of {SEGMENT_BYTES}; acknowledgements are not counted."
    yield "All symbols tick alike and have equally many clients. A storm: all clients come back at once."
    yield "The machine: the one the costs were measured on; two workers on two cores are taken to do twice the work of one."


def table(loads: Iterable[Load], measured: Measured, limits: Limits) -> Table:
    result = Table(box=box.SIMPLE_HEAD)
    for heading in (
        *("clients", "ticks/s", "deliveries\n/s", "ticks/\nwrite", "µs/\ndelivery", "workers", "busy\ncores", "GB"),
        *(
            "pass\nms",
            "Redis\ncores",
            "Redis\nmsgs/s",
            "Redis\nMbit/s",
            "egress\nGbit/s",
            "packets/s",
            "storm\ns",
            "limited\nby",
        ),
    ):
        result.add_column(heading, justify="right", no_wrap=True)
    clients = 0
    for load in loads:
        if clients not in {0, load.clients}:
            result.add_section()
        clients = load.clients
        result.add_row(*_cells(load, needs(load, measured, limits)))
    return result


def _cells(load: Load, need: Needs) -> Iterator[str]:
    yield from (f"{load.clients:,}", f"{load.rate:,.0f}", _short(load.deliveries), f"{need.ticks_per_write:.2f}")
    yield f"{need.delivery_us:.2f}"
    if need.workers is None:
        yield from ("none", *["-"] * 9, "the bus")
        return
    yield from (f"{need.workers:,}", f"{need.cores:.1f}", f"{need.memory_gb:.1f}", f"{need.pass_ms:.1f}")
    yield from (f"{need.redis_cores:.2f}", _short(need.redis_messages), _short(need.redis_mbit))
    yield from (f"{need.egress_gbit:.2f}", _short(need.packets), f"{need.storm_seconds:.1f}", need.first)


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= unit:
            return f"{value / min(unit, 1e3 if name == 'k' else unit):.3g}{name}"
    return f"{value:,.0f}"


LARGE: Final = Load(1_000_000, symbols=10_000, rate=100_000.0, buckets=64)
"""What is asked beyond the table, for clients and POSTs of several sizes."""
LARGE_WAYS: Final = ((1, 10.0), (1, 100.0), (20, 10.0), (20, 100.0))
"""Symbols a client has, and ticks in a POST."""


class Answer(NamedTuple):
    load: Load
    need: Needs


def large(measured: Measured, limits: Limits) -> Table:
    """One load in full, a column for each way."""
    loads = [replace(LARGE, per_client=per_client, batch=batch) for per_client, batch in LARGE_WAYS]
    answers = [Answer(load, needs(load, measured, limits)) for load in loads]
    result = Table("", box=box.SIMPLE_HEAD)
    for load in loads:
        each = "a symbol each" if load.per_client == 1 else f"{load.per_client} symbols each"
        result.add_column(f"{each},\nPOSTs of {load.batch:g}", justify="right", no_wrap=True)
    for name, cell in _LARGE_ROWS:
        result.add_row(name, *(cell(answer) for answer in answers))
    return result


_LARGE_ROWS: Final[tuple[tuple[str, Callable[[Answer], str]], ...]] = (
    ("deliveries/s", lambda answer: _short(answer.load.deliveries)),
    ("workers", lambda answer: "none" if answer.need.workers is None else f"{answer.need.workers:,}"),
    ("busy cores of workers", lambda answer: f"{answer.need.cores:,.0f}"),
    ("machines", lambda answer: f"{answer.need.machines:,}"),
    ("memory, GB in all", lambda answer: f"{answer.need.memory_gb:,.0f}"),
    ("memory, GB a machine", lambda answer: f"{answer.need.memory_gb / answer.need.machines:,.1f}"),
    ("pass, ms", lambda answer: f"{answer.need.pass_ms:.1f}"),
    ("script calls a POST", lambda answer: f"{answer.load.buckets_per_post:.1f}"),
    ("Redis cores", lambda answer: f"{answer.need.redis_cores:,.1f}"),
    ("Redis primaries", lambda answer: f"{answer.need.redis_nodes:,}"),
    ("Redis to workers, messages/s", lambda answer: _short(answer.need.redis_messages)),
    ("Redis to workers, Gbit/s", lambda answer: f"{answer.need.redis_mbit / 1_000:,.1f}"),
    ("egress, Gbit/s", lambda answer: f"{answer.need.egress_gbit:,.1f}"),
    ("egress, Gbit/s a machine", lambda answer: f"{answer.need.egress_gbit / answer.need.machines:,.2f}"),
    ("packets/s a machine", lambda answer: _short(answer.need.packets / answer.need.machines)),
    ("a machine dies: s until its clients are back", lambda answer: f"{answer.need.failover_seconds:,.1f}"),
    ("all come back at once: s", lambda answer: f"{answer.need.storm_seconds:,.1f}"),
    ("limited by", lambda answer: answer.need.first),
)

CLIENTS: Final = (10_000, 100_000, 1_000_000)
WIDTH: Final = 165
RATES: Final = (100.0, 1_000.0, 10_000.0)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    measured, limits = _measured(options), Limits(options.use, options.pass_ms)
    if options.source:
        Console(width=1_000, highlight=False, markup=False).print(f"MEASURED: Final = {measured!r}")
        return
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)  # a table that wraps is worse than one that must be scrolled
    console.print("Assumptions", style="bold")
    for line in assumptions(measured, limits):
        console.print(line, soft_wrap=True)
    loads = list(_loads(options))
    console.print(
        f"\nA client has {options.per_client:,} of {options.symbols:,} symbols; frames of {options.bytes:g} bytes, "
        f"POSTs of {options.batch:g} ticks, MARKETMUX_LINGER_MS={options.linger:g}",
        soft_wrap=True,
    )
    console.print(table(loads, measured, limits))
    console.print(
        f"\n{LARGE.clients:,} clients, {LARGE.symbols:,} symbols, {LARGE.rate:,.0f} ticks/s; a cluster of Redis with "
        f"{LARGE.buckets} buckets; machines of {limits.machine_cores} cores, a worker for each",
        soft_wrap=True,
    )
    console.print(large(measured, limits))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.capacity", description="What a deployment needs, from measured costs."
    )
    standard, limits = Load(0), Limits()
    add = parser.add_argument
    add("--clients", type=int, nargs="+", default=CLIENTS, metavar="N")
    add("--rate", type=float, nargs="+", default=RATES, metavar="T", help="ticks a second over all symbols")
    add("--symbols", type=int, default=standard.symbols, metavar="S")
    add("--per-client", type=int, default=standard.per_client, metavar="K")
    add("--bytes", type=float, default=standard.frame_bytes, metavar="B", help="of a tick's frame")
    add("--batch", type=float, default=standard.batch, metavar="N", help="ticks in a POST")
    add("--linger", type=float, default=standard.linger_ms, metavar="MS", help="MARKETMUX_LINGER_MS")
    add("--use", type=float, default=limits.use, metavar="SHARE", help="of a core that may be busy")
    add("--pass-ms", type=float, default=limits.pass_ms, metavar="MS", help="longest pass")
    add("--bench", type=Path, metavar="FILE", help="costs from python -m tests.benchmarks --json")
    add("--compare", type=Path, metavar="FILE", help="fan-out, accepting and memory from compare.py --json")
    add("--source", action="store_true", help="print the costs as the source of MEASURED, and nothing else")
    options = parser.parse_args(arguments)
    if not 1 <= options.per_client <= options.symbols or options.batch < 1 or min(options.clients) < 1:
        parser.error("at least one client and one tick a POST, and 1 <= K <= S")
    return options


def _measured(options: argparse.Namespace) -> Measured:
    measured = MEASURED
    if options.bench:
        measured = from_bench(json.loads(options.bench.read_text()))
    if options.compare:
        measured = with_compare(measured, json.loads(options.compare.read_text()))
    return measured


def _loads(options: argparse.Namespace) -> Iterator[Load]:
    for clients in options.clients:
        for rate in options.rate:
            yield Load(
                clients,
                symbols=options.symbols,
                per_client=options.per_client,
                rate=rate,
                batch=options.batch,
                frame_bytes=options.bytes,
                linger_ms=options.linger,
            )


if __name__ == "__main__":
    main()
