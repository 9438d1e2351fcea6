"""Who is asking, and what that allows: found once for each request or handshake, and handed on as a grant.

HTTP requests come here from ``ticks.authentication``, WebSocket handshakes from ``gateway.edge.access``. What is shown
must be good: a wrong key is refused although nobody need have shown one, or a session would do.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation

from ticks import lookups
from ticks.access import jwts, tokens
from ticks.access.credentials import MAX_TOKEN_BYTES, Audience, InvalidCredential
from ticks.access.grant import NOBODY, Grant
from ticks.access.keys import grant_of_key
from ticks.access.patterns import ALL
from ticks.access.users import grant_of_session

__all__ = [
    "BEARER",
    "SCHEME",
    "InvalidCredential",
    "anonymous",
    "find",
    "find_from_loop",
    "key_in_header",
    "of_header",
    "prepare",
]

SCHEME: Final = "Api-Key"
"""The scheme of the ``Authorization`` header that holds a key."""
BEARER: Final = "Bearer"
"""The scheme of one that holds a token."""


def find(authorization: bytes, session: str = "", address: str = "", audience: Audience = Audience.HTTP) -> Grant:
    """What somebody may do who comes from ``address`` and shows this header and the key of a session, if any.

    ``audience``: what for. Asks the database about what is not in a cache. :class:`InvalidCredential` if the header
    holds a wrong one. A session that has ended is none: browsers show what they have.
    """
    return of_header(authorization, audience) or (grant_of_session(session) if session else None) or anonymous(address)


async def find_from_loop(
    authorization: bytes, session: str = "", address: str = "", audience: Audience = Audience.HTTP
) -> Grant:
    """Like :func:`find`, for the event loop: only what is not in a cache costs a thread and a query.

    :class:`~ticks.lookups.DatabaseUnavailable` if that does not answer.
    """
    await prepare(authorization)
    try:
        if grant := of_header(authorization, audience):
            return grant
    except SynchronousOnlyOperation:  # raised before anything is asked of the database
        pass
    else:
        if not session:
            return anonymous(address)
    return await lookups.ask(find, authorization, session, address, audience)


async def prepare(authorization: bytes) -> None:
    """Before :func:`find` on the event loop: fetches the key of a token that is signed with one we do not know yet."""
    if authorization[: len(BEARER)].lower() == BEARER.lower().encode() and jwts.is_configured():
        token = _word(authorization, BEARER, "token")
        if token is not None and _is_jwt(token):
            await jwts.prepare(token)


def anonymous(address: str = "") -> Grant:
    """What somebody may do who shows nothing: everything where ``MARKETMUX_ANONYMOUS`` is on, else nothing."""
    if not settings.MARKETMUX_ANONYMOUS:
        return NOBODY
    return Grant(f"anonymous:{address}", f"anonymous at {address}", ALL, ALL, ALL)


def key_in_header(authorization: bytes) -> str | None:
    """The API key in an ``Authorization`` header, None if it has another scheme.

    :class:`InvalidCredential` if malformed.
    """
    return _word(authorization, SCHEME, "key")


def _word(authorization: bytes, wanted: str, what: str) -> str | None:
    scheme, _, rest = authorization.strip().partition(b" ")
    if scheme.lower() != wanted.lower().encode():
        return None
    words = rest.split()
    if len(words) != 1 or not words[0].isascii():
        raise InvalidCredential(f"Write the header as: Authorization: {wanted} <{what}>")
    return words[0].decode("ascii")


def of_header(authorization: bytes, audience: Audience = Audience.HTTP) -> Grant | None:
    """What the credential in the header allows, None if it holds none of ours. Asks as :func:`find` does."""
    token = _word(authorization, BEARER, "token")
    if token is not None:
        return _of_token(token, audience)
    plaintext = key_in_header(authorization)
    if plaintext is None:
        return None
    grant = grant_of_key(plaintext)
    if grant is None:
        raise InvalidCredential("The API key is unknown, revoked or expired.")
    return grant


def _of_token(token: str, audience: Audience) -> Grant:
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidCredential(f"A token has at most {MAX_TOKEN_BYTES:,} bytes.", "token_invalid")
    return jwts.grant_of_jwt(token) if _is_jwt(token) else tokens.grant_of_token(token, audience)


def _is_jwt(token: str) -> bool:
    return not token.startswith(tokens.START) and len(token) <= MAX_TOKEN_BYTES
