"""Connections to Redis as redis-py makes them, for those who read and write them themselves."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["ATTEMPT_SECONDS", "ESTABLISH_SECONDS", "Info", "abort", "address", "connect", "is_misplaced"]

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


class Info:
    """What Redis says of itself in reply to INFO."""

    def __init__(self, reply: Any) -> None:
        text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
        self.fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    @property
    def run_id(self) -> str:
        """Which process this is; empty if this section says nothing about it."""
        return self.fields.get("run_id", "")

    def check_primary(self) -> None:
        """``ResponseError`` if it is a replica that takes nothing: the primary is somewhere else."""
        if self.fields.get("role") == "slave" and self.fields.get("slave_read_only") != "0":
            raise ResponseError("READONLY This Redis is a replica.")


# Redis's own, and in Redis 6 inside the error of a script.
_MISPLACED: Final = re.compile(r"(?:^|: -)(?:READONLY|LOADING|MASTERDOWN|NOAUTH|WRONGPASS)\b")


def is_misplaced(error: object) -> bool:
    """Whether Redis's error says that this connection is the wrong one, while another may be right.

    A primary that was demoted keeps its connections. A new one leads to what its name or address stands for now.
    """
    return _MISPLACED.search(str(error)) is not None


def address(pool: ConnectionPool) -> str:
    """What the log calls the Redis of a pool."""
    known = pool.connection_kwargs
    if "path" in known:
        return f"Redis at {known['path']}"
    service = getattr(pool, "service_name", None)  # Sentinel's
    return f"Redis {service}" if service else f"Redis at {known.get('host', 'localhost')}:{known.get('port', 6379)}"
