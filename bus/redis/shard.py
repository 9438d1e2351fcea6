"""One Redis: a connection that listens, one that publishes, one that asks; and the scripts that keep the streams."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis.asyncio import ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from bus.contract import Held, Idempotency, Limits, Reason, Since, Wish
from bus.redis import entry
from bus.redis.address import make_pool
from bus.redis.connection import address
from bus.redis.failover import follow
from bus.redis.link import Link, Script
from bus.redis.listener import Listener, RawMessage
from bus.redis.pipe import Pipe
from bus.redis.publications import PUBLISH_SECONDS, Publications
from bus.redis.refusals import Refusals

__all__ = ["Shard"]

ASK_SECONDS: Final = 2.0
"""How long Redis may take to answer what the gateway asks."""

SEND_SECONDS: Final = 5.0
"""How long it may take with what ordinary consumers send: redis-py's default, which channels_redis waits for."""


def _script(name: str) -> Script:
    directory = Path(__file__).with_name("lua")
    return Script("\n".join((directory / part).read_text() for part in ("streams.lua", name)))


_PUBLISH: Final = _script("publish.lua")
_POSITIONS: Final = _script("positions.lua")
_HISTORY: Final = _script("history.lua")
_GROUPS: Final = _script("groups.lua")
_PAGE: Final = _script("page.lua")
_HELD: Final = _script("held.lua")
_RETAIN: Final = _script("retain.lua")
_LEASE: Final = _script("lease.lua")
_SPEND: Final = _script("spend.lua")
_ANNOUNCE: Final = _script("announce.lua")
_ANNOUNCED: Final = _script("announced.lua")
_QUESTIONS: Final = [
    *(_POSITIONS, _HISTORY, _GROUPS, _PAGE, _HELD, _RETAIN, _LEASE, _SPEND),
    *(_ANNOUNCE, _ANNOUNCED),
]

_SLICE: Final = 100
_SLICE_SECONDS: Final = 1.0
"""Streams that are looked at whether they are to be dropped, and how often."""
_SAMPLE: Final = 20
"""Streams that are looked at to say how much memory all of them take."""


class Shard:
    """One Redis. ``prefix`` is that of all keys, ``channel_prefix`` that of the groups' channels.

    All methods raise redis-py's errors, or ``OSError``, if Redis cannot be reached or does not answer in time.
    """

    def __init__(
        self,
        host: dict[str, Any],
        *,
        prefix: str,
        channel_prefix: str,
        history_ticks: int,
        history_seconds: float,
        limits: Limits,
        refused: Counter[Reason],
        deliver: Callable[[Shard, list[RawMessage]], None],
        lost: Callable[[Shard], None],
        restored: Callable[[Shard], None],
    ) -> None:
        self._host = host
        self._prefix = prefix
        self._history_ms = int(history_seconds * 1_000)
        counts = (limits.streams, limits.keys)
        options = (channel_prefix, history_ticks if self._history_ms else 0, self._history_ms, *counts)
        self._channel_prefix = channel_prefix
        self._retain_ms = int(limits.seconds * 1_000)
        self._pool: ConnectionPool | None = None
        self._following: asyncio.Task[None] | None = None
        self._retaining: asyncio.Task[None] | None = None
        self.refusals = Refusals(lambda: address(self._get_pool()), refused)
        make_pipe = partial(Pipe, self._get_pool, opened=self._on_opened, misplaced=self._on_misplaced)
        self._publishing = make_pipe(PUBLISH_SECONDS, [_PUBLISH])
        self._publications = Publications(self._publishing, _PUBLISH, prefix, options, self.refusals)
        self._probes = Publications(self._publishing, _PUBLISH, f"{prefix}:probe", options, self.refusals)
        self._asking = make_pipe(ASK_SECONDS, _QUESTIONS)
        self._sending = make_pipe(host.get("socket_timeout") or SEND_SECONDS, [])
        self._pipes = (self._publishing, self._asking, self._sending)
        self.listener = Listener(self._get_pool, partial(deliver, self), self._on_lost, partial(restored, self))
        self._lost = partial(lost, self)

    def start(self) -> None:
        """Connects in the background."""
        self.listener.start()
        self._get_pool()
        if self._retaining is None and self._retain_ms:
            self._retaining = asyncio.get_running_loop().create_task(self._keep_retaining())

    def _on_opened(self, link: Link) -> None:
        if self.listener.is_up and self.listener.run_id != link.run_id:
            self.listener.renew()  # the name or address stands for another Redis than it did

    def _on_misplaced(self, reason: Exception) -> None:
        for pipe in self._pipes:
            pipe.replace(reason)
        self.listener.renew()

    def _renew_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.renew()

    # Listening

    def _on_lost(self) -> None:
        # If one connection is dead the others are, and the first to ask after the outage would pay for finding out.
        self._renew_pipes()
        self._lost()

    async def subscribe(self, channel: str) -> None:
        """As channels_redis's own connection does it."""
        await self.listener.add([channel])

    # Publishing

    def check_open(self) -> None:
        """Raises if the connection to publish over was lost, for who is not to wait for another one."""
        if self._publishing.is_lost:
            raise RedisConnectionError("There is no connection to Redis.")

    async def publish(self, channel: str, message: bytes) -> None:
        """An ordinary consumer's message, as channels_redis's own connection publishes it: it waits for Redis."""
        await self._sending.call("PUBLISH", channel, message)

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
        epoch, *packets = await self._ask(_POSITIONS, *groups)
        return epoch.decode(), packets

    async def history(self, since: Mapping[str, Since]) -> list[list[bytes] | None]:
        """For each group the packets from the one that has the next seq to the newest, if Redis still has them all."""
        arguments: list[str | int] = []
        for group, (epoch, seq) in since.items():
            arguments += (group, epoch, seq)
        answer: list[list[bytes] | None] = await self._ask(_HISTORY, self._history_ms, *arguments)
        return answer

    async def names(self) -> list[str]:
        return [group.decode() for group in await self._ask(_GROUPS)]

    async def held(self, seconds: float) -> Held:
        """``seconds``: how long idempotency keys are kept."""
        return Held(*await self._ask(_HELD, _SAMPLE, max(1, int(seconds * 1_000))))

    async def page(self, first: int, most: int, after: str) -> tuple[int, list[str]]:
        total, groups = await self._ask(_PAGE, after, first, most)
        return total, [group.decode() for group in groups]

    async def lease(self, worker: str, wishes: Sequence[Wish], seconds: float) -> tuple[int, list[int]]:
        arguments: list[str | int] = [worker, int(seconds * 1_000)]
        for name, limit, amount, spare in wishes:
            arguments += (name, limit, amount, int(spare))
        workers, *leases = await self._ask(_LEASE, *arguments)
        return workers, leases

    async def spend(self, account: str, amount: int, most: int, seconds: float) -> float:
        milliseconds: int = await self._ask(_SPEND, account, amount, most, int(seconds * 1_000))
        return milliseconds / 1_000

    async def announce(self, worker: str, record: bytes, seconds: float) -> None:
        await self._ask(_ANNOUNCE, worker, record, int(seconds * 1_000))

    async def announced(self) -> dict[str, bytes]:
        answer = await self._ask(_ANNOUNCED)
        return {worker.decode(): record for worker, record in zip(answer[::2], answer[1::2], strict=True)}

    async def check(self, patterns: Sequence[str]) -> list[str]:
        """Holds the conversation of bus/redis/entry.py."""
        return await entry.check(self._get_pool(), self._prefix, patterns, [_PUBLISH, *_QUESTIONS])

    async def retain(self) -> int:
        """Drops, of a slice of the streams, those without a message for a time: how many, -1 if others just did it."""
        return int(await self._ask(_RETAIN, self._retain_ms, _SLICE, int(_SLICE_SECONDS * 900), self._channel_prefix))

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
            return await link.evaluate(script, lambda: (self._prefix, link.run_id, *arguments))

        return await self._asking.perform(ask)

    async def close(self) -> None:
        """Ends all connections."""
        tasks = [task for task in (self._following, self._retaining) if task is not None]
        self._following = self._retaining = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.listener.close()
        for pipe in self._pipes:
            await pipe.close()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()
            if isinstance(pool, SentinelConnectionPool):
                await pool.sentinel_manager.aclose()

    flush = close

    def _get_pool(self) -> ConnectionPool:
        if self._pool is None:
            self._pool = make_pool(self._host)
            # Who uses one connection will soon use the others, and is not to wait for them.
            self._publishing.start()
            self._asking.start()
            if isinstance(self._pool, SentinelConnectionPool):
                self._following = asyncio.get_running_loop().create_task(follow(self._pool, self._on_misplaced))
        return self._pool
