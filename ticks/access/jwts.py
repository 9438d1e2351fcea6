"""JSON Web Tokens that the application of this gateway's users mints itself: who may what, without asking anybody.

They are signed with a secret that both know (``MARKETMUX_JWT_SECRET``), or with a key whose public half is at an
address (``MARKETMUX_JWT_JWKS_URL``). The claim ``sub`` says whose the connection is, and ``marketmux`` what it may do:
patterns by scope::

    {"iss": ..., "aud": ..., "sub": "alice", "exp": ..., "marketmux": {"subscribe": ["AAPL", "BTC-*"]}}

Nothing stands behind such a token: what it allows ends when it expires.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any, Final, NoReturn
from urllib.parse import quote

import jwt
import msgspec
from django.utils.asyncio import async_unsafe

from ticks.access.credentials import InvalidCredential
from ticks.access.grant import Grant, Scope
from ticks.access.jwks import PATIENCE, KeySet, SigningKey, key_set
from ticks.access.patterns import NONE, Patterns
from ticks.access.users import EntitlementsUnavailable
from ticks.conf import conf

__all__ = ["BY_SECRET", "LEEWAY", "grant_of_jwt", "is_at_hand", "is_configured", "prepare", "wait"]

LEEWAY: Final = 5.0
"""How far the signer's clock may be from ours, in seconds."""

BY_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
_LATEST: Final = 253_402_300_000.0
"""The end of the year 9999."""
_LONGEST_SUBJECT: Final = 200

_CODES: Final[dict[type[Exception], tuple[str, str]]] = {
    jwt.ExpiredSignatureError: ("token_expired", "The token has expired."),
    jwt.ImmatureSignatureError: ("token_not_yet_valid", "The token is not valid yet."),
    jwt.InvalidAudienceError: ("token_wrong_audience", "The token is for somebody else: see its claim aud."),
    jwt.InvalidIssuerError: ("token_wrong_issuer", "The token is from somebody else: see its claim iss."),
    jwt.MissingRequiredClaimError: ("token_wrong_claims", "The token needs the claims iss, aud, sub and exp."),
}
"""What is found out only about a token whose signature is right."""


class _Claims(msgspec.Struct):
    sub: str
    exp: float
    marketmux: dict[Scope, list[str]] = {}


def is_configured() -> bool:
    """Whether anybody's JWTs are taken: it takes a key, and an issuer and audience to hold the claims to."""
    has_key = bool(conf.MARKETMUX_JWT_SECRET) != bool(conf.MARKETMUX_JWT_JWKS_URL)
    return has_key and bool(conf.MARKETMUX_JWT_ISSUER) and bool(conf.MARKETMUX_JWT_AUDIENCE)


async def prepare(token: str) -> None:
    """Fetches the key that a token names, if it is not known: for the event loop, which must not wait for it."""
    if (fetch := _fetch(token)) is not None:
        await asyncio.wait([asyncio.wrap_future(fetch)], timeout=PATIENCE)


def is_at_hand(token: str) -> bool:
    """Whether the key that a token names is known; else it is being fetched."""
    return _fetch(token) is None


@async_unsafe
def wait(token: str) -> None:
    """The same for a thread."""
    if (fetch := _fetch(token)) is not None:
        wait_for([fetch], PATIENCE)


def grant_of_jwt(token: str) -> Grant:
    """What a token allows; :class:`InvalidCredential` if it is no good. After :func:`prepare`, or :func:`wait`."""
    if not is_configured():
        _fail()
    key = _key(token)
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=sorted(key.algorithms),
            audience=conf.MARKETMUX_JWT_AUDIENCE,
            issuer=conf.MARKETMUX_JWT_ISSUER,
            leeway=LEEWAY,
            options={"require": ["iss", "aud", "sub", "exp"], "enforce_minimum_key_length": True},
        )
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError) as error:
        code, message = _CODES.get(type(error), ("token_invalid", "The token is not valid."))
        raise InvalidCredential(message, code) from error
    return _grant(claims)


def _grant(claims: dict[str, Any]) -> Grant:
    try:
        read = msgspec.convert(claims, _Claims)
        patterns = {scope: Patterns(words) for scope, words in read.marketmux.items()}
        if not 0 < len(read.sub) <= _LONGEST_SUBJECT or not read.sub.isprintable():
            raise ValueError(f"sub has 1 to {_LONGEST_SUBJECT} printable characters")
        if not read.exp < _LATEST:
            raise ValueError("exp is too late")
    except ValueError as error:  # msgspec's are too
        raise InvalidCredential(f"The claims are not as they should be: {error}.", "token_wrong_claims") from error
    # A colon in it would make two owners' idempotency keys one.
    owner = f"jwt:{conf.MARKETMUX_JWT_ISSUER}|{quote(read.sub, safe='@')}"
    return Grant(
        owner=owner,
        who=f"{read.sub} of {conf.MARKETMUX_JWT_ISSUER}",
        publish=patterns.get(Scope.PUBLISH, NONE),
        subscribe=patterns.get(Scope.SUBSCRIBE, NONE),
        read=patterns.get(Scope.READ, NONE),
        expires=read.exp + LEEWAY,
        stands_on=frozenset({owner}),
    )


def _key(token: str) -> SigningKey:
    allowed = frozenset(conf.MARKETMUX_JWT_ALGORITHMS)
    if (keys := _keys()) is None:
        return SigningKey(conf.MARKETMUX_JWT_SECRET, BY_SECRET & (allowed or {"HS256"}))
    key = keys.find(_kid(token))
    if key is None and not keys.is_known:
        raise EntitlementsUnavailable("the keys of MARKETMUX_JWT_JWKS_URL are not known")
    if key is None:
        _fail()
    return SigningKey(key.key, key.algorithms & allowed if allowed else key.algorithms)


def _keys() -> KeySet | None:
    return key_set(conf.MARKETMUX_JWT_JWKS_URL) if is_configured() and conf.MARKETMUX_JWT_JWKS_URL else None


def _fetch(token: str) -> Future[None] | None:
    """The fetch to wait for, if the token's key is not known."""
    if (keys := _keys()) is None:
        return None
    try:
        kid = _kid(token)
    except InvalidCredential:
        return None  # which is said later
    fetch = keys.refresh(kid)
    return fetch if keys.find(kid) is None else None


def _kid(token: str) -> str | None:
    """Which key a token says that it is signed with. Nothing else in its head is believed."""
    try:
        kid: str | None = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, RecursionError):
        _fail()
    return kid


def _fail() -> NoReturn:
    raise InvalidCredential("The token is not valid.", "token_invalid")
