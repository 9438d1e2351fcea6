"""Redis with Sentinels, as a setting: failovers that are asked for, and a primary that dies."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.clients import metrics
from tests.conftest import StartGateway
from tests.faults.figures import errors_logged, figure
from tests.faults.watch import Publisher, Watcher, eventually, reconcile, until_all_hold, until_all_tick, watching
from tests.servers import RedisServer, SentinelServer, wait_until

SYMBOLS: Final = [f"S{number}" for number in range(10)]
CLIENTS: Final = 20
PER_CLIENT: Final = 5
PASSWORD: Final = "of-redis"
SENTINELS_PASSWORD: Final = "of-sentinels"


class Guarded:
    """A primary, two replicas and three Sentinels, all with passwords."""

    def __init__(self, directory: Path) -> None:
        self.servers = [self._server(directory / f"redis{number}") for number in range(3)]
        self.servers[0].start()
        for replica in self.servers[1:]:
            replica.start()
            replica.call(f"REPLICAOF 127.0.0.1 {self.servers[0].port}")
        self.sentinels = [
            SentinelServer(directory / f"sentinel{number}", self.servers[0], PASSWORD, SENTINELS_PASSWORD)
            for number in range(3)
        ]
        for sentinel in self.sentinels:
            sentinel.start()
        for sentinel in self.sentinels:
            wait_until(lambda sentinel=sentinel: "num-slaves=2" in self._seen_by(sentinel))  # type: ignore[misc]

    @property
    def url(self) -> str:
        sentinels = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{sentinels}/ticks/0?sentinel_password={SENTINELS_PASSWORD}"

    @property
    def primary(self) -> RedisServer:
        """The one that the Sentinels name."""
        port = int(self.sentinels[-1].words("SENTINEL GET-MASTER-ADDR-BY-NAME ticks")[1])
        return next(server for server in self.servers if server.port == port)

    def is_at_primary(self) -> bool:
        """Whether the gateway listens there."""
        clients = " ".join(self.primary.lines("CLIENT LIST TYPE pubsub"))
        return any(int(count) >= len(SYMBOLS) for count in re.findall(r" sub=(\d+) ", clients))

    def fail_over(self) -> None:
        before = self.primary
        wait_until(lambda: self.sentinels[0].call("SENTINEL FAILOVER ticks") == "+OK")
        wait_until(lambda: self.primary is not before)

    def kill_primary(self) -> None:
        before = self.primary
        before.kill()
        wait_until(lambda: self.primary is not before)

    def stop(self) -> None:
        for server in [*self.sentinels, *self.servers]:
            server.kill()

    @staticmethod
    def _server(directory: Path) -> RedisServer:
        directory.mkdir()
        return RedisServer(directory, password=PASSWORD)

    @staticmethod
    def _seen_by(sentinel: SentinelServer) -> str:
        words = sentinel.words("SENTINEL MASTER ticks")
        fields = dict(zip(words[::2], words[1::2], strict=True))
        return f"num-slaves={fields['num-slaves']}" if fields["num-other-sentinels"] == "2" else ""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path)
    yield guarded
    guarded.stop()


async def test_a_failover_that_is_asked_for_and_one_that_is_not(start_gateway: StartGateway, guarded: Guarded) -> None:
    gateway = start_gateway(guarded.url)
    publisher = Publisher(gateway.http, SYMBOLS, rate=200, batch=5)
    back: list[float] = []
    async with watching(gateway.http, CLIENTS, SYMBOLS, PER_CLIENT) as watchers:
        async with publisher.publishing():
            for number, lose in enumerate((guarded.fail_over, guarded.kill_primary), 1):
                await until_all_tick(watchers, time.monotonic())
                began = time.monotonic()
                await asyncio.to_thread(lose)
                # The primary that was replaced without dying goes on as if nothing had been: it is not to be believed.
                told = [False, True] * number
                await eventually(lambda told=told: all(_told(watcher) == told for watcher in watchers))  # type: ignore[misc]
                await until_all_tick(watchers, time.monotonic())
                back.append(time.monotonic() - began)
                assert guarded.is_at_primary()
        await until_all_hold(watchers, publisher.ledger.last)
        await eventually(lambda: all(watcher.bus[-1][1] for watcher in watchers))
        assert metrics(gateway)["connections"] == CLIENTS
    found = reconcile(watchers, publisher.ledger)
    refused = sum(answer.status == 503 for answer in publisher.ledger.answers)
    figure(
        f"SENTINEL FAILOVER, then the primary killed with -9, under 200 ticks/s: ticks for all again {back[0]:.1f} s and "
        f"{back[1]:.1f} s after; {refused} POSTs answered 503 and sent again; {found}"
    )
    assert not found.problems
    assert not any(watcher.ends for watcher in watchers)
    assert {answer.status for answer in publisher.ledger.answers} <= {202, 503}
    assert not errors_logged(gateway)


def _told(watcher: Watcher) -> list[bool]:
    return [is_connected for _, is_connected in watcher.bus]


@pytest.mark.soak
def test_sentinels_that_are_gone_cost_no_failed_start(start_gateway: StartGateway, guarded: Guarded) -> None:
    guarded.sentinels[0].kill()
    guarded.sentinels[1].pause()
    gateway = start_gateway(guarded.url)
    gateway.wait_for_output("ready at")
    assert httpx.post(f"{gateway.http}/api/v1/ticks", json={"symbol": "A", "price": 1}).status_code == 202
