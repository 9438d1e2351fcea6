"""What the holder of an API key may do, without asking the database every time.

The keys that were found within the last seconds are in a cache. What is not in there is looked up together with what
else came in that moment, so made-up keys cost no query each, keep nobody waiting and push no key out of the cache. And
as unknown keys are not remembered, a new one works at once. A key that is revoked stops working in this process as soon
as that is committed, and in other processes when they have read of the change (ticks/access/changes.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ticks import lookups
from ticks.access import journal
from ticks.access.grant import Grant
from ticks.access.models import ApiKey, key_digest

__all__ = ["KeyCache", "at_hand", "forget", "grant_of_key", "has_cached", "look_up"]

CACHE_SECONDS: Final = 5.0
"""How long a process that cannot read of changes may go on accepting a key that was revoked."""

_CACHED_KEYS: Final = 1_024


class KeyCache:
    """Grants by the name of what they are of, such as a key's digest, each for ``seconds``; the oldest goes when there
    are more than ``size``.

    ``misses``: whether it is remembered too that there is none. Not where names can be made up.
    """

    def __init__(
        self, seconds: float, size: int, clock: Callable[[], float] = time.time, *, misses: bool = False
    ) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._misses = misses
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[float, Grant | None]] = {}
        self.generation = 0
        """How often it was cleared: what was asked for before then may have changed."""

    def get(self, name: str) -> Grant | None:
        entry = self._entry(name)
        return None if entry is None else entry[1]

    def fetch(self, name: str, find: Callable[[str], Grant | None]) -> Grant | None:
        """The grant in the cache, else the one that ``find`` finds, which is then in the cache."""
        entry = self._entry(name)
        if entry is not None:
            return entry[1]
        generation = self.generation
        grant = find(name)
        self.put(name, grant, generation)
        return grant

    def _entry(self, name: str) -> tuple[float, Grant | None] | None:
        entry = self._entries.get(name)
        return entry if entry is not None and self._clock() < entry[0] else None

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        with self._lock:
            self.generation += 1
            self._entries.clear()

    def put(self, name: str, grant: Grant | None, generation: int) -> None:
        """What was found, asked for in that ``generation``."""
        if grant is None and not self._misses:
            return
        until = self._clock() + self._seconds
        if grant is not None and grant.expires is not None:
            until = min(until, grant.expires)
        with self._lock:
            # Cleared since the key was looked up: it may have been revoked in between.
            if generation != self.generation:
                return
            self._entries.pop(name, None)
            self._entries[name] = (until, grant)
            if len(self._entries) > self._size:
                del self._entries[next(iter(self._entries))]


_cache = KeyCache(CACHE_SECONDS, _CACHED_KEYS)


async def look_up(plaintext: str) -> Grant | None:
    """What the key whose plaintext this is allows; None if it is unknown, revoked or expired.

    For the event loop. :class:`~ticks.lookups.DatabaseUnavailable`.
    """
    digest = key_digest(plaintext)
    return _noted(_cache.get(digest) or await _uncached.ask(digest))


def at_hand(plaintext: str) -> Grant | None:
    """The same if it is in the cache; None if not."""
    return _noted(_cache.get(key_digest(plaintext)))


def grant_of_key(plaintext: str) -> Grant | None:
    """The same for a thread, which asks the database by itself if the key is not in the cache."""
    digest = key_digest(plaintext)
    return _noted(_cache.get(digest) or _find([digest]).get(digest))


def forget() -> None:
    """Asks the database again for every key."""
    _cache.clear()


def has_cached() -> bool:
    """Whether any key is cached."""
    return bool(_cache)


def _noted(grant: Grant | None) -> Grant | None:
    if grant is not None:
        journal.used(grant.owner)
    return grant


def _find(digests: Sequence[str]) -> Mapping[str, Grant]:
    generation = _cache.generation
    grants = ApiKey.objects.grants_of(digests)
    for digest, grant in grants.items():
        _cache.put(digest, grant, generation)
    return grants


_uncached = lookups.Gathered(_find)
