"""A hundred thousand clients on one machine: what they cost, how late a tick is, and what the death of a worker does.

    python -m tests.benchmarks.hundred --clients 100000 --symbols 1000 --rate 100 1000 --kill
    python -m tests.benchmarks.hundred --clients 100000 --symbols 1 --rate 1

A Redis and a gateway of ``--workers`` processes are started, all clients connect with one subscription each and keep
books, and then, in this order: nothing happens; ticks are published at each rate; and with ``--kill`` a worker is killed
while they are, at the first rate. Servers, clients and publisher share the machine, which is part of every latency.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from gateway.loadtest import LoadTest, Options
from gateway.loadtest.crowd import Counts
from gateway.loadtest.histogram import Histogram
from gateway.loadtest.ledger import Ledger
from gateway.loadtest.report import Proof, Step
from gateway.loadtest.share import TURN_SECONDS, Share
from tests.benchmarks.measure import Clock, cpu_clock
from tests.servers import GatewayProcess, RedisServer, migrate

__all__ = ["Rate", "Return", "Stay", "Timeline", "main"]

SETTLE_SECONDS: Final = 6.0
"""After all have come: longer than a heartbeat's period."""

PROBE_SECONDS: Final = 0.25
LONGEST_RETURN: Final = 120.0


class Timeline(Histogram):
    """Latencies, and those of each second for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[int, Histogram] = defaultdict(Histogram)

    def add(self, nanoseconds: int) -> None:
        super().add(nanoseconds)
        self.seconds[int(time.monotonic())].add(nanoseconds)

    def merge(self, other: Histogram) -> None:
        super().merge(other)
        if isinstance(other, Timeline):
            for second, latencies in other.seconds.items():
                self.seconds[second].merge(latencies)

    def windows(self, since: float) -> dict[int, float]:
        """The p99 of each second, by its number from ``since`` on."""
        return {second - int(since): each.percentile(0.99) or 0.0 for second, each in sorted(self.seconds.items())}


# What is asked of each share of the clients


def watch(share: Share) -> None:
    share.tally.latencies = Timeline()
    if share.traces:
        share.traces.begin()


def watched(share: Share) -> Histogram:
    return share.tally.latencies


def counts(share: Share) -> Counts:
    return share.crowd.counts()


def traces(share: Share) -> Any:
    return share.traces


def used(_share: Share) -> float:
    return time.process_time()


@dataclass(frozen=True, slots=True)
class Crowded:
    """What all clients cost together. Memory in KB a client: in the workers (PSS) and in the kernel, which has both ends
    of each connection here. ``busy`` are cores while nothing happens; CPU to connect in microseconds a client."""

    clients: int
    workers: int
    connect_seconds: float
    connect_us: float
    process_kb: float
    worker_mb: float
    kernel_kb: float
    busy: float
    generator_kb: float
    generator_us: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Ticks at a rate. Latencies in ms; CPU in microseconds a delivery, of all workers and of the generator."""

    rate: float
    deliveries: float
    p50: float | None
    p99: float | None
    longest: float | None
    us: float
    generator_us: float
    redis_us: float


@dataclass(frozen=True, slots=True)
class Return:
    """The death of a worker: ``lost`` clients, ``seconds`` until all were subscribed again. ``p99`` is the highest of
    any second, by the crowd's own clocks, and ``others_p99`` by those of the witness; ``refused`` POSTs, and the longest
    that one took, of those that were sent over new connections."""

    lost: int
    seconds: float
    rebuffed: int
    p99: float | None
    others_before: float | None
    others_p99: float | None
    late_seconds: int
    refused: int
    posts: int
    longest_post: float
    unanswered: int


class Site:
    """A gateway and its Redis, by what they use."""

    def __init__(self, gateway: GatewayProcess, redis: RedisServer) -> None:
        self.gateway = gateway
        self._clocks: dict[int, Clock] = {}
        self._bus = cpu_clock(redis.pid)
        self._past = 0.0
        self._latest: dict[int, float] = {}

    def cpu(self) -> float:
        """Of all processes of the gateway, with those that have ended meanwhile, as far as that was seen."""
        pids = {self.gateway.pid, *self.gateway.pids}
        for pid in [pid for pid in self._latest if pid not in pids]:
            self._past += self._latest.pop(pid)
        for pid in pids:
            try:
                self._latest[pid] = cpu_clock(pid)()
            except OSError:
                continue
        return self._past + sum(self._latest.values())

    def redis(self) -> float:
        return self._bus()

    def memory(self) -> int:
        """Bytes of the workers."""
        return sum(pss(pid) for pid in self.gateway.pids)


def pss(pid: int) -> int:
    """A process's memory, its part of what is shared included."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def kernel_bytes() -> int:
    """What the kernel has for its objects, sockets and files among them."""
    values = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(values["Slab"].split()[0]) * 1024


OVERFLOWS: Final = "ListenOverflows", "ListenDrops", "TCPReqQFullDrop", "TCPTimeouts"


def overflows() -> dict[str, int]:
    """The kernel's counts of connections that it had no room for, and of what it sent again."""
    names, values = (
        line.split()[1:] for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")
    )
    found = dict(zip(names, map(int, values), strict=True))
    return {name: found.get(name, 0) for name in OVERFLOWS}


class Stay(LoadTest):
    """A load test whose clients stay while one thing after the other is measured."""

    def __init__(self, options: Options, site: Site) -> None:
        super().__init__(options)
        self._site = site

    def spend(self, seconds: float) -> None:
        """Goes on reading."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._turn(min(left, 0.1))

    def crowd(self, idle: float) -> Crowded:
        """All connect; then nothing happens for ``idle`` seconds."""
        site = self._site
        memory, slab, cpu = site.memory(), kernel_bytes(), site.cpu()
        own = self._own_memory()
        watch_ = self._timed(self._connect)
        connecting = site.cpu() - cpu
        self._begin()
        generator = sum(self._of_all(used))
        self.spend(SETTLE_SECONDS)
        clients = self.counts().opened
        after, kernel_kb = site.memory(), (kernel_bytes() - slab) / clients / 1024
        generator_kb = (self._own_memory() - own) / clients / 1024
        cpu, began = site.cpu(), time.monotonic()
        self.spend(idle)
        busy = (site.cpu() - cpu) / (time.monotonic() - began)
        return Crowded(
            clients=clients,
            workers=len(site.gateway.pids),
            connect_seconds=watch_.seconds,
            connect_us=connecting / clients * 1e6,
            process_kb=(after - memory) / clients / 1024,
            worker_mb=memory / len(site.gateway.pids) / 1024**2,
            kernel_kb=kernel_kb,
            busy=busy,
            generator_kb=generator_kb,
            generator_us=generator / clients * 1e6,
        )

    def _own_memory(self) -> int:
        return sum(pss(pid) for pid in [os.getpid(), *self._helpers_pids()])

    def _helpers_pids(self) -> Iterator[int]:
        return (helper.pid for helper in self._helpers if helper.pid is not None)

    def counts(self) -> Counts:
        first, *others = self._of_all(counts)
        for other in others:
            first.merge(other)
        return first

    def at(self, rate: float, seconds: float, batch: int) -> Rate:
        """Publishes for so long."""
        site = self._site
        self._of_all(watch)
        cpu, redis, generator = site.cpu(), site.redis(), sum(self._of_all(used))
        posted = self._publishing(rate, seconds, batch, self.spend_publishing)
        self.spend(self._options.grace)
        cpu, redis = site.cpu() - cpu, site.redis() - redis
        generator = sum(self._of_all(used)) - generator
        found = self.latencies()
        return Rate(
            rate=rate,
            deliveries=len(found) / seconds,
            p50=found.percentile(0.5),
            p99=found.percentile(0.99),
            longest=found.percentile(1.0),
            us=cpu / max(1, len(found)) * 1e6,
            generator_us=generator / max(1, len(found)) * 1e6,
            redis_us=redis / max(1, posted) * 1e6,
        )

    def latencies(self) -> Timeline:
        found = Timeline()
        for each in self._of_all(watched):
            found.merge(each)
        return found

    def _publishing(self, rate: float, seconds: float, batch: int, spend: Callable[[], None]) -> int:
        """Ticks at ``rate`` while ``spend`` runs; how many were accepted."""
        ledger = self._share.tally
        assert isinstance(ledger, Ledger)
        old = self._publisher
        if old is not None:
            old.close()
        self._options = replace(self._options, rate=rate, seconds=seconds, batch=batch)
        self._publisher = self._publishes(self._options, ledger)
        spend()
        return self._publisher.accepted

    def spend_publishing(self) -> None:
        self._publish()

    def kill(self, rate: float, batch: int, before: float, after: float) -> Return:
        """Kills a worker, and waits until all of its clients are back."""
        self._of_all(watch)
        witness = Witness(self._site.gateway)
        found: dict[str, float] = {}

        def spend() -> None:
            assert self._publisher is not None
            publisher = self._publisher
            publisher.start()
            self._publish_for(before)
            had = self.counts()
            victim = self._site.gateway.pids[-1]
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            found["killed"] = killed
            lost = 0
            while time.monotonic() - killed < LONGEST_RETURN:
                self._publish_for(0.25)
                now = self.counts()
                lost = now.closed.total() - had.closed.total()
                if lost and now.returned - had.returned >= lost and not now.away:
                    break
            found["seconds"] = time.monotonic() - killed
            found["lost"] = lost
            found["rebuffed"] = self.counts().rebuffed.total()
            self._publish_for(after)

        self._publishing(rate, LONGEST_RETURN * 2, batch, spend)
        seen = witness.said()
        self.spend(self._options.grace)
        since = found["killed"]
        self.windows = self.latencies().windows(since)
        self.others = seen.latencies.windows(since)
        later, others = ([p99 for second, p99 in each.items() if second >= 0] for each in (self.windows, self.others))
        assert self._publisher is not None
        return Return(
            lost=int(found["lost"]),
            seconds=found["seconds"],
            rebuffed=int(found["rebuffed"]),
            p99=max(later, default=None),
            others_before=max((p99 for second, p99 in self.others.items() if second < 0), default=None),
            others_p99=max(others, default=None),
            late_seconds=sum(p99 > 100 for p99 in others),
            refused=seen.refused + self._publisher.refused,
            posts=seen.posts,
            longest_post=seen.longest_post,
            unanswered=self._publisher.unanswered,
        )

    def steps(self) -> list[Step]:
        """Where time went since the last worker was killed, by the clients that ask for it."""
        first, *others = self._of_all(traces)
        for other in others:
            first.merge(other)
        return Step.all_of(first)

    def _publish_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._turn(max(0.0, min(left, 0.1, self._advance())))

    def proof(self) -> Proof | None:
        """Whether all have what was published, in order, and ended on the last value."""
        return self._prove(self._books())


class Posts:
    """POSTs over a new connection each, four a second, from a thread."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0
        self.refused = 0
        self.longest = 0.0

    def __enter__(self) -> Posts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PROBE_SECONDS):
            began = time.monotonic()
            self.refused += not self._post()
            self.count += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def _post(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            body = '{"symbol": "PROBE", "price": 1}'
            connection.request("POST", "/api/v1/ticks", body, {"Content-Type": "application/json"})
            return connection.getresponse().status == 202
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """By the witness: latencies of its clients, and what became of POSTs over new connections."""

    latencies: Timeline
    posts: int
    refused: int
    longest_post: float


class Witness:
    """Clients of a symbol of their own and its publisher, from now on, in a process that is given the processor first.

    What they notice is the gateway's doing. In the latencies of the crowd is also that its own processes are busy,
    which open thousands of connections meanwhile.
    """

    def __init__(self, gateway: GatewayProcess) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_witness, args=(theirs, gateway.host, gateway.port), daemon=True)
        self._process.start()
        self._connection.recv()

    def said(self) -> Seen:
        """What it has seen until now. It ends."""
        self._connection.send(None)
        seen: Seen = self._connection.recv()
        self._process.join()
        return seen


class Watching(LoadTest):
    """The clients of a witness."""

    def watch(self, connection: Connection) -> Timeline:
        """From when ``connection`` was told that all are there until something comes over it."""
        assert self._publisher is not None
        self._connect()
        self._begin()
        latencies = self._share.tally.latencies = Timeline()
        connection.send(None)
        self._publisher.start()
        while not connection.poll():
            self._turn(max(0.0, min(TURN_SECONDS, self._advance())))
        self._await_grace()
        return latencies


def _witness(connection: Connection, host: str, port: int) -> None:
    with suppress(PermissionError):
        os.nice(-10)
    options = Options(
        connections=200,
        symbols=["WITNESS"],
        url=f"http://{host}:{port}",
        rate=20.0,
        seconds=2 * LONGEST_RETURN,
        grace=1.0,
        verify=True,
        reconnect=0.0,
    )
    with closing(Watching(options)) as watching, Posts(host, port) as posts:
        latencies = watching.watch(connection)
    connection.send(Seen(latencies, posts.count, posts.refused, posts.longest))


@contextmanager
def serving(workers: int, log: Path) -> Iterator[Site]:
    """What the gateway prints is written to ``log`` in the end."""
    with tempfile.TemporaryDirectory(prefix="marketmux-hundred-") as name:
        directory = Path(name)
        migrate(directory / "db.sqlite3")
        redis = RedisServer(directory)
        redis.start()
        gateway = GatewayProcess(
            directory / "gateway",
            workers=workers,
            redis_url=redis.url,
            database=directory / "db.sqlite3",
        )
        try:
            gateway.start()
            gateway.wait_for_output("MarketMux is ready")
            yield Site(gateway, redis)
        finally:
            log.write_text(gateway.output())
            gateway.kill()
            redis.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    console = Console(highlight=False)
    with serving(options.workers, options.log) as site:
        stay = Stay(
            Options(
                connections=options.clients,
                symbols=[f"S{number}" for number in range(options.symbols)],
                url=site.gateway.http,
                per_client=1,
                rate=1.0,
                verify=True,
                trace=True,
                reconnect=0.0,
                grace=3.0,
            ),
            site,
        )
        record: dict[str, Any] = {"symbols": options.symbols, "batch": options.batch}
        before = overflows()
        with closing(stay):
            crowded = stay.crowd(options.idle)
            record["crowded"] = asdict(crowded)
            console.print(_table(crowded))
            rates = [stay.at(rate, options.seconds, min(options.batch, options.symbols)) for rate in options.rate]
            record["rates"] = [asdict(rate) for rate in rates]
            console.print(_table(*rates))
            if options.kill:
                back = stay.kill(options.rate[0], min(options.batch, options.symbols), before=5.0, after=5.0)
                record["back"] = asdict(back) | {"p99_by_second": stay.windows, "others_by_second": stay.others}
                console.print(_table(back))
                console.print(f"p99 by second: {stay.windows}")
                console.print(f"by second, of others: {stay.others}")
                final = stay.counts()
                console.print(f"rebuffed {dict(final.rebuffed)}, closed {dict(final.closed)}")
                console.print(stay.steps())
            proof = stay.proof()
            assert proof is not None
            record["proof"] = asdict(proof)
            record["overflows"] = {name: count - before[name] for name, count in overflows().items()}
            console.print(record["overflows"])
            console.print(f"lost {proof.lost}, stale {proof.stale}, {proof}")
    if options.json:
        options.json.write_text(json.dumps(record))


def _table(*rows: Any) -> Table:
    table = Table(*asdict(rows[0]))
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    return table


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hundred", description=__doc__)
    add = parser.add_argument
    add("--clients", type=int, default=100_000, metavar="N")
    add("--workers", type=int, default=8, metavar="W")
    add("--symbols", type=int, default=1_000, metavar="S")
    add("--rate", type=float, nargs="+", default=[100.0], metavar="T", help="ticks a second over all symbols")
    add("--batch", type=int, default=10, metavar="N", help="ticks in a POST")
    add("--seconds", type=float, default=15.0, help="at each rate")
    add("--idle", type=float, default=60.0, metavar="SECONDS")
    add("--kill", action="store_true", help="a worker, in the end")
    add("--json", type=Path, metavar="FILE")
    add("--log", type=Path, default=Path(os.devnull), metavar="FILE", help="write there what the gateway printed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
