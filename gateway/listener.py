"""One connection to Redis that listens to channels, and hands over all that arrived at once.

redis-py makes the connection (address, credentials, TLS, Sentinel) and hiredis parses it; what lies between is here,
since redis-py's own pub/sub hands out one message a call. The connection is made for the first channel, and made
again, with all channels subscribed, whenever it is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any, cast

import hiredis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

__all__ = ["Listener"]

logger = logging.getLogger(__name__)

_READ_BYTES = 262_144
_RETRY_SECONDS = (0.05, 1.0)
"""First and longest pause between attempts to reach Redis."""


class Listener:
    """Listens to channels of one Redis.

    ``deliver`` gets ``[(channel, payload), ...]``: everything one read of the socket brought. ``timeout`` bounds, in
    seconds, how long :meth:`add` waits for Redis.
    """

    def __init__(
        self,
        pool: Callable[[], ConnectionPool],
        deliver: Callable[[list[tuple[str, bytes]]], None],
        timeout: float = 5.0,
    ) -> None:
        self._pool = pool
        self._deliver = deliver
        self._timeout = timeout
        self._wanted: set[str] = set()
        self._confirmations: dict[str, _Confirmation] = {}
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._was_connected = False
        self._is_away = False

    async def add(self, channels: Collection[str]) -> None:
        """Listens to ``channels`` too; when it returns Redis has confirmed all of them.

        ``redis.exceptions.ConnectionError`` if Redis did not within the timeout; then none is added.
        """
        new = [channel for channel in channels if channel not in self._wanted]
        self._wanted.update(new)
        self._ensure_task()
        self._subscribe(new)
        unconfirmed = [self._confirmations[channel].done for channel in channels if channel in self._confirmations]
        if not unconfirmed:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.gather(*map(asyncio.shield, unconfirmed))
        except TimeoutError:
            self.remove(new)
            raise RedisConnectionError(f"Redis did not answer within {self._timeout} s.") from None
        except BaseException:
            self.remove(new)
            raise

    def remove(self, channels: Collection[str]) -> None:
        """Listens to ``channels`` no more."""
        gone = [channel for channel in channels if channel in self._wanted]
        self._wanted.difference_update(gone)
        for channel in gone:
            self._confirmations.pop(channel, None)
        self._command("UNSUBSCRIBE", gone)

    async def close(self) -> None:
        """Ends the connection; the channels are forgotten."""
        self._wanted.clear()
        self._confirmations.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _ensure_task(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _subscribe(self, channels: Collection[str]) -> None:
        for channel in channels:
            self._confirmations.setdefault(channel, _Confirmation())
        if self._connection is not None:
            for channel in channels:
                self._confirmations[channel].asked += 1
            self._command("SUBSCRIBE", channels)

    def _command(self, name: str, channels: Collection[str]) -> None:
        if self._connection is not None and self._connection._writer is not None and channels:
            writer = self._connection._writer
            writer.writelines(self._connection.pack_command(name, *channels))

    async def _run(self) -> None:
        first, longest = _RETRY_SECONDS
        pause = first
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                if not self._is_away:  # said once an outage
                    logger.warning("No connection to Redis, trying again until there is one: %s", error)
                self._is_away = True
            except Exception:
                logger.exception("Listening to Redis failed, trying again in %.2f s.", pause)
            await asyncio.sleep(pause)
            pause = first if self._was_connected else min(2 * pause, longest)

    async def _listen(self) -> None:
        """Connects, subscribes to everything wanted, and reads until the connection is lost."""
        self._was_connected = False
        pool = self._pool()
        connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            for confirmation in self._confirmations.values():
                confirmation.asked = 0
            self._connection = connection
            self._was_connected = True
            if self._is_away:
                self._is_away = False
                logger.info("Connected to Redis again; listening to %d channels.", len(self._wanted))
            self._subscribe(list(self._wanted))
            await self._read(cast(asyncio.StreamReader, connection._reader))
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        parser = hiredis.Reader(notEnoughData=False)
        while data := await stream.read(_READ_BYTES):
            parser.feed(data)
            arrived = []
            while (reply := parser.gets()) is not False:
                if (message := self._message(reply)) is not None:
                    arrived.append(message)
            if arrived:
                self._hand_over(arrived)
        raise RedisConnectionError("Redis closed the connection.")

    def _hand_over(self, arrived: list[tuple[str, bytes]]) -> None:
        try:
            self._deliver(arrived)
        except Exception:  # the connection is not to blame, and others wait for what comes next
            logger.exception("Delivering %d messages failed.", len(arrived))

    def _message(self, reply: Any) -> tuple[str, bytes] | None:
        """The message in a reply; confirmations are taken note of."""
        match reply:
            case [b"message", channel, payload]:
                return channel.decode(), payload
            case [b"subscribe", channel, _]:
                self._confirm(channel.decode())
        return None

    def _confirm(self, channel: str) -> None:
        confirmation = self._confirmations.get(channel)
        if confirmation is not None and confirmation.confirmed():
            del self._confirmations[channel]


class _Confirmation:
    """Waits until Redis has confirmed every SUBSCRIBE sent for a channel.

    A channel that was left and joined again at once has two under way, and an UNSUBSCRIBE between them: only after
    the last is it sure to be subscribed.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def confirmed(self) -> bool:
        self.asked -= 1
        if self.asked > 0:
            return False
        if not self.done.done():
            self.done.set_result(None)
        return True
