"""Redis dies, and comes back without its memory; Redis stands still, and goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Final

import httpx
import pytest

from gateway.loadtest.target import Target
from tests.clients import metrics
from tests.conftest import StartGateway
from tests.faults.figures import errors_logged, figure
from tests.faults.watch import (
    Answer,
    Publisher,
    Watcher,
    eventually,
    reconcile,
    until_all_hold,
    until_all_tick,
    watching,
)
from tests.servers import RedisServer

SYMBOLS: Final = [f"S{number}" for number in range(50)]
PER_CLIENT: Final = 5
DOWN_SECONDS: Final = (0.3, 1.0, 3.0)


# Killed


@pytest.mark.parametrize(("kills", "clients"), [(3, 50), pytest.param(10, 200, marks=pytest.mark.soak)])
async def test_redis_is_killed_and_restarted_under_load(
    start_gateway: StartGateway, redis_server: RedisServer, kills: int, clients: int
) -> None:
    gateway = start_gateway(redis_server.url)
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    back: list[float] = []
    async with watching(gateway.http, clients, SYMBOLS, PER_CLIENT) as watchers:
        async with publisher.publishing():
            for number in range(kills):
                await until_all_tick(watchers, time.monotonic())
                await asyncio.sleep(1)
                redis_server.kill()
                await asyncio.sleep(DOWN_SECONDS[number % len(DOWN_SECONDS)])
                await asyncio.to_thread(redis_server.start)
                back.append(await until_all_tick(watchers, time.monotonic()))
        await until_all_hold(watchers, publisher.ledger.last)
        assert metrics(gateway)["connections"] == clients
    found = reconcile(watchers, publisher.ledger)
    figure(
        f"redis-server killed {kills} times under 500 ticks/s with {clients} clients: all of them had ticks again "
        f"within {max(back):.2f} s of the restart; {found}; {_outage(publisher.ledger.answers)}, "
        f"{publisher.ledger.replayed} retries were known already, {found.republished} ticks in two epochs"
    )
    assert not found.problems
    assert not any(watcher.ends for watcher in watchers)
    # What Redis forgot nobody can count: of each symbol everyone is told so, once for each time.
    assert found.counts["unmeasured"] == kills * clients * PER_CLIENT
    assert all(watcher.bus[-1][1] for watcher in watchers)
    assert all(_told_lost(watcher) == kills for watcher in watchers)
    assert all(answer.retry_after for answer in publisher.ledger.answers if answer.status == 503)
    assert {answer.status for answer in publisher.ledger.answers} == {202, 503}
    assert not errors_logged(gateway)
    assert max(back) < 10


def _told_lost(watcher: Watcher) -> int:
    return sum(not is_connected for _, is_connected in watcher.bus)


def _outage(answers: list[Answer]) -> str:
    refused = [answer.seconds for answer in answers if answer.status == 503]
    return f"{len(refused)} POSTs answered 503 within {max(refused, default=0):.2f} s"


# Stopped

STOPPED_SECONDS: Final = 12
BUSY = 1.0
CROWD: Final = 20


@pytest.mark.soak
async def test_redis_stands_still_for_twelve_seconds(start_gateway: StartGateway, redis_server: RedisServer) -> None:
    gateway = start_gateway(redis_server.url)
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    latecomers: list[Watcher] = []
    async with watching(gateway.http, CROWD, SYMBOLS, PER_CLIENT) as watchers:
        async with publisher.publishing():
            await until_all_tick(watchers, time.monotonic())
        # Between two POSTs: of one that is under way nobody could say whether it was published before the stop.
        redis_server.pause()
        stopped = time.monotonic()
        publisher.retries = False
        try:
            async with publisher.publishing():
                await eventually(
                    lambda: all(watcher.bus for watcher in watchers), message="not told that the bus is away"
                )
                told = max(watcher.bus[0][0] for watcher in watchers) - stopped
                burst = await _post_all_at_once(gateway.http)
                latecomers = await _arrive(gateway.http, stopped + STOPPED_SECONDS - 1)
                await asyncio.sleep(max(0.0, stopped + STOPPED_SECONDS - time.monotonic()))
                during = list(publisher.ledger.answers)
                redis_server.resume()
                resumed = time.monotonic()
                back = await until_all_tick([*watchers, *latecomers], resumed)
            await until_all_hold([*watchers, *latecomers], publisher.ledger.last)
            assert (await asyncio.to_thread(httpx.get, f"{gateway.http}/api/v1/ticks/BURST")).status_code == 404
        finally:
            redis_server.resume()
            for latecomer in latecomers:
                latecomer.stop()
    refused = [answer for answer in [*during, *burst] if answer.at > stopped]
    slowest = max(answer.seconds for answer in refused)
    welcome = max(latecomer.welcomed[0] - latecomer.dialled[0] for latecomer in latecomers)
    found = reconcile([*watchers, *latecomers], publisher.ledger)
    figure(
        f"redis-server stopped for {STOPPED_SECONDS} s: {len(refused)} POSTs, each answered 503 within {slowest:.2f} s, "
        f"none of them published later; clients told after {told:.2f} s; {len(latecomers)} new ones welcomed within "
        f"{welcome:.2f} s; ticks for all {back:.2f} s after it went on; {found}"
    )
    assert not found.problems
    assert not any(watcher.ends for watcher in [*watchers, *latecomers])
    assert {answer.status for answer in refused} == {503}
    assert all(answer.retry_after for answer in refused)
    assert all([is_connected for _, is_connected in each.bus] == [False, True] for each in [*watchers, *latecomers])
    assert not errors_logged(gateway)
    # 0.8 s and, for the many that came at once, the time that a busy machine takes for their answers.
    assert median(answer.seconds for answer in refused) < 0.8 + BUSY
    assert back < 10


async def _post_all_at_once(url: str) -> list[Answer]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:

        async def post(price: int) -> Answer:
            start = time.monotonic()
            response = await http.post("/api/v1/ticks", json={"symbol": "BURST", "price": price})
            retry_after = response.headers.get("Retry-After")
            return Answer(start, time.monotonic() - start, response.status_code, retry_after, False)

        return await asyncio.gather(*(post(price) for price in range(1, 21)))


async def _arrive(url: str, until: float) -> list[Watcher]:
    """Somebody new every second: with symbols that this gateway has, and with one that is new to it."""
    arrived: list[Watcher] = []
    while time.monotonic() < until:
        symbols = [SYMBOLS[len(arrived)], f"S{len(arrived) * 7 % len(SYMBOLS)}"][: 1 + len(arrived) % 2]
        arrived.append(Watcher(Target.from_url(url), list(dict.fromkeys(symbols))))
        await arrived[-1].connect()
        await eventually(lambda: bool(arrived[-1].welcomed and arrived[-1].bus))
        assert arrived[-1].bus[0][1] is False
        await asyncio.sleep(1)
    return arrived


async def test_what_redis_took_too_late_was_not_published_and_the_retry_is(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    """A publisher that sends the same again, with its key, through stops that are shorter than anybody's patience."""
    gateway = start_gateway(redis_server.url)
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    async with watching(gateway.http, CROWD, SYMBOLS, PER_CLIENT) as watchers:
        async with publisher.publishing():
            for seconds in (0.5, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0, 1.5):
                await until_all_tick(watchers, time.monotonic())
                redis_server.pause()
                await asyncio.sleep(seconds)
                redis_server.resume()
                await asyncio.sleep(0.5)
            await until_all_tick(watchers, time.monotonic())
        await until_all_hold(watchers, publisher.ledger.last)
    found = reconcile(watchers, publisher.ledger)
    ledger = publisher.ledger
    figure(
        f"redis-server stopped 8 times for 0.5 to 1.5 s: {ledger.retried} POSTs sent again with their key, "
        f"{ledger.replayed} of them known already, none published twice; {found}"
    )
    assert not found.problems
    assert not any(watcher.ends for watcher in watchers)
    assert ledger.retried
    assert not found.republished
