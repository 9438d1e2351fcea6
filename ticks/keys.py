"""Which API key a plaintext is, without asking the database every time.

``find_key`` answers from a cache for the keys it found within the last seconds. Unknown keys are not cached, so a new
key works at once. A key that is revoked stops working in this process as soon as that is committed, and in other
processes when their entry has expired.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from ticks.models import ApiKey, key_digest

__all__ = ["KeyCache", "find_key"]

CACHE_SECONDS: Final = 5.0
"""How long another process may go on accepting a key that was revoked."""

_CACHED_KEYS: Final = 1_024


class KeyCache:
    """Keys by digest, each for ``seconds``; the oldest goes when there are more than ``size``."""

    def __init__(self, seconds: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[float, ApiKey]] = {}
        self._generation = 0

    def get(self, plaintext: str) -> ApiKey | None:
        entry = self._entries.get(key_digest(plaintext))
        return entry[1] if entry is not None and self._clock() < entry[0] else None

    def fetch(self, plaintext: str, find: Callable[[str], ApiKey | None]) -> ApiKey | None:
        """The key in the cache, else the one that ``find`` finds, which is then in the cache."""
        key = self.get(plaintext)
        if key is None:
            generation = self._generation
            key = find(plaintext)
            if key is not None:
                self._put(key, generation)
        return key

    def clear(self) -> None:
        with self._lock:
            self._generation += 1
            self._entries.clear()

    def _put(self, key: ApiKey, generation: int) -> None:
        with self._lock:
            # Cleared since the key was looked up: it may have been revoked in between.
            if generation != self._generation:
                return
            self._entries.pop(key.digest, None)
            self._entries[key.digest] = (self._clock() + self._seconds, key)
            if len(self._entries) > self._size:
                del self._entries[next(iter(self._entries))]


_cache = KeyCache(CACHE_SECONDS, _CACHED_KEYS)


def find_key(plaintext: str) -> ApiKey | None:
    """The active key whose plaintext this is. Asks the database if the key is not in the cache."""
    return _cache.fetch(plaintext, ApiKey.objects.find)


@receiver([post_save, post_delete], sender=ApiKey)
def _forget_keys(using: str, **_: Any) -> None:
    # Not before the commit: until then a lookup would find the key as it was, and cache it again.
    transaction.on_commit(_cache.clear, using=using)
