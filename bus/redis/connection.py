"""Connections to Redis as redis-py makes them, for those who read and write them themselves."""

from __future__ import annotations

import asyncio
from typing import Final

from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["ATTEMPT_SECONDS", "ESTABLISH_SECONDS", "abort", "connect"]

ATTEMPT_SECONDS: Final = 5.0
"""How long an attempt to connect may take: with a Sentinel and TLS some ten round trips."""
ESTABLISH_SECONDS: Final = 2.0
"""How much of it TCP and TLS may take (two to three round trips): a host that is gone says nothing at all."""


async def connect(pool: ConnectionPool) -> Connection:
    """A connection on which Redis has answered; redis-py's errors, or ``OSError``, if there is none in time.

    Make the pool without ``socket_timeout``: ``asyncio.wait_for``, by which redis-py keeps it, may swallow a
    cancellation (in Python 3.11), and then neither this time-out nor anybody else's would end the attempt.
    """
    connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # swallowed after all, by a Sentinel's client
    except TimeoutError:
        await abort(connection)
        raise RedisTimeoutError(f"Redis did not answer within {ATTEMPT_SECONDS} s.") from None
    except BaseException:
        await abort(connection)
        raise
    return connection


async def abort(connection: Connection) -> None:
    """Ends a connection at once. Closing it would first try to send what is left, for as long as that takes."""
    if connection._writer is not None:
        connection._writer.transport.abort()
    await connection.disconnect(nowait=True)
