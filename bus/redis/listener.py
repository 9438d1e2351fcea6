"""Listens to channels and patterns of one Redis, and hands over all that arrived at once.

The connection (bus/redis/reception.py) is made when it is asked for, or for the first channel, and made again, with
everything subscribed, whenever it is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

from bus.redis.reception import RawMessage, Reception, tell
from bus.redis.topics import Topics, confirmed

__all__ = ["Listener", "RawMessage"]

logger = logging.getLogger(__name__)


class Listener(Reception):
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
        super().__init__(pool)
        self._deliver = deliver
        self._lost = lost
        self._restored = restored
        self._timeout = timeout
        self._channels = Topics("SUBSCRIBE", "UNSUBSCRIBE")
        self._patterns = Topics("PSUBSCRIBE", "PUNSUBSCRIBE")
        self._is_up = False
        self._is_lost = False
        self._arrived: list[RawMessage] = []
        self.patterns: set[str] = set()
        """The patterns that Redis has confirmed. Changes between two deliveries, exactly where it changes in Redis."""

    async def add(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        """Listens to these too; when it returns Redis has confirmed all of them.

        redis-py's errors, or ``OSError``, if Redis did not within the timeout. They are wanted all the same until
        they are removed: others may wait for some of them.
        """
        self.want(channels, patterns)
        unconfirmed = [*self._channels.unconfirmed(channels), *self._patterns.unconfirmed(patterns)]
        if not unconfirmed or await confirmed(unconfirmed, self._timeout, lambda: self._connection is not None):
            return
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
        await super().close()
        self._arrived = []
        self.patterns = set()
        self._is_up = self._is_lost = False

    @property
    def is_up(self) -> bool:
        return self._is_up

    def start(self) -> None:
        """Connects, also where there is nothing to listen to yet; counts as lost until it has."""
        self._is_lost = not self._is_up
        self._ensure_task()

    def _subscribe(self, topics: Topics, names: Collection[str]) -> None:
        topics.want(names, is_asked=self._connection is not None)
        self._command(topics.subscribe, names)

    # The connection

    def _began(self) -> None:
        for topics in (self._channels, self._patterns):
            topics.start_over()
            self._command(topics.subscribe, topics.wanted)

    def _ended(self) -> bool:
        self._arrived = []
        self.patterns = set()
        was_up, self._is_up = self._is_up, False
        if was_up:
            self._is_lost = True
            tell(self._lost)
        return was_up

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
            case hiredis.ReplyError():
                self._refused(reply)
            case _:
                self._take_other(reply)

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
        self._came_up(self._listened_to())
        if self._is_lost:
            self._is_lost = False
            tell(self._restored)

    def _listened_to(self) -> str:
        counts = {"channel": len(self._channels.wanted), "pattern": len(self._patterns.wanted)}
        listed = [f"{count} {noun}{'s' * (count > 1)}" for noun, count in counts.items() if count]
        return " and ".join(listed) or "nothing yet"
