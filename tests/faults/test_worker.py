"""A worker dies in the middle of its work, or hangs."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Final

import httpx
import pytest

import marketmux_client
from marketmux_client import Backoff, Disconnected, Event, Snapshot, Tick
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.following import following, gaps, prices, unexplained
from tests.faults.watch import (
    Publisher,
    eventually,
    reconcile,
    until_all_hold,
    until_all_know,
    until_all_tick,
    watching,
)
from tests.servers import is_running

SYMBOLS: Final = [f"S{number}" for number in range(20)]
CLIENTS: Final = 60
PER_CLIENT: Final = 5
HUNG_SECONDS: Final = 3


async def test_a_worker_that_is_killed_is_replaced_and_its_clients_lose_nothing(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, workers=2)
    gateway.wait_for_output("ready at")
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    away: list[float] = []
    replaced: list[float] = []
    async with (
        watching(gateway.http, CLIENTS, SYMBOLS, PER_CLIENT, reconnect=True) as watchers,
        following(gateway.ws, 10, SYMBOLS) as followers,
    ):
        async with publisher.publishing():
            await until_all_know(watchers)
            for worker in gateway.pids:  # one after the other, so that the publisher's is among them
                await until_all_tick(watchers, time.monotonic())
                os.kill(worker, signal.SIGKILL)
                killed = time.monotonic()
                await eventually(lambda worker=worker: not is_running(worker))  # type: ignore[misc]
                await eventually(lambda: len(gateway.pids) == 2, 30)
                replaced.append(time.monotonic() - killed)
                await eventually(lambda: all(watcher.is_subscribed for watcher in watchers), 30)
                away.append(max(watcher.subscribed[-1] for watcher in watchers) - killed)
        await until_all_hold(watchers, publisher.ledger.last)
        last = {symbol: Decimal(price) for symbol, price in publisher.ledger.last.items()}
        await eventually(lambda: all(prices(events) == last for events in followers))
    losses = [loss for events in followers for loss in _losses(events)]
    disconnected = sum(isinstance(event, Disconnected) for events in followers for event in events)
    found = reconcile(watchers, publisher.ledger)
    ends = [end for watcher in watchers for end in watcher.ends]
    recovered = found.counts["recovered"]
    figure(
        f"a worker of two killed, twice: {len(ends)} clients disconnected, all back within {max(away):.2f} s, "
        f"{recovered} streams resumed whole, {found.counts['restarted']} not; a new process after {max(replaced):.2f} s; "
        f"{publisher.ledger.retried} POSTs sent again, {publisher.ledger.replayed} of them known already; {found}; of 10 marketmux_client.Client {disconnected} were disconnected and lost nothing"
    )
    assert not found.problems
    assert not losses
    assert disconnected
    assert ends
    assert recovered == len(ends) * PER_CLIENT
    assert not found.counts["restarted"]
    assert not found.counts["gap"]
    assert not found.republished
    assert {answer.status for answer in publisher.ledger.answers} <= {0, 202}
    await asyncio.to_thread(gateway.stop)


async def test_a_worker_that_hangs_is_replaced_and_its_clients_lose_nothing(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, workers=2, MARKETMUX_HUNG_SECONDS=str(HUNG_SECONDS))
    gateway.wait_for_output("ready at")
    publisher = Publisher(gateway.http, SYMBOLS, rate=200, batch=10)
    hung = gateway.pids[0]
    async with watching(gateway.http, CLIENTS, SYMBOLS, PER_CLIENT, reconnect=True) as watchers:
        async with publisher.publishing():
            await until_all_know(watchers)
            os.kill(hung, signal.SIGSTOP)
            stopped = time.monotonic()
            await eventually(lambda: not is_running(hung), 60, "a hung worker is noticed by nobody")
            noticed = time.monotonic() - stopped
            await eventually(lambda: len(gateway.pids) == 2, 30)
            answers = [await _health(gateway.http) for _ in range(20)]
            served = time.monotonic() - stopped
            await until_all_tick(watchers, time.monotonic())
        await until_all_hold(watchers, publisher.ledger.last)
    found = reconcile(watchers, publisher.ledger)
    ends = [end for watcher in watchers for end in watcher.ends]
    figure(
        f"a worker of two stopped (SIGSTOP): killed after {noticed:.1f} s, 20 new connections served after "
        f"{served:.1f} s; {len(ends)} clients cut, {found.counts['recovered']} streams resumed whole; {found}"
    )
    assert f"(pid {hung}) has shown no sign of life for {HUNG_SECONDS} s: killing it" in gateway.output()
    assert set(answers) == {200}
    assert not found.problems
    assert ends
    assert not found.counts["restarted"]
    assert found.counts["recovered"] == len(ends) * PER_CLIENT
    assert not found.counts["gap"]
    assert not found.republished
    await asyncio.to_thread(gateway.stop)


@pytest.mark.soak
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
async def test_workers_are_killed_under_load_and_the_books_of_the_python_client_balance(
    start_gateway: StartGateway, redis_url: str, kills: int
) -> None:
    gateway = start_gateway(redis_url, workers=2)
    gateway.wait_for_output("ready at")
    feed = marketmux_client.Publisher(f"{gateway.ws}/publish", max_batch=20, backoff=Backoff(0.02, 0.2))
    async with feed, following(gateway.ws, 5, SYMBOLS) as followers:
        load = asyncio.create_task(feed.drink(_random_walk()))
        for kill in range(kills):
            before = feed.account.accepted
            await eventually(lambda before=before: feed.account.accepted > before + 50, 60)  # type: ignore[misc]
            worker = gateway.pids[kill % 2]
            os.kill(worker, signal.SIGKILL)
            await eventually(lambda worker=worker: not is_running(worker))  # type: ignore[misc]
            await eventually(lambda: len(gateway.pids) == 2, 60)
        load.cancel()
        await asyncio.wait({load})
        account = await feed.flush()
        await eventually(lambda: all(_count(events) == account.offered for events in followers), 60)
    losses = [loss for events in followers for loss in _losses(events)]
    disconnected = sum(isinstance(event, Disconnected) for events in followers for event in events)
    figure(
        f"a worker of two killed {kills} times at {account.offered} ticks: {disconnected} disconnections of 5 "
        "clients, no tick lost or twice"
    )
    assert not losses
    assert disconnected
    assert (account.accepted, account.refused, account.unknown) == (account.offered, 0, 0)


async def _random_walk() -> AsyncIterator[dict[str, object]]:
    for price in itertools.count(1):
        yield {"symbol": SYMBOLS[price % len(SYMBOLS)], "price": price}
        await asyncio.sleep(0.002)


@pytest.mark.soak
async def test_a_pause_of_the_whole_machine_costs_no_worker(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2, MARKETMUX_HUNG_SECONDS=str(HUNG_SECONDS))
    gateway.wait_for_output("ready at")
    workers = gateway.pids
    for processes in ([gateway.pid, *workers], [gateway.pid]):  # the machine is suspended; the supervisor alone is
        for signum in (signal.SIGSTOP, signal.SIGCONT):
            for pid in processes:
                os.kill(pid, signum)
            await asyncio.sleep(HUNG_SECONDS + 2)
    assert gateway.pids == workers
    assert "no sign of life" not in gateway.output()


async def _health(url: str) -> int:
    async with httpx.AsyncClient(timeout=30) as http:
        return (await http.get(f"{url}/healthz")).status_code


def _count(events: Sequence[Event]) -> int:
    """Ticks of all symbols, by the numbers of their streams."""
    return sum({event.symbol: event.seq for event in events if isinstance(event, Tick | Snapshot)}.values())


def _losses(events: Sequence[Event]) -> list[object]:
    return [*gaps(events), *unexplained(events)]
