"""Who may open a WebSocket: its Origin must be an allowed one, and it needs a grant (ticks/access/) to do so."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.http import parse_cookie
from django.http.request import validate_host

from gateway.protocol.problems import MEDIA_TYPE, encode
from gateway.server.visitors import Standing, stand
from ticks import lookups
from ticks.access import door
from ticks.access.credentials import Audience, InvalidCredential, refuse_in_url
from ticks.access.grant import Grant, Scope
from ticks.access.users import EntitlementsUnavailable

__all__ = ["Access", "origin_allowed"]

logger = logging.getLogger(__name__)

_SUBPROTOCOL: Final = "marketmux"
_TOKEN: Final = f"{_SUBPROTOCOL}.token."
"""A browser's script can set no headers, but it can offer subprotocols, one of which is this and the token."""

_CHALLENGE: Final = (b"www-authenticate", door.SCHEME.encode())

_PORTS: Final = {"http": 80, "https": 443}
_MOST_LOGGED: Final = 100
_logged: set[tuple[bytes | None, bytes]] = set()

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Access:
    """ASGI middleware that finds out who opens a WebSocket: a handshake that is not allowed is answered with 403, one
    with a wrong credential with 401, and with 503 where the database does not say who it is.

    The application finds the :class:`~ticks.access.grant.Grant` in the scope, as ``grant``, and as ``subprotocol`` what
    it has to accept with.
    """

    def __init__(self, application: Application, scope: Scope, audience: Audience, *, sessions: bool = True) -> None:
        """``scope``: what the grant has to allow, with any symbol. ``audience``: what a token has to be for.
        ``sessions``: whether a login's cookie will do.
        """
        self._application = application
        self._scope = scope
        self._audience = audience
        self._sessions = sessions

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        origin, host = headers.get(b"origin"), headers.get(b"host", b"")
        if not origin_allowed(origin, host):
            _log_refused(origin, host)
            await _refuse(scope, receive, send)
            return
        path = scope.get("path", "")
        if path.startswith("//") or scope.get("raw_path", path.encode()) != path.encode():
            # Routing takes it, but a proxy's rule for the path may not have known it in this spelling.
            await _refuse(scope, receive, send)
            return
        try:
            grant = await self._grant(headers, scope)
        except InvalidCredential as error:
            await _refuse(scope, receive, send, 401, _CHALLENGE, encode(401, error.code, str(error)))
            return
        except (lookups.DatabaseUnavailable, EntitlementsUnavailable):
            await _refuse(scope, receive, send, 503, (b"retry-after", b"1"))
            return
        if grant.of(self._scope):
            scope["grant"] = grant  # a copy of the scope would stay as long as the client
            await stand(scope, send, Standing.KNOWN if grant.stands_on else Standing.IDLE)
            scope["subprotocol"] = _SUBPROTOCOL if _SUBPROTOCOL in scope.get("subprotocols", ()) else None
            await self._application(scope, receive, send)
        else:
            await _refuse(scope, receive, send)

    async def _grant(self, headers: dict[bytes, bytes], scope: dict[str, Any]) -> Grant:
        refuse_in_url(scope.get("query_string", b"").decode("latin1"))
        authorization = _authorization(scope["headers"], scope.get("subprotocols", ()))
        session = ""
        if self._sessions:
            cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin1"))
            session = cookies.get(settings.SESSION_COOKIE_NAME, "")
        client = scope.get("client")
        return await door.find_from_loop(authorization, session, client[0] if client else "", self._audience)


def _authorization(headers: Sequence[tuple[bytes, bytes]], subprotocols: Sequence[str]) -> bytes:
    """The one credential of a handshake as a header has it; empty if there is none. Cookies do not count."""
    shown = [value for name, value in headers if name == b"authorization"]
    tokens = [offered.removeprefix(_TOKEN) for offered in subprotocols if offered.startswith(_TOKEN)]
    shown += [f"{door.BEARER} {token}".encode("latin1", "replace") for token in tokens]
    if len(shown) > 1:
        raise InvalidCredential("Show one key or one token, and not several.", "several_credentials")
    return shown[0] if shown else b""


def origin_allowed(origin: bytes | None, host: bytes) -> bool:
    """True if a handshake with these headers may come from where it says.

    Browsers always send an Origin. It must be the gateway's own, that is the host of the request, which must be one of
    ``ALLOWED_HOSTS``, or one of ``MARKETMUX_ALLOWED_ORIGINS``. Other clients send none.
    """
    if origin is None:
        return True
    text = origin.decode("latin1").lower()
    allowed = [entry.lower().rstrip("/") for entry in settings.MARKETMUX_ALLOWED_ORIGINS]
    if "*" in allowed or text in allowed:
        return True
    asked = _parts(text)
    if asked is None:
        return False
    own = _parts(f"{asked.scheme}://{host.decode('latin1').lower()}")
    is_own = asked == own and validate_host(asked.host, _allowed_hosts())
    return is_own or asked in map(_parts, allowed)


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int | None


def _parts(origin: str) -> _Origin | None:
    """A web page's origin, with its port; None if it is none."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if (
        parts.scheme not in _PORTS
        or not parts.hostname
        or "@" in parts.netloc
        or origin != f"{parts.scheme}://{parts.netloc}"
    ):
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return _Origin(parts.scheme, host, port or _PORTS[parts.scheme])


def _log_refused(origin: bytes | None, host: bytes) -> None:
    """Says once what was refused: who set up the gateway can find out, and who keeps trying does not fill the log."""
    if (origin, host) not in _logged and len(_logged) < _MOST_LOGGED:
        _logged.add((origin, host))
        logger.warning(
            "Refused WebSockets whose Origin is %a while Host is %a: neither the same nor in MARKETMUX_ALLOWED_ORIGINS",
            (origin or b"").decode("latin1")[:200],
            host.decode("latin1")[:200],
        )


def _allowed_hosts() -> list[str]:
    return settings.ALLOWED_HOSTS or [".localhost", "127.0.0.1", "[::1]"]


async def _refuse(  # noqa: PLR0917 - three of them are ASGI's
    scope: dict[str, Any],
    receive: Any,
    send: Any,
    status: int = 403,
    header: tuple[bytes, bytes] | None = None,
    body: bytes = b"",
) -> None:
    await receive()  # websocket.connect
    if status == 403 or "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})  # which servers answer with 403
        return
    headers = [] if header is None else [header]
    if body:
        headers.append((b"content-type", MEDIA_TYPE))
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
