"""One connection to Redis that listens to channels and patterns, and hands over all that arrived at once.

redis-py makes the connection (address, credentials, TLS, Sentinel) and hiredis parses it; what lies between is here,
since redis-py's own pub/sub hands out one message a call. The connection is made when it is asked for, or for the first
channel, and made again, with everything subscribed, whenever it is lost.

A connection can die without a word. So Redis is asked for a sign of life every second, and a connection on which
nothing comes for a second and a half after that is given up, with all that it might still bring: it would be late.

So is one of which this process has not read for that long, because it stood still or did not keep up: what waits there
is old. A new connection brings only what is published from then on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeAlias

import hiredis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from bus.redis.connection import Incoming, Info, abort, connect, is_misplaced
from bus.redis.probe import Probe
from bus.redis.refusals import reason_of

__all__ = ["Listener", "RawMessage"]

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = (0.05, 0.5)
"""First and longest pause between attempts to reach Redis."""
_ADD_STEPS: Final = 12
_PROBE: Final = b"alive?"

RawMessage: TypeAlias = tuple[str, bytes, str | None]
"""A channel, a payload, and the pattern under which it came, if it did."""


class Listener:
    """Listens to channels and patterns of one Redis.

    ``deliver`` gets everything one read of the socket brought. ``lost`` is called when a connection on which everything
    wanted was confirmed is dead, and ``restored`` when that is so again, or for the first time after :meth:`start`.
    ``timeout`` bounds, in seconds, how long :meth:`add` waits for a connection, and then for Redis.
    """

    def __init__(
        self,
        pool: Callable[[], ConnectionPool],
        deliver: Callable[[list[RawMessage]], None],
        lost: Callable[[], None],
        restored: Callable[[], None],
        timeout: float = 3.0,
    ) -> None:
        self._pool = pool
        self._deliver = deliver
        self._lost = lost
        self._restored = restored
        self._timeout = timeout
        self._channels = _Topics("SUBSCRIBE", "UNSUBSCRIBE")
        self._patterns = _Topics("PSUBSCRIBE", "PUNSUBSCRIBE")
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_known = False
        self._is_up = False
        self._is_lost = False
        self._is_away = False
        self._problem: RedisError | OSError | None = None
        self._arrived: list[RawMessage] = []
        self.run_id = ""
        """Of the Redis that it listens to."""
        self.patterns: set[str] = set()
        """The patterns that Redis has confirmed. Changes between two deliveries, exactly where it changes in Redis."""

    async def add(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        """Listens to these too; when it returns Redis has confirmed all of them.

        redis-py's errors, or ``OSError``, if Redis did not within the timeout. They are wanted all the same until
        they are removed: others may wait for some of them.
        """
        self.want(channels, patterns)
        unconfirmed = [*self._channels.unconfirmed(channels), *self._patterns.unconfirmed(patterns)]
        if not unconfirmed:
            return
        # In steps: while thousands of clients arrive the loop may be held up for longer than the time that Redis has,
        # and its answer, which is in the socket already, gets its chance to be read in the next. They begin again at a
        # connection that is there: to make one takes several round trips.
        steps, is_there = _ADD_STEPS, self._connection is not None
        while steps:
            _, pending = await asyncio.wait(unconfirmed, timeout=self._timeout / _ADD_STEPS)
            if not pending:
                return
            steps -= 1
            if not is_there and self._connection is not None:
                steps, is_there = _ADD_STEPS, True
        if self._problem is not None:
            raise self._problem.with_traceback(None)
        raise RedisConnectionError(f"Redis did not answer within {self._timeout} s.")

    def want(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        """Asks for these too, now if there is a connection, and waits for nothing."""
        self._ensure_task()
        for topics, names in ((self._channels, channels), (self._patterns, patterns)):
            self._subscribe(topics, [name for name in names if name not in topics.wanted])

    def remove(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        """Listens to these no more."""
        for topics, names in ((self._channels, channels), (self._patterns, patterns)):
            self._command(topics.unsubscribe, topics.forget(names))
        self._check_up()

    async def close(self) -> None:
        """Ends the connection; what was listened to is forgotten."""
        self._channels.clear()
        self._patterns.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._is_up = self._is_lost = False

    @property
    def is_up(self) -> bool:
        """Whether everything wanted is confirmed on a connection that is not known to be dead."""
        return self._is_up

    def start(self) -> None:
        """Connects, also where there is nothing to listen to yet; counts as lost until it has."""
        self._is_lost = not self._is_up
        self._ensure_task()

    def renew(self) -> None:
        """Ends the connection and makes another, to what Redis's name or address stands for now."""
        if self._connection is not None and self._connection._writer is not None:
            self._connection._writer.transport.abort()

    def _ensure_task(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _subscribe(self, topics: _Topics, names: Collection[str]) -> None:
        topics.want(names, is_asked=self._connection is not None)
        self._command(topics.subscribe, names)

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
            was_up, self._is_up = self._is_up, False
            if was_up:
                pause = first
                self._is_lost = True
                self._tell(self._lost)
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
            for topics in (self._channels, self._patterns):
                topics.start_over()
                self._command(topics.subscribe, topics.wanted)
            await self._read_while_alive(connection)
        finally:
            self._connection = None
            self._arrived = []
            self.patterns = set()
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
        return self._is_up

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

    # What it brings

    def _take(self, reply: Any) -> None:
        match reply:
            case [b"message", channel, payload]:
                self._arrived.append((channel.decode("utf-8", "surrogateescape"), payload, None))
            case [b"pmessage", pattern, channel, payload]:
                self._arrived.append((channel.decode("utf-8", "surrogateescape"), payload, pattern.decode()))
            case [b"subscribe", channel, _]:
                self._channels.confirm(channel.decode())
                self._check_up()
            case [b"psubscribe", pattern, _]:
                self._hand_over()  # what came before the pattern was in force
                if self._patterns.confirm(pattern.decode()):
                    self.patterns.add(pattern.decode())
                self._check_up()
            case [b"punsubscribe", bytes() as pattern, _]:
                self._hand_over()
                self.patterns.discard(pattern.decode())
            case bytes() if not self._is_known:
                self._introduced(Info(reply))
            case [b"pong", *_] | bytes():
                self._probe.answered()
            case hiredis.ReplyError():
                self._refused(reply)

    def _introduced(self, info: Info) -> None:
        """A replica brings what its primary publishes, but only while the two can talk, and nobody hears of the end."""
        info.check_primary()
        self.run_id = info.run_id or self.run_id
        self._is_known = not info.run_id  # the section that comes last says nothing of it
        self._check_up()

    def _refused(self, error: hiredis.ReplyError) -> None:
        if not self._is_up or is_misplaced(error):
            raise ResponseError(str(error))  # what was asked for once will be asked for again
        self._problem = ResponseError(str(error))
        logger.warning("Redis refused a subscription: %s", error)

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        try:
            self._deliver(arrived)
        except Exception:  # the connection is not to blame, and others wait for what comes next
            logger.exception("Delivering %d messages failed.", len(arrived))

    def _check_up(self) -> None:
        """Everything wanted is confirmed for the first time on this connection."""
        if self._is_up or not self._is_known or self._connection is None:
            return
        if self._channels.is_pending or self._patterns.is_pending:
            return
        self._is_up = True
        self._problem = None
        if self._is_away:
            self._is_away = False
            logger.info("Connected to Redis; %s.", self._listened_to())
        if self._is_lost:
            self._is_lost = False
            self._tell(self._restored)

    def _listened_to(self) -> str:
        counts = {"channel": len(self._channels.wanted), "pattern": len(self._patterns.wanted)}
        listed = [f"{count} {noun}{'s' * (count > 1)}" for noun, count in counts.items() if count]
        return "listening to " + (" and ".join(listed) or "nothing yet")

    def _tell(self, whom: Callable[[], None]) -> None:
        try:
            whom()
        except Exception:
            logger.exception("Telling that the bus is lost or restored failed.")


class _Topics:
    """Channels, or patterns: which are wanted, and which of them Redis has not confirmed yet."""

    def __init__(self, subscribe: str, unsubscribe: str) -> None:
        self.subscribe = subscribe
        self.unsubscribe = unsubscribe
        self.wanted: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        # How many confirmations are under way. What was left and joined again at once has two, and an UNSUBSCRIBE
        # between them: only after the last is it sure to be subscribed.
        self._asked: dict[str, int] = {}

    @property
    def is_pending(self) -> bool:
        return bool(self._waiting)

    def want(self, names: Iterable[str], is_asked: bool) -> None:
        for name in names:
            self.wanted.add(name)
            self._wait_for(name)
            if is_asked:
                self._asked[name] = self._asked.get(name, 0) + 1

    def forget(self, names: Iterable[str]) -> list[str]:
        """Those that were wanted."""
        gone = [name for name in names if name in self.wanted]
        self.wanted.difference_update(gone)
        for name in gone:
            self._waiting.pop(name, None)
        return gone

    def start_over(self) -> None:
        """A new connection, on which everything is asked for once."""
        self._asked = dict.fromkeys(self.wanted, 1)
        for name in self.wanted:
            self._wait_for(name)

    def unconfirmed(self, names: Iterable[str]) -> list[asyncio.Future[None]]:
        return [self._waiting[name] for name in names if name in self._waiting]

    def confirm(self, name: str) -> bool:
        """Notes a confirmation; true if it was the last one under way, so that the name is sure to be subscribed."""
        asked = self._asked.pop(name, 1) - 1
        if asked:
            self._asked[name] = asked
            return False
        waiter = self._waiting.pop(name, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return True

    def clear(self) -> None:
        self.wanted.clear()
        self._waiting.clear()

    def _wait_for(self, name: str) -> None:
        if name not in self._waiting:
            self._waiting[name] = asyncio.get_running_loop().create_future()
