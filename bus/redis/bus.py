"""The bus over one Redis, several, or the buckets of a cluster: each group lives in one of these *shards*."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from bus.contract import (
    BusUnavailable,
    Held,
    Idempotency,
    Limits,
    Losses,
    Packet,
    Position,
    Reason,
    Refusal,
    Since,
    Tap,
    Wish,
)
from bus.redis.membership import Membership, Names, beginning, names_of
from bus.redis.packing import MAGIC, is_consecutive, unpack
from bus.redis.places import Choose, News, places
from bus.redis.reception import RawMessage
from bus.redis.several import answers, published
from bus.redis.shard import Shard

__all__ = ["Consumers", "RedisBus", "Serializer"]

_PROBE: Final = "probe"
"""What is published to find out whether it can be; nobody joins it."""
_PROBE_SECONDS: Final = 0.9
"""How long one of several hosts may take with it."""

T = TypeVar("T")


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
    """Joins groups by subscribing to their channels.

    ``shards`` are one for each host, or bucket of a cluster. ``choose`` picks one of several hosts by a channel's name.
    """

    def __init__(
        self,
        hosts: Sequence[dict[str, Any]],
        choose: Choose,
        serializer: Serializer,
        consumers: Consumers,
        losses: Losses,
        *,
        namespace: str,
        history_ticks: int,
        history_seconds: float,
        limits: Limits,
    ) -> None:
        self.losses = losses
        self.refused: Counter[Reason] = Counter()
        self._lost: set[Shard] = set()
        self._tap: Tap | None = None
        self._serializer = serializer
        self._consumers = consumers
        self._places = places(
            hosts,
            choose,
            namespace,
            self.refused,
            News(self._deliver, self._on_lost, self._on_restored),
            history_ticks=history_ticks,
            history_seconds=history_seconds,
            limits=limits,
        )
        self.shards = self._places.shards
        self._prefix_size = self._places.prefix_size
        self._numbers = {shard: number for number, shard in enumerate(self.shards)}
        self._members = {
            shard: Membership(shard.listener, consumers.wants, partial(self._is_away, shard)) for shard in self.shards
        }

    def shard_at(self, channel: str) -> Shard:
        """Where a channel is."""
        return self._places.at(channel)

    def channel_of(self, group: str) -> str:
        return self._places.of(group).channel_prefix + group

    @property
    def hosts(self) -> int:
        return len(self.shards)

    @property
    def away(self) -> set[int]:
        return {self._numbers[shard] for shard in self._lost}

    def host_of(self, group: str) -> int:
        return self._numbers[self._places.of(group)] if len(self.shards) > 1 else 0

    def _is_away(self, shard: Shard) -> bool:
        """Whether a host is away while others are there, which is when nobody waits for it."""
        return shard in self._lost and len(self._lost) < len(self.shards)

    async def ping(self) -> Reason | None:
        _, failures = answers(await asyncio.gather(*map(self._probe, self.shards), return_exceptions=True))
        return failures[0].reason if failures else None

    async def _probe(self, shard: Shard) -> None:
        with shard.refusals.told():
            # Kept apart, or it would be listed and counted among the streams.
            probe = shard.probe(_PROBE, self._serializer.serialize({"type": _PROBE}))
            if len(self.shards) == 1:
                await probe
            else:  # who asks has no time for one of several
                await asyncio.wait_for(probe, _PROBE_SECONDS)
        shard.refusals.over()

    async def check(self, patterns: Sequence[str] = ()) -> Sequence[str]:
        return await self._places.check(patterns)

    def forget_joined(self) -> None:
        """The connections are about to be closed; what is retained for others stays."""
        for members in self._members.values():
            members.clear()
        self._lost.clear()

    # Taps

    def tap(self, tap: Tap) -> None:
        self._tap = tap
        self._lost.update(shard for shard in self.shards if not shard.listener.is_up)
        for shard in self._lost:
            shard.start()

    async def join(self, groups: Sequence[str]) -> None:
        names = self._by_members(groups)
        if len(names) == 1:
            ((shard, some),) = names.items()
            await self._join(shard, some)
            return
        joining = {shard: asyncio.ensure_future(self._join(shard, some)) for shard, some in names.items()}
        try:
            outcomes = await asyncio.gather(*joining.values(), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        except BaseException:
            for shard, task in joining.items():
                task.add_done_callback(partial(self._withdraw, shard))
            raise

    async def _join(self, shard: Shard, names: Names) -> Names:
        try:
            with shard.refusals.told():
                return await self._members[shard].join(names)
        except BusUnavailable as error:
            if len(self.shards) > 1:
                error.groups = [channel[self._prefix_size :] for channel in names.channels]
            raise

    def _withdraw(self, shard: Shard, joining: asyncio.Future[Names]) -> None:
        if not joining.cancelled() and joining.exception() is None:
            self._members[shard].withdraw(joining.result())

    async def leave(self, groups: Sequence[str]) -> None:
        for shard, names in self._by_members(groups).items():
            with shard.refusals.told():
                await self._members[shard].leave(names)

    def _by_members(self, groups: Sequence[str]) -> dict[Shard, Names]:
        """The channels of groups by the host that they are on, and on each all patterns."""
        patterns = [group for group in groups if group[-1] == "*"]
        by_shard: dict[Shard, list[str]] = {shard: [] for shard in self.shards} if patterns else {}
        for group in groups:
            if group[-1] != "*":
                by_shard.setdefault(self._places.of(group), []).append(group)
        return {
            shard: names_of(shard.channel_prefix + group for group in (*some, *patterns))
            for shard, some in by_shard.items()
        }

    def _on_lost(self, number: int) -> None:
        self._lost.add(self.shards[number])
        if self._tap is not None:
            self._tap.bus_lost(number)

    def _on_restored(self, number: int) -> None:
        self._lost.discard(self.shards[number])
        if self._tap is not None:
            self._tap.bus_restored(number)

    # Channels, which process and consumers share

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Returns when Redis has confirmed; raises redis-py's errors."""
        for shard, some in self._by_shard(channels):
            await shard.listener.add(some)

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Unsubscribes from those that neither the consumers nor the process need any more."""
        for shard, some in self._by_shard(channels):
            self._members[shard].unsubscribe(some)

    def _by_shard(self, channels: Iterable[str]) -> Iterator[tuple[Shard, list[str]]]:
        by_shard: dict[Shard, list[str]] = {}
        for channel in channels:
            by_shard.setdefault(self._places.at(channel), []).append(channel)
        yield from by_shard.items()

    # Streams

    def publish(
        self, batch: Mapping[str, Sequence[Any]], idempotency: Idempotency | None = None, note: bytes = b""
    ) -> asyncio.Future[dict[str, Since] | None]:
        serialize = self._serializer.serialize
        if len(self.shards) == 1 and (batch or idempotency is not None):
            some = {group: list(map(serialize, messages)) for group, messages in batch.items()}
            return self.shards[0].publish_batch(some, idempotency, note)
        by_shard: dict[Shard, dict[str, list[bytes]]] = {}
        for group, messages in batch.items():
            by_shard.setdefault(self._places.of(group), {})[group] = list(map(serialize, messages))
        if not by_shard and idempotency is not None:
            by_shard = {self._places.named(idempotency.key): {}}
        # All at once: so batches reach each host in the order of their calls.
        parts = [self._publish(shard, groups, idempotency, note) for shard, groups in by_shard.items()]
        if len(parts) == 1:
            ((_, groups),) = by_shard.items()
            parts[0].add_done_callback(partial(_named, groups))
            return parts[0]
        return asyncio.ensure_future(_joined(list(by_shard.values()), parts))

    def _publish(
        self, shard: Shard, groups: Mapping[str, list[bytes]], idempotency: Idempotency | None, note: bytes
    ) -> asyncio.Future[dict[str, Since] | None]:
        try:
            with shard.refusals.told():
                if self._is_away(shard):
                    shard.check_open()
        except BusUnavailable as error:
            refused: asyncio.Future[dict[str, Since] | None] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused
        return shard.publish_batch(groups, idempotency, note)

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        found: dict[str, Position] = {}
        for some, (epoch, packets) in await self._ask_each(groups, Shard.positions):
            for group, raw in zip(some, packets, strict=True):
                last = None if raw is None else self._read(self.channel_of(group), raw)
                found[group] = (
                    Position(epoch, 0, None) if last is None else Position(last.epoch, last.seq, last.messages[0])
                )
        return {group: found[group] for group in groups if group in found}

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        def ask(shard: Shard, groups: list[str]) -> Awaitable[list[list[bytes] | None]]:
            return shard.history({group: since[group] for group in groups})

        found: dict[str, list[Packet] | None] = dict.fromkeys(since)
        for some, answer in await self._ask_each(since, ask):
            for group, packets in zip(some, answer, strict=True):
                found[group] = None if packets is None else self._missed(group, packets, since[group].seq)
        return found

    async def names(self) -> list[str]:
        return [name for names in await self._ask_all(Shard.names) for name in names]

    async def held(self, seconds: float) -> Held:
        answers = await self._ask_all(lambda shard: shard.held(seconds))
        return Held(*map(sum, zip(*answers, strict=True)))

    async def page(self, first: int, most: int, after: str = "") -> tuple[int, list[str]]:
        """Over several hosts a page costs as much as all before it; behind a name it does not."""
        skipped = 0 if after or len(self.shards) == 1 else first

        def ask(shard: Shard) -> Awaitable[tuple[int, list[str]]]:
            return shard.page(first - skipped, skipped + most, after)

        pages = await self._ask_all(ask)
        groups = sorted(group for _, some in pages for group in some)
        return sum(total for total, _ in pages), groups[skipped : skipped + most]

    async def _ask_each(
        self, groups: Iterable[str], ask: Callable[[Shard, list[str]], Awaitable[T]]
    ) -> list[tuple[list[str], T]]:
        """What the hosts that some groups are on say of them."""
        parts = dict(self._groups_by_shard(groups))
        shards = [shard for shard in parts if not self._is_away(shard)] or list(parts)

        async def asked(shard: Shard) -> tuple[list[str], T]:
            return parts[shard], await _told(shard, ask(shard, parts[shard]))

        try:
            return answers(await asyncio.gather(*map(asked, shards), return_exceptions=True))[0]
        except BusUnavailable as error:
            error.groups = list(groups) if self.hosts > 1 else ()
            raise

    async def _ask_all(self, ask: Callable[[Shard], Awaitable[T]], whom: Sequence[Shard] = ()) -> list[T]:
        """What all hosts, or some, say that are not away."""
        shards = [shard for shard in whom or self.shards if not self._is_away(shard)]
        return await asyncio.gather(*(_told(shard, ask(shard)) for shard in shards))

    async def lease(self, worker: str, wishes: Sequence[Wish], seconds: float) -> tuple[int, list[int]]:
        workers, leases = 1, [0] * len(wishes)
        by_shard: dict[Shard, list[int]] = {}
        for number, wish in enumerate(wishes):
            by_shard.setdefault(self._places.named(wish.name), []).append(number)
        asked = (
            _told(shard, shard.lease(worker, [wishes[number] for number in numbers], seconds))
            for shard, numbers in by_shard.items()
        )
        for numbers, (found, some) in zip(by_shard.values(), await asyncio.gather(*asked), strict=True):
            workers = max(workers, found)
            for number, lease in zip(numbers, some, strict=True):
                leases[number] = lease
        return workers, leases

    async def spend(self, account: str, amount: int, most: int, seconds: float) -> float:
        shard = self._places.named(account)
        with shard.refusals.told():
            return await shard.spend(account, amount, most, seconds)

    async def announce(self, worker: str, record: bytes, seconds: float) -> None:
        """To every host, or to some buckets far apart: whichever of them is away, a worker is heard of."""
        await self._ask_all(lambda shard: shard.announce(worker, record, seconds), self._places.heralds)

    async def announced(self) -> dict[str, bytes]:
        records = await self._ask_all(Shard.announced, self._places.heralds)
        return {worker: record for some in records for worker, record in some.items()}

    def _groups_by_shard(self, groups: Iterable[str]) -> Iterator[tuple[Shard, list[str]]]:
        by_shard: dict[Shard, list[str]] = {}
        for group in groups:
            by_shard.setdefault(self._places.of(group), []).append(group)
        yield from by_shard.items()

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

    def _deliver(self, arrived: Sequence[tuple[int, Sequence[RawMessage]]]) -> None:
        """Hands messages to the tap, and to the consumers that want their channels."""
        tapped: list[Packet] = []
        for number, messages in arrived:
            self._sort(self.shards[number], messages, tapped)
        if tapped and self._tap is not None:
            self._tap.arrived(tapped)

    def _sort(self, shard: Shard, messages: Sequence[RawMessage], tapped: list[Packet]) -> None:
        members, wants = self._members[shard], self._consumers.wants
        joined = members.joined
        # With overlapping patterns Redis sends a message under each: it is taken under the shortest.
        patterns = [(beginning(name), name) for name in sorted(shard.listener.patterns, key=len)]
        for channel, payload, pattern in messages:
            taken = None
            if patterns:
                taken = next((name for beginning, name in patterns if channel.startswith(beginning)), None)
            is_tapped = pattern == taken and (channel in joined or pattern in members.wanted)
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

    def _read(self, channel: str, payload: bytes) -> Packet | None:
        """The packet, with None for messages in it that cannot be read; None if it is none and no message either."""
        # Every tick comes by here, in every process: what stands in the way of a single message is kept short.
        group = channel[self._prefix_size :]
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

    def _deserialized(self, group: str, message: bytes) -> Any | None:
        try:
            return self._serializer.deserialize(message)
        except Exception as error:
            self.losses.refuse(group, error)
            return None


async def _joined(
    groups: Sequence[Mapping[str, list[bytes]]], parts: Sequence[Awaitable[dict[str, Since] | None]]
) -> dict[str, Since] | None:
    """What became of a batch, of which each host was given a part."""
    return published(groups, await asyncio.gather(*parts, return_exceptions=True))


def _named(groups: Mapping[str, list[bytes]], part: asyncio.Future[dict[str, Since] | None]) -> None:
    """What was refused of a batch that is on one host is all of it."""
    if not part.cancelled() and isinstance(error := part.exception(), Refusal):
        error.groups = list(groups)


async def _told(shard: Shard, answer: Awaitable[T]) -> T:
    with shard.refusals.told():
        return await answer
