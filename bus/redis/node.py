"""The connections to one Redis: one that listens, one that publishes, one that asks, one for what consumers send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Generic, TypeVar

from redis.asyncio import ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool

from bus.redis.address import make_pool
from bus.redis.failover import follow
from bus.redis.link import Link
from bus.redis.pipe import Pipe
from bus.redis.publications import PUBLISH_SECONDS
from bus.redis.reception import Reception
from bus.redis.scripts import Scripts
from bus.redis.traffic import Traffic

__all__ = ["ASK_SECONDS", "SEND_SECONDS", "Node"]

ASK_SECONDS: Final = 2.0
"""How long Redis may take to answer what the gateway asks."""

SEND_SECONDS: Final = 5.0
"""How long it may take with what ordinary consumers send: redis-py's default, which channels_redis waits for."""

R = TypeVar("R", bound=Reception)


class Node(Generic[R]):
    """A primary. ``listen`` makes the connection that listens, of what makes connections."""

    def __init__(
        self,
        host: Mapping[str, Any],
        scripts: Scripts,
        listen: Callable[[Callable[[], ConnectionPool]], R],
        misplaced: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._misplaced = misplaced
        self._pool: ConnectionPool | None = None
        self._following: asyncio.Task[None] | None = None
        make_pipe = partial(Pipe, self.pool, opened=self._on_opened, misplaced=self._on_misplaced)
        self.publishing = make_pipe(PUBLISH_SECONDS, [scripts.publish])
        self.asking = make_pipe(ASK_SECONDS, scripts.questions)
        self.sending = make_pipe(host.get("socket_timeout") or SEND_SECONDS, [])
        self._pipes = (self.publishing, self.asking, self.sending)
        self.traffic = Traffic()
        self.listener = listen(self.pool)

    def pool(self) -> ConnectionPool:
        if self._pool is None:
            self._pool = make_pool(self._host)
            # Who uses one connection will soon use the others, and is not to wait for them.
            self.publishing.start()
            self.asking.start()
            if isinstance(self._pool, SentinelConnectionPool):
                self._following = asyncio.get_running_loop().create_task(follow(self._pool, self._on_misplaced))
        return self._pool

    def renew_pipes(self) -> None:
        """If one connection is dead the others are, and the first to ask after the outage would pay for finding out."""
        for pipe in self._pipes:
            pipe.renew()

    def _on_opened(self, link: Link) -> None:
        if self.listener.is_up and self.listener.run_id != link.run_id:
            self.listener.renew()  # the name or address stands for another Redis than it did

    def _on_misplaced(self, reason: Exception) -> None:
        for pipe in self._pipes:
            pipe.replace(reason)
        self.listener.renew()
        self._misplaced()

    async def close(self) -> None:
        """Ends all connections."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        await self.listener.close()
        for pipe in self._pipes:
            await pipe.close()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()
            if isinstance(pool, SentinelConnectionPool):
                await pool.sentinel_manager.aclose()
