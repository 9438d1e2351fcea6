"""What is sampled while the soak runs, and what counts as growth.

Samples are taken in a thread of their own, so that a gateway that answers late cannot stop the clients from reading.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import httpx
from redis import Redis
from redis.exceptions import RedisError

from tests.clients import metrics
from tests.servers import GatewayProcess, RedisServer

__all__ = ["MB", "MEMORY", "Gauge", "Sample", "Sampler", "judge", "sample"]

Sample = Mapping[str, float]
"""Values by the name of the metric, without its prefix; those of Redis begin with "redis "."""

MEMORY: Final = "resident_bytes"
MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much the second of two values may exceed the first: a share of it, and a fixed amount."""

    share: float
    amount: float

    def allows(self, before: float, after: float) -> bool:
        return after <= before * (1 + self.share) + self.amount


GROWTH: Final = Tolerance(share=0.15, amount=10)
"""Between the medians of the first and the last third. Visitors come and go at random, so the number of clients, and
all that goes with it, differs by a few from sample to sample; a leak of one a visit would be hundreds by then."""

MEMORY_GROWTH: Final = Tolerance(share=0.05, amount=6 * MB)
"""The allocator's high-water mark creeps up for some minutes, as rare coincidences (many clients behind during a frozen
Redis, say) find their largest size yet. What leaks with every tick or visit is far more: some hundred bytes for each of
a few hundred ticks a second make 10 MB in five minutes."""

LEFTOVERS: Final = Tolerance(share=0.0, amount=5)
"""Between before anybody came and after everybody left. Connections to Redis, and the tasks that read them, are made
when they are first needed and kept (two connections and three tasks were measured). One that every freeze or every
visitor left behind would be ten, or thousands."""

MEMORY_LEFTOVERS: Final = Tolerance(share=0.0, amount=40 * MB)
"""What was alive beside what is kept pins the allocator's arenas, and code and caches are loaded at the first use:
measured at 10 to 20 MB with 300 clients. It does not depend on how long it all ran."""

EMPTY: Final = frozenset(
    {"connections", "subscriptions", "symbols", "memberships", "behind", "rates", "record_waiting"}
)
"""What must be exactly as before once everybody has left."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge over the run: before anybody came, the medians of the first and the last third, after everybody left."""

    name: str
    before: float
    first: float
    last: float
    after: float

    @property
    def grew(self) -> bool:
        tolerance = MEMORY_GROWTH if self.name == MEMORY else GROWTH
        return not tolerance.allows(self.first, self.last)

    @property
    def stayed(self) -> bool:
        """Whether something was left behind."""
        if self.name in EMPTY:
            return self.after > self.before
        return not (MEMORY_LEFTOVERS if self.name == MEMORY else LEFTOVERS).allows(self.before, self.after)


def judge(before: Sample, during: Sequence[Sample], after: Sample) -> list[Gauge]:
    """All gauges (counters only ever rise), from the samples after the warm-up."""
    third = max(1, len(during) // 3)
    names = [name for name in before if not name.endswith("_total")]

    def median(samples: Sequence[Sample], name: str) -> float:
        return statistics.median(each.get(name, 0.0) for each in samples)

    return [
        Gauge(name, before[name], median(during[:third], name), median(during[-third:], name), after[name])
        for name in names
    ]


def sample(gateway: GatewayProcess, redis: RedisServer) -> Sample:
    """One of each; ``httpx.HTTPError``, ``RedisError`` or ``OSError`` if one of the two does not answer."""
    return {**metrics(gateway), **_redis_sample(redis)}


def _redis_sample(redis: RedisServer) -> dict[str, float]:
    with Redis(port=redis.port, socket_timeout=1.0) as client:
        return {
            "redis channels": len(client.pubsub_channels()),
            "redis patterns": client.pubsub_numpat(),
            "redis clients": len(client.client_list()),
        }


class Sampler:
    """Takes a sample every ``interval`` seconds while its context lasts; one that is not to be had is left out."""

    def __init__(self, take: Callable[[], Sample], interval: float = 1.0) -> None:
        self._take = take
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples: list[Sample] = []
        self.missed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self.samples.append(self._take())
            except (httpx.HTTPError, RedisError, OSError):
                self.missed += 1
