"""The two channel layers of the gateway, and what both offer beyond Channels' own API.

``batches``: :meth:`group_send_batch` sends many messages in one step, all or none. Each group is a stream: its messages
are numbered, the last one and a history are kept, and :meth:`positions` and :meth:`history` tell of them. The numbers
count within an *epoch*, which ends when the bus has lost its memory.

``taps``: the process itself joins groups (:meth:`join`, :meth:`leave`), or all groups whose names begin alike, and one
:class:`~bus.contract.Tap` gets their messages without a channel or a queue between.

Ordinary Channels code uses either layer as it would any other: ``group_add``, ``group_send`` and consumers' channels.
A message of a stream then has ``seq`` and ``epoch`` beside its own fields. A channel's queue holds at most ``capacity``
messages, and the channel ends with the task that made it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final

from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from channels_redis.utils import _wrap_close, decode_hosts

from bus.consumption import is_fit, when_owner_ends
from bus.contract import Packet, Position, Since, Tap
from bus.memory import Streams
from bus.redis.listener import Arrived
from bus.redis.packing import MAGIC, is_consecutive, unbundle
from bus.redis.shard import Shard
from ticks.idempotency import Idempotency

__all__ = ["MemoryLayer", "RedisLayer"]

logger = logging.getLogger(__name__)

Batch = Sequence[tuple[str, Any]]

HISTORY_TICKS: Final = 500
HISTORY_SECONDS: Final = 300.0
CAPACITY: Final = 100

_EXTENSIONS = ["groups", "flush", "batches", "taps"]


class MemoryLayer(InMemoryChannelLayer):  # type: ignore[misc] # channels has no types
    """Groups within one process. The tap is told on the event loop that was running when it was set."""

    extensions = _EXTENSIONS

    def __init__(
        self, *, history_ticks: int = HISTORY_TICKS, history_seconds: float = HISTORY_SECONDS, **options: Any
    ) -> None:
        super().__init__(**options)
        self._streams = Streams(history_ticks, history_seconds, time.monotonic)
        self._joined: set[str] = set()
        self._patterns: tuple[str, ...] = ()
        self._tap: Tap | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: deque[Packet] = deque()
        self.malformed = 0
        self.dropped = 0

    async def ping(self) -> None:
        """Returns if the bus can be used, which this one always can."""

    # Taps

    def tap(self, tap: Tap) -> None:
        self._tap = tap
        self._loop = asyncio.get_running_loop()

    async def join(self, groups: Sequence[str]) -> None:
        self._joined.update(groups)
        self._patterns = tuple(group[:-1] for group in self._joined if group.endswith("*"))

    async def leave(self, groups: Sequence[str]) -> None:
        self._joined.difference_update(groups)
        self._patterns = tuple(group[:-1] for group in self._joined if group.endswith("*"))

    # Sending

    async def group_send(self, group: str, message: Any) -> None:
        if is_fit(group, message):
            await super().group_send(group, message)
        elif group in self.groups:
            self._skip(group)
        self._hand_over([Packet(group, "", 0, [message])])

    async def group_send_batch(self, batch: Batch, idempotency: Idempotency | None = None) -> bool:
        """True if the batch was published, false if it had been before."""
        return self._streams.publish(_by_group(batch), idempotency, self._deliver)

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        return {group: self._streams.position(group) for group in groups}

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        return {group: self._streams.missed(group, place) for group, place in since.items()}

    async def retained_groups(self) -> list[str]:
        return self._streams.groups()

    def _deliver(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if packet.group in self.groups:
                self._enqueue(packet)
        self._hand_over(packets)

    def _enqueue(self, packet: Packet) -> None:
        """Puts the messages into the members' queues, in one go: batches must not get in between each other."""
        expiry = time.time() + self.expiry
        for seq, message in enumerate(packet.messages, packet.seq):
            if not is_fit(packet.group, message):
                self._skip(packet.group)
                continue
            placed = {**message, "seq": seq, "epoch": packet.epoch}
            for channel in self.groups[packet.group]:
                queue = self.channels.setdefault(channel, asyncio.Queue(maxsize=self.get_capacity(channel)))
                try:
                    queue.put_nowait((expiry, deepcopy(placed)))
                except asyncio.QueueFull:
                    self.dropped = _count_dropped(self.dropped, channel)

    def _hand_over(self, packets: Iterable[Packet]) -> None:
        if self._tap is None or self._loop is None or self._loop.is_closed():
            return
        self._due.extend(packet for packet in packets if self._is_joined(packet.group))
        if not self._due:
            return
        if self._loop is asyncio.get_running_loop():
            self._hand_over_due()
        else:
            # Sent from another thread's loop, as async_to_sync makes one for a plain thread. What is sent on this loop
            # meanwhile does not overtake it.
            self._loop.call_soon_threadsafe(self._hand_over_due)

    def _hand_over_due(self) -> None:
        due = []
        while self._due:
            due.append(self._due.popleft())
        if not due or self._tap is None:
            return
        try:
            self._tap.arrived(due)
        except Exception:  # the publisher is not to blame
            logger.exception("Delivering %d packets failed.", len(due))

    def _skip(self, group: str) -> None:
        self.malformed = _count_malformed(self.malformed, group, "a consumer could not tell what it is")

    def _is_joined(self, group: str) -> bool:
        return group in self._joined or (bool(self._patterns) and group.startswith(self._patterns))

    # Channels

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel: str = await super().new_channel(prefix)
        when_owner_ends(lambda: self._forget(channel))
        return channel

    def _forget(self, channel: str) -> None:
        self.channels.pop(channel, None)
        for group in [group for group, members in self.groups.items() if channel in members]:
            del self.groups[group][channel]
            if not self.groups[group]:
                del self.groups[group]

    async def flush(self) -> None:
        await super().flush()
        self._streams.clear()
        self._joined.clear()
        self._patterns = ()
        self._due.clear()


class RedisLayer(RedisPubSubChannelLayer):  # type: ignore[misc] # channels_redis has no types
    """channels_redis's pub/sub layer with streams, and with a receiving side made for a feed."""

    extensions = _EXTENSIONS

    async def group_send_batch(self, batch: Batch, idempotency: Idempotency | None = None) -> bool:
        """True if the batch was published, false if it had been before."""
        return await self._get_layer().group_send_batch(batch, idempotency)

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        return await self._get_layer().positions(groups)

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        return await self._get_layer().history(since)

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

    def __init__(
        self,
        hosts: Any = None,
        *,
        capacity: int = CAPACITY,
        history_ticks: int = HISTORY_TICKS,
        history_seconds: float = HISTORY_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(hosts=hosts, **options)
        self.capacity = capacity
        self._deserialize = self.channel_layer._serializer.deserialize
        self._group_prefix = self._get_group_channel_name("")
        self._group_prefix_size = len(self._group_prefix)
        self._shards = [
            Shard(
                host,
                prefix=self.prefix,
                channel_prefix=self._group_prefix,
                history_ticks=history_ticks,
                history_seconds=history_seconds,
                deliver=self.deliver,
                lost=self._on_lost,
                restored=self._on_restored,
            )
            for host in decode_hosts(hosts)
        ]
        self._tap: Tap | None = None
        # What the tap joined: channels of groups, and patterns in Redis's spelling. A pattern is wanted first and
        # in force, in place of the channels it covers, once Redis has confirmed it.
        self._joined: set[str] = set()
        self._wanted: set[str] = set()
        self._patterns: set[str] = set()
        self._lost: set[Shard] = set()
        # Channels whose end is that of a task, and the groups that channels are members of.
        self._owned: set[str] = set()
        self._memberships: dict[str, set[str]] = {}
        self.malformed = 0
        self.dropped = 0

    async def ping(self) -> None:
        """Returns if every Redis answers, else raises what kept it from answering."""
        for shard in self._shards:
            await shard.ping()

    # Taps

    def tap(self, tap: Tap) -> None:
        self._tap = tap

    async def join(self, groups: Sequence[str]) -> None:
        channels, patterns = self._names(groups)
        new = [channel for channel in channels if channel not in self._joined]
        self._joined.update(new)
        try:
            await self._subscribe([channel for channel in channels if not self._is_covered(channel)])
            await self._join_patterns(patterns)
        except BaseException:
            self._joined.difference_update(new)
            self._unsubscribe(new)
            raise

    async def leave(self, groups: Sequence[str]) -> None:
        channels, patterns = self._names(groups)
        self._joined.difference_update(channels)
        await self._leave_patterns([pattern for pattern in patterns if pattern in self._wanted])
        self._unsubscribe(channels)

    def _names(self, groups: Sequence[str]) -> tuple[list[str], list[str]]:
        """The channels of those that are groups, and Redis's spelling of those that are patterns."""
        names = [(group, self._get_group_channel_name(group)) for group in groups]
        channels = [name for group, name in names if not group.endswith("*")]
        return channels, [_pattern(name) for group, name in names if group.endswith("*")]

    async def _join_patterns(self, patterns: Sequence[str]) -> None:
        """First the patterns, then without the channels they cover: nothing is missed in between."""
        new = [pattern for pattern in patterns if pattern not in self._wanted]
        self._wanted.update(new)
        try:
            for shard in self._shards:
                await shard.listener.add(patterns=patterns)
        except BaseException:
            self._wanted.difference_update(new)
            self._unsubscribe_patterns(new)
            raise
        self._patterns.update(patterns)
        self._unsubscribe([channel for channel in self._joined if self._is_covered(channel)])

    async def _leave_patterns(self, patterns: Sequence[str]) -> None:
        """First the channels that are still joined, then the patterns."""
        self._wanted.difference_update(patterns)
        self._patterns.difference_update(patterns)
        try:
            if patterns:
                await self._subscribe([channel for channel in self._joined if not self._is_covered(channel)])
        finally:
            self._unsubscribe_patterns(patterns)

    def _unsubscribe_patterns(self, patterns: Sequence[str]) -> None:
        for shard in self._shards:
            shard.listener.remove(patterns=patterns)

    def _is_covered(self, channel: str) -> bool:
        return any(channel.startswith(_beginning(pattern)) for pattern in self._patterns)

    def _in_use(self, channel: str) -> bool:
        """True if somebody in this process still needs the channel: its consumer, a group's member, or the tap."""
        if channel in self.groups or channel in self.channels:
            return True
        return channel in self._joined and not self._is_covered(channel)

    async def _subscribe(self, channels: Iterable[str]) -> None:
        for shard, some in self._by_shard(channels):
            await shard.listener.add(some)

    def _unsubscribe(self, channels: Iterable[str]) -> None:
        for shard, some in self._by_shard(channel for channel in channels if not self._in_use(channel)):
            shard.listener.remove(some)

    def _by_shard(self, channels: Iterable[str]) -> Iterator[tuple[Shard, list[str]]]:
        by_shard: dict[Shard, list[str]] = {}
        for channel in channels:
            by_shard.setdefault(self._get_shard(channel), []).append(channel)
        yield from by_shard.items()

    def _on_lost(self, shard: Shard) -> None:
        if (self._joined or self._wanted) and not self._lost and self._tap is not None:
            self._tap.bus_lost()
        self._lost.add(shard)

    def _on_restored(self, shard: Shard) -> None:
        self._lost.discard(shard)
        if not self._lost and self._tap is not None:
            self._tap.bus_restored()

    # Streams

    async def group_send_batch(self, batch: Batch, idempotency: Idempotency | None = None) -> bool:
        serialize = self.channel_layer.serialize
        by_shard: dict[Shard, dict[str, list[bytes]]] = {}
        for group, messages in _by_group(batch).items():
            by_shard.setdefault(self._shard_of(group), {})[group] = list(map(serialize, messages))
        if idempotency is not None:
            # One Redis hears of every batch under this key, and first: so others cannot publish what it refuses.
            home = self._get_shard(idempotency.key)
            by_shard = {home: by_shard.pop(home, {}), **by_shard}
        is_published = not by_shard
        for shard, groups in by_shard.items():
            if await shard.publish_batch(groups, idempotency):
                is_published = True
        return is_published

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        found: dict[str, Position] = {}
        for shard, some in self._groups_by_shard(groups):
            epoch, packets = await shard.positions(some)
            for group, packet in zip(some, packets, strict=True):
                last = None if packet is None else self._unpacked(self._group_prefix + group, packet)
                found[group] = Position(epoch, 0, None) if last is None else Position(epoch, last.seq, last.messages[0])
        return {group: found[group] for group in groups}

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        found: dict[str, list[Packet] | None] = {}
        for shard, some in self._groups_by_shard(since):
            places = {group: since[group] for group in some}
            for group, packets in zip(some, await shard.history(places), strict=True):
                found[group] = None if packets is None else self._missed(group, packets, since[group].seq)
        return found

    async def retained_groups(self) -> list[str]:
        return [group for shard in self._shards for group in await shard.retained_groups()]

    def _shard_of(self, group: str) -> Shard:
        shard: Shard = self._get_shard(self._get_group_channel_name(group))
        return shard

    def _groups_by_shard(self, groups: Iterable[str]) -> Iterator[tuple[Shard, list[str]]]:
        for shard, channels in self._by_shard(map(self._get_group_channel_name, groups)):
            yield shard, [channel[len(self._group_prefix) :] for channel in channels]

    def _missed(self, group: str, packets: Sequence[bytes], seq: int) -> list[Packet] | None:
        """The packets after ``seq``, or None if there is a hole, such as a gateway that keeps no history leaves."""
        try:
            bundles = [unbundle(packet) for packet in packets]
        except ValueError as error:
            self._refuse(group, error)
            return None
        if not is_consecutive(bundles, seq):
            return None
        missed = []
        for epoch, first, messages in bundles:
            skipped = max(0, seq + 1 - first)
            rest = [self._deserialized(group, message) for message in messages[skipped:]]
            missed.append(Packet(group, epoch, first + skipped, rest))
        return missed

    # Receiving

    def deliver(self, shard: Shard, arrived: Sequence[Arrived]) -> None:
        """Hands messages to the tap, and to the queues of the channels and groups they are for."""
        tapped = []
        joined, groups, channels = self._joined, self.groups, self.channels
        # With overlapping patterns Redis sends a message under each: it is taken under the shortest.
        patterns = [(_beginning(name), name) for name in sorted(shard.listener.patterns, key=len)]
        for channel, payload, pattern in arrived:
            taken = None
            if patterns:
                taken = next((name for beginning, name in patterns if channel.startswith(beginning)), None)
            is_tapped = pattern == taken and (channel in joined or pattern in self._wanted)
            is_queued = pattern is None and (channel in groups or channel in channels)
            if not is_tapped and not is_queued:
                continue
            packet = self._unpacked(channel, payload)
            if packet is None:
                continue
            if is_tapped:
                tapped.append(packet)
            if is_queued:
                self._enqueue(channel, payload, packet)
        if tapped and self._tap is not None:
            self._tap.arrived(tapped)

    def _unpacked(self, channel: str, payload: bytes) -> Packet | None:
        """The packet, with None for messages in it that cannot be read; None if it is none and no message either."""
        # Every tick comes by here, in every process: what stands in the way of a single message is kept short.
        group = channel[self._group_prefix_size :]
        try:
            if payload[0] != MAGIC:
                return Packet(group, "", 0, [self._deserialize(payload)])
            epoch, seq, messages = unbundle(payload)
        except Exception as error:  # a serializer may raise anything for bytes it did not make
            self._refuse(channel, error)
            return None
        try:
            if len(messages) == 1:
                return Packet(group, epoch, seq, [self._deserialize(messages[0])])
            return Packet(group, epoch, seq, [self._deserialize(message) for message in messages])
        except Exception:
            return Packet(group, epoch, seq, [self._deserialized(channel, message) for message in messages])

    def _deserialized(self, channel: str, message: bytes) -> Any | None:
        try:
            return self._deserialize(message)
        except Exception as error:
            self._refuse(channel, error)
            return None

    def _refuse(self, channel: str, error: object) -> None:
        self.malformed = _count_malformed(self.malformed, channel, error)

    # Consumers

    def _enqueue(self, channel: str, payload: bytes, packet: Packet) -> None:
        """Queues what consumers can make something of, as bytes: each is to have a message of its own.

        A general channel, which no consumer has as its own, takes whatever is sent to it.
        """
        group = packet.group if channel in self.groups else ""
        is_consumers = channel in self.groups or channel in self._owned
        payloads = unbundle(payload)[2] if packet.epoch else (payload,)
        for seq, (message, own) in enumerate(zip(packet.messages, payloads, strict=True), packet.seq):
            if message is None:
                continue  # counted already
            if is_consumers and not is_fit(group, message):
                self._refuse(channel, "a consumer could not tell what it is")
                continue
            for name in self.groups.get(channel, (channel,)):
                queue = self.channels.get(name)
                if queue is None:
                    continue
                try:
                    queue.put_nowait((own, packet.epoch, seq))
                except asyncio.QueueFull:
                    self.dropped = _count_dropped(self.dropped, name)

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel: str = await super().new_channel(prefix)
        when_owner_ends(lambda: self._forget(channel), lambda: self._owned.add(channel))
        return channel

    async def _subscribe_to_channel(self, channel: str) -> None:
        self.channels[channel] = asyncio.Queue(maxsize=self.capacity)
        try:
            await self._subscribe([channel])
        except BaseException:
            self._forget(channel)
            raise

    async def receive(self, channel: str) -> Any:
        if channel not in self.channels:
            await self._subscribe_to_channel(channel)
        try:
            message, epoch, seq = await self.channels[channel].get()
        except BaseException:
            # A consumer that is no task of its own ends like this. One that is may end differently, with a message in
            # its hands, so its task is watched.
            if channel not in self._owned:
                self._forget(channel)
            raise
        fields = self._deserialize(message)
        return {**fields, "seq": seq, "epoch": epoch} if epoch else fields

    async def group_add(self, group: str, channel: str) -> None:
        self._memberships.setdefault(channel, set()).add(self._get_group_channel_name(group))
        try:
            await super().group_add(group, channel)
        except BaseException:
            self._discard(self._get_group_channel_name(group), channel)
            raise
        if channel not in self.channels:  # it ended meanwhile
            self._forget(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._discard(self._get_group_channel_name(group), channel)

    def _discard(self, group_channel: str, channel: str) -> None:
        memberships = self._memberships.get(channel, set())
        memberships.discard(group_channel)
        if not memberships:
            self._memberships.pop(channel, None)
        members = self.groups.get(group_channel, set())
        members.discard(channel)
        if not members:
            self.groups.pop(group_channel, None)
        self._unsubscribe([group_channel])

    def _forget(self, channel: str) -> None:
        """Lets go of a channel and of all that it was a member of."""
        self._owned.discard(channel)
        self.channels.pop(channel, None)
        for group_channel in list(self._memberships.get(channel, ())):
            self._discard(group_channel, channel)
        self._unsubscribe([channel])

    async def flush(self) -> None:
        # Also called when the event loop closes, so what is retained for others stays.
        self._joined.clear()
        self._patterns.clear()
        self._wanted.clear()
        self._lost.clear()
        self._owned.clear()
        self._memberships.clear()
        await super().flush()


def _by_group(batch: Batch) -> dict[str, list[Any]]:
    """The messages of each group, in their order."""
    groups: dict[str, list[Any]] = {}
    for group, message in batch:
        if group in groups:
            groups[group].append(message)
        else:
            groups[group] = [message]
    return groups


def _count_malformed(count: int, channel: str, error: object) -> int:
    """Whoever sends such messages sends many, so only the first is logged."""
    if not count:
        logger.warning("Ignored a message on %s, and will ignore others like it: %s", channel, error)
    return count + 1


def _count_dropped(count: int, channel: str) -> int:
    if not count:
        logger.warning("Dropped a message for %s, whose queue is full, and will drop others like it.", channel)
    return count + 1


def _pattern(name: str) -> str:
    """A pattern as Redis spells it: what is special to Redis stands for itself, but for the asterisk at the end."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", name[:-1]) + "*"


@lru_cache(maxsize=64)
def _beginning(pattern: str) -> str:
    """What the channels of one of our patterns begin with."""
    return re.sub(r"\\(.)", r"\1", pattern[:-1])
