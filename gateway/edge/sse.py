"""``GET /api/v1/stream``: what ``/ws`` sends, as server-sent events, for curl and for networks without WebSockets.

It is a subscriber with one command, which is the address: the same hub, grants, limits, conflation and messages
(gateway/edge/subscriber.py), by another wire (gateway/wires/events.py). The response begins when the subscription is
there, so what is wrong with it is a problem as everywhere in the HTTP API.

Requests come here before Django, whose handler would give each a thread, and hides the way to the socket.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse

from gateway.edge.access import Access
from gateway.edge.failures import answer
from gateway.edge.requests import sent_past
from gateway.edge.subscriber import Receive, TickConsumer
from gateway.protocol.codes import ErrorCode, ProtocolError
from gateway.protocol.commands import Command, parse
from gateway.protocol.events import Places, places_in
from gateway.protocol.messages import Position
from gateway.protocol.values import EVERYTHING
from gateway.server.visitors import Standing, stand
from gateway.wires.asgi import SendEvent
from gateway.wires.choose import body_wire_for
from gateway.wires.events import EventWire, retry_after
from ticks.access import door
from ticks.access.credentials import Audience
from ticks.access.grant import NOBODY, Scope
from ticks.address import client_address
from ticks.conf import conf
from ticks.endpoint import Headers, Middleware
from ticks.problems import MEDIA_TYPE, encode

__all__ = ["EventStreams", "not_here", "open_streams"]

_UNSENT_BYTES: Final = 65_536
"""What may wait in our own system at most. Without pings this alone bounds how old what a client reads can be."""

_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_PARAMETERS: Final = ("symbols", "max_rate", "snapshot")
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}
_REFUSALS: Final = {
    400: ("disallowed_host", "The Host is not one of ALLOWED_HOSTS."),
    401: ("not_authenticated", "This needs a credential."),
    403: ("permission_denied", "The credential does not allow to subscribe, or the Origin or the path is not allowed."),
    429: ("too_many_connections", "This address or key has too many connections, or opens too many a second."),
    503: ("database_unavailable", "It could not be found out who is asking. Try again in a second."),
}
_CODES: Final = {
    ErrorCode.ACCESS_DENIED: (403, "access_denied"),
    ErrorCode.TOO_MANY_SYMBOLS: (400, "too_many_symbols"),
    ErrorCode.BUS_UNAVAILABLE: (503, "bus_unavailable"),
}
"""What a refused subscription is answered with; all else is about the address."""

_PASSING: Final = {429, 503}
"""A browser's EventSource takes any other status than 200 for the end, and never tries again. So what will pass is an
empty stream for it, which says when to come back, and why in a comment.
"""

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

_middleware: Final = Middleware()
_open: Final[set[EventStream]] = set()


def open_streams() -> int:
    """How many clients of this process have a stream."""
    return len(_open)


class EventStreams:
    """ASGI application: streams from ``path``, and passes all else to ``others``."""

    def __init__(self, path: str, others: Application) -> None:
        self._path = path
        self._others = others
        self._stream = Access(
            EventStream.as_asgi(), Scope.SUBSCRIBE, Audience.WS, Audience.HTTP, refuse=_refuse_visitor
        )

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "GET":
            return self._others(scope, receive, send)
        return self._begin(scope, receive, send)

    async def _begin(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if redirect := _middleware.redirect(_request(scope)):
            headers = [(name.lower().encode(), value.encode()) for name, value in redirect.items()]
            await _respond(scope, send, redirect.status_code, headers, b"")
        else:
            await self._stream(scope, receive, send)


def not_here(_request: HttpRequest) -> HttpResponse:
    """The path's view, for all methods but GET."""
    return answer(405, "method_not_allowed", "This can only be read.", {"Allow": "GET"})


class EventStream(TickConsumer):
    """One client's stream."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: SendEvent) -> None:
        self.scope = scope
        self.base_send = send
        await receive()  # http.request
        try:
            self.asked = asked(scope["query_string"], _last_event_id(scope))
        except ProtocolError as error:
            await self.turn_down(error)
            return
        self.places = Places([symbol for symbol in self.asked.symbols if symbol != EVERYTHING])
        self.wire = EventWire(self.places)
        try:
            await self.serve(receive, self.wire)
        finally:
            _open.discard(self)
            sent_past(scope, self.wire.written)

    async def converse(self, receive: Receive) -> None:
        is_guest, self.is_idle = self.is_idle, False
        try:
            await self.subscribe(self.asked)
        except ProtocolError as error:
            await self.turn_down(error)
            return
        headers = [*_HEADERS, *_middleware.headers(_request(self.scope))]
        await self.base_send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.base_send({"type": "http.response.body", "body": b"", "more_body": True})  # sends the head
        wire, is_chunked = body_wire_for(self.base_send, min(_UNSENT_BYTES, conf.MARKETMUX_UNSENT_BYTES))
        self.wire.begin(wire, is_chunked=is_chunked)
        _open.add(self)
        if is_guest:  # only now: one guest too many is told so by an event
            await stand(self.scope, self.base_send, Standing.GUEST, client_address(self.scope))
        while (await receive())["type"] != "http.disconnect":
            pass

    def answer(self, frames: bytes, ticks: bytes = b"") -> None:
        """A client that resumes is where it says until it has been sent what it missed."""
        for symbol, since in self.asked.since.items():
            self.places.move(symbol, since.seq, since.epoch)
        super().answer(frames, ticks)
        self.flush()

    def answered(self, positions: Mapping[str, Position]) -> None:
        for symbol, position in positions.items():
            self.places.move(symbol, position.seq, position.epoch)
        self.wire.settle()

    async def turn_down(self, error: ProtocolError) -> None:
        status, code = _CODES.get(error.code, (400, "invalid_query"))
        headers = []
        if error.reason is not None:
            code = error.reason.value
        if error.retry_after is not None:
            status, code = 429, "symbols_taken"
        if status in {429, 503}:
            headers.append((b"retry-after", b"1"))
        await _refuse(self.scope, self.base_send, status, headers, encode(status, code, error.message))


def asked(query: bytes, last_event_id: str) -> Command:
    """The subscription that an address stands for, as a command of ``/ws``, which has the same rules."""
    pairs = parse_qsl(query.decode("latin1"), keep_blank_values=True)
    if unknown := {name for name, _ in pairs}.difference(_PARAMETERS):
        raise _invalid(f"Unknown parameter: {min(unknown)[:64]!r}; there are {', '.join(_PARAMETERS)}.")
    given = dict(pairs)
    if len(given) < len(pairs):
        raise _invalid("A parameter is given twice; several symbols are joined by commas.")
    symbols = [symbol for symbol in given.get("symbols", "").split(",") if symbol]
    if not symbols:
        raise _invalid("symbols is missing, as in ?symbols=AAPL,MSFT")
    fields: dict[str, Any] = {"action": "subscribe", "symbols": symbols}
    if "max_rate" in given:
        fields["max_rate"] = _number(given["max_rate"])
    if "snapshot" in given:
        fields["snapshot"] = _TRUTHS.get(given["snapshot"].lower(), given["snapshot"])
    command = parse(msgspec.json.encode(fields).decode())
    named = [symbol for symbol in command.symbols if symbol != EVERYTHING]
    return command._replace(since=places_in(last_event_id, named))


def _number(text: str) -> float | str:
    """The text itself, which is then refused, if it is none."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if text.isascii() and math.isfinite(number) else text


def _invalid(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.INVALID_MESSAGE, message)


def _is_event_source(scope: Mapping[str, Any]) -> bool:
    return any(name == b"accept" and b"text/event-stream" in value for name, value in scope["headers"])


def _last_event_id(scope: Mapping[str, Any]) -> str:
    shown = [value for name, value in scope["headers"] if name == b"last-event-id"]
    return shown[-1].decode("latin1") if shown else ""


async def _refuse_visitor(  # noqa: PLR0917 - as Access has it
    scope: dict[str, Any],
    receive: Receive,
    send: SendEvent,
    status: int = 403,
    header: tuple[bytes, bytes] | None = None,
    body: bytes = b"",
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    await receive()  # http.request
    headers = [*more] if header is None else [header, *more]
    if status == 403 and scope.get("grant") == NOBODY:
        status, headers = 401, [(b"www-authenticate", door.SCHEME.encode()), *headers]
    if not body and status in _REFUSALS:
        body = encode(status, *_REFUSALS[status])
    await _refuse(scope, send, status, headers, body)


async def _refuse(scope: dict[str, Any], send: SendEvent, status: int, headers: Headers, body: bytes) -> None:
    if status in _PASSING and _is_event_source(scope):
        wait = float(dict(headers).get(b"retry-after", b"1"))
        await _respond(scope, send, 200, _HEADERS, b"retry: %d\n: %b\n\n" % (retry_after(wait), body))
        return
    headers = [(b"content-type", MEDIA_TYPE.encode()), *headers]
    await _respond(scope, send, status, headers, body)


async def _respond(scope: dict[str, Any], send: SendEvent, status: int, headers: Headers, body: bytes) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body)), *_middleware.headers(_request(scope))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _request(scope: dict[str, Any]) -> ASGIRequest:
    """As Django's middleware sees it."""
    return ASGIRequest(scope, BytesIO())
