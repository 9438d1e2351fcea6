"""Asks the Sentinels who the primary is, as long as there are connections to it.

A primary that was replaced goes on taking batches for eight seconds and more, until a Sentinel makes it a replica.
Until then nothing about its connections tells that what they bring and take is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

__all__ = ["follow"]

logger = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 1.0


async def follow(pool: SentinelConnectionPool, moved: Callable[[Exception], None]) -> None:
    """Calls ``moved`` whenever the Sentinels have another primary; ends with the task that it runs in."""
    task = asyncio.current_task()
    known: tuple[str, int] | None = None
    while task is None or not task.cancelling():  # a Sentinel's client may have swallowed it
        with contextlib.suppress(RedisError, OSError):  # none answers, or none knows a primary at this moment
            address = await pool.get_master_address()  # type: ignore[no-untyped-call]
            if known not in (None, address):
                logger.info("The primary of %s is %s:%s now.", pool.service_name, *address)
                moved(RedisConnectionError("The Sentinels have another primary."))
            known = address
        await asyncio.sleep(_EVERY_SECONDS)
