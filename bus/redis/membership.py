"""What this process joined on one Redis: channels of groups, and patterns. One change at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import NamedTuple, Protocol

from redis.exceptions import RedisError

__all__ = ["Ear", "Membership", "Names", "beginning", "names_of"]


class Ear(Protocol):
    """What listens to channels and patterns: a ``Listener`` or, in a cluster, a ``BucketListener``."""

    patterns: set[str]

    @property
    def is_up(self) -> bool: ...

    async def add(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None: ...

    def want(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None: ...

    def remove(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None: ...


class Names(NamedTuple):
    """Channels, and patterns in Redis's spelling."""

    channels: Collection[str] = ()
    patterns: Collection[str] = ()


class Membership:
    """Follows the wishes of the process; ordinary consumers (``is_consumers``) share its channels.

    ``is_away`` says whether the host is away while others are there. Then nobody waits for it: what is joined meanwhile
    is subscribed to when it is back, which the tap is told.
    """

    def __init__(self, listener: Ear, is_consumers: Callable[[str], bool], is_away: Callable[[], bool]) -> None:
        self._listener = listener
        self._is_consumers = is_consumers
        self._is_away = is_away
        self._lock = asyncio.Lock()
        self.joined: set[str] = set()
        self.wanted: set[str] = set()
        """Patterns. One is wanted first and in force, in place of the channels it covers, once Redis has confirmed."""
        self._patterns: set[str] = set()

    async def join(self, names: Names) -> Names:
        """Joins all or, on an error, none; returns those that are new."""
        async with self._lock:
            new = Names(
                [channel for channel in names.channels if channel not in self.joined],
                [pattern for pattern in names.patterns if pattern not in self.wanted],
            )
            self.joined.update(new.channels)
            self.wanted.update(new.patterns)
            try:
                await self._listen(channel for channel in names.channels if not self._is_covered(channel))
                # First the patterns, then without the channels they cover: nothing is missed in between.
                await self._add(patterns=names.patterns)
            except BaseException:
                self.withdraw(new)
                raise
            self._patterns.update(names.patterns)
            if names.patterns:  # to look through all that is joined is work for each symbol of each client else
                self.unsubscribe([channel for channel in self.joined if self._is_covered(channel)])
            return new

    async def leave(self, names: Names) -> None:
        async with self._lock:
            self.joined.difference_update(names.channels)
            patterns = [pattern for pattern in names.patterns if pattern in self.wanted]
            self.wanted.difference_update(patterns)
            self._patterns.difference_update(patterns)
            try:
                if patterns:  # first the channels that are still joined, then the patterns
                    await self._listen(channel for channel in self.joined if not self._is_covered(channel))
            finally:
                self._listener.remove(patterns=patterns)
                self.unsubscribe(names.channels)

    def withdraw(self, names: Names) -> None:
        """Takes back what was joined just now."""
        self.joined.difference_update(names.channels)
        self.wanted.difference_update(names.patterns)
        self._patterns.difference_update(names.patterns)
        self._listener.remove(patterns=names.patterns)
        self.unsubscribe(names.channels)

    def clear(self) -> None:
        """The connection is about to be closed."""
        self.joined.clear()
        self.wanted.clear()
        self._patterns.clear()

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Unsubscribes from those that neither the consumers nor the process need any more."""
        self._listener.remove([channel for channel in channels if not self._is_used(channel)])

    def _is_used(self, channel: str) -> bool:
        return self._is_consumers(channel) or (channel in self.joined and not self._is_covered(channel))

    def _is_covered(self, channel: str) -> bool:
        return any(channel.startswith(beginning(pattern)) for pattern in self._patterns)

    async def _listen(self, channels: Iterable[str]) -> None:
        await self._add(list(channels))

    async def _add(self, channels: Collection[str] = (), patterns: Collection[str] = ()) -> None:
        if self._is_away():
            self._listener.want(channels, patterns)
            return
        try:
            await self._listener.add(channels, patterns)
        except (RedisError, OSError):
            if not self._is_away():
                raise


def names_of(names: Iterable[str]) -> Names:
    """Tells channels from patterns, which end with an asterisk: all else that is special to Redis stands for itself."""
    channels, patterns = [], []
    for name in names:
        if name[-1] == "*":
            patterns.append(re.sub(r"([\\*?\[\]])", r"\\\1", name[:-1]) + "*")
        else:
            channels.append(name)
    return Names(channels, patterns)


@lru_cache(maxsize=64)
def beginning(pattern: str) -> str:
    """What the channels of one of our patterns begin with."""
    return re.sub(r"\\(.)", r"\1", pattern[:-1])
