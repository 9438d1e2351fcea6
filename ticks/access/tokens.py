"""Tokens of our own: for a minute, what a key or a login allows, or a part of it, for a browser or another service.

A token is sealed (Fernet: encrypted and signed) with a key made of ``SECRET_KEY``, and is kept nowhere. Inside is what
it was made from, so its grant is what that allows at the moment it is shown, and lasts as long as that does. It may be
a session, whose key the scripts of a page must not see: this is why a token is encrypted.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac

from ticks.access import keys
from ticks.access.credentials import MAX_TOKEN_BYTES, Audience, InvalidCredential
from ticks.access.grant import Grant, Scope
from ticks.access.models import KeyRenewal
from ticks.access.patterns import NONE, Patterns
from ticks.access.users import SessionRenewal

__all__ = [
    "LIFETIME",
    "START",
    "Token",
    "TooManyPatterns",
    "can_issue",
    "forget",
    "grant_of_token",
    "has_cached",
    "is_ours",
    "issue",
    "patterns_of",
]

LIFETIME: Final = 60.0
"""From its making to the handshake, in seconds."""
START: Final = "mmt_"
"""What a token of ours begins with."""

_LEEWAY: Final = 5.0
"""How far the clocks of two gateways may be apart, in seconds."""
_MOST_CACHED: Final = 10_000

Source = KeyRenewal | SessionRenewal
"""What tokens are made from, and what they are renewed by."""


class Token(NamedTuple):
    """``expires``: the time (of ``time.time()``) after which it is not taken any more."""

    text: str
    expires: float


class TooManyPatterns(ValueError):
    """The token would be longer than a header or subprotocol should be."""


class _Sealed(msgspec.Struct):
    source: str
    audience: Audience
    expires: float
    scopes: dict[Scope, list[str]] | None = None


def is_ours(text: str) -> bool:
    """Whether it is said to be a token of ours, and not somebody's JWT."""
    return text.startswith(START)


def can_issue(grant: Grant) -> bool:
    """Whether tokens can be made from a grant: from keys and logins, but not from tokens."""
    return isinstance(grant.renew, Source)


def issue(grant: Grant, audience: Audience, scopes: Mapping[Scope, Patterns] | None = None) -> Token:
    """A token for what ``grant`` allows or, of that, for what ``scopes`` has; :class:`TooManyPatterns` if too long."""
    expires = time.time() + LIFETIME
    if not isinstance(grant.renew, Source):
        raise TypeError("tokens are made from keys and logins")
    named = None if scopes is None else {scope: list(patterns) for scope, patterns in scopes.items()}
    sealed = _sealer().encrypt(msgspec.json.encode(_Sealed(_name(grant.renew), audience, expires, named)))
    text = START + sealed.decode().rstrip("=")
    if len(text) > MAX_TOKEN_BYTES:
        raise TooManyPatterns(f"A token has at most {MAX_TOKEN_BYTES:,} bytes: ask for fewer patterns.")
    return Token(text, expires)


def grant_of_token(text: str, audience: Audience) -> Grant:
    """What is allowed now who shows this token; :class:`InvalidCredential` if it is no good.

    Asks the database if what it was made from was not looked up lately.
    """
    token = _open(text)
    if token.audience is not audience:
        raise InvalidCredential(f"The token is for {token.audience}, and not for {audience}.", "token_wrong_audience")
    if token.expires + _LEEWAY < time.time():
        raise InvalidCredential("The token has expired.", "token_expired")
    grant = _cache.fetch(token.source, _find)
    if grant is None:
        raise InvalidCredential("The key or session that the token was made from is no more.", "token_revoked")
    scopes = None if token.scopes is None else patterns_of(token.scopes)
    return _part_of(grant, None if scopes is None else tuple(scopes.get(scope, NONE) for scope in Scope))


def patterns_of(scopes: Mapping[Scope, list[str]]) -> dict[Scope, Patterns]:
    """``ValueError`` if some of them are no patterns."""
    return {scope: Patterns(patterns) for scope, patterns in scopes.items()}


def forget() -> None:
    """Asks the database again for what tokens were made from."""
    _cache.clear()


def has_cached() -> bool:
    """Whether anything is cached."""
    return bool(_cache)


def _open(text: str) -> _Sealed:
    body = text.removeprefix(START)
    padded = body + "=" * (-len(body) % 4)
    try:
        # What decodes base64 passes over what is none, and over the last bits: a token has one spelling.
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(padded)).decode() != padded:
            raise InvalidToken
        return msgspec.json.decode(_sealer().decrypt(padded), type=_Sealed)
    except (InvalidToken, ValueError) as error:
        raise InvalidCredential("The token is not valid.", "token_invalid") from error


def _sealer() -> MultiFernet:
    return _made_of((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4)
def _made_of(secrets: Sequence[str]) -> MultiFernet:
    """Seals with the first secret, and opens with all."""
    return MultiFernet(
        [
            Fernet(
                base64.urlsafe_b64encode(
                    salted_hmac("ticks.access.tokens", "seal", secret, algorithm="sha256").digest()
                )
            )
            for secret in secrets
        ]
    )


_cache = keys.KeyCache(keys.CACHE_SECONDS, _MOST_CACHED, misses=True)
"""By what tokens name. Nobody but us can make a token, so what is no more is remembered as well."""


def _name(source: Source) -> str:
    if isinstance(source, SessionRenewal):
        return f"session:{source.session}"
    return f"key:{source.pk}:{source.digest}"


def _find(name: str) -> Grant | None:
    kind, _, rest = name.partition(":")
    if kind == "session":
        return SessionRenewal(rest)()
    pk, _, digest = rest.partition(":")
    return KeyRenewal(int(pk), digest)()


@dataclass(frozen=True, slots=True)
class PartRenewal:
    """Asks again for what a token was made from, and gives of it what the token does; equal for equal tokens."""

    source: Callable[[], Grant | None]
    part: tuple[Patterns, ...] | None

    def __call__(self) -> Grant | None:
        grant = self.source()
        return None if grant is None else _part_of(grant, self.part)


def _part_of(grant: Grant, part: tuple[Patterns, ...] | None) -> Grant:
    """The grant as a token's, of which no more tokens can be made."""
    renew = grant.renew and PartRenewal(grant.renew, part)
    if part is None:
        return replace(grant, renew=renew)
    publish, subscribe, read = (grant.of(scope) & patterns for scope, patterns in zip(Scope, part, strict=True))
    return replace(grant, publish=publish, subscribe=subscribe, read=read, renew=renew)
