"""Who may publish and who may subscribe: API keys, and how to look one up without asking the database every time.

``find_key`` answers from a cache for the keys it found within the last seconds. Unknown keys are not cached, so a new
key works at once. A key that is revoked stops working in this process as soon as that is committed, and in other
processes when their entry has expired.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from ticks.models import ApiKey, key_digest

if TYPE_CHECKING:
    # rest_framework.views imports this module, as its default authentication.
    from rest_framework.views import APIView

__all__ = [
    "ApiKeyAuthentication",
    "KeyCache",
    "MayPublish",
    "MaySubscribe",
    "afind_key",
    "find_cached_key",
    "find_key",
    "key_in_header",
]

CACHE_SECONDS: Final = 5.0
"""How long another process may go on accepting a key that was revoked."""

_SCHEME: Final = "Api-Key"
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
    """The active key whose plaintext this is. May ask the database."""
    return _cache.fetch(plaintext, ApiKey.objects.find)


def find_cached_key(plaintext: str) -> ApiKey | None:
    """Like :func:`find_key`, but never asks the database: None may also mean that the key is not in the cache."""
    return _cache.get(plaintext)


async def afind_key(plaintext: str) -> ApiKey | None:
    """Like :func:`find_key`, for the event loop: only a key that is not in the cache costs a thread and a query."""
    key = find_cached_key(plaintext)
    if key is None:
        key = await database_sync_to_async(find_key)(plaintext)
    return key


def key_in_header(authorization: bytes) -> str | None:
    """The API key in an ``Authorization`` header, None if it has another scheme; ``ValueError`` if it is malformed."""
    scheme, _, rest = authorization.strip().partition(b" ")
    if scheme.lower() != _SCHEME.lower().encode():
        return None
    words = rest.split()
    if len(words) != 1 or not words[0].isascii():
        raise ValueError(f"Write the header as: Authorization: {_SCHEME} <key>")
    return words[0].decode("ascii")


@receiver([post_save, post_delete], sender=ApiKey)
def _forget_keys(using: str, **_: Any) -> None:
    # Not before the commit: until then a lookup would find the key as it was, and cache it again.
    transaction.on_commit(_cache.clear, using=using)


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Api-Key <key>``. The request's ``auth`` is then the :class:`ApiKey`; a key has no user."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        try:
            # From where DRF's helper would get it, by way of a mapping of all headers made anew for each request.
            plaintext = key_in_header(request.META.get("HTTP_AUTHORIZATION", "").encode("latin1"))
        except ValueError as error:
            raise AuthenticationFailed(str(error)) from error
        if plaintext is None:
            return None
        key = find_key(plaintext)
        if key is None:
            raise AuthenticationFailed("The API key is unknown or revoked.")
        return AnonymousUser(), key

    def authenticate_header(self, _request: Request) -> str:
        return _SCHEME


class MayPublish(BasePermission):
    """Holders of an API key; everybody where ``MARKETMUX_ANONYMOUS`` is on."""

    message = "Publishing needs an API key."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return settings.MARKETMUX_ANONYMOUS or isinstance(request.auth, ApiKey)


class MaySubscribe(BasePermission):
    """Holders of an API key and whoever is logged in; everybody where ``MARKETMUX_ANONYMOUS`` is on."""

    message = "This needs an API key or a login."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return settings.MARKETMUX_ANONYMOUS or isinstance(request.auth, ApiKey) or request.user.is_authenticated
