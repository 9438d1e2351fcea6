"""Who is asking, and what that allows: found once for each request or handshake, and handed on.

HTTP requests are identified by ``ticks.authentication``, WebSocket handshakes by ``gateway.edge.access``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import SynchronousOnlyOperation

from ticks import lookups
from ticks.keys import find_key
from ticks.models import ApiKey

__all__ = [
    "SCHEME",
    "UNKNOWN",
    "Identity",
    "InvalidKey",
    "aidentify",
    "identify",
    "key_in_header",
    "may_publish",
    "may_subscribe",
]

SCHEME: Final = "Api-Key"
"""The scheme of the ``Authorization`` header that holds a key."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The API key that came with a request, or the user of its session; neither if it says nothing of itself."""

    key: ApiKey | None = None
    user: AbstractBaseUser | None = None


UNKNOWN: Final = Identity()


class InvalidKey(ValueError):
    """The header for a key is malformed, or the key in it is unknown or revoked."""


def identify(authorization: bytes) -> Identity:
    """Whose key is in an ``Authorization`` header; ``UNKNOWN`` if it holds none, :class:`InvalidKey` if a wrong one.

    Asks the database about a key that is not in the cache.
    """
    plaintext = key_in_header(authorization)
    if plaintext is None:
        return UNKNOWN
    key = find_key(plaintext)
    if key is None:
        raise InvalidKey("The API key is unknown or revoked.")
    return Identity(key)


async def aidentify(authorization: bytes) -> Identity:
    """Like :func:`identify`, for the event loop: only a key that is not in the cache costs a thread and a query.

    :class:`~ticks.lookups.DatabaseUnavailable` if that does not answer.
    """
    try:
        return identify(authorization)
    except SynchronousOnlyOperation:  # raised before anything is asked of the database
        return await lookups.ask(identify, authorization)


def key_in_header(authorization: bytes) -> str | None:
    """The API key in an ``Authorization`` header, None if it has another scheme; :class:`InvalidKey` if malformed."""
    scheme, _, rest = authorization.strip().partition(b" ")
    if scheme.lower() != SCHEME.lower().encode():
        return None
    words = rest.split()
    if len(words) != 1 or not words[0].isascii():
        raise InvalidKey(f"Write the header as: Authorization: {SCHEME} <key>")
    return words[0].decode("ascii")


def may_publish(identity: Identity) -> bool:
    """True for holders of an API key; for everybody where ``MARKETMUX_ANONYMOUS`` is on."""
    return settings.MARKETMUX_ANONYMOUS or identity.key is not None


def may_subscribe(identity: Identity) -> bool:
    """True for holders of an API key and logged-in users; for everybody where ``MARKETMUX_ANONYMOUS`` is on."""
    return may_publish(identity) or identity.user is not None
