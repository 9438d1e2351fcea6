"""The public keys of those who sign JWTs, as their address (``MARKETMUX_JWT_JWKS_URL``) gives them: a JWK Set.

They are fetched when a token names a key that is not known, at most once in some seconds, and again now and then, by a
thread of their own. A token whose key is known waits for nothing. When the address does not answer the keys that were
had last are kept.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, Final, NamedTuple

import jwt

__all__ = ["ALGORITHMS", "PATIENCE", "KeySet", "SigningKey", "key_set"]

logger = logging.getLogger(__name__)

PATIENCE: Final = 2.0
"""How long a fetch may take, in seconds."""

_RETRY_SECONDS: Final = 5.0
_MAX_AGE: Final = 300.0
_MOST_BYTES: Final = 262_144
_MOST_KEYS: Final = 100

_BY_CURVE: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ALGORITHMS: Final = _RSA | frozenset(_BY_CURVE.values())
"""Those that a public key can be for."""


class SigningKey(NamedTuple):
    """A public key, and the algorithms that it is for."""

    key: Any
    algorithms: frozenset[str]


class KeySet:
    """The keys at an address."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str | None, SigningKey] | None = None
        self._under_way: Future[None] | None = None
        self._tried_at = self._fetched_at = -_MAX_AGE - _RETRY_SECONDS
        self._failing = False

    @property
    def is_known(self) -> bool:
        """Whether they were had at least once."""
        return self._keys is not None

    def find(self, kid: str | None) -> SigningKey | None:
        """The key of that name; where there is only one, a token need not name it."""
        keys = self._keys or {}
        if kid is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(kid)

    def refresh(self, kid: str | None) -> Future[None] | None:
        """Fetches the keys if that one is not known, or they are old; what is under way is worth waiting for if the key
        is not known. Returns None if there is nothing to wait for.
        """
        with self._lock:
            if self._under_way is not None:
                return self._under_way
            now = self._clock()
            is_wanted = self.find(kid) is None or now - self._fetched_at > _MAX_AGE
            if not is_wanted or now - self._tried_at < _RETRY_SECONDS:
                return None
            self._tried_at = now
            under_way: Future[None] = Future()
            self._under_way = under_way
        threading.Thread(target=self._fetch, args=(under_way,), name="jwks", daemon=True).start()
        return under_way

    def _fetch(self, under_way: Future[None]) -> None:
        try:
            keys = parse(_get(self._url))
        except Exception as error:
            self._tell(error)
        else:
            self._keys, self._fetched_at = keys, self._clock()
            self._tell(None)
        with self._lock:
            self._under_way = None
        under_way.set_result(None)

    def _tell(self, error: Exception | None) -> None:
        if error is not None and not self._failing:
            logger.error("MARKETMUX_JWT_JWKS_URL gives no keys, so the last ones are kept: %s", error)
        elif error is None and self._failing:
            logger.warning("MARKETMUX_JWT_JWKS_URL gives keys again")
        self._failing = error is not None


@lru_cache(maxsize=2)
def key_set(url: str) -> KeySet:
    """The one key set of that address."""
    return KeySet(url)


def parse(body: bytes) -> dict[str | None, SigningKey]:
    """The public keys for signatures in a JWK Set, by name. ``ValueError`` if there are none."""
    listed = json.loads(body)
    if not isinstance(listed, dict) or not isinstance(listed.get("keys"), list):
        raise ValueError("not a JWK Set")
    keys: dict[str | None, SigningKey] = {}
    for data in listed["keys"][:_MOST_KEYS]:
        if isinstance(data, dict) and (key := _signing_key(data)) is not None:
            keys.setdefault(data.get("kid"), key)
    if not keys:
        raise ValueError("none of its keys is a public one for signatures")
    return keys


def _signing_key(data: dict[str, Any]) -> SigningKey | None:
    """None if it is none, or of a kind that we do not know."""
    if data.get("use", "sig") != "sig" or "d" in data or not isinstance(data.get("kid"), str | None):
        return None
    try:
        if "verify" not in data.get("key_ops", ["verify"]):
            return None
        fitting = _RSA if data["kty"] == "RSA" else frozenset({_BY_CURVE[data["crv"]]})
        if "alg" in data:
            fitting &= {data["alg"]}
        return SigningKey(jwt.PyJWK(data, min(fitting)).key, fitting)
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return None


def _get(url: str) -> bytes:
    """What is at an address of the web, within bounds; not followed elsewhere."""
    deadline = time.monotonic() + PATIENCE
    handlers = (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler)
    opener = urllib.request.OpenerDirector()
    for handler in (*handlers, urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - these handlers are all
    body = b""
    with opener.open(request, timeout=PATIENCE) as response:
        while chunk := response.read1(_MOST_BYTES):
            body += chunk
            if len(body) > _MOST_BYTES or time.monotonic() > deadline:
                raise ValueError("too long, or too slow")
    return body
