"""Who may open a WebSocket: its Origin must be an allowed one, and it needs a key or a logged-in session."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, parse_cookie
from django.http.request import validate_host

from ticks import lookups
from ticks.identity import UNKNOWN, Identity, InvalidKey, aidentify

__all__ = ["Access", "origin_allowed"]

logger = logging.getLogger(__name__)

_PORTS: Final = {"http": 80, "https": 443}
_MOST_LOGGED: Final = 100
_logged: set[tuple[bytes | None, bytes]] = set()

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Access:
    """ASGI middleware that finds out who opens a WebSocket and answers a handshake that is not allowed with 403,
    and with 503 where the database does not say who it is.

    The application finds the :class:`~ticks.identity.Identity` in the scope, as ``identity``.
    """

    def __init__(self, application: Application, may: Callable[[Identity], bool], *, sessions: bool = True) -> None:
        """``may``: what the identity has to allow. ``sessions``: whether a login can; looking it up takes a thread."""
        self._application = application
        self._may = may
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
            identity = await self._identity(headers)
        except lookups.DatabaseUnavailable:
            await _refuse_for_now(scope, receive, send)
            return
        if self._may(identity):
            scope["identity"] = identity  # a copy of the scope would stay as long as the client
            await self._application(scope, receive, send)
        else:
            await _refuse(scope, receive, send)

    async def _identity(self, headers: dict[bytes, bytes]) -> Identity:
        identity = await _key_holder(headers)
        if self._sessions and not self._may(identity):
            return await _logged_in(headers)
        return identity


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


async def _key_holder(headers: dict[bytes, bytes]) -> Identity:
    """Whose key the handshake came with; a wrong key is as good as none, since a session may still open the socket."""
    try:
        return await aidentify(headers.get(b"authorization", b""))
    except InvalidKey:
        return UNKNOWN


async def _logged_in(headers: dict[bytes, bytes]) -> Identity:
    """The user of the session whose cookie the handshake came with."""
    session = parse_cookie(headers.get(b"cookie", b"").decode("latin1")).get(settings.SESSION_COOKIE_NAME)
    return Identity(user=await lookups.ask(_user_of, session)) if session else UNKNOWN


def _user_of(session: str) -> AbstractBaseUser | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session)
    user = get_user(request)
    return user if isinstance(user, AbstractBaseUser) else None


async def _refuse_for_now(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await _refuse(scope, receive, send)  # the server has only one answer
        return
    await receive()
    await send({"type": "websocket.http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]})
    await send({"type": "websocket.http.response.body", "body": b""})


async def _refuse(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.close"})
