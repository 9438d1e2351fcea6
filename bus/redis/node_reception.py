"""The connection that listens to one node of a cluster, for all of its buckets that somebody follows."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio import ConnectionPool

from bus.redis.bucket_listener import BucketListener
from bus.redis.reception import RawMessage, Reception, tell

__all__ = ["NodeReception"]

logger = logging.getLogger(__name__)

_MOVED: Final = re.compile(r"MOVED (\d+) ")


class NodeReception(Reception):
    """The connection to one node, for the listeners of its buckets, which are kept by their slots.

    ``deliver`` gets everything one read of the socket brought, by listener; ``slots`` are those by what stands in a
    channel's braces. ``lost`` is called when a connection that was up is dead.
    """

    def __init__(
        self,
        pool: Callable[[], ConnectionPool],
        slots: dict[str, int],
        deliver: Callable[[Sequence[tuple[BucketListener, Sequence[RawMessage]]]], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(pool)
        self._slots = slots
        self._deliver = deliver
        self._lost = lost
        self.listeners: dict[int, BucketListener] = {}
        self.asked: Counter[str] = Counter()
        """Subscriptions that are under way on this connection."""
        self._leaving: Counter[str] = Counter()
        self._arrived: dict[BucketListener, list[RawMessage]] = {}
        self._was_known = False

    def start(self) -> None:
        """Connects in the background."""
        self._ensure_task()

    @property
    def is_up(self) -> bool:
        return self._is_known and self._connection is not None and all(one.is_up for one in self.listeners.values())

    @property
    def is_known(self) -> bool:
        return self._is_known and self._connection is not None

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    @property
    def problem(self) -> Exception | None:
        return self._problem

    def subscribe(self, channels: Collection[str]) -> None:
        """To channels of one bucket, now if there is a connection."""
        self.asked.update(channels)
        self._command("SSUBSCRIBE", channels)

    def unsubscribe(self, channels: Collection[str]) -> None:
        self._leaving.update(channels)
        self._command("SUNSUBSCRIBE", channels)

    def _began(self) -> None:
        self.asked.clear()
        self._leaving.clear()
        for listener in list(self.listeners.values()):
            listener.began(self.asked)

    def _ended(self) -> bool:
        self._arrived = {}
        was_known, self._was_known = self._was_known, False
        for listener in list(self.listeners.values()):
            listener.ended()
        if was_known:
            tell(self._lost)
        return was_known

    def _check_up(self) -> None:
        if self.is_known:
            self._was_known = True
            self._came_up(f"{len(self.listeners)} buckets")
        for listener in list(self.listeners.values()):
            listener.check_up()

    def _take(self, reply: Any) -> None:
        match reply:
            case [b"smessage", channel, payload]:
                name = channel.decode("utf-8", "surrogateescape")
                listener = self._listener(name)
                if listener is not None:
                    self._arrived.setdefault(listener, []).extend(listener.messages(name, payload))
            case [b"ssubscribe", channel, _]:
                self._confirmed(channel.decode("utf-8", "surrogateescape"))
            case [b"sunsubscribe", bytes() as channel, _]:
                self._unsubscribed(channel.decode("utf-8", "surrogateescape"))
            case hiredis.ReplyError():
                self._refused(reply)
            case _:
                self._take_other(reply)

    def _listener(self, channel: str) -> BucketListener | None:
        tag = channel[channel.index("{") + 1 : channel.index("}")]
        return self.listeners.get(self._slots.get(tag, -1))

    def _confirmed(self, channel: str) -> None:
        _count_down(self.asked, channel)
        listener = self._listener(channel)
        if listener is not None:
            if listener.changes_patterns(channel):
                self._hand_over()
            listener.confirm(channel)

    def _unsubscribed(self, channel: str) -> None:
        is_asked = _count_down(self._leaving, channel)
        listener = self._listener(channel)
        if listener is not None:
            self._hand_over()
            listener.unsubscribed(channel, is_asked)

    def _refused(self, error: hiredis.ReplyError) -> None:
        moved = _MOVED.search(str(error))
        listener = self.listeners.get(int(moved[1])) if moved else None
        if listener is not None:
            for channel in [channel for channel in self.asked if self._listener(channel) is listener]:
                del self.asked[channel]
            listener.lose_place()
        elif not moved:
            super()._refused(error)

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, {}
        if not arrived:
            return
        try:
            self._deliver(list(arrived.items()))
        except Exception:  # the connection is not to blame, and others wait for what comes next
            logger.exception("Delivering what %d buckets brought failed.", len(arrived))


def _count_down(counts: Counter[str], name: str) -> bool:
    """Whether there was one to count."""
    if name not in counts:
        return False
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
    return True
