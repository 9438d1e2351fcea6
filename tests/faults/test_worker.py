"""A worker dies in the middle of its work."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Final

from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.watch import Publisher, eventually, reconcile, until_all_hold, until_all_tick, watching
from tests.servers import is_running

SYMBOLS: Final = [f"S{number}" for number in range(20)]
CLIENTS: Final = 60
PER_CLIENT: Final = 5


async def test_a_worker_that_is_killed_is_replaced_and_its_clients_lose_nothing(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, workers=2)
    gateway.wait_for_output("ready at")
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    away: list[float] = []
    replaced: list[float] = []
    async with watching(gateway.http, CLIENTS, SYMBOLS, PER_CLIENT, reconnect=True) as watchers:
        async with publisher.publishing():
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
    found = reconcile(watchers, publisher.ledger)
    ends = [end for watcher in watchers for end in watcher.ends]
    recovered = found.counts["recovered"]
    figure(
        f"a worker of two killed, twice: {len(ends)} clients disconnected, all back within {max(away):.2f} s, "
        f"{recovered} streams resumed whole, {found.counts['restarted']} not; a new process after {max(replaced):.2f} s; "
        f"{publisher.ledger.retried} POSTs sent again, {publisher.ledger.replayed} of them known already; {found}"
    )
    assert not found.problems
    assert ends
    assert recovered == len(ends) * PER_CLIENT
    assert not found.counts["restarted"]
    assert not found.counts["gap"]
    assert not found.republished
    assert {answer.status for answer in publisher.ledger.answers} <= {0, 202}
    await asyncio.to_thread(gateway.stop)
