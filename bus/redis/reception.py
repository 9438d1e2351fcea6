"""A connection to Redis that listens: made again whenever it is lost, and given up when it is dead or behind.

redis-py makes the connection (address, credentials, TLS, Sentinel) and hiredis parses it; what lies between is here,
since redis-py's own pub/sub hands out one message a call.

A connection can die without a word. So Redis is asked for a sign of life every second, and a connection on which
nothing comes for a second and a half after that is given up, with all that it might still bring: it would be late.

So is one of which this process has not read for that long, because it stood still or did not keep up: what waits there
is old. A new connection brings only what is published from then on.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, Final, TypeAlias

import hiredis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from bus.redis.connection import Incoming, Info, abort, connect, is_misplaced
from bus.redis.probe import Probe
from bus.redis.refusals import reason_of

__all__ = ["RawMessage", "Reception", "tell"]

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = (0.05, 0.5)
"""First and longest pause between attempts to reach Redis."""
_PROBE: Final = b"alive?"

RawMessage: TypeAlias = tuple[str, bytes, str | None]
"""A channel, a payload, and the pattern under which it came, if it did."""


class Reception(ABC):
    """What it brings and asks for is its heirs' business; ``pool`` makes the connection."""

    def __init__(self, pool: Callable[[], ConnectionPool]) -> None:
        self._pool = pool
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_known = False
        """Whether Redis has said on this connection that it is a primary."""
        self._is_away = False
        self._problem: RedisError | OSError | None = None
        self.run_id = ""
        """Of the Redis that it listens to."""

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """Whether everything wanted is confirmed on a connection that is not known to be dead."""

    @abstractmethod
    def _began(self) -> None:
        """There is a connection, on which nothing has been asked for."""

    @abstractmethod
    def _ended(self) -> bool:
        """It is lost. Whether it was up."""

    @abstractmethod
    def _check_up(self) -> None:
        """Redis has said who it is, or confirmed something."""

    @abstractmethod
    def _take(self, reply: Any) -> None:
        """One reply or message."""

    @abstractmethod
    def _hand_over(self) -> None:
        """That was all there was to read."""

    def renew(self) -> None:
        """Ends the connection and makes another, to what Redis's name or address stands for now."""
        if self._connection is not None and self._connection._writer is not None:
            self._connection._writer.transport.abort()

    async def close(self) -> None:
        """Ends the connection."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _ensure_task(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _command(self, name: str, arguments: Collection[str | bytes]) -> None:
        if self._connection is not None and self._connection._writer is not None and arguments:
            writer = self._connection._writer
            writer.writelines(self._connection.pack_command(name, *arguments))

    # The connection, again and again

    async def _run(self) -> None:
        first, longest = _RETRY_SECONDS
        pause = first
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                reason = reason_of(error)
                if self._problem is None or reason is not reason_of(self._problem):  # said once, until it changes
                    logger.warning("No connection to Redis, trying again until there is one: %s", error)
                self._problem = error
                self._is_away = True
            except Exception:
                logger.exception("Listening to Redis failed, trying again in %.2f s.", pause)
            if self._ended():
                pause = first
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _listen(self) -> None:
        """Connects, subscribes to everything wanted, and reads until the connection is lost."""
        connection = await connect(self._pool())
        try:
            self._connection = connection
            self._probe = Probe(self._ask)
            self._is_known = False
            for section in ("server", "replication"):
                self._command("INFO", [section])
            self._began()
            await self._read_while_alive(connection)
        finally:
            self._connection = None
            await abort(connection)

    async def _read_while_alive(self, connection: Connection) -> None:
        try:
            # Rescheduled to this moment, it cancels the read: not even what has just arrived is handed over.
            async with asyncio.timeout(None) as patience:
                with self._probe.watching(patience):
                    await self._read(connection, self._probe)
        except TimeoutError:
            self._probe.check()
            raise RedisConnectionError("Redis gives no sign of life.") from None

    def _ask(self) -> bool:
        """Asks for a sign of life; whether its answer tells how old is what comes before it.

        It does not while thousands of channels are being confirmed, which may take a while: nothing is live yet.
        """
        self._command("PING", [_PROBE])
        return self.is_up

    async def _read(self, connection: Connection, probe: Probe) -> None:
        parser = hiredis.Reader(notEnoughData=False)

        def take(data: bytes) -> None:
            probe.check()
            probe.heard()
            parser.feed(data)
            while (reply := parser.gets()) is not False:
                self._take(reply)
            self._hand_over()

        await Incoming(connection, take).read()
        raise RedisConnectionError("Redis closed the connection.")

    def _take_other(self, reply: Any) -> None:
        """What comes on every such connection: answers to INFO and signs of life."""
        match reply:
            case bytes() if not self._is_known:
                self._introduced(Info(reply))
            case [b"pong", *_] | bytes():
                self._probe.answered()

    def _refused(self, error: hiredis.ReplyError) -> None:
        if not self.is_up or is_misplaced(error):
            raise ResponseError(str(error))  # what was asked for once will be asked for again
        self._problem = ResponseError(str(error))
        logger.warning("Redis refused a subscription: %s", error)

    def _came_up(self, listening_to: str) -> None:
        self._problem = None
        if self._is_away:
            self._is_away = False
            logger.info("Connected to Redis; listening to %s.", listening_to)

    def _introduced(self, info: Info) -> None:
        """A replica brings what its primary publishes, but only while the two can talk, and nobody hears of the end."""
        info.check_primary()
        self.run_id = info.run_id or self.run_id
        self._is_known = not info.run_id  # the section that comes last says nothing of it
        self._check_up()


def tell(whom: Callable[[], None]) -> None:
    """Tells that something was lost or restored; the connection is not to blame for what comes of it."""
    try:
        whom()
    except Exception:
        logger.exception("Telling that the bus is lost or restored failed.")
