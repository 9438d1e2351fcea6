"""Where groups live: on one Redis, on one of several hosts, or in one of a cluster's buckets; each is a *shard*."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from bus.contract import Limits, Reason
from bus.redis.address import cluster_of
from bus.redis.cluster import Cluster
from bus.redis.membership import names_of
from bus.redis.names import prefix_of
from bus.redis.reception import RawMessage
from bus.redis.several import answers
from bus.redis.shard import Home, Shard
from bus.redis.single import Single
from bus.redis.topology import bucket_of

__all__ = ["Choose", "News", "Places", "places"]

_HERALDS: Final = 3
"""Buckets of a cluster that workers announce themselves in."""

Choose: TypeAlias = Callable[[str, Sequence[Shard]], Shard]


class News(NamedTuple):
    """Who is told, by the numbers of shards, what arrived together, and which of them are lost and restored."""

    deliver: Callable[[Sequence[tuple[int, Sequence[RawMessage]]]], None]
    lost: Callable[[int], None]
    restored: Callable[[int], None]


class Places:
    """Several hosts: ``choose`` picks one by the name of a channel, or of whatever else is kept there."""

    def __init__(self, shards: Sequence[Shard], singles: Sequence[Single], choose: Choose) -> None:
        self.shards = shards
        self.heralds = shards
        """Those that workers announce themselves in, so that they are heard of whichever of them is away."""
        self.prefix_size = len(shards[0].channel_prefix)
        """How long what stands before a group's name in its channel's is, everywhere."""
        self._singles = singles
        self._choose = choose

    def of(self, group: str) -> Shard:
        return self._choose(self.shards[0].channel_prefix + group, self.shards)

    def named(self, name: str) -> Shard:
        """Where what has that name is, and is no group."""
        return self._choose(name, self.shards)

    def at(self, channel: str) -> Shard:
        return self._choose(channel, self.shards)

    async def check(self, patterns: Sequence[str]) -> Sequence[str]:
        """As ``Bus.check``."""
        prefix = self.shards[0].prefix
        checks = (single.check(prefix, self._channels(patterns)) for single in self._singles)
        found, failures = answers(await asyncio.gather(*checks, return_exceptions=True))
        return [sentence for sentences in found for sentence in sentences] + list(map(str, failures))

    def _channels(self, patterns: Sequence[str]) -> list[str]:
        return list(names_of(self.shards[0].channel_prefix + pattern for pattern in patterns).patterns)


class ClusterPlaces(Places):
    """Buckets: which one is a hash of the group's name, and stands in its channel's."""

    def __init__(self, shards: Sequence[Shard], cluster: Cluster) -> None:
        super().__init__(shards, (), lambda _, some: some[0])
        self.heralds = shards[:: -(-len(shards) // _HERALDS)]
        self._cluster = cluster
        self._by_prefix = {shard.prefix: shard for shard in shards}
        self._size = len(shards[0].prefix)

    def of(self, group: str) -> Shard:
        return self.shards[bucket_of(group, len(self.shards))]

    def named(self, name: str) -> Shard:
        return self.of(name)

    def at(self, channel: str) -> Shard:
        return self._by_prefix[channel[: self._size]]

    async def check(self, patterns: Sequence[str]) -> Sequence[str]:
        return await self._cluster.check(self._channels(patterns))


def places(
    hosts: Sequence[dict[str, Any]],
    choose: Choose,
    namespace: str,
    refused: Counter[Reason],
    news: News,
    *,
    history_ticks: int,
    history_seconds: float,
    limits: Limits,
) -> Places:
    """Those of hosts as channels_redis decodes them; a cluster's buckets share the limits out between them."""

    def shard(prefix: str, home: Home, limits: Limits) -> Shard:
        return Shard(
            home,
            prefix=prefix,
            channel_prefix=f"{prefix}__group__",
            history_ticks=history_ticks,
            history_seconds=history_seconds,
            limits=limits,
        )

    clusters = [found for found in map(cluster_of, hosts) if found is not None]
    if not clusters:
        singles = [
            Single(
                host,
                refused,
                lambda arrived, number=number: news.deliver([(number, arrived)]),  # type: ignore[misc]
                partial(news.lost, number),
                partial(news.restored, number),
            )
            for number, host in enumerate(hosts)
        ]
        return Places([shard(prefix_of(namespace), single, limits) for single in singles], singles, choose)
    if len(hosts) > 1:
        raise ValueError("a cluster stands for itself: name one, and nothing beside it")
    cluster = Cluster(clusters[0], namespace, refused, deliver=news.deliver, lost=news.lost, restored=news.restored)
    parts = len(cluster.buckets)
    own = limits._replace(streams=-(-limits.streams // parts), keys=-(-limits.keys // parts))
    return ClusterPlaces([shard(bucket.prefix, bucket, own) for bucket in cluster.buckets], cluster)
