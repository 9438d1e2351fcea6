"""What each worker says of itself every two seconds, for the admin's front page, the API and ``manage.py clients``.

A report is made of counts that there are anyway, and of a look at streams and connections in slices: nothing is counted
for it on the way of a tick. It goes to the bus, which keeps it for some seconds (``Bus.announce``). A worker's own
figures of the last minutes go along, so that who begins to look sees them at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import time
from collections import deque
from collections.abc import Mapping
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bus import stall
from bus.contract import BusUnavailable
from bus.layers import get_bus, is_shared
from bus.loops import once_a_loop
from gateway import VERSION
from gateway.edge import workers
from gateway.edge.hottest import Hot, Hottest
from gateway.edge.process import get_node
from gateway.edge.watch import get_watch
from gateway.server.refusals import refusals
from gateway.server.visitors import turned_away
from ticks import intake, logins, lookups, recorder
from ticks.access.shares import limited
from ticks.address import client_address

if TYPE_CHECKING:
    from gateway.edge.watch import Connection

__all__ = ["HISTORY", "MOST_SLOW", "Load", "Report", "Slow", "Worker", "get_reporter", "run"]

logger = logging.getLogger(__name__)

SECONDS: Final = 2.0
KEPT_SECONDS: Final = 5.0
MOST_SLOW: Final = 10
_POINTS: Final = 90
_SLICE: Final = 250

HISTORY: Final = ("ticks_per_second", "delivered_per_second", "connections", "behind", "skipped_per_second", "lag_ms")


class Slow(msgspec.Struct):
    """A client that is behind."""

    id: str
    who: str
    owner: str
    address: str
    symbols: int
    seconds: float
    """For how long it has been."""
    skipped: int
    """Ticks that it was not sent, since it came."""
    worker: str


class Load(msgspec.Struct, kw_only=True):
    """What a worker has to do and how it bears that, or all of them together."""

    lag_ms: float
    """How late the event loop was at most."""
    connections: int
    publishers: int
    subscriptions: int
    behind: int
    ticks_per_second: float
    """Published by way of this worker."""
    delivered_per_second: float
    skipped_per_second: float
    """Left out because clients read too slowly."""
    skipped: int
    gaps: int
    missed: int
    refused: dict[str, int]
    """Since it was started, by reason."""
    history: dict[str, list[float]]
    """Some of these figures, every two seconds in the last minutes, the newest last."""


class Worker(Load):
    """A process of a gateway, and its figures."""

    id: str
    node: str
    worker: int
    """Its number at its gateway."""
    pid: int
    version: str
    bus: str
    started: float
    at: float
    """When these were its figures, in seconds since 1970."""
    processors: int
    load: float
    """Of the machine: processes that run or wait to, the mean of a minute."""
    cpu: float
    """Of the process: the share of one processor that it used."""
    memory_bytes: int
    symbols: int
    bus_hosts_away: int


class Report(msgspec.Struct):
    worker: Worker
    hot: list[Hot]
    slow: list[Slow]


class Reporter:
    """Makes the reports of this process."""

    def __init__(self) -> None:
        self._node = get_node()
        self._watch = get_watch()
        self._hottest = Hottest(self._node.hub.subscriptions.streams)
        self._history: dict[str, deque[float]] = {name: deque(maxlen=_POINTS) for name in HISTORY}
        self._behind_since: dict[Connection, float] = {}
        self._started = time.time()
        self._at = time.monotonic()
        self._counted = _counted(self._node.counts())
        self._late = stall.watch()
        self.name = f"{socket.gethostname()}/{os.getpid()}"
        self.report: Report | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Reports from now on; ``serve`` has begun long before the first who asks."""
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            try:
                self.report = await self.look()
                await get_bus().announce(self._watch.name, msgspec.json.encode(self.report), KEPT_SECONDS)
            except BusUnavailable:
                pass  # logged where it was found out
            except Exception:
                logger.exception("A worker could not say how it is")

    async def look(self) -> Report:
        """A report of now, with rates since the last."""
        publishers, slow = await self._connections()
        for _ in self._hottest.look(time.monotonic()):
            await asyncio.sleep(0)
        now = time.monotonic()
        held = self._node.counts()
        counted, before = _counted(held), self._counted
        elapsed = max(now - self._at, SECONDS / 2)
        rates = {name: round((counted[name] - before[name]) / elapsed, 3) for name in counted}
        self._at, self._counted = now, counted
        worker = Worker(
            id=self._watch.name,
            node=socket.gethostname(),
            worker=workers.number(),
            pid=os.getpid(),
            version=VERSION,
            bus="redis" if is_shared() else "memory",
            started=self._started,
            at=time.time(),
            processors=os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 2),
            cpu=rates["cpu"],
            memory_bytes=_memory_bytes(),
            lag_ms=round(self._late.latest() * 1_000, 1),
            connections=held["connections"],
            publishers=publishers,
            subscriptions=held["subscriptions"],
            symbols=held["symbols"],
            behind=held["behind"],
            ticks_per_second=rates["ticks"],
            delivered_per_second=rates["delivered"],
            skipped_per_second=max(0.0, rates["skipped"]),
            skipped=held["skipped_total"],
            gaps=held["gaps_total"],
            missed=held["missed_total"],
            bus_hosts_away=held["bus_hosts_away"],
            refused=_refused(),
            history={},
        )
        for name, points in self._history.items():
            points.append(round(getattr(worker, name), 1))
        worker.history = {name: list(points) for name, points in self._history.items()}
        return Report(worker, [Hot(hot.symbol, round(hot.rate, 1)) for hot in self._hottest.top], slow)

    async def _connections(self) -> tuple[int, list[Slow]]:
        """How many publish, and the slowest of those that are behind."""
        watch, now = self._watch, time.monotonic()
        behind: dict[Connection, float] = {}
        # Most often no subscriber is behind, and there are thousands of them.
        has_slow = self._node.hub.subscriptions.behind > 0
        for number, connection in enumerate(list(watch.connections if has_slow else watch.publishers)):
            if connection.outbox.behind:
                behind[connection] = self._behind_since.get(connection, now)
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        self._behind_since = behind
        slowest = nlargest(MOST_SLOW, behind, key=lambda one: one.outbox.waiting.skipped)
        return len(watch.publishers), [
            slow for one in slowest if (slow := self._slow(one, now - behind[one])) is not None
        ]

    def _slow(self, connection: Connection, seconds: float) -> Slow | None:
        standing = self._watch.connections.get(connection)
        if standing is None:
            return None  # it has left meanwhile
        return Slow(
            id=f"{self._watch.name}:{standing.number}",
            who=connection.grant.who,
            owner=connection.grant.owner,
            address=client_address(connection.scope),
            symbols=len(connection.symbols()),
            seconds=round(seconds, 1),
            skipped=connection.outbox.waiting.skipped,
            worker=self.name,
        )


def _counted(held: Mapping[str, int]) -> dict[str, float]:
    """What rates are made of; ``held`` are the node's counts."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "ticks": sum(count for key, count in intake.ticks.items() if key.endswith("|published")),
        "delivered": held["delivered_total"],
        "skipped": held["skipped_total"],
        "cpu": usage.ru_utime + usage.ru_stime,
    }


def _refused() -> dict[str, int]:
    """What was refused since the start, by reason."""
    counts: Mapping[str, Any] = {
        "handshake": refusals.count,
        **turned_away,
        **limited,
        **{str(reason): count for reason, count in get_bus().refused.items()},
        "login": logins.refused(),
        "database": lookups.refused(),
        "not_recorded": recorder.counts()["dropped"],
    }
    return {reason: int(count) for reason, count in counts.items() if count}


def _memory_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@once_a_loop
def get_reporter() -> Reporter:
    """The reporter of the running event loop."""
    return Reporter()


async def run() -> None:
    """Reports from the start of a worker on."""
    get_reporter().start()
