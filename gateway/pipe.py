"""One connection to Redis over which commands are pipelined: a caller awaits its own reply and nobody else's.

redis-py takes a connection from its pool for every command and goes through its retries, which costs several times what
the command does. The connection is made for the first command and after it was lost; replies come in the order of the
commands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["Pipe", "Script"]

_READ_BYTES = 65_536
_HIGH_WATER = 4_194_304
"""Bytes waiting to be sent beyond which callers wait for the connection."""


class Pipe:
    """Sends commands to one Redis. ``timeout`` bounds, in seconds, how long a command waits for its reply."""

    def __init__(self, pool: Callable[[], ConnectionPool], timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._replies: deque[asyncio.Future[Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def call(self, *command: Any) -> Any:
        """The reply to the command.

        Raises ``redis.exceptions.ConnectionError`` or ``TimeoutError`` if there was none, ``ResponseError`` if Redis
        refused the command.
        """
        try:
            async with asyncio.timeout(self._timeout):
                connection = self._connection or await self._connect()
                reply = await self._send(connection, command)
        except TimeoutError:
            # A reply that comes after all must not be taken for the next command's.
            await self.close()
            raise RedisTimeoutError(f"Redis did not answer within {self._timeout} s.") from None
        if isinstance(reply, hiredis.ReplyError):
            raise NoScriptError(str(reply)) if str(reply).startswith("NOSCRIPT") else ResponseError(str(reply))
        return reply

    async def close(self) -> None:
        """Ends the connection; commands that wait for a reply fail."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _send(self, connection: Connection, command: tuple[Any, ...]) -> Any:
        writer = cast(asyncio.StreamWriter, connection._writer)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies.append(reply)
        writer.writelines(connection.pack_command(*command))
        if writer.transport.get_write_buffer_size() > _HIGH_WATER:
            await writer.drain()
        return await reply

    async def _connect(self) -> Connection:
        async with self._connecting:
            if self._connection is None:
                connection: Connection = self._pool().make_connection()  # type: ignore[no-untyped-call]
                await connection.connect()  # type: ignore[no-untyped-call]
                self._connection = connection
                self._task = asyncio.get_running_loop().create_task(self._receive(connection))
            return self._connection

    async def _receive(self, connection: Connection) -> None:
        reason: Exception = RedisConnectionError("Redis closed the connection.")
        try:
            await self._read(cast(asyncio.StreamReader, connection._reader))
        except OSError as error:
            reason = RedisConnectionError(str(error))
        finally:
            self._connection = None
            self._fail(reason)
            await connection.disconnect(nowait=True)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        parser = hiredis.Reader()
        while data := await stream.read(_READ_BYTES):
            parser.feed(data)
            while (value := parser.gets()) is not False:
                reply = self._replies.popleft()
                if not reply.done():  # its caller may have gone
                    reply.set_result(value)

    def _fail(self, reason: Exception) -> None:
        while self._replies:
            reply = self._replies.popleft()
            if not reply.done():
                reply.set_exception(reason)


class Script:
    """A Lua script on one Redis, sent by its digest."""

    def __init__(self, pipe: Pipe, source: str) -> None:
        self._pipe = pipe
        self._source = source
        self._digest: bytes | None = None

    async def __call__(self, key: str, *arguments: bytes | str) -> Any:
        if self._digest is None:
            self._digest = await self._pipe.call("SCRIPT", "LOAD", self._source)
        try:
            return await self._pipe.call("EVALSHA", self._digest, 1, key, *arguments)
        except NoScriptError:  # this Redis was restarted since
            self._digest = await self._pipe.call("SCRIPT", "LOAD", self._source)
            return await self._pipe.call("EVALSHA", self._digest, 1, key, *arguments)
