"""The two channel layers of the gateway, and what both offer beyond Channels' own API.

``batches``: :meth:`group_send_batch` sends many messages in one step, all or none, and retains the last message of each
group, which :meth:`retained` gives back. ``taps``: the process itself joins groups (:meth:`join`, :meth:`leave`) and
one listener (:meth:`tap`) gets their messages without a channel or a queue between.

Ordinary Channels code uses either layer as it would any other: ``group_add``, ``group_send`` and consumers' channels.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection
from channels_redis.utils import _close_redis, _wrap_close, create_pool, decode_hosts
from redis.asyncio import Redis

from gateway.listener import Listener
from gateway.pipe import Pipe, Script

__all__ = ["MemoryLayer", "RedisLayer"]

logger = logging.getLogger(__name__)

Batch = Sequence[tuple[str, Any]]
Tap = Callable[[Iterable[tuple[str, Any]]], None]

PUBLISH_SECONDS = 1.0
"""How long Redis may take to acknowledge a batch before the publisher is told that it is unavailable."""

_EXTENSIONS = ["groups", "flush", "batches", "taps"]


class MemoryLayer(InMemoryChannelLayer):  # type: ignore[misc] # channels has no types
    """Groups within one process and event loop."""

    extensions = _EXTENSIONS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._retained: dict[str, Any] = {}
        self._joined: set[str] = set()
        self._tap: Tap | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ping(self) -> None:
        """Returns if the bus can be used, which this one always can."""

    def tap(self, listener: Tap) -> None:
        self._tap = listener
        self._loop = asyncio.get_running_loop()

    async def join(self, groups: Sequence[str]) -> None:
        self._joined.update(groups)

    async def leave(self, groups: Sequence[str]) -> None:
        self._joined.difference_update(groups)

    async def group_send(self, group: str, message: Any) -> None:
        await super().group_send(group, message)
        self._hand_over([(group, message)])

    async def group_send_batch(self, batch: Batch) -> None:
        self._retained.update(batch)
        for group, message in batch:
            if group in self.groups:
                await super().group_send(group, message)
        self._hand_over(batch)

    async def retained(self, groups: Sequence[str]) -> dict[str, Any]:
        return {group: self._retained[group] for group in groups if group in self._retained}

    async def retained_groups(self) -> list[str]:
        return list(self._retained)

    def _hand_over(self, batch: Batch) -> None:
        tapped = [item for item in batch if item[0] in self._joined]
        if not tapped or self._tap is None or self._loop is None or self._loop.is_closed():
            return
        if self._loop is asyncio.get_running_loop():
            self._tap(tapped)
        else:
            # Sent from another thread's loop, as async_to_sync makes one for a plain thread.
            self._loop.call_soon_threadsafe(self._tap, tapped)

    async def flush(self) -> None:
        await super().flush()
        self._retained.clear()
        self._joined.clear()


class RedisLayer(RedisPubSubChannelLayer):  # type: ignore[misc] # channels_redis has no types
    """channels_redis's pub/sub layer with a receiving side made for a feed."""

    extensions = _EXTENSIONS

    async def group_send_batch(self, batch: Batch) -> None:
        await self._get_layer().group_send_batch(batch)

    async def retained(self, groups: Sequence[str]) -> dict[str, Any]:
        return await self._get_layer().retained(groups)

    async def retained_groups(self) -> list[str]:
        return await self._get_layer().retained_groups()

    async def ping(self) -> None:
        await self._get_layer().ping()

    def _get_layer(self) -> RedisLoopLayer:
        loop = asyncio.get_running_loop()
        layer: RedisLoopLayer | None = self._layers.get(loop)
        if layer is None:
            layer = self._layers[loop] = RedisLoopLayer(*self._args, **self._kwargs, channel_layer=self)
            _wrap_close(self, loop)
        return layer


class RedisLoopLayer(RedisPubSubLoopLayer):  # type: ignore[misc] # channels_redis has no types
    """The layer of one event loop; :class:`RedisLayer` hands every call on to it."""

    def __init__(self, hosts: Any = None, **options: Any) -> None:
        super().__init__(hosts=hosts, **options)
        self._shards = [Shard(host, self) for host in decode_hosts(hosts)]
        self._tap: Tap | None = None
        self._group_prefix = self._get_group_channel_name("")
        self._joined: set[str] = set()
        self.malformed = 0

    async def ping(self) -> None:
        """Returns if every Redis answers, else raises what kept it from answering."""
        for shard in self._shards:
            await shard.redis.ping()

    # Taps

    def tap(self, listener: Tap) -> None:
        self._tap = listener

    async def join(self, groups: Sequence[str]) -> None:
        channels = [self._get_group_channel_name(group) for group in groups]
        new = [channel for channel in channels if channel not in self._joined]
        self._joined.update(new)
        try:
            await self._on_shards(Shard.subscribe_all, channels)
        except BaseException:
            await self._leave(new)
            raise

    async def leave(self, groups: Sequence[str]) -> None:
        await self._leave([self._get_group_channel_name(group) for group in groups])

    async def _leave(self, channels: Sequence[str]) -> None:
        self._joined.difference_update(channels)
        await self._on_shards(Shard.unsubscribe_all, channels)

    def in_use(self, channel: str) -> bool:
        """True if somebody in this process still wants the Redis channel: a tap, a group's member, or its consumer."""
        return channel in self._joined or channel in self.groups or channel in self.channels

    async def _on_shards(self, change: Callable[[Shard, list[str]], Any], channels: Iterable[str]) -> None:
        by_shard: dict[Shard, list[str]] = {}
        for channel in channels:
            by_shard.setdefault(self._get_shard(channel), []).append(channel)
        for shard, some in by_shard.items():
            await change(shard, some)

    # Batches

    async def group_send_batch(self, batch: Batch) -> None:
        by_shard: dict[Shard, list[bytes | str]] = {}
        for group, message in batch:
            shard = self._get_shard(self._get_group_channel_name(group))
            by_shard.setdefault(shard, []).extend((group, self.channel_layer.serialize(message)))
        for shard, items in by_shard.items():
            await shard.publish_batch(items)

    async def retained(self, groups: Sequence[str]) -> dict[str, Any]:
        by_shard: dict[Shard, list[str]] = {}
        for group in groups:
            by_shard.setdefault(self._get_shard(self._get_group_channel_name(group)), []).append(group)
        found: dict[str, Any] = {}
        for shard, some in by_shard.items():
            for group, payload in zip(some, await shard.retained(some), strict=True):
                if payload is not None:
                    found[group] = self.channel_layer.deserialize(payload)
        return found

    async def retained_groups(self) -> list[str]:
        return [group for shard in self._shards for group in await shard.retained_groups()]

    # Receiving

    def deliver(self, arrived: list[tuple[str, bytes]]) -> None:
        """Hands messages to the tap, and to the queues of the channels and groups they are for."""
        tapped = []
        for channel, payload in arrived:
            if channel in self._joined:
                message = self._deserialized(channel, payload)
                if message is not None:
                    tapped.append((channel[len(self._group_prefix) :], message))
            if channel in self.groups or channel in self.channels:
                self._enqueue(channel, payload)
        if tapped and self._tap is not None:
            self._tap(tapped)

    def _enqueue(self, channel: str, payload: bytes) -> None:
        for name in self.groups.get(channel, (channel,)):
            queue = self.channels.get(name)
            if queue is not None:
                queue.put_nowait(payload)

    def _deserialized(self, channel: str, payload: bytes) -> Any | None:
        try:
            return self.channel_layer.deserialize(payload)
        except Exception as error:  # a serializer may raise anything for bytes it did not make
            self.malformed += 1
            if self.malformed == 1:
                logger.warning("Ignored bytes on %s, and will ignore others like them: %s", channel, error)
            return None

    async def flush(self) -> None:
        # Also called when the event loop closes, so what is retained for others stays.
        self._joined.clear()
        await super().flush()


_PUBLISH_BATCH = """
-- KEYS[1] the hash of retained messages; ARGV[1] the prefix of group channels; then group, message, group, message ...
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('PUBLISH', ARGV[1] .. ARGV[i], ARGV[i + 1])
end
"""


class Shard(RedisSingleShardConnection):  # type: ignore[misc] # channels_redis has no types
    """One Redis: a pool of connections that publish, and one connection that listens."""

    def __init__(self, host: dict[str, Any], layer: RedisLoopLayer) -> None:
        super().__init__(host, layer)
        self._redis: Redis | None = None
        self._listener = Listener(lambda: self.redis.connection_pool, layer.deliver)
        self._pipe = Pipe(lambda: self.redis.connection_pool, PUBLISH_SECONDS)
        self._publish_script = Script(self._pipe, _PUBLISH_BATCH)
        self._retained_key = f"{layer.prefix}:retained"

    @property
    def redis(self) -> Redis:
        if self._redis is None:
            self._redis = Redis(connection_pool=create_pool(self.host))
        return self._redis

    async def publish(self, channel: str, message: bytes) -> None:
        await self.redis.publish(channel, message)

    async def publish_batch(self, items: Sequence[bytes | str]) -> None:
        """Publishes and retains ``group, message, group, message ...`` in one round trip, all or none."""
        await self._publish_script(self._retained_key, self.channel_layer._group_prefix, *items)

    async def retained(self, groups: Sequence[str]) -> list[bytes | None]:
        return cast(list[bytes | None], await self.redis.hmget(self._retained_key, list(groups)))

    async def retained_groups(self) -> list[str]:
        groups = cast(list[bytes], await self.redis.hkeys(self._retained_key))
        return [group.decode() for group in groups]

    async def subscribe(self, channel: str) -> None:
        await self._listener.add([channel])

    async def subscribe_all(self, channels: Sequence[str]) -> None:
        await self._listener.add(channels)

    async def unsubscribe(self, channel: str) -> None:
        await self.unsubscribe_all([channel])

    async def unsubscribe_all(self, channels: Sequence[str]) -> None:
        self._listener.remove([channel for channel in channels if not self.channel_layer.in_use(channel)])

    async def flush(self) -> None:
        await self._listener.close()
        await self._pipe.close()
        if self._redis is not None:
            await _close_redis(self._redis)
            self._redis = None
