"""Many clients at once: those who come and go, those who all come back together, those who never read.

All run around the load generator's event loop (gateway/loadtest), in the test's own thread; every reading client keeps
a book that proves what it got.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from gateway.loadtest import Options
from gateway.loadtest.limits import raise_file_limit
from gateway.loadtest.loop import Loop
from gateway.loadtest.proof import Book, Findings, fetch_latest
from gateway.loadtest.publisher import Publisher
from gateway.loadtest.socket import Socket
from gateway.loadtest.target import Target
from tests.clients import RawClient, metrics
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.lateness import Lateness
from tests.servers import GatewayProcess, RedisServer, wait_until
from tests.soak.gauges import MB, Sampler
from tests.soak.publishers import ShortLedger
from tests.soak.visitors import Silent, Visitors

SYMBOLS: Final = [f"S{number}" for number in range(20)]
PER_CLIENT: Final = 20

LEFT: Final = {"connections": 0, "subscriptions": 0, "symbols": 0, "memberships": 0, "behind": 0, "rates": 0}
"""Nobody there: what the gateway holds then."""


class Field:
    """A loop with a publisher in it; whoever else is in it is given to :meth:`run`."""

    def __init__(self, gateway: GatewayProcess, rate: float, batch: int, symbols: list[str]) -> None:
        self.gateway = gateway
        self.symbols = symbols
        self.loop = Loop()
        self.target = Target.from_url(gateway.http)
        self.findings = Findings()
        self.ledger = ShortLedger()
        options = Options(connections=1, symbols=symbols, rate=rate, batch=batch, seconds=3_600)
        self.publisher = Publisher(self.loop, self.target, options, self.ledger)

    def run(self, turn: Callable[[], object], until: Callable[[], bool], timeout: float, publish: bool = True) -> float:
        """Publishes, unless told not to, and takes turns until it is so; how many seconds that took."""
        start = time.monotonic()
        while not until():
            assert time.monotonic() - start < timeout, f"not so within {timeout:g} s"
            if publish:
                self.publisher.advance()
            self.loop.turn(0.01)
            turn()
        return time.monotonic() - start

    def settle(self, clients: list[Book]) -> None:
        """Without another tick everyone must end on the last value; what came until then must balance."""
        self.run(lambda: None, lambda: not self.publisher.unanswered, 60, publish=False)
        latest = fetch_latest(self.target, self.symbols)
        assert len(latest) == len(self.symbols)
        self.run(lambda: None, lambda: not any(book.stale(latest) for book in clients), 60, publish=False)
        assert self.findings.flawless, self.findings

    def holds(self, values: dict[str, int]) -> bool:
        found = metrics(self.gateway)
        return all(found[name] == value for name, value in values.items())


@contextmanager
def field(gateway: GatewayProcess, rate: float, batch: int, symbols: list[str] = SYMBOLS) -> Iterator[Field]:
    place = Field(gateway, rate, batch, symbols)
    place.publisher.start()
    try:
        yield place
    finally:
        place.publisher.close()
        place.loop.close()


# Those who come and go


@pytest.mark.soak
@pytest.mark.parametrize("total", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_connects_and_disconnects_leave_nothing_behind(start_gateway: StartGateway, redis_url: str, total: int) -> None:
    gateway = start_gateway(redis_url, MARKETMUX_LEAVE_DELAY_SECONDS="0.2")
    with field(gateway, rate=500, batch=5) as place:

        def visit(count: int) -> Visitors:
            visitors = Visitors(place.loop, place.target, SYMBOLS, place.findings, places=64, stay=0.2, total=count)
            place.run(visitors.turn, lambda: visitors.done, timeout=30 + count / 50)
            wait_until(lambda: place.holds(LEFT))
            return visitors

        # What is loaded, cached and connected at the first use is no growth.
        visit(max(300, total // 4))
        before = metrics(gateway)
        start = time.monotonic()
        visitors = visit(total)
        seconds = time.monotonic() - start
        after = metrics(gateway)
        place.settle([])
    assert visitors.came == total
    assert not visitors.turned_away
    assert not visitors.closed
    assert visitors.resumed > total / 4
    for name in ("tasks", "open_files"):
        assert after[name] <= before[name] + 2, name  # a keep-alive connection of this test's own, at most
    grown = (after["resident_bytes"] - before["resident_bytes"]) / MB
    # A client holds 17 KB: kept, that would be 17 MB after 1,000.
    assert grown < 8
    figure(
        f"{total:,} connects and disconnects under 500 ticks/s in {seconds:.1f} s, {visitors.resumed:,} of them resumed: "
        f"memory {grown:+.1f} MB, tasks {after['tasks'] - before['tasks']:+.0f}, "
        f"memberships, subscriptions, queues 0"
    )


def test_redis_holds_no_subscription_of_those_who_left(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, MARKETMUX_LEAVE_DELAY_SECONDS="0.2")
    with field(gateway, rate=500, batch=5) as place, Redis.from_url(redis_url) as redis:

        def held() -> tuple[set[bytes], int]:
            """Of ticks: a gateway with clients also listens to what changes of their access."""
            return {name for name in redis.pubsub_channels() if b"ticks." in name}, redis.pubsub_numpat()

        before = held()
        for symbols in (SYMBOLS, ["*"]):
            visitors = Visitors(place.loop, place.target, symbols, place.findings, places=20, stay=0.3, total=100)
            place.run(visitors.turn, lambda visitors=visitors: visitors.done, timeout=30)  # type: ignore[misc]
        wait_until(lambda: held() == before)
        assert place.findings.flawless, place.findings


# Those who publish


async def _post(gateway: GatewayProcess, until: float) -> int:
    """Posts a tick at a time on one connection; returns how many."""
    body = b'{"symbol":"S1","price":150.25}'
    request = (
        b"POST /api/v1/ticks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    posted = 0
    while time.monotonic() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202"), head
        await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head.lower())[0]))
        posted += 1
    writer.close()
    return posted


@pytest.mark.soak
async def test_requests_leave_nothing_behind_while_the_clients_stay(
    start_gateway: StartGateway, redis_url: str
) -> None:
    """The collector does not look at clients, who stay, but must at requests, some of which grow old under its eyes."""
    gateway = start_gateway(redis_url)

    async def post(seconds: float) -> int:
        return sum(await asyncio.gather(*[_post(gateway, time.monotonic() + seconds) for _ in range(16)]))

    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(RawClient(gateway, "S0"))
        await post(15)
        before = metrics(gateway)
        posted = await post(60)
        after = metrics(gateway)
    grown = (after["resident_bytes"] - before["resident_bytes"]) / MB
    figure(f"{posted:,} POSTs beside 200 clients that stay: memory {grown:+.2f} MB")
    assert after["full_collections_total"] == 0
    # The few that are alive whenever the collector comes by would be some thirty bytes for each of all of them.
    assert grown * MB < 10 * posted


# Those who come back together


class Herd:
    """Clients that go on where their books end, each time they connect. ``refused`` counts those that were not let in
    or, later, were closed, by reason.
    """

    def __init__(self, place: Field, count: int, per_client: int = 3) -> None:
        self._place = place
        self._there: list[Socket] = []
        self._under_way = 0
        self.books = [
            Book(place.findings, [place.symbols[(number + step) % len(place.symbols)] for step in range(per_client)])
            for number in range(count)
        ]
        self.refused: Counter[str] = Counter()

    @property
    def there(self) -> int:
        return len(self._there)

    def arrive(self, at_a_time: int, timeout: float) -> float:
        """Connects all, ``at_a_time`` of them at once; seconds until the last was subscribed or refused."""
        waiting = list(self.books)
        tally = Silent()

        def dial() -> None:
            while waiting and self._under_way < at_a_time:
                book = waiting.pop()
                self._under_way += 1
                Socket(self._place.loop, book.symbols, tally, self, book=book).open(self._place.target)

        return self._place.run(dial, lambda: not waiting and not self._under_way, timeout)

    def drop(self) -> None:
        for connection in self._there:
            connection.drop()
        self._there.clear()

    def subscribed(self, connection: Socket) -> None:
        self._under_way -= 1
        self._there.append(connection)

    def ended(self, connection: Socket, code: int, reason: str) -> None:
        self.refused[f"{reason} ({code})"] += 1
        if connection not in self._there:
            self._under_way -= 1


@pytest.mark.parametrize("count", [200, pytest.param(2_000, marks=pytest.mark.soak)])
def test_clients_reconnect_at_once(start_gateway: StartGateway, redis_url: str, count: int) -> None:
    raise_file_limit(count + 200)  # the gateway inherits it
    gateway = start_gateway(redis_url)
    with field(gateway, rate=100, batch=5) as place:
        herd = Herd(place, count)
        herd.arrive(at_a_time=64, timeout=60)
        assert not herd.refused
        enough = place.findings.ticks + 5 * count
        place.run(lambda: None, lambda: place.findings.ticks > enough, 60)
        before = metrics(gateway)["cpu_seconds_total"]
        herd.drop()
        seconds = herd.arrive(at_a_time=count, timeout=60)
        used = metrics(gateway)["cpu_seconds_total"] - before
        place.settle(herd.books)
        assert not herd.refused
        assert metrics(gateway)["connections"] == count
        assert place.findings.resumed == count * 3
        assert not place.findings.restarted
        herd.drop()
    figure(
        f"{count:,} clients dropped and back at once: all subscribed again within {seconds:.1f} s ({used:.1f} s of the "
        f"gateway's CPU), none refused, all resumed with {place.findings.replayed:,} missed ticks, none lost"
    )
    # Two thousand in ten seconds. On a machine that does other things as well, what counts is what it took of them.
    assert used < 1 + count / 200


@pytest.mark.parametrize(
    ("count", "rate", "late"), [(200, 100, 1.0), pytest.param(5_000, 500, 0.1, marks=pytest.mark.soak)]
)
def test_clients_that_come_back_cost_redis_next_to_nothing(
    start_gateway: StartGateway, redis_server: RedisServer, count: int, rate: int, late: float
) -> None:
    raise_file_limit(count + 200)
    # A machine that is busy takes longer than a second until somebody of each symbol is back.
    gateway = start_gateway(redis_server.url, MARKETMUX_LEAVE_DELAY_SECONDS="20")
    symbols = [f"S{number}" for number in range(40 if count < 1_000 else 2_500)]
    with field(gateway, rate, 5, symbols) as place:
        herd = Herd(place, count, PER_CLIENT)
        herd.arrive(at_a_time=64, timeout=120)
        enough = place.findings.ticks + 10 * count
        place.run(lambda: None, lambda: place.findings.ticks > enough, 60)
        asked, answered = metrics(gateway)["replay_asked_total"], place.publisher.refused
        with Lateness(gateway, *gateway.pids, redis_server.pid) as lateness:
            busy, cpu = _redis_seconds(redis_server), time.monotonic()
            herd.drop()
            seconds = herd.arrive(at_a_time=count, timeout=120)
            busy, cpu = _redis_seconds(redis_server) - busy, time.monotonic() - cpu
        place.settle(herd.books)
        asked = metrics(gateway)["replay_asked_total"] - asked
        assert not herd.refused
        assert place.findings.resumed == count * PER_CLIENT
        assert not place.findings.restarted
        herd.drop()
    figure(
        f"{count:,} clients of {PER_CLIENT} symbols back at once under {rate} ticks/s: within {seconds:.1f} s, all resumed with "
        f"{place.findings.replayed:,} missed ticks, {asked:.0f} of {count * PER_CLIENT:,} histories asked of Redis, "
        f"{1000 * busy / cpu:.1f} ms of Redis a second; {place.publisher.refused} POSTs refused; {lateness}"
    )
    assert asked < count * PER_CLIENT / 10
    assert place.publisher.refused == answered
    assert not lateness.refused
    assert lateness.p99 <= late


def _redis_seconds(server: RedisServer) -> float:
    """Processor time that it has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Those who never read


@pytest.mark.soak
def test_who_never_reads_costs_little_memory_and_the_others_nothing(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, MARKETMUX_SLOW_CLIENT_SECONDS="600", MARKETMUX_UNSENT_BYTES="65536")
    with field(gateway, rate=1_000, batch=20) as place:
        readers = Herd(place, 20)
        readers.arrive(at_a_time=20, timeout=20)
        place.run(lambda: None, lambda: place.findings.ticks > 1_000, 20)
        before = metrics(gateway)["resident_bytes"]
        sleepers = Visitors(
            place.loop, place.target, SYMBOLS, place.findings, places=100, stay=1e9, read=False, total=100
        )  # fmt: skip
        with Sampler(lambda: metrics(gateway), interval=0.2) as sampler:
            place.run(sleepers.turn, lambda: bool(sampler.samples) and sampler.samples[-1]["behind"] == 100, 60)
            enough = place.findings.ticks + 20_000
            place.run(sleepers.turn, lambda: place.findings.ticks > enough, 60)
        place.settle(readers.books)
        sleepers.close()
        wait_until(lambda: place.holds({"connections": 20}))
        after = metrics(gateway)["resident_bytes"]
        assert not readers.refused
        assert not sleepers.turned_away
        skipped = sampler.samples[-1]["parked_total"]
        readers.drop()
    most = (max(each["resident_bytes"] for each in sampler.samples) - before) / MB
    left = (after - before) / MB
    assert most < 150
    assert left < 20
    figure(
        f"100 clients that never read: memory +{most:.1f} MB at most, {left:+.1f} MB after they left; {skipped:,.0f} ticks "
        f"parked for them; 20 others got {place.findings.ticks:,} ticks and lost none"
    )
