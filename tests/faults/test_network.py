"""The network between a gateway and its Redis fails: nothing is refused and nothing closed, packets just vanish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import httpx
import pytest

from tests.clients import publish, subscriber, tick
from tests.conftest import StartGateway
from tests.faults.figures import errors_logged, figure
from tests.faults.network import Namespace, StallingProxy
from tests.faults.pulse import Pulse
from tests.faults.watch import (
    Ledger,
    Publisher,
    Watcher,
    eventually,
    reconcile,
    until_all_hold,
    until_all_tick,
    watching,
)
from tests.servers import GatewayProcess, RedisServer

SYMBOLS: Final = [f"S{number}" for number in range(20)]
OWN_SYMBOLS: Final = [f"OWN{number}" for number in range(5)]
CLIENTS: Final = 30
PER_CLIENT: Final = 5
QUIET_TICKS: Final = (5_000_000, 5_000_001, 5_000_002)
"""The first before the cut, the others shortly before the heal, and none after it."""
STALL_SECONDS: Final = 0.25


@pytest.mark.soak
async def test_a_network_that_goes_silent_for_eight_seconds(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    with StallingProxy(redis_server.port) as proxy:
        cut_off = start_gateway(proxy.url)
        other = start_gateway(redis_server.url)
        await _cut_off(cut_off, other, Fault("a proxy stopped forwarding", proxy.stall, proxy.heal, 8))


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [20, 60, 90])
async def test_packets_to_redis_are_dropped(far_redis: FarRedis, seconds: int) -> None:
    namespace, port, cut_off, other = far_redis
    await _cut_off(cut_off, other, Fault("iptables DROP", lambda: namespace.drop(port), namespace.heal, seconds))


class FarRedis(NamedTuple):
    """A Redis in a network of its own, and two gateways: one here, and one beside it."""

    namespace: Namespace
    port: int
    here: GatewayProcess
    there: GatewayProcess


@pytest.fixture
def far_redis(tmp_path: Path, migrated_database: Path) -> Iterator[FarRedis]:
    if obstacle := Namespace.obstacle():
        pytest.skip(obstacle)
    with Namespace() as namespace:
        launcher = namespace.launcher
        redis = RedisServer(tmp_path, host=namespace.inside, launcher=launcher)
        here = GatewayProcess(tmp_path / "here", redis_url=redis.url, database=migrated_database)
        there = GatewayProcess(
            tmp_path / "there",
            redis_url=redis.url,
            database=migrated_database,
            host=namespace.inside,
            launcher=launcher,
            ALLOWED_HOSTS=namespace.inside,
        )
        try:
            redis.start()
            here.start()
            there.start()
            yield FarRedis(namespace, redis.port, here, there)
            here.stop()
            there.stop()
        finally:
            here.kill()
            there.kill()
            redis.kill()


class Fault(NamedTuple):
    how: str
    cut: Callable[[], None]
    heal: Callable[[], None]
    seconds: float


async def _cut_off(gateway: GatewayProcess, other: GatewayProcess, fault: Fault) -> None:
    """Cuts a gateway off its Redis, while another goes on publishing what the clients of both want."""
    (worker,) = gateway.pids
    publisher = Publisher(other.http, SYMBOLS, rate=200, batch=4)
    own = Publisher(gateway.http, OWN_SYMBOLS, rate=50, batch=5, first=1_000_000)
    with Pulse(gateway, worker) as pulse:
        async with (
            watching(gateway.http, CLIENTS, [*SYMBOLS, *OWN_SYMBOLS], PER_CLIENT) as watchers,
            watching(other.http, 5, SYMBOLS, PER_CLIENT) as witnesses,
            watching(gateway.http, 5, ["QUIET"], 1) as quiet,
        ):
            async with publisher.publishing():
                async with own.publishing():
                    await _publish_once(other, *QUIET_TICKS[:1])
                    await until_all_tick([*watchers, *witnesses], time.monotonic())
                    await eventually(lambda: all(each.holds({"QUIET": QUIET_TICKS[0]}) for each in quiet))
                own.retries = False
                fault.cut()
                at = time.monotonic()
                async with _visits(gateway) as visits, own.publishing():
                    await asyncio.sleep(fault.seconds)
                    await _publish_once(other, *QUIET_TICKS[1:])
                    await until_all_tick(witnesses, time.monotonic())
                    healed = time.monotonic()
                    fault.heal()
                    back = await until_all_tick(watchers, healed)
                    await eventually(lambda: all(each.holds({"QUIET": QUIET_TICKS[-1]}) for each in quiet))
                    caught_up = time.monotonic() - healed
                    await eventually(lambda: all(watcher.bus[-1][1] for watcher in watchers))
            await until_all_hold(witnesses, publisher.ledger.last)
            await until_all_hold(watchers, publisher.ledger.last | own.ledger.last)
    found = reconcile([*watchers, *witnesses, *quiet], publisher.ledger, own.ledger)
    late = _shown_as_live([*watchers, *quiet], publisher.ledger.between(at, healed) | set(QUIET_TICKS[1:]))
    told = max(watcher.bus[0][0] for watcher in watchers) - at
    figure(
        f"{fault.how} for {fault.seconds:g} s: {pulse}; clients told after {told:.2f} s, ticks for all {back:.2f} s after the heal, "
        f"the last value of a symbol that ticks no more after {caught_up:.2f} s; "
        f"{len(publisher.ledger.between(at, healed)):,} ticks published elsewhere meanwhile, {late} shown as live; "
        f"{len(visits)} HTTP requests answered within {max(visits):.2f} s; {found}"
    )
    assert not found.problems
    assert not any(watcher.ends for watcher in [*watchers, *witnesses])
    assert not late
    assert all([is_connected for _, is_connected in watcher.bus] == [False, True] for watcher in watchers)
    assert found.counts["missed"]
    assert not found.counts["unmeasured"]
    _check_own(own.ledger, at, healed)
    assert not errors_logged(gateway)
    assert pulse.worst < STALL_SECONDS
    assert max(told, back, caught_up) < 10


async def _publish_once(gateway: GatewayProcess, *prices: int) -> None:
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        for price in prices:
            await publish(http, tick("QUIET", price))


def _shown_as_live(watchers: list[Watcher], late: set[int]) -> int:
    return sum(note.price in late for watcher in watchers for _, note in watcher.notes("tick"))


def _check_own(ledger: Ledger, cut: float, healed: float) -> None:
    """What was posted to the gateway that was cut off was refused, in time, and is not published later."""
    during = [answer for answer in ledger.answers if cut < answer.at and answer.at + answer.seconds < healed]
    assert during
    assert {answer.status for answer in during} == {503}
    assert all(answer.retry_after for answer in during)
    assert median(answer.seconds for answer in during) < 1


@asynccontextmanager
async def _visits(gateway: GatewayProcess) -> AsyncIterator[list[float]]:
    """Asks for ``/metrics`` and ``/healthz`` all the time; how long each answer took, in seconds."""
    taken: list[float] = []
    async with httpx.AsyncClient(base_url=gateway.http, timeout=10) as http:

        async def visit() -> None:
            while True:
                for path in ("/metrics", "/healthz"):
                    start = time.monotonic()
                    response = await http.get(path)
                    assert response.status_code in {200, 503}
                    taken.append(time.monotonic() - start)
                await asyncio.sleep(0.25)

        task = asyncio.create_task(visit())
        try:
            yield taken
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()


async def test_a_publication_whose_answer_was_lost_is_not_published_again(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    with StallingProxy(redis_server.port) as proxy:
        gateway = start_gateway(proxy.url)
        other = start_gateway(redis_server.url)
        async with subscriber(other, "A") as witness, httpx.AsyncClient(base_url=gateway.http, timeout=10) as http:

            async def post() -> httpx.Response:
                return await http.post("/api/v1/ticks", json=tick("A", 1), headers={"Idempotency-Key": "one"})

            assert (await http.get("/api/v1/ticks/A")).status_code == 404  # the connections are made
            assert (await http.post("/api/v1/ticks", json=tick("B", 1))).status_code == 202
            proxy.stall_answers()
            first = await post()
            assert (first.status_code, "Retry-After" in first.headers) == (503, True)
            assert '"price":1,' in await witness.recv()
            proxy.heal()
            again = first
            while again.status_code == 503:
                await asyncio.sleep(0.1)
                again = await post()
            assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (202, "true")
            await http.post("/api/v1/ticks", json=tick("A", 2))
            assert '"price":2,"timestamp":"2026-05-12T15:04:05Z","seq":2}' in await witness.recv()
    figure("a publication that Redis confirmed to nobody: 503, and the retry with its key was known: one seq")
