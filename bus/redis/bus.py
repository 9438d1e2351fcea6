"""The bus over one Redis or several: each group lives on one of them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

from bus.contract import Idempotency, Limits, Losses, Packet, Position, Reason, Since, Tap
from bus.redis.listener import RawMessage
from bus.redis.packing import MAGIC, is_consecutive, unpack
from bus.redis.shard import Shard

__all__ = ["Consumers", "RedisBus", "Serializer"]

_PROBE: Final = "probe"
"""What is published to find out whether it can be; nobody joins it."""


class Serializer(Protocol):
    """How messages become bytes; may raise anything for bytes it did not make."""

    def serialize(self, message: Any) -> bytes: ...

    def deserialize(self, message: bytes) -> Any: ...


class Consumers(Protocol):
    """Ordinary consumers of this process, which also listen to Redis's channels, by way of their layer."""

    def wants(self, channel: str) -> bool: ...

    def take(self, channel: str, payload: bytes, packet: Packet) -> None:
        """A packet that arrived on a channel they want, and the bytes that it came in."""


class RedisBus:
    """Joins groups by subscribing to their channels, whose names begin with ``channel_prefix``.

    ``shards`` are one for each host, made with this bus's callbacks; ``shard_of`` chooses by the name of a channel.
    """

    def __init__(
        self,
        hosts: Sequence[dict[str, Any]],
        shard_of: Callable[[str], Shard],
        serializer: Serializer,
        consumers: Consumers,
        losses: Losses,
        *,
        prefix: str,
        channel_prefix: str,
        history_ticks: int,
        history_seconds: float,
        limits: Limits,
    ) -> None:
        self.losses = losses
        self.refused: Counter[Reason] = Counter()
        self.shards = [
            Shard(
                host,
                prefix=prefix,
                channel_prefix=channel_prefix,
                history_ticks=history_ticks,
                history_seconds=history_seconds,
                limits=limits,
                refused=self.refused,
                deliver=self._deliver,
                lost=self._on_lost,
                restored=self._on_restored,
            )
            for host in hosts
        ]
        self._shard_of = shard_of
        self._serializer = serializer
        self._consumers = consumers
        self._channel_prefix = channel_prefix
        self._channel_prefix_size = len(channel_prefix)
        self._tap: Tap | None = None
        # What the process joined: channels of groups, and patterns in Redis's spelling. A pattern is wanted first and
        # in force, in place of the channels it covers, once Redis has confirmed it.
        self._joined: set[str] = set()
        self._wanted: set[str] = set()
        self._patterns: set[str] = set()
        self._lost: set[Shard] = set()

    @property
    def is_connected(self) -> bool:
        return all(shard.listener.is_up for shard in self.shards)

    async def ping(self) -> None:
        await asyncio.gather(*(self._probe(shard) for shard in self.shards))

    async def _probe(self, shard: Shard) -> None:
        with shard.refusals.told():
            # Kept apart, or it would be listed and counted among the streams.
            await shard.publish_batch({_PROBE: [self._serializer.serialize({"type": _PROBE})]}, None, f":{_PROBE}")
        shard.refusals.over()

    async def check(self, patterns: Sequence[str] = ()) -> Sequence[str]:
        names = self._names(patterns)[1]
        found = await asyncio.gather(*(shard.check(names) for shard in self.shards))
        return [sentence for sentences in found for sentence in sentences]

    def forget_joined(self) -> None:
        """The connections are about to be closed; what is retained for others stays."""
        self._joined.clear()
        self._wanted.clear()
        self._patterns.clear()
        self._lost.clear()

    # Taps

    def tap(self, tap: Tap) -> None:
        self._tap = tap
        self._lost.update(shard for shard in self.shards if not shard.listener.is_up)
        for shard in self._lost:
            shard.start()

    async def join(self, groups: Sequence[str]) -> None:
        channels, patterns = self._names(groups)
        new = [channel for channel in channels if channel not in self._joined]
        self._joined.update(new)
        try:
            await self._listen(channel for channel in channels if not self._is_covered(channel))
            await self._join_patterns(patterns)
        except BaseException:
            self._joined.difference_update(new)
            self.unsubscribe(new)
            raise

    async def leave(self, groups: Sequence[str]) -> None:
        channels, patterns = self._names(groups)
        self._joined.difference_update(channels)
        await self._leave_patterns([pattern for pattern in patterns if pattern in self._wanted])
        self.unsubscribe(channels)

    async def _listen(self, channels: Iterable[str]) -> None:
        for shard, some in self._by_shard(channels):
            with shard.refusals.told():
                await shard.listener.add(some)

    def _names(self, groups: Sequence[str]) -> tuple[list[str], list[str]]:
        """The channels of those that are groups, and Redis's spelling of those that are patterns."""
        names = [self._channel_prefix + group for group in groups]
        return [name for name in names if name[-1] != "*"], [_pattern(name) for name in names if name[-1] == "*"]

    async def _join_patterns(self, patterns: Sequence[str]) -> None:
        """First the patterns, then without the channels they cover: nothing is missed in between."""
        new = [pattern for pattern in patterns if pattern not in self._wanted]
        self._wanted.update(new)
        try:
            for shard in self.shards:
                with shard.refusals.told():
                    await shard.listener.add(patterns=patterns)
        except BaseException:
            self._wanted.difference_update(new)
            self._unsubscribe_patterns(new)
            raise
        self._patterns.update(patterns)
        self.unsubscribe([channel for channel in self._joined if self._is_covered(channel)])

    async def _leave_patterns(self, patterns: Sequence[str]) -> None:
        """First the channels that are still joined, then the patterns."""
        self._wanted.difference_update(patterns)
        self._patterns.difference_update(patterns)
        try:
            if patterns:
                await self._listen([channel for channel in self._joined if not self._is_covered(channel)])
        finally:
            self._unsubscribe_patterns(patterns)

    def _unsubscribe_patterns(self, patterns: Sequence[str]) -> None:
        for shard in self.shards:
            shard.listener.remove(patterns=patterns)

    def _is_covered(self, channel: str) -> bool:
        return any(channel.startswith(_beginning(pattern)) for pattern in self._patterns)

    def _on_lost(self, shard: Shard) -> None:
        if not self._lost and self._tap is not None:
            self._tap.bus_lost()
        self._lost.add(shard)

    def _on_restored(self, shard: Shard) -> None:
        self._lost.discard(shard)
        if not self._lost and self._tap is not None:
            self._tap.bus_restored()

    # Channels, which process and consumers share

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Returns when Redis has confirmed; raises redis-py's errors."""
        for shard, some in self._by_shard(channels):
            await shard.listener.add(some)

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Unsubscribes from those that neither the consumers nor the process need any more."""
        for shard, some in self._by_shard(channel for channel in channels if not self._is_used(channel)):
            shard.listener.remove(some)

    def _is_used(self, channel: str) -> bool:
        return self._consumers.wants(channel) or (channel in self._joined and not self._is_covered(channel))

    def _by_shard(self, channels: Iterable[str]) -> Iterator[tuple[Shard, list[str]]]:
        by_shard: dict[Shard, list[str]] = {}
        for channel in channels:
            by_shard.setdefault(self._shard_of(channel), []).append(channel)
        yield from by_shard.items()

    # Streams

    async def publish(
        self, batch: Mapping[str, Sequence[Any]], idempotency: Idempotency | None = None
    ) -> dict[str, Since] | None:
        """Over several hosts a batch is all or nothing on each of them."""
        serialize = self._serializer.serialize
        by_shard: dict[Shard, dict[str, list[bytes]]] = {}
        for group, messages in batch.items():
            shard = self._shard_of(self._channel_prefix + group)
            by_shard.setdefault(shard, {})[group] = list(map(serialize, messages))
        if idempotency is not None:
            # One Redis hears of every batch under this key, and first: so others cannot publish what it refuses.
            home = self._shard_of(idempotency.key)
            by_shard = {home: by_shard.pop(home, {}), **by_shard}
        published: dict[str, Since] = {}
        is_repeat = bool(by_shard)
        for shard, groups in by_shard.items():
            with shard.refusals.told():
                places = await shard.publish_batch(groups, idempotency)
            shard.refusals.over()
            if places is not None:
                is_repeat = False
                published |= places
        return None if is_repeat else published

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        found: dict[str, Position] = {}
        for shard, some in self._groups_by_shard(groups):
            with shard.refusals.told():
                epoch, packets = await shard.positions(some)
            for group, raw in zip(some, packets, strict=True):
                last = None if raw is None else self._read(self._channel_prefix + group, raw)
                found[group] = Position(epoch, *(0, None) if last is None else (last.seq, last.messages[0]))
        return {group: found[group] for group in groups}

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        found: dict[str, list[Packet] | None] = {}
        for shard, some in self._groups_by_shard(since):
            with shard.refusals.told():
                answer = await shard.history({group: since[group] for group in some})
            for group, packets in zip(some, answer, strict=True):
                found[group] = None if packets is None else self._missed(group, packets, since[group].seq)
        return found

    async def names(self) -> list[str]:
        found: list[str] = []
        for shard in self.shards:
            with shard.refusals.told():
                found += await shard.names()
        return found

    async def page(self, first: int, most: int, after: str = "") -> tuple[int, list[str]]:
        """Over several hosts a page costs as much as all before it; behind a name it does not."""
        if len(self.shards) == 1:
            with self.shards[0].refusals.told():
                return await self.shards[0].page(first, most, after)
        skipped = 0 if after else first
        pages = []
        for shard in self.shards:
            with shard.refusals.told():
                pages.append(await shard.page(0, skipped + most, after))
        groups = sorted(group for _, some in pages for group in some)
        return sum(total for total, _ in pages), groups[skipped : skipped + most]

    def _groups_by_shard(self, groups: Iterable[str]) -> Iterator[tuple[Shard, list[str]]]:
        for shard, channels in self._by_shard(self._channel_prefix + group for group in groups):
            yield shard, [channel[self._channel_prefix_size :] for channel in channels]

    def _missed(self, group: str, raws: Sequence[bytes], seq: int) -> list[Packet] | None:
        """The packets after ``seq``, or None if there is a hole, such as a gateway that keeps no history leaves."""
        try:
            packets = [unpack(group, raw) for raw in raws]
        except ValueError as error:
            self.losses.refuse(group, error)
            return None
        if not is_consecutive(packets, seq):
            return None
        missed = []
        for packet in packets:
            skipped = max(0, seq + 1 - packet.seq)
            rest = [self._deserialized(group, message) for message in packet.messages[skipped:]]
            missed.append(packet._replace(seq=packet.seq + skipped, messages=rest))
        return missed

    # Receiving

    def _deliver(self, shard: Shard, arrived: Sequence[RawMessage]) -> None:
        """Hands messages to the tap, and to the consumers that want their channels."""
        tapped = []
        joined, wants = self._joined, self._consumers.wants
        # With overlapping patterns Redis sends a message under each: it is taken under the shortest.
        patterns = [(_beginning(name), name) for name in sorted(shard.listener.patterns, key=len)]
        for channel, payload, pattern in arrived:
            taken = None
            if patterns:
                taken = next((name for beginning, name in patterns if channel.startswith(beginning)), None)
            is_tapped = pattern == taken and (channel in joined or pattern in self._wanted)
            is_wanted = pattern is None and wants(channel)
            if not is_tapped and not is_wanted:
                continue
            packet = self._read(channel, payload)
            if packet is None:
                continue
            if is_tapped:
                tapped.append(packet)
            if is_wanted:
                self._consumers.take(channel, payload, packet)
        if tapped and self._tap is not None:
            self._tap.arrived(tapped)

    def _read(self, channel: str, payload: bytes) -> Packet | None:
        """The packet, with None for messages in it that cannot be read; None if it is none and no message either."""
        # Every tick comes by here, in every process: what stands in the way of a single message is kept short.
        group = channel[self._channel_prefix_size :]
        deserialize = self._serializer.deserialize
        try:
            if payload[0] == MAGIC:
                return unpack(group, payload, deserialize)
            return Packet(group, "", 0, [deserialize(payload)])
        except Exception as error:  # a serializer may raise anything for bytes it did not make
            try:
                packet = unpack(group, payload)
            except ValueError:
                self.losses.refuse(channel, error)
                return None
        return packet._replace(messages=[self._deserialized(channel, message) for message in packet.messages])

    def _deserialized(self, channel: str, message: bytes) -> Any | None:
        try:
            return self._serializer.deserialize(message)
        except Exception as error:
            self.losses.refuse(channel, error)
            return None


def _pattern(name: str) -> str:
    """A pattern as Redis spells it: what is special to Redis stands for itself, but for the asterisk at the end."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", name[:-1]) + "*"


@lru_cache(maxsize=64)
def _beginning(pattern: str) -> str:
    """What the channels of one of our patterns begin with."""
    return re.sub(r"\\(.)", r"\1", pattern[:-1])
