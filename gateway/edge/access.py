"""Who may open a WebSocket: its Origin must be an allowed one, and it needs a key or a logged-in session.

Tokens for browsers, scopes and rate limits belong here too, once there are any.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from channels.auth import AuthMiddlewareStack
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from ticks.authentication import afind_key, key_in_header

__all__ = ["Access", "origin_allowed"]

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Access:
    """ASGI middleware that lets in whom the settings allow and answers everybody else's handshake with 403."""

    def __init__(self, application: Application, sessions: bool = True) -> None:
        """``sessions``: whether being logged in is enough."""
        self._application = application
        self._with_session: Application = AuthMiddlewareStack(self._if_logged_in) if sessions else _refuse

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        if not origin_allowed(headers.get(b"origin"), headers.get(b"host", b"")):
            await _refuse(scope, receive, send)
        elif settings.MARKETMUX_ANONYMOUS or await _has_key(headers):
            await self._application(scope, receive, send)
        else:
            await self._with_session(scope, receive, send)

    async def _if_logged_in(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["user"].is_authenticated:
            await self._application(scope, receive, send)
        else:
            await _refuse(scope, receive, send)


def origin_allowed(origin: bytes | None, host: bytes) -> bool:
    """True if a handshake with these headers may come from where it says.

    Browsers always send an Origin. It must be the gateway's own, that is the host of the request, which must be one of
    ``ALLOWED_HOSTS``, or one of ``MARKETMUX_ALLOWED_ORIGINS``. Other clients send none.
    """
    if origin is None:
        return True
    text, own = origin.decode("latin1").lower(), host.decode("latin1").lower()
    allowed = [entry.lower().rstrip("/") for entry in settings.MARKETMUX_ALLOWED_ORIGINS]
    if "*" in allowed or text in allowed:
        return True
    return _netloc(text) == own and validate_host(split_domain_port(own)[0], _allowed_hosts())


def _netloc(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc if parts.scheme in ("http", "https") else None


def _allowed_hosts() -> list[str]:
    return settings.ALLOWED_HOSTS or [".localhost", "127.0.0.1", "[::1]"]


async def _has_key(headers: dict[bytes, bytes]) -> bool:
    try:
        key = key_in_header(headers.get(b"authorization", b""))
    except ValueError:
        return False
    return key is not None and await afind_key(key) is not None


async def _refuse(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.close"})
