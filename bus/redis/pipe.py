"""One connection to Redis over which commands are pipelined: a caller awaits its own reply only.

redis-py takes a connection from its pool for every command and goes through its retries, which costs several times what
the command does. The connection is made for the first command and after it was lost; replies come in the order of the
commands.

A :class:`Link` is one connection, a :class:`Pipe` has one link at a time. When a caller has waited too long its link
takes no new commands: what waits in a stopped Redis's buffers may still be executed, and nothing may overtake it. If
Redis answers after all the link goes on, and each late reply is still known for what it is; otherwise the link is given
up as soon as no caller waits for it, and the next command makes a new one.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import hiredis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bus.redis.connection import abort, connect

__all__ = ["Clock", "Link", "Pipe", "Script"]

_READ_BYTES = 65_536
_HIGH_WATER = 4_194_304
"""Bytes waiting to be sent beyond which callers wait for the connection."""

T = TypeVar("T")


@dataclass(frozen=True)
class Script:
    """A Lua script, sent by its digest."""

    source: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


class Clock:
    """Redis's clock against ours: what Redis's can be at least when ours shows a time. All in seconds."""

    def __init__(self) -> None:
        self._lead = math.nan

    def learn(self, sent: float, received: float, theirs: float) -> None:
        """Takes in that Redis's clock showed ``theirs`` (in whole ms) between two moments of ours.

        The highest lower bound is the best, unless an upper bound disproves it: then one of the clocks has jumped.
        """
        if not theirs - received <= self._lead <= theirs - sent + 0.001:
            self._lead = theirs - received

    def at(self, ours: float) -> float:
        return ours + self._lead


class Link:
    """One connection. ``run_id`` is Redis's; :meth:`open` makes a link."""

    def __init__(self, connection: Connection, closed: Callable[[Link], None]) -> None:
        self.run_id = ""
        self.clock = Clock()
        self.is_overdue = False
        self._connection = connection
        self._writer = cast(asyncio.StreamWriter, connection._writer)
        self._replies: deque[asyncio.Future[Any]] = deque()
        self._closed = closed
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self.task = self._loop.create_task(self._receive())

    @classmethod
    async def open(cls, connection: Connection, scripts: Sequence[Script], closed: Callable[[Link], None]) -> Link:
        """Makes a link of a connection: learns who and when Redis is, and leaves the scripts with it."""
        link = cls(connection, closed)
        try:
            sent = link._loop.time()
            info, (seconds, microseconds), *_ = await asyncio.gather(
                link.call("INFO", "server"),
                link.call("TIME"),
                *(link.call("SCRIPT", "LOAD", script.source) for script in scripts),
            )
            link.run_id = _run_id(info)
            link.clock.learn(sent, link._loop.time(), int(seconds) + int(microseconds) // 1_000 / 1_000)
        except BaseException:
            link.abort()
            raise
        return link

    async def call(self, *command: Any) -> Any:
        """The reply to the command; ``ResponseError`` if Redis refused it, ``ConnectionError`` if there was none."""
        if not self._is_open:
            raise RedisConnectionError("The connection to Redis is lost.")
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._replies.append(reply)
        try:
            self._writer.write(hiredis.pack_command(command))
            if self._writer.transport.get_write_buffer_size() > _HIGH_WATER:
                await self._writer.drain()
            value = await reply
        finally:
            reply.cancel()  # its place in the line stays, so that no caller gets another's
        if isinstance(value, hiredis.ReplyError):
            raise NoScriptError(str(value)) if str(value).startswith("NOSCRIPT") else ResponseError(str(value))
        return value

    async def evaluate(self, script: Script, *arguments: Any) -> Any:
        """What the script returns; it has no keys of its own."""
        try:
            return await self.call("EVALSHA", script.digest, 0, *arguments)
        except NoScriptError:  # somebody has flushed the scripts
            await self.call("SCRIPT", "LOAD", script.source)
            return await self.call("EVALSHA", script.digest, 0, *arguments)

    def overdue(self) -> None:
        """A caller has waited too long."""
        self.is_overdue = True
        if all(reply.done() for reply in self._replies):
            self.abort()

    def abort(self) -> None:
        """Ends the connection; commands that wait for a reply fail."""
        self._is_open = False
        self._writer.transport.abort()  # close() would wait for what cannot be sent
        self.task.cancel()

    async def _receive(self) -> None:
        reason: Exception = RedisConnectionError("Redis closed the connection.")
        try:
            await self._read(cast(asyncio.StreamReader, self._connection._reader))
        except OSError as error:
            reason = RedisConnectionError(str(error))
        finally:
            self._is_open = False
            self._closed(self)
            self._fail(reason)
            await abort(self._connection)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        parser = hiredis.Reader()
        while data := await stream.read(_READ_BYTES):
            parser.feed(data)
            self.is_overdue = False
            while (value := parser.gets()) is not False:
                reply = self._replies.popleft()
                if not reply.done():  # its caller may have gone
                    reply.set_result(value)

    def _fail(self, reason: Exception) -> None:
        while self._replies:
            reply = self._replies.popleft()
            if not reply.done():
                reply.set_exception(reason)
                reply.exception()  # marks it as seen: its caller may have failed already


class Pipe:
    """A way to one Redis. ``timeout`` bounds, in seconds, how long a caller waits, for the connection and the reply.

    ``scripts``: what is left with Redis as soon as there is a connection.
    """

    def __init__(self, pool: Callable[[], ConnectionPool], timeout: float, scripts: Sequence[Script] = ()) -> None:
        self._pool = pool
        self._timeout = timeout
        self._scripts = scripts
        self._link: Link | None = None
        self._waiting: deque[asyncio.Future[Link]] = deque()
        self._connecting: asyncio.Task[None] | None = None

    async def call(self, *command: Any) -> Any:
        """The reply to the command.

        Raises ``redis.exceptions.ConnectionError`` or ``TimeoutError`` if there was none, ``ResponseError`` if Redis
        refused the command.
        """
        return await self.perform(partial(self._call, command))

    async def perform(self, operation: Callable[[Link, float], Awaitable[T]]) -> T:
        """What ``operation`` makes of the link, and of the time on the loop's clock at which it is given up.

        Raises what :meth:`call` raises. Operations send in the order in which they were started.
        """
        give_up = asyncio.get_running_loop().time() + self._timeout
        link = None
        try:
            async with asyncio.timeout_at(give_up):
                link = self._link
                if link is None or self._waiting:
                    link = await self._connected()
                if link.is_overdue:
                    link.overdue()  # the last caller that waited may have gone without aborting it
                    raise RedisTimeoutError("Redis does not answer.")
                return await operation(link, give_up)
        except TimeoutError:
            if link is not None:
                link.overdue()
            raise RedisTimeoutError(f"Redis did not answer within {self._timeout} s.") from None

    def renew(self) -> None:
        """The connection is as good as dead: it takes no new commands, and goes as soon as no caller waits for it."""
        if self._link is not None:
            self._link.overdue()

    async def close(self) -> None:
        """Ends the connection; commands that wait for a reply fail."""
        tasks = []
        if self._connecting is not None:
            self._connecting.cancel()
            tasks.append(self._connecting)
        if self._link is not None:
            self._link.abort()
            tasks.append(self._link.task)
        if tasks:
            await asyncio.wait(tasks)

    async def _call(self, command: Sequence[Any], link: Link, _: float) -> Any:
        return await link.call(*command)

    async def _connected(self) -> Link:
        """The link, once there is one. Who asks first gets it first, or commands would overtake each other."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Link] = loop.create_future()
        self._waiting.append(waiter)
        if self._link is not None:
            loop.call_soon(self._admit)  # behind those that have been told and not come to it yet
        elif self._connecting is None:
            self._connecting = loop.create_task(self._connect())
        try:
            return await waiter
        finally:
            self._waiting.remove(waiter)

    async def _connect(self) -> None:
        error: Exception = RedisConnectionError("The connection was closed.")
        try:
            async with asyncio.timeout(self._timeout):
                connection = await connect(self._pool(), self._timeout)
                self._link = await Link.open(connection, self._scripts, self._lost)
        except TimeoutError:
            error = RedisTimeoutError(f"Redis did not answer within {self._timeout} s.")
        except (RedisError, OSError) as reason:
            error = reason
        finally:
            self._connecting = None
            self._admit(error)

    def _admit(self, error: Exception | None = None) -> None:
        """Gives the link to all who wait for it, or tells them that there is none."""
        for waiter in self._waiting:
            if waiter.done():
                continue
            if self._link is not None:
                waiter.set_result(self._link)
            else:
                waiter.set_exception(RedisConnectionError(str(error or "The connection to Redis is lost.")))

    def _lost(self, link: Link) -> None:
        if self._link is link:
            self._link = None


def _run_id(info: Any) -> str:
    text = info.decode() if isinstance(info, bytes) else str(info)
    return next((line[7:].strip() for line in text.splitlines() if line.startswith("run_id:")), "")
