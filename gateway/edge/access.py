"""Who may open a WebSocket: its Host and its Origin must be allowed ones, and it needs a grant (ticks/access/)."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http.request import validate_host

from gateway.protocol.codes import TOO_MANY, Closure
from gateway.protocol.problems import MEDIA_TYPE, encode
from gateway.server.visitors import Standing, stand
from gateway.wires.choose import is_over_tls
from ticks import lookups, origins, shares
from ticks.access import door
from ticks.access.credentials import Audience, InvalidCredential, refuse_in_url
from ticks.access.grant import Grant, Scope
from ticks.access.sessions import session_in
from ticks.access.shares import Buckets, OverShare
from ticks.access.users import EntitlementsUnavailable
from ticks.address import client_address, share_of
from ticks.conf import conf
from ticks.shares import rate_limit

__all__ = ["Access", "origin_allowed"]

logger = logging.getLogger(__name__)

_SUBPROTOCOL: Final = "marketmux"
_TOKEN: Final = f"{_SUBPROTOCOL}.token."
"""A browser's script can set no headers, but it can offer subprotocols, one of which is this and the token."""

_CHALLENGE: Final = (b"www-authenticate", door.SCHEME.encode())
_MOST_LOGGED: Final = 100
_FOREIGN: Final = (
    "Refused WebSockets whose Origin is %a while Host is %a: neither the gateway's own nor in MARKETMUX_ALLOWED_ORIGINS"
)
_logged: set[tuple[str, tuple[bytes, ...]]] = set()

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Refuse = Callable[..., Awaitable[None]]
"""Like :func:`_refuse`."""


class Access:
    """ASGI middleware that finds out who opens a WebSocket, or a stream of events.

    A handshake that is not allowed is answered with 403, one with a wrong credential with 401, one too many of an
    address or owner with 429, one whose Host is none of ``ALLOWED_HOSTS`` with 400, one in the clear where the gateway
    is https with 301, and with 503 where the database does not say who it is. A page's connection too many is opened
    and closed with 4029.

    The application finds the :class:`~ticks.access.grant.Grant` in the scope, as ``grant``, and as ``subprotocol`` what
    it has to accept with.
    """

    def __init__(
        self,
        application: Application,
        scope: Scope,
        *audiences: Audience,
        sessions: bool = True,
        refuse: Refuse | None = None,
    ) -> None:
        """``scope``: what the grant has to allow, with any symbol. ``audiences``: what a token has to be for, one of
        them. ``sessions``: whether a login's cookie will do. ``refuse``: answers what is no handshake of a WebSocket.
        """
        self._application = application
        self._scope = scope
        self._audiences = audiences
        self._sessions = sessions
        self._refuse = refuse or _refuse

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if (refusal := _misplaced(scope, send, origin, headers.get(b"host", b""))) is not None:
            await self._refuse(scope, receive, send, *refusal)
            return
        try:
            address = client_address(scope)
            _count_handshake(share_of(address))
            grant = await self._grant(scope, address)
            if grant.stands_on:
                _count_handshake(grant.owner)
            held = await shares.hold(grant, "connections")
        except OverShare as error:
            if scope["type"] == "websocket" and origin is not None and error.what == "connections":
                await _close(scope, receive, send, TOO_MANY)
            else:
                await self._refuse(scope, receive, send, 429, more=_headers(error))
            return
        except InvalidCredential as error:
            await self._refuse(scope, receive, send, 401, _CHALLENGE, encode(401, error.code, str(error)))
            return
        except (lookups.DatabaseUnavailable, EntitlementsUnavailable):
            await self._refuse(scope, receive, send, 503, (b"retry-after", b"1"))
            return
        try:
            scope["grant"] = grant  # a copy of the scope would stay as long as the client
            if grant.of(self._scope):
                await stand(scope, send, Standing.KNOWN if grant.stands_on else Standing.IDLE)
                scope["subprotocol"] = _subprotocol(scope)
                del headers, origin  # they would stay as long
                await self._application(scope, receive, send)
            else:
                await self._refuse(scope, receive, send)
        finally:
            shares.let_go(grant.owner, "connections", held)

    async def _grant(self, scope: dict[str, Any], address: str) -> Grant:
        if scope.get("query_string"):
            refuse_in_url(scope["query_string"].decode("latin1"))
        authorization = _authorization(scope["headers"], scope.get("subprotocols", ()))
        session = session_in(scope["headers"]) if self._sessions else ""
        for audience in self._audiences:
            try:
                return await door.find_from_loop(authorization, session, address, audience)
            except InvalidCredential as error:
                if error.code != "token_wrong_audience" or audience is self._audiences[-1]:
                    raise
        raise AssertionError("there is an audience")


def _misplaced(
    scope: dict[str, Any], send: Any, origin: bytes | None, host: bytes
) -> tuple[int, tuple[bytes, bytes] | None] | None:
    """The status, and a header, for a handshake that comes to the wrong address, or from one; None for others."""
    is_host_allowed, is_secure = _judged(_seen(scope), _rules())
    if host and not is_host_allowed:  # no server takes a handshake without Host
        _log_once("Refused WebSockets whose Host is %a, which is not in ALLOWED_HOSTS", host)
        return 400, None
    secure = is_secure or is_over_tls(send)
    if settings.SECURE_SSL_REDIRECT and not secure:  # as of a request: what it shows was readable on the way
        return 301, (b"location", _over_tls(_as_request(_seen(scope)), scope))
    if not origin_allowed(origin, host, secure=secure):
        _log_once(_FOREIGN, origin or b"", host)
        return 403, None
    path = scope.get("path", "")
    if path.startswith("//") or scope.get("raw_path", path.encode()) != path.encode():
        # Routing takes it, but a proxy's rule for the path may not have known it in this spelling.
        return 403, None
    return None


def _authorization(headers: Sequence[tuple[bytes, bytes]], subprotocols: Sequence[str]) -> bytes:
    """The one credential of a handshake as a header has it; empty if there is none. Cookies do not count."""
    shown = [value for name, value in headers if name == b"authorization"]
    tokens = [offered.removeprefix(_TOKEN) for offered in subprotocols if offered.startswith(_TOKEN)]
    shown += [f"{door.BEARER} {token}".encode("latin1", "replace") for token in tokens]
    if len(shown) > 1:
        raise InvalidCredential("Show one key or one token, and not several.", "several_credentials")
    return shown[0] if shown else b""


def _subprotocol(scope: dict[str, Any]) -> str | None:
    return _SUBPROTOCOL if _SUBPROTOCOL in scope.get("subprotocols", ()) else None


_NO_BODY: Final = BytesIO()
_JUDGED: Final = frozenset({b"host", b"x-forwarded-host", b"x-forwarded-port"})
_BURST_SECONDS: Final = 10
_handshakes: dict[int, Buckets] = {}


def _count_handshake(owner: str) -> None:
    """:class:`OverShare` if the address or the owner opens too many WebSockets a second."""
    rate = conf.MARKETMUX_MAX_HANDSHAKES_PER_SECOND
    buckets = _handshakes.get(rate)
    if buckets is None:
        buckets = _handshakes[rate] = Buckets(rate, _BURST_SECONDS * rate)
    wait = buckets.take(owner)
    if wait:
        raise OverShare("handshakes", rate, f"More than {rate} handshakes a second.", wait)


def _headers(error: OverShare) -> list[tuple[bytes, bytes]]:
    limit = rate_limit(error.what, error.limit, 0, error.wait)
    headers = {"Retry-After": str(math.ceil(error.wait)), **limit}
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def origin_allowed(origin: bytes | None, host: bytes, *, secure: bool = False) -> bool:
    """True if a handshake with these headers may come from where it says. ``secure``: whether it came over TLS.

    Browsers always send an Origin. It must be the gateway's own, that is ``MARKETMUX_PUBLIC_URL`` or the host of the
    request, which must be one of ``ALLOWED_HOSTS``; or it is one of ``MARKETMUX_ALLOWED_ORIGINS``. Where the gateway is
    reached over TLS, a page over plain HTTP is not its own: anybody on the way may have written it. Where TLS ends
    before the gateway without its knowledge, pages of either scheme are. Other clients send no Origin.
    """
    if origin is None:
        return True
    text = origin.decode("latin1").lower()
    if origins.is_listed(text):
        return True
    asked = origins.parse(text)
    if asked is None or asked != origins.parse(f"{asked.scheme}://{host.decode('latin1').lower()}"):
        return False
    public = origins.public()
    needs_tls = secure or (public is not None and public.scheme == "https")
    return (asked.scheme == "https" or not needs_tls) and validate_host(asked.host, _allowed_hosts())


def _log_once(message: str, *values: bytes) -> None:
    """Says once what was refused: who set up the gateway can find out, and who keeps trying does not fill the log."""
    if (message, values) not in _logged and len(_logged) < _MOST_LOGGED:
        _logged.add((message, values))
        logger.warning(message, *(value.decode("latin1")[:200] for value in values))


def _allowed_hosts() -> list[str]:
    return settings.ALLOWED_HOSTS or [".localhost", "127.0.0.1", "[::1]"]


class _Seen(NamedTuple):
    """What Django's rules about Host and ``X-Forwarded-`` headers look at in a handshake; most have the same."""

    is_https: bool
    server: tuple[Any, ...] | None
    headers: tuple[tuple[bytes, bytes], ...]


def _seen(scope: dict[str, Any]) -> _Seen:
    proxys = settings.SECURE_PROXY_SSL_HEADER
    name = proxys[0].removeprefix("HTTP_").replace("_", "-").lower().encode() if proxys else b""
    server = scope.get("server")
    return _Seen(
        scope.get("scheme") in ("https", "wss"),
        server and tuple(server),
        tuple([one for one in scope["headers"] if one[0] in _JUDGED or one[0] == name]),
    )


def _rules() -> tuple[Any, ...]:
    """The settings that the verdict hangs on."""
    return (
        tuple(settings.ALLOWED_HOSTS),
        settings.DEBUG,
        settings.SECURE_PROXY_SSL_HEADER,
        settings.USE_X_FORWARDED_HOST,
        settings.USE_X_FORWARDED_PORT,
    )


@lru_cache(maxsize=256)
def _judged(seen: _Seen, rules: tuple[Any, ...]) -> tuple[bool, bool]:  # noqa: ARG001 - a key of the cache
    """Whether the Host is an allowed one, and whether the handshake came over TLS."""
    request = _as_request(seen)
    return _host_allowed(request), bool(request.is_secure())


def _as_request(seen: _Seen) -> ASGIRequest:
    """The handshake as Django sees requests, without what its rules do not ask for."""
    scheme = "https" if seen.is_https else "http"
    scope = {"path": "", "method": "GET", "scheme": scheme, "server": seen.server, "headers": seen.headers}
    return ASGIRequest(scope, _NO_BODY)


def _over_tls(request: ASGIRequest, scope: dict[str, Any]) -> bytes:
    """The address of the same WebSocket over TLS."""
    host = settings.SECURE_SSL_HOST or request.get_host()
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return b"wss://" + host.encode() + path + (b"?" + query if query else b"")


def _host_allowed(request: ASGIRequest) -> bool:
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


async def _refuse(  # noqa: PLR0917 - three of them are ASGI's
    scope: dict[str, Any],
    receive: Any,
    send: Any,
    status: int = 403,
    header: tuple[bytes, bytes] | None = None,
    body: bytes = b"",
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    await receive()  # websocket.connect
    if status == 403 or "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})  # which servers answer with 403
        return
    headers = [*more] if header is None else [header, *more]
    if body:
        headers.append((b"content-type", MEDIA_TYPE))
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def _close(scope: dict[str, Any], receive: Any, send: Any, closure: Closure) -> None:
    """Refuses a page: its script is not told the status of a handshake, but the code of a close."""
    await receive()  # websocket.connect
    await send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
    await send({"type": "websocket.close", "code": closure.code, "reason": closure.reason})
