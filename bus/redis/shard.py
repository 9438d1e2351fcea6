"""A bucket of what the bus keeps: its streams on one Redis or, in a cluster, on the node that has it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from bus.contract import Held, Idempotency, Limits, Since, Wish
from bus.redis.link import Link, Script
from bus.redis.membership import Ear
from bus.redis.pipe import Way
from bus.redis.publications import Convoy, Publications
from bus.redis.refusals import Refusals
from bus.redis.scripts import Scripts

__all__ = ["Home", "Shard"]

_SLICE: Final = 100
_SLICE_SECONDS: Final = 1.0
"""Streams that are looked at whether they are to be dropped, and how often."""
_SAMPLE: Final = 20
"""Streams that are looked at to say how much memory all of them take."""


class Home(Protocol):
    """The connections over which a bucket is reached."""

    publish_command: str

    @property
    def convoy(self) -> Convoy | None:
        """With what goes what is published while something is under way (publications.py)."""

    @property
    def scripts(self) -> Scripts: ...

    @property
    def publishing(self) -> Way: ...

    @property
    def asking(self) -> Way: ...

    @property
    def sending(self) -> Way: ...

    @property
    def refusals(self) -> Refusals: ...

    @property
    def listener(self) -> Ear: ...

    def start(self) -> None:
        """Connects in the background."""

    async def close(self) -> None: ...


class Shard:
    """One bucket. ``prefix`` is that of all keys, ``channel_prefix`` that of the groups' channels.

    All methods raise redis-py's errors, or ``OSError``, if Redis cannot be reached or does not answer in time.
    """

    def __init__(
        self,
        home: Home,
        *,
        prefix: str,
        channel_prefix: str,
        history_ticks: int,
        history_seconds: float,
        limits: Limits,
    ) -> None:
        self.home = home
        self.prefix = prefix
        self.channel_prefix = channel_prefix
        self.refusals = home.refusals
        self._history_ms = int(history_seconds * 1_000)
        counts = (limits.streams, limits.keys)
        options = (channel_prefix, history_ticks if self._history_ms else 0, self._history_ms, *counts)
        self._retain_ms = int(limits.seconds * 1_000)
        self._retaining: asyncio.Task[None] | None = None
        self._scripts = home.scripts
        self._publications = Publications(
            home.publishing, home.scripts.publish, prefix, options, home.refusals, convoy=home.convoy
        )
        self._probes = Publications(home.publishing, home.scripts.publish, f"{prefix}:probe", options, home.refusals)

    @property
    def listener(self) -> Ear:
        return self.home.listener

    def start(self) -> None:
        """Connects in the background."""
        self.home.start()
        if self._retaining is None and self._retain_ms:
            self._retaining = asyncio.get_running_loop().create_task(self._keep_retaining())

    async def subscribe(self, channel: str) -> None:
        """As channels_redis's own connection does it."""
        await self.listener.add([channel])

    # Publishing

    def check_open(self) -> None:
        """Raises if the connection to publish over was lost, for who is not to wait for another one."""
        if self.home.publishing.is_lost:
            raise RedisConnectionError("There is no connection to Redis.")

    async def publish(self, channel: str, message: bytes) -> None:
        """An ordinary consumer's message, as channels_redis's own connection publishes it: it waits for Redis."""
        await self.home.sending.call(self.home.publish_command, channel, message)

    def publish_batch(
        self, groups: Mapping[str, list[bytes]], idempotency: Idempotency | None, note: bytes = b""
    ) -> asyncio.Future[dict[str, Since] | None]:
        """As :meth:`Publications.publish`."""
        return self._publications.publish(groups, idempotency, note)

    async def probe(self, group: str, message: bytes) -> None:
        """Publishes a message that is kept apart from all others, to find out whether it can be."""
        await self._probes.publish({group: [message]}, None, b"")

    # Asking

    async def positions(self, groups: Sequence[str]) -> tuple[str, list[bytes | None]]:
        """The epoch of streams that begin now, and the packet of each group's last message, None if there is none."""
        epoch, *packets = await self._ask(self._scripts.positions, *groups)
        return epoch.decode(), packets

    async def history(self, since: Mapping[str, Since]) -> list[list[bytes] | None]:
        """For each group the packets from the one that has the next seq to the newest, if Redis still has them all."""
        arguments: list[str | int] = []
        for group, (epoch, seq) in since.items():
            arguments += (group, epoch, seq)
        answer: list[list[bytes] | None] = await self._ask(self._scripts.history, self._history_ms, *arguments)
        return answer

    async def names(self) -> list[str]:
        return [group.decode() for group in await self._ask(self._scripts.groups)]

    async def held(self, seconds: float) -> Held:
        """``seconds``: how long idempotency keys are kept."""
        return Held(*await self._ask(self._scripts.held, _SAMPLE, max(1, int(seconds * 1_000))))

    async def page(self, first: int, most: int, after: str) -> tuple[int, list[str]]:
        total, groups = await self._ask(self._scripts.page, after, first, most)
        return total, [group.decode() for group in groups]

    async def lease(self, worker: str, wishes: Sequence[Wish], seconds: float) -> tuple[int, list[int]]:
        arguments: list[str | int] = [worker, int(seconds * 1_000)]
        for name, limit, amount, spare in wishes:
            arguments += (name, limit, amount, int(spare))
        workers, *leases = await self._ask(self._scripts.lease, *arguments)
        return workers, leases

    async def spend(self, account: str, amount: int, most: int, seconds: float) -> float:
        milliseconds: int = await self._ask(self._scripts.spend, account, amount, most, int(seconds * 1_000))
        return milliseconds / 1_000

    async def announce(self, worker: str, record: bytes, seconds: float) -> None:
        await self._ask(self._scripts.announce, worker, record, int(seconds * 1_000))

    async def announced(self) -> dict[str, bytes]:
        answer = await self._ask(self._scripts.announced)
        return {worker.decode(): record for worker, record in zip(answer[::2], answer[1::2], strict=True)}

    async def retain(self) -> int:
        """Drops, of a slice of the streams, those without a message for a time: how many, -1 if others just did it."""
        return int(
            await self._ask(
                self._scripts.retain, self._retain_ms, _SLICE, int(_SLICE_SECONDS * 900), self.channel_prefix
            )
        )

    async def _keep_retaining(self) -> None:
        """One of all gateways does it, and the others look from time to time whether it still does."""
        rest = _SLICE_SECONDS
        while True:
            await asyncio.sleep(rest)
            dropped = -1
            with contextlib.suppress(RedisError, OSError):  # the publisher is told why
                dropped = await self.retain()
            rest = _SLICE_SECONDS if dropped >= 0 else random.uniform(5, 15) * _SLICE_SECONDS  # noqa: S311

    async def _ask(self, script: Script, *arguments: bytes | str | int) -> Any:
        async def ask(link: Link, _: float) -> Any:
            return await link.evaluate(script, lambda: (self.prefix, link.run_id, *arguments))

        return await self.home.asking.perform(ask)

    async def close(self) -> None:
        """Ends all connections."""
        retaining, self._retaining = self._retaining, None
        if retaining is not None:
            retaining.cancel()
            await asyncio.wait([retaining])
        await self.home.close()

    flush = close
