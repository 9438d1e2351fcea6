"""Connections to Redis as redis-py makes them, for those who read and write them themselves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = [
    "ATTEMPT_SECONDS",
    "ESTABLISH_SECONDS",
    "Incoming",
    "Info",
    "abort",
    "address",
    "connect",
    "is_misplaced",
]

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


class Incoming(asyncio.Protocol):
    """Hands what comes on a connection to ``take``, in the turn of the loop in which it came.

    A task that reads redis-py's stream would get it a turn later. What is written goes on through redis-py's own
    protocol, which is told of all the rest.
    """

    def __init__(self, connection: Connection, take: Callable[[bytes], None], *, is_polite: bool = False) -> None:
        """``is_polite``: what comes on other connections in the same turn goes first."""
        self._connection = connection
        self._take = take
        self._is_polite = is_polite
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def read(self) -> None:
        """Returns when Redis has closed the connection; raises what ended it, or what ``take`` raised."""
        writer, stream = self._connection._writer, self._connection._reader
        if writer is None or stream is None or stream.at_eof() or writer.transport.is_closing():
            return
        self._transport = writer.transport
        self._streams: Any = self._transport.get_protocol()
        self._transport.set_protocol(self)
        stream.feed_eof()
        if rest := await stream.read():  # at once: nothing more comes to it
            self.data_received(rest)
        await self._ended

    def data_received(self, data: bytes) -> None:
        if self._is_polite:
            self._loop.call_soon(self._hand_over, data)
        else:
            self._hand_over(data)

    def _hand_over(self, data: bytes) -> None:
        if self._ended.done():
            return
        try:
            self._take(data)
        except Exception as error:
            self._end(error)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.connection_lost(exc)
        self._end(exc)

    def pause_writing(self) -> None:
        self._streams.pause_writing()

    def resume_writing(self) -> None:
        self._streams.resume_writing()

    def _end(self, error: Exception | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


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
