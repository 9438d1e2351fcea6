"""Who is asking, and what that allows: found once for each request or handshake, and handed on as a grant.

HTTP requests come here from ``ticks.authentication``, WebSocket handshakes from ``gateway.edge.access``. What is shown
must be good: a wrong key is refused although nobody need have shown one, or a session would do.
"""

from __future__ import annotations

from typing import Final

from django.core.exceptions import SynchronousOnlyOperation

from ticks import lookups
from ticks.access import jwts, keys, sessions, tokens
from ticks.access.credentials import MAX_TOKEN_BYTES, Audience, InvalidCredential
from ticks.access.grant import NOBODY, Grant
from ticks.access.patterns import ALL
from ticks.access.shares import limited
from ticks.access.users import grant_of_session
from ticks.conf import conf

__all__ = [
    "BEARER",
    "SCHEME",
    "InvalidCredential",
    "NotAtHand",
    "anonymous",
    "at_hand",
    "find_from_loop",
    "of_header",
    "shown",
]

SCHEME: Final = "Api-Key"
"""The scheme of the ``Authorization`` header that holds a key."""
BEARER: Final = "Bearer"
"""The scheme of one that holds a token."""
_SCHEMES: Final = {scheme.lower().encode(): scheme for scheme in (SCHEME, BEARER)}


class NotAtHand(Exception):
    """What a credential allows is not in a cache."""


async def find_from_loop(
    authorization: bytes, session: str = "", address: str = "", audience: Audience = Audience.HTTP
) -> Grant:
    """What somebody may do who comes from ``address`` and shows this header and the key of a session, if any.

    ``audience``: what for. As :func:`shown`. A session that has ended is none: browsers show what they have.
    """
    grant = await shown(authorization, audience)
    if grant is None and session and await sessions.is_open(session):
        grant = await lookups.ask(grant_of_session, session)
    return grant or anonymous(address)


async def shown(authorization: bytes, audience: Audience = Audience.HTTP) -> Grant | None:
    """What the credential in a header allows, None if it holds none of ours: for the event loop.

    Only what is not in a cache is asked of the database, of which an unknown key costs no question of its own.
    :class:`InvalidCredential` if it is a wrong one, :class:`~ticks.lookups.DatabaseUnavailable` if nobody can tell.
    """
    credential = _credential(authorization)
    if credential is None:
        return None
    scheme, word = credential
    if scheme == SCHEME:
        return _known(await keys.look_up(word))
    if tokens.is_ours(word):
        try:
            return tokens.grant_of_token(word, audience)
        except SynchronousOnlyOperation:  # raised before anything is asked of the database
            return await lookups.ask(tokens.grant_of_token, word, audience)
    await jwts.prepare(word)
    return jwts.grant_of_jwt(word)


def at_hand(authorization: bytes, audience: Audience = Audience.HTTP) -> Grant | None:
    """The same without asking anybody; :class:`NotAtHand` if it takes that."""
    credential = _credential(authorization)
    if credential is None:
        return None
    scheme, word = credential
    try:
        if scheme == SCHEME:
            grant = keys.at_hand(word)
        elif tokens.is_ours(word):
            grant = tokens.grant_of_token(word, audience)
        else:
            grant = jwts.grant_of_jwt(word) if jwts.is_at_hand(word) else None
    except SynchronousOnlyOperation:
        grant = None
    if grant is None:
        raise NotAtHand
    return grant


def of_header(authorization: bytes, audience: Audience = Audience.HTTP) -> Grant | None:
    """The same for a thread, which asks by itself."""
    credential = _credential(authorization)
    if credential is None:
        return None
    scheme, word = credential
    if scheme == SCHEME:
        return _known(keys.grant_of_key(word))
    if tokens.is_ours(word):
        return tokens.grant_of_token(word, audience)
    jwts.wait(word)
    return jwts.grant_of_jwt(word)


def anonymous(address: str = "") -> Grant:
    """What somebody may do who shows nothing: everything where ``MARKETMUX_ANONYMOUS`` is on, else nothing."""
    if not conf.MARKETMUX_ANONYMOUS:
        return NOBODY
    return Grant(f"anonymous:{address}", f"anonymous at {address}", ALL, ALL, ALL)


def _credential(authorization: bytes) -> tuple[str, str] | None:
    """The scheme and the key or token of an ``Authorization`` header, None if it has another scheme.

    :class:`InvalidCredential` if malformed.
    """
    name, _, rest = authorization.strip().partition(b" ")
    scheme = _SCHEMES.get(name.lower())
    if scheme is None:
        return None
    words = rest.split()
    if len(words) != 1 or not words[0].isascii():
        what = "key" if scheme == SCHEME else "token"
        raise InvalidCredential(f"Write the header as: Authorization: {scheme} <{what}>")
    if scheme == BEARER and len(words[0]) > MAX_TOKEN_BYTES:
        raise InvalidCredential(f"A token has at most {MAX_TOKEN_BYTES:,} bytes.", "token_invalid")
    return scheme, words[0].decode("ascii")


def _known(grant: Grant | None) -> Grant:
    if grant is None:
        limited["unknown_keys"] += 1
        raise InvalidCredential("The API key is unknown, revoked or expired.")
    return grant
