"""A gateway is stopped and goes on, as one does whose virtual machine was paused: nothing of before is shown as new."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import pytest

from tests.clients import publish, tick
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.watch import Publisher, eventually, reconcile, until_all_hold, until_all_tick, watching
from tests.servers import GatewayProcess

SYMBOLS: Final = [f"S{number}" for number in range(20)]
CLIENTS: Final = 20
PER_CLIENT: Final = 5
BATCH: Final = 4
OLD: Final = 4.0
"""Seconds after which a tick is old: the bound is 2.5, and the machine may be busy."""


@pytest.mark.parametrize("seconds", [6, pytest.param(40, marks=pytest.mark.soak)])
async def test_a_gateway_that_was_stopped_shows_nothing_old_as_new(
    start_gateway: StartGateway, redis_url: str, seconds: int
) -> None:
    gateway, other = start_gateway(redis_url), start_gateway(redis_url)
    publisher = Publisher(other.http, SYMBOLS, rate=400, batch=BATCH)
    async with watching(gateway.http, CLIENTS, SYMBOLS, PER_CLIENT) as watchers:
        async with publisher.publishing():
            await until_all_tick(watchers, time.monotonic())
            async with httpx.AsyncClient(base_url=gateway.http, timeout=60) as http:
                async with _stopped(gateway):
                    waiting = asyncio.create_task(http.post("/api/v1/ticks", json={"symbol": "W", "price": 1}))
                    await asyncio.sleep(seconds)
                woken = time.monotonic()
                answer = await waiting
            back = await until_all_tick(watchers, woken)
            await eventually(lambda: all(watcher.bus == [] or watcher.bus[-1][1] for watcher in watchers))
        await until_all_hold(watchers, publisher.ledger.last)
    ledger = publisher.ledger
    ages = [
        note.at - ledger.sent_at[note.price]
        for watcher in watchers
        for _, note in watcher.notes("tick")
        if note.price in ledger.sent_at
    ]
    late = sum(age > OLD for age in ages)
    found = reconcile(watchers, ledger)
    figure(
        f"a gateway stopped for {seconds} s: {late:,} of {len(ages):,} ticks were shown as live when they were older than "
        f"{OLD:g} s; ticks again {back:.2f} s after it went on; a POST that waited was answered {answer.status_code}; {found}"
    )
    assert not found.problems
    assert found.counts["missed"]
    assert late <= CLIENTS * BATCH  # a pass that had begun
    assert not any(watcher.ends for watcher in watchers)
    assert answer.status_code == 503
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        await asyncio.sleep(1.5)
        await publish(http, tick("W", 1))


@asynccontextmanager
async def _stopped(gateway: GatewayProcess) -> AsyncIterator[None]:
    """All of its processes stand still meanwhile."""
    processes = [gateway.pid, *gateway.pids]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
