"""What the holder of an API key may do, without asking the database every time.

``grant_of_key`` answers from a cache for the keys it found within the last seconds. Unknown keys are not cached, so a
new key works at once. A key that is revoked stops working in this process as soon as that is committed, and in other
processes when they have read of the change (ticks/access/changes.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from ticks.access import journal
from ticks.access.grant import Grant
from ticks.access.models import ApiKey, key_digest

__all__ = ["KeyCache", "forget", "grant_of_key", "has_cached"]

CACHE_SECONDS: Final = 5.0
"""How long a process that cannot read of changes may go on accepting a key that was revoked."""

_CACHED_KEYS: Final = 1_024


class KeyCache:
    """Grants by their key's digest, each for ``seconds``; the oldest goes when there are more than ``size``."""

    def __init__(self, seconds: float, size: int, clock: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[float, Grant]] = {}
        self._generation = 0

    def get(self, plaintext: str) -> Grant | None:
        entry = self._entries.get(key_digest(plaintext))
        return entry[1] if entry is not None and self._clock() < entry[0] else None

    def fetch(self, plaintext: str, find: Callable[[str], Grant | None]) -> Grant | None:
        """The grant in the cache, else the one that ``find`` finds, which is then in the cache."""
        grant = self.get(plaintext)
        if grant is None:
            generation = self._generation
            grant = find(plaintext)
            if grant is not None:
                self._put(key_digest(plaintext), grant, generation)
        return grant

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        with self._lock:
            self._generation += 1
            self._entries.clear()

    def _put(self, digest: str, grant: Grant, generation: int) -> None:
        until = self._clock() + self._seconds
        with self._lock:
            # Cleared since the key was looked up: it may have been revoked in between.
            if generation != self._generation:
                return
            self._entries.pop(digest, None)
            self._entries[digest] = (until if grant.expires is None else min(until, grant.expires), grant)
            if len(self._entries) > self._size:
                del self._entries[next(iter(self._entries))]


_cache = KeyCache(CACHE_SECONDS, _CACHED_KEYS)


def grant_of_key(plaintext: str) -> Grant | None:
    """What the key whose plaintext this is allows; None if it is unknown, revoked or expired.

    Asks the database if the key is not in the cache.
    """
    grant = _cache.fetch(plaintext, _find)
    if grant is not None:
        journal.used(grant.owner)
    return grant


def forget() -> None:
    """Asks the database again for every key."""
    _cache.clear()


def has_cached() -> bool:
    """Whether any key is cached."""
    return bool(_cache)


def _find(plaintext: str) -> Grant | None:
    key = ApiKey.objects.find(plaintext)
    return None if key is None else key.grant(key_digest(plaintext))
