"""Channels' two layers, each with a bus beside it: ordinary consumers use the layer, the gateway uses ``layer.bus``.

Ordinary Channels code uses either layer as it would any other: ``group_add``, ``group_send`` and consumers' channels. A
message of a stream then has ``seq`` and ``epoch`` beside its own fields. A channel's queue holds at most ``capacity``
messages, and the channel ends with the task that made it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any, Final

from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from channels_redis.utils import _consistent_hash, _wrap_close, decode_hosts

from bus.contract import HISTORY_SECONDS, HISTORY_TICKS, Bus, Limits, Losses, Packet
from bus.memory import MemoryBus
from bus.redis.bus import RedisBus
from bus.redis.names import default_namespace, prefix_of
from bus.redis.packing import unpack
from bus.redis.shard import Shard

__all__ = ["BusLayer", "MemoryLayer", "RedisLayer", "expect_in_groups", "get_bus", "is_shared"]

CAPACITY: Final = 100

_expected: dict[str, str] = {}


def get_bus() -> Bus:
    """The bus beside the default channel layer, for the event loop that runs."""
    bus: Bus = get_channel_layer().bus
    return bus


def is_shared() -> bool:
    """Whether the bus of the default channel layer reaches other processes."""
    return not isinstance(get_channel_layer(), MemoryLayer)


def expect_in_groups(prefix: str, kind: str) -> None:
    """In groups whose names begin with ``prefix`` consumers get messages of that ``type`` only."""
    _expected[prefix] = kind


class BusLayer:
    """What a channel layer with a bus has; both of ours are one."""

    bus: Bus


class ConsumerQueues(BusLayer):
    """The consumers' side of both layers: queues that are bounded, and end with the task they are for."""

    channels: dict[str, asyncio.Queue[Any]]
    _forget: Callable[[str], None]
    """Lets go of a channel and of all that it was a member of."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._losses = Losses()
        self._owned: set[str] = set()

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel: str = await super().new_channel(prefix)  # type: ignore[misc] # Channels' own class is behind this one
        owner = asyncio.current_task()

        def watch() -> None:
            # A task that has ended by now did nothing but make a channel for somebody else (``asyncio.wait_for``,
            # ``async_to_sync``): it is no owner.
            if owner is not None and not owner.done():
                self._owned.add(channel)
                owner.add_done_callback(lambda _: self._forget(channel))

        asyncio.get_running_loop().call_soon(watch)
        return channel

    def _is_fit(self, group: str, message: Any) -> bool:
        """Whether a consumer finds a handler for a message; one that does not raises, and its client is closed."""
        kind = message.get("type") if isinstance(message, dict) else None
        expected = next((_expected[prefix] for prefix in _expected if group.startswith(prefix)), None)
        if isinstance(kind, str) if expected is None else kind == expected:
            return True
        self._losses.refuse(group, "a consumer could not tell what it is")
        return False

    def _put(self, channel: str, queue: asyncio.Queue[Any], item: Any) -> None:
        try:
            queue.put_nowait(item)
        except asyncio.QueueFull:
            self._losses.overflow(channel)


class MemoryLayer(ConsumerQueues, InMemoryChannelLayer):  # type: ignore[misc] # channels has no types
    """Groups within one process."""

    def __init__(
        self,
        *,
        history_ticks: int = HISTORY_TICKS,
        history_seconds: float = HISTORY_SECONDS,
        limits: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.bus: MemoryBus = MemoryBus(
            self._enqueue,
            self._losses,
            history_ticks=history_ticks,
            history_seconds=history_seconds,
            limits=Limits(**limits),
        )

    async def group_send(self, group: str, message: Any) -> None:
        if group not in self.groups or self._is_fit(group, message):
            await super().group_send(group, message)
        self.bus.hand_over([Packet(group, "", 0, [message])])

    def _enqueue(self, packet: Packet) -> None:
        """Puts the messages into the members' queues, in one go: batches must not get in between each other."""
        members = self.groups.get(packet.group)
        if not members:
            return
        expiry = time.time() + self.expiry
        for seq, message in enumerate(packet.messages, packet.seq):
            if self._is_fit(packet.group, message):
                placed = {**message, "seq": seq, "epoch": packet.epoch}
                for channel in members:
                    queue = self.channels.setdefault(channel, asyncio.Queue(maxsize=self.get_capacity(channel)))
                    self._put(channel, queue, (expiry, deepcopy(placed)))

    def _forget(self, channel: str) -> None:
        self._owned.discard(channel)
        self.channels.pop(channel, None)
        for group in [group for group, members in self.groups.items() if channel in members]:
            del self.groups[group][channel]
            if not self.groups[group]:
                del self.groups[group]

    async def flush(self) -> None:
        await super().flush()
        self.bus.flush()


class RedisLayer(BusLayer, RedisPubSubChannelLayer):  # type: ignore[misc] # channels_redis has no types
    """channels_redis's pub/sub layer with a bus, and with a receiving side made for a feed.

    Hands everything on to the :class:`RedisLoopLayer` of the event loop that runs.
    """

    def _get_layer(self) -> RedisLoopLayer:
        loop = asyncio.get_running_loop()
        layer: RedisLoopLayer | None = self._layers.get(loop)
        if layer is None:
            layer = self._layers[loop] = RedisLoopLayer(*self._args, **self._kwargs, channel_layer=self)
            _wrap_close(self, loop)
        return layer


class RedisLoopLayer(ConsumerQueues, RedisPubSubLoopLayer):  # type: ignore[misc] # channels_redis has no types
    """The layer of one event loop. ``groups`` and ``channels`` are by the names of Redis's channels.

    ``prefix`` is the namespace that all names in Redis begin with; two layers share a bus if theirs is the same.
    """

    def __init__(
        self,
        hosts: Any = None,
        *,
        prefix: str = "",
        capacity: int = CAPACITY,
        history_ticks: int = HISTORY_TICKS,
        history_seconds: float = HISTORY_SECONDS,
        limits: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        decoded = decode_hosts(hosts)
        namespace = prefix or default_namespace(decoded[0])
        super().__init__(hosts=hosts, prefix=prefix_of(namespace), **options)
        self.capacity = capacity
        self.bus: RedisBus = RedisBus(
            decoded,
            _choose,
            self.channel_layer._serializer,
            self,
            self._losses,
            namespace=namespace,
            history_ticks=history_ticks,
            history_seconds=history_seconds,
            limits=Limits(**limits),
        )
        self._shards = self.bus.shards
        self.prefix = self.bus.shards[0].prefix
        self._own = f"{namespace}:{{"
        self._memberships: dict[str, set[str]] = {}
        """The groups that each channel is a member of."""

    # What the bus asks

    def wants(self, channel: str) -> bool:
        return channel in self.groups or channel in self.channels

    def take(self, channel: str, payload: bytes, packet: Packet) -> None:
        """Queues what consumers can make something of, as bytes: each is to have a message of its own.

        A general channel, which no consumer has as its own, takes whatever is sent to it.
        """
        group = packet.group if channel in self.groups else ""
        is_consumers = channel in self.groups or channel in self._owned
        raws = unpack(group, payload).messages if packet.epoch else (payload,)
        for seq, (message, raw) in enumerate(zip(packet.messages, raws, strict=True), packet.seq):
            if message is None or (is_consumers and not self._is_fit(group, message)):
                continue  # counted
            for name in self.groups.get(channel, (channel,)):
                if name in self.channels:
                    self._put(name, self.channels[name], (raw, packet.epoch, seq))

    # What Channels asks

    def _on_redis(self, channel: str) -> str:
        """A channel's name in Redis: general ones (``runworker``'s) have names that others may have given too."""
        return channel if channel.startswith(self._own) else f"{self.prefix}__channel__{channel}"

    def _get_group_channel_name(self, group: str) -> str:
        return self.bus.channel_of(group)

    def _get_shard(self, channel_or_group_name: str) -> Shard:
        return self.bus.shard_at(channel_or_group_name)

    async def send(self, channel: str, message: Any) -> None:
        await super().send(self._on_redis(channel), message)

    async def _subscribe_to_channel(self, channel: str) -> None:
        self.channels[channel] = asyncio.Queue(maxsize=self.capacity)
        try:
            await self.bus.subscribe([channel])
        except BaseException:
            self._forget(channel)
            raise

    async def receive(self, channel: str) -> Any:
        channel = self._on_redis(channel)
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
        fields = self.channel_layer.deserialize(message)
        return {**fields, "seq": seq, "epoch": epoch} if epoch else fields

    async def group_add(self, group: str, channel: str) -> None:
        channel = self._on_redis(channel)
        self._memberships.setdefault(channel, set()).add(self._get_group_channel_name(group))
        try:
            await super().group_add(group, channel)
        except BaseException:
            self._discard(self._get_group_channel_name(group), channel)
            raise
        if channel not in self.channels:  # it ended meanwhile
            self._forget(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._discard(self._get_group_channel_name(group), self._on_redis(channel))

    def _discard(self, group_channel: str, channel: str) -> None:
        _remove(self._memberships, channel, group_channel)
        _remove(self.groups, group_channel, channel)
        self.bus.unsubscribe([group_channel])

    def _forget(self, channel: str) -> None:
        self._owned.discard(channel)
        self.channels.pop(channel, None)
        for group_channel in list(self._memberships.get(channel, ())):
            self._discard(group_channel, channel)
        self.bus.unsubscribe([channel])

    async def flush(self) -> None:
        # Also called when the event loop closes.
        self.bus.forget_joined()
        self._owned.clear()
        self._memberships.clear()
        await super().flush()


def _choose(name: str, shards: Sequence[Shard]) -> Shard:
    """The host that channels_redis would choose."""
    number: int = _consistent_hash(name, len(shards))
    return shards[number]


def _remove(sets: dict[str, set[str]], key: str, item: str) -> None:
    """Removes an item from one of the sets, and the set with its last one."""
    items = sets.get(key, set())
    items.discard(item)
    if not items:
        sets.pop(key, None)
