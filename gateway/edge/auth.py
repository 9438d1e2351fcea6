"""Refreshes what a connection may do: its client shows another token before the one that it has ends."""

from __future__ import annotations

from gateway.edge.watch import Connection, get_watch
from gateway.protocol.codes import ErrorCode, ProtocolError
from gateway.protocol.values import RequestId
from ticks import lookups
from ticks.access import door
from ticks.access.credentials import Audience, InvalidCredential
from ticks.access.grant import Grant, Scope
from ticks.access.users import EntitlementsUnavailable
from ticks.grammar import instant

__all__ = ["expiry", "refresh"]


async def refresh(
    connection: Connection, token: str, scope: Scope, audience: Audience, number: RequestId | None
) -> None:
    """Gives the connection the grant of a token, whose owner must be the same; ``ProtocolError`` if that cannot be.

    ``number``: of the message, for the error.
    """
    try:
        grant = await door.find_from_loop(f"{door.BEARER} {token}".encode(), audience=audience)
    except InvalidCredential as error:
        raise ProtocolError(ErrorCode.AUTH_FAILED, str(error), number) from None
    except (lookups.DatabaseUnavailable, EntitlementsUnavailable):
        detail = "It could not be found out what the token allows. Try again in a second."
        raise ProtocolError(ErrorCode.AUTH_UNAVAILABLE, detail, number) from None
    if grant.owner != connection.grant.owner:
        raise ProtocolError(ErrorCode.AUTH_FAILED, "The token is somebody else's: connect with it.", number)
    if not grant.of(scope):
        raise ProtocolError(ErrorCode.AUTH_FAILED, "The token does not allow what this connection is for.", number)
    watch = get_watch()
    if connection in watch.connections:  # it may have ended meanwhile
        watch.give(connection, grant)
        watch.add(connection)  # looks whether what the token stands on has changed since it was looked up


def expiry(grant: Grant) -> str | None:
    """When it ends by itself, for its holder."""
    return None if grant.expires is None else instant(grant.expires)
