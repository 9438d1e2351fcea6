"""Whole servers under the project's own load generator: MarketMux, and the plain Channels application beside it.

Both are fed over HTTP, share a Redis, and listen on 127.0.0.1 in processes of their own, started afresh for each
scenario. CPU time is what all processes of a server used while ticks were published, ingest included, for each tick
that a subscriber read. Figures of one run can be compared with each other: the machine is the same, and so is its mood.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from multiprocessing import Event, Process
from pathlib import Path
from resource import getpagesize
from typing import Any, Final, NamedTuple

from gateway.loadtest import LoadTest, Options, Report
from tests.benchmarks.measure import cpu_clock
from tests.clients import RawClient
from tests.servers import GatewayProcess, RedisServer

__all__ = [
    "SCENARIOS",
    "SYSTEMS",
    "Outcome",
    "PlainProcess",
    "Scenario",
    "Site",
    "Usage",
    "measure",
    "running",
]

GRACE_SECONDS: Final = 1.0
WARM_UP: Final = Options(connections=20, symbols=["WARM"], rate=50, seconds=0.4, grace=0.1)
SETTLE_SECONDS: Final = 0.5
REST_SECONDS: Final = 10.0
CROWD: Final = 100
"""Connections from which on the cost of one can be told."""
STAY_SECONDS: Final = 1.0
"""How long a client of a churn stays."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``rate`` is ticks a second over all symbols, posted in batches of ``batch`` that are pipelined on one connection,
    for ``seconds`` where it matters how long. ``churn``: as many other clients a second come, subscribe to ``per_client``
    of the symbols, and go. ``with_plain``: the plain application can carry this, or at least try.
    """

    name: str
    clients: int
    symbols: int
    per_client: int
    rate: int
    batch: int
    with_plain: bool = True
    quick: bool = False
    seconds: float | None = None
    churn: int = 0

    @property
    def deliveries_per_second(self) -> int:
        return self.clients * self.per_client * self.rate // self.symbols

    def options(self, url: str, seconds: float) -> Options:
        return Options(
            url=url,
            connections=self.clients,
            symbols=[f"S{number}" for number in range(self.symbols)],
            per_client=self.per_client,
            rate=self.rate,
            batch=self.batch,
            seconds=self.seconds or seconds,
            grace=GRACE_SECONDS,
        )

    def due(self, seconds: float) -> int:
        """Deliveries asked for in so many seconds of publishing."""
        return self.options("", seconds).posts * self.batch * self.clients * self.per_client // self.symbols

    def __str__(self) -> str:
        clients = f"{self.clients:,} clients" if self.clients > 1 else "1 client"
        beside = f"; {self.churn} others a second come and go" if self.churn else ""
        return (
            f"{self.name}: {clients}, {self.per_client} of {self.symbols} symbols each, "
            f"{self.rate:,} ticks/s in POSTs of {self.batch}: {self.deliveries_per_second:,} deliveries/s{beside}"
        )


SCENARIOS: Final = [
    Scenario("crowd", clients=1_000, symbols=1, per_client=1, rate=2, batch=1, quick=True),
    Scenario("lists", clients=100, symbols=50, per_client=10, rate=100, batch=10, quick=True),
    Scenario("hot", clients=500, symbols=1, per_client=1, rate=50, batch=1),
    # One subscriber: the cost of a delivery is the cost of taking a tick in.
    Scenario("posts", clients=1, symbols=1, per_client=1, rate=200, batch=1),
    Scenario("batches", clients=1, symbols=1, per_client=1, rate=2_000, batch=100),
    # More than the plain application could begin to carry.
    Scenario("mixed", clients=500, symbols=100, per_client=20, rate=600, batch=10, with_plain=False),
    Scenario("churn", clients=500, symbols=100, per_client=20, rate=600, batch=10, with_plain=False, churn=50),
    Scenario("pipelined", clients=200, symbols=100, per_client=20, rate=1_000, batch=1, with_plain=False),
    Scenario("burst", clients=100, symbols=1, per_client=1, rate=600, batch=100, with_plain=False),
    Scenario("stream", clients=1, symbols=1, per_client=1, rate=10_000, batch=100, with_plain=False),
    # As long as it takes every client to be pinged once, and as many as can be told from the server's own timers.
    Scenario("idle", clients=5_000, symbols=1, per_client=1, rate=0, batch=1, with_plain=False, seconds=22.0),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """CPU in microseconds, of all processes of the server; latency in milliseconds. ``lost_share`` are the deliveries
    asked for that had not come when the grace period was over, be it that their ticks were not even taken in. ``cores`` is the CPU time of the
    run, from the first tick to the end of the grace period, by its length; ``process_mb`` what it held before the clients
    came; ``redis_per_tick`` Redis's CPU. ``rest_us`` and ``redis_rest_us`` are the CPU of a second before the clients came,
    where nothing is published. A connection's figures are None where there were too few. Those of a churn hold
    what its clients cost, and the load generator's own churn takes from the same machine."""

    system: str
    scenario: str
    cores: float
    cpu_per_delivery: float | None
    redis_per_tick: float | None
    deliveries_per_second: float
    lost_share: float
    p50: float | None
    p99: float | None
    cpu_per_connection: float | None
    kb_per_connection: float | None
    process_mb: float
    rest_us: float | None = None
    redis_rest_us: float | None = None

    def record(self) -> dict[str, Any]:
        return asdict(self)


class PlainProcess(GatewayProcess):
    """The plain application under Daphne, as its README would have one start it."""

    def __init__(self, directory: Path, redis: RedisServer) -> None:
        super().__init__(directory, server="daphne", redis_url=redis.url)
        self._command = [*self._command[:-1], "tests.benchmarks.plain:application"]


@dataclass(frozen=True, slots=True)
class Site:
    """Where servers are run: with ``redis``, below ``directory``, with copies of ``database``; ``seconds`` is how long
    each is sent ticks."""

    redis: RedisServer
    directory: Path
    database: Path
    seconds: float


SYSTEMS: Final[dict[str, Callable[[Path, Site, int], GatewayProcess]]] = {
    "marketmux": lambda directory, site, workers: GatewayProcess(
        directory, workers=workers, redis_url=site.redis.url, database=site.database
    ),
    "plain": lambda directory, site, _: PlainProcess(directory, site.redis),
}


def measure(system: str, scenario: Scenario, site: Site, workers: int = 1) -> Outcome:
    """One run of ``scenario`` against a server started for it; MarketMux with so many workers."""
    with running(SYSTEMS[system](site.directory / f"{scenario.name}-{system}-{workers}", site, workers)) as server:
        LoadTest(_to(server, WARM_UP)).run()
        time.sleep(SETTLE_SECONDS)
        meter = Usage.meter(server, site.redis)
        rest_us, redis_rest_us = (None, None) if scenario.rate else _resting(meter)
        run = Run(scenario.options(server.http, site.seconds), meter)
        with churning(server, scenario) if scenario.churn else nullcontext():
            report = run.run()
    return replace(_outcome(system, scenario, report, run), rest_us=rest_us, redis_rest_us=redis_rest_us)


def _resting(meter: Callable[[], Usage]) -> tuple[float, float]:
    """CPU, in microseconds a second, of a server that nobody asks for anything, and of its Redis."""
    before = meter()
    time.sleep(REST_SECONDS)
    after = meter()
    used = after.cpu - before.cpu, after.redis - before.redis
    return used[0] / REST_SECONDS * 1e6, used[1] / REST_SECONDS * 1e6


@contextmanager
def churning(server: GatewayProcess, scenario: Scenario) -> Iterator[None]:
    """Clients that come and go, from a process of their own."""
    stop = Event()
    process = Process(target=_churn, args=(server.host, server.port, scenario, stop))
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join()


def _churn(host: str, port: int, scenario: Scenario, stop: Any) -> None:
    symbols = [f"S{number}" for number in range(scenario.per_client)]
    here: deque[RawClient] = deque()
    start = time.monotonic()
    for number in itertools.count():
        if stop.wait(max(0.0, start + number / scenario.churn - time.monotonic())):
            break
        here.append(RawClient(Address(host, port), *symbols))
        if len(here) > scenario.churn * STAY_SECONDS:
            here.popleft().close()


class Address(NamedTuple):
    host: str
    port: int


@contextmanager
def running(server: GatewayProcess) -> Iterator[GatewayProcess]:
    """The server from when it answers until the end of the block."""
    server.start()
    try:
        yield server
    finally:
        server.kill()  # one that drowns would take its time to stop


def _to(server: GatewayProcess, options: Options) -> Options:
    return Options(**asdict(options) | {"url": server.http})


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server has used until now: CPU seconds of all its processes, resident bytes of those that serve, and CPU
    seconds of Redis."""

    cpu: float
    memory: int
    redis: float

    @staticmethod
    def meter(server: GatewayProcess, redis: RedisServer) -> Callable[[], Usage]:
        workers = server.pids or [server.pid]
        clocks = [cpu_clock(pid) for pid in {server.pid, *workers}]
        bus = cpu_clock(redis.pid)
        return lambda: Usage(sum(clock() for clock in clocks), sum(map(_resident_bytes, workers)), bus())


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * getpagesize()


class Run(LoadTest):
    """A load test that looks at the server before it, when all are connected, and before they leave again."""

    def __init__(self, options: Options, meter: Callable[[], Usage]) -> None:
        super().__init__(options, on_connected=self._connected)
        self.seconds = options.seconds
        self._meter = meter
        self.before = self.connected = self.after = meter()

    def run(self) -> Report:
        gc.collect()
        self.before = self._meter()
        return super().run()

    def _connected(self) -> None:
        time.sleep(SETTLE_SECONDS)
        self.connected = self._meter()

    def _await_grace(self) -> None:
        super()._await_grace()
        self.after = self._meter()


def _outcome(system: str, scenario: Scenario, report: Report, run: Run) -> Outcome:
    opened, deliveries, ticks = report.subscribers.opened, report.deliveries, report.ticks
    is_crowd = opened >= CROWD
    return Outcome(
        system=system,
        scenario=scenario.name,
        cores=(run.after.cpu - run.connected.cpu) / report.cost.run_seconds,
        cpu_per_delivery=(run.after.cpu - run.connected.cpu) / deliveries.count * 1e6 if deliveries.count else None,
        redis_per_tick=(run.after.redis - run.connected.redis) / ticks.accepted * 1e6 if ticks else None,
        deliveries_per_second=deliveries.per_second,
        lost_share=1 - deliveries.count / scenario.due(run.seconds) if scenario.rate else 0.0,
        p50=report.latency_ms.p50,
        p99=report.latency_ms.p99,
        cpu_per_connection=(run.connected.cpu - run.before.cpu) / opened * 1e6 if is_crowd else None,
        kb_per_connection=(run.connected.memory - run.before.memory) / opened / 1024 if is_crowd else None,
        process_mb=run.before.memory / 1024**2,
    )
