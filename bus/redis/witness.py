"""One node of a cluster, asked what it knows of the cluster; a replica may be asked as well as a primary."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import ConnectionPool

from bus.redis.address import make_pool
from bus.redis.connection import connect
from bus.redis.link import Link
from bus.redis.topology import Address, View, read_view

__all__ = ["Witness"]


class Witness:
    """``host`` is what connects to ``address``. The connection is made with the first question after it was lost."""

    def __init__(self, address: Address, host: Mapping[str, Any]) -> None:
        self._address = address
        self._host = host
        self._pool: ConnectionPool | None = None
        self._link: Link | None = None
        self._lock = asyncio.Lock()

    async def view(self) -> View:
        link = await self._connected()
        try:
            replies = await asyncio.gather(*(link.call("CLUSTER", word) for word in ("SLOTS", "NODES", "INFO")))
        except asyncio.CancelledError:
            link.abort()  # it was too slow, and may be dead
            raise
        return read_view(self._address, *replies)

    async def kept(self, key: str, value: str = "") -> str:
        """What is kept under a key of a slot that the node serves: ``value`` from now on, if there was nothing."""
        link = await self._connected()
        if value:
            await link.call("SET", key, value, "NX")
        return (await link.call("GET", key) or b"").decode()

    async def _connected(self) -> Link:
        async with self._lock:
            if self._link is None:
                if self._pool is None:
                    self._pool = make_pool(self._host)
                self._link = Link(await connect(self._pool), self._ended)
            return self._link

    def _ended(self, link: Link) -> None:
        if self._link is link:
            self._link = None

    async def close(self) -> None:
        if self._link is not None:
            self._link.abort()
            await asyncio.wait([self._link.task])
        if self._pool is not None:
            await self._pool.aclose()
