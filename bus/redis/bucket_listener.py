"""Listens to one bucket of a cluster wherever it is, over the connection to its node, which has no patterns.

What patterns would bring comes on one channel for the whole bucket, to which is published while somebody listens to it
(lua/cluster/send.lua). When a slot goes to another node its channels are unsubscribed from, and the node says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

from redis.exceptions import ConnectionError as RedisConnectionError

from bus.redis.membership import beginning
from bus.redis.reception import RawMessage, tell
from bus.redis.topics import Topics, confirmed

if TYPE_CHECKING:
    from bus.redis.node_reception import NodeReception

__all__ = ["BucketListener"]

_SIZES: Final = Struct(">II")


class BucketListener:
    """Listens to the channels of one bucket wherever it is: what a :class:`~bus.redis.listener.Listener` does.

    ``displaced`` is called when it is to be found out where the bucket is: that is not known yet, or not any more.
    """

    def __init__(
        self,
        prefix: str,
        slot: int,
        *,
        lost: Callable[[], None],
        restored: Callable[[], None],
        displaced: Callable[[], None],
        timeout: float = 3.0,
    ) -> None:
        self.prefix = prefix
        self.slot = slot
        self._all = f"{prefix}__all__"
        self._lost = lost
        self._restored = restored
        self._displaced = displaced
        self._timeout = timeout
        self._reception: NodeReception | None = None
        self._channels = Topics("SSUBSCRIBE", "SUNSUBSCRIBE")
        self._patterns: set[str] = set()
        self._is_up = self._is_lost = self._is_started = False
        self.patterns: set[str] = set()
        """Those in force: changes between two deliveries, exactly where it changes in Redis."""

    async def add(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        """Listens to these too; when it returns Redis has confirmed all of them, else as with a ``Listener``."""
        self.want(channels, patterns)
        unconfirmed = self._channels.unconfirmed([*channels, *([self._all] if patterns else [])])
        if not unconfirmed or await confirmed(unconfirmed, self._timeout, lambda: self._is_connected):
            return
        problem = None if self._reception is None else self._reception.problem
        raise (problem or RedisConnectionError(f"Redis did not answer within {self._timeout} s.")).with_traceback(None)

    def want(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        """Asks for these too, now if there is a connection, and waits for nothing."""
        new = [channel for channel in channels if channel not in self._channels.wanted]
        if not self._patterns.issuperset(patterns):
            self._patterns.update(patterns)
            new.append(self._all)
        self._begin()
        self._subscribe(new)

    def remove(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        """Listens to these no more."""
        gone = self._channels.forget(channels)
        if not self._patterns.isdisjoint(patterns):
            self._patterns.difference_update(patterns)
            if self._patterns:
                self._subscribe([self._all])  # its confirmation says from where on the others alone are in force
            else:
                gone += self._channels.forget([self._all])
        if self._reception is not None:
            self._reception.unsubscribe(gone)
        self.check_up()

    @property
    def is_up(self) -> bool:
        return self._is_up

    def start(self) -> None:
        """Connects, also where there is nothing to listen to yet; counts as lost until it has."""
        self._is_lost = not self._is_up
        self._begin()

    def _begin(self) -> None:
        self._is_started = True
        if self._reception is None:
            self._displaced()
        else:
            self._reception.start()

    async def close(self) -> None:
        """What was listened to is forgotten."""
        self._is_up = self._is_lost = self._is_started = False
        self.attach(None)
        self._channels.clear()
        self._patterns.clear()

    @property
    def _is_connected(self) -> bool:
        return self._reception is not None and self._reception.is_connected

    def _subscribe(self, channels: Sequence[str]) -> None:
        self._channels.want(channels, is_asked=self._is_connected)
        if self._reception is not None:
            self._reception.subscribe(channels)

    # Where the bucket is

    def attach(self, reception: NodeReception | None) -> None:
        """The bucket is to be listened to over that connection; None while nobody knows where it is."""
        if reception is self._reception:
            return
        if self._reception is not None:
            self._reception.unsubscribe(self._channels.wanted)
            self._reception.listeners.pop(self.slot, None)
        self._reception = reception
        self.ended()
        if reception is None:
            return
        reception.listeners[self.slot] = self
        if self._is_started:
            reception.start()
        if reception.is_connected:
            self.began(reception.asked)

    def began(self, asked: Counter[str]) -> None:
        """There is a connection, on which so many subscriptions are under way from before."""
        self._channels.start_over(asked)
        if self._reception is not None:
            self._reception.subscribe(list(self._channels.wanted))

    def ended(self) -> None:
        """The connection, or its node, has nothing more to say."""
        self.patterns = set()
        was_up, self._is_up = self._is_up, False
        if was_up:
            self._is_lost = True
            tell(self._lost)

    def lose_place(self) -> None:
        self.attach(None)
        self._displaced()

    # What it brings

    def messages(self, channel: str, payload: bytes) -> Iterator[RawMessage]:
        if channel != self._all:
            yield channel, payload, None
            return
        patterns = [(beginning(pattern), pattern) for pattern in self.patterns]
        at = 0
        while at < len(payload):
            name, size = _SIZES.unpack_from(payload, at)
            at += _SIZES.size
            group = f"{self.prefix}__group__{payload[at : at + name].decode('utf-8', 'surrogateescape')}"
            at += name
            for start, pattern in patterns:
                if group.startswith(start):
                    yield group, payload[at : at + size], pattern
            at += size

    def changes_patterns(self, channel: str) -> bool:
        return channel == self._all

    def confirm(self, channel: str) -> None:
        if self._channels.confirm(channel) and channel == self._all:
            self.patterns = set(self._patterns)
        self.check_up()

    def unsubscribed(self, channel: str, is_asked: bool) -> None:
        if channel == self._all:
            self.patterns = set()
        if not is_asked and channel in self._channels.wanted:
            self.lose_place()

    def check_up(self) -> None:
        """Everything wanted is confirmed for the first time on this connection."""
        if self._is_up or self._reception is None or not self._reception.is_known or self._channels.is_pending:
            return
        self._is_up = True
        if self._is_lost:
            self._is_lost = False
            tell(self._restored)
