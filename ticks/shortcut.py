"""The shortest way in: a publisher's POST as nearly all of them are, without Django's request and DRF's view.

It takes only what is in order: JSON, from a program, with heads of which each has one meaning. Whatever else comes is
the view's, before anything has been done with it; so the view alone says what is wrong with a request, and its answer
here is the one that it would give, byte for byte. What the bus refuses is the view's to tell as well.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final, NamedTuple

import msgspec
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest

from bus.contract import Idempotency
from ticks import intake, publish, shares
from ticks.access import door
from ticks.access.grant import NOBODY, Grant
from ticks.address import client_address
from ticks.decode import decode_fast
from ticks.endpoint import Headers, Middleware
from ticks.errors import InvalidTicks
from ticks.grammar import moment
from ticks.lookups import DatabaseUnavailable
from ticks.origin import Origin, checked_traceparent, received_now
from ticks.spans import publication_spans
from ticks.tick import MAX_BODY_BYTES, Tick

__all__ = ["Answered", "Poster", "Shortcut"]

_JSON: Final = b"application/json"
_PLAIN: Final = {
    b"content-type": (_JSON,),
    b"accept": (None, b"*/*", _JSON),
    b"content-encoding": (None,),
    b"origin": (None,),
}
"""Headers with the values that are taken here, None for none."""
_READ: Final = (b"authorization", b"content-length", b"idempotency-key", b"traceparent")
_ADDRESSING: Final = (b"host", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto")
_MOST: Final = 100
"""Addresses of this server that are remembered as good."""

Heads = dict[bytes, bytes]


class Answered(NamedTuple):
    """The answer to a request that was published: 202."""

    headers: Headers
    body: bytes


class _Head(NamedTuple):
    """What the head of a request says."""

    shown: bytes | None
    """Authorization."""
    key: str | None
    """Idempotency-Key."""
    traceparent: str
    length: bytes | None
    more: Headers
    """What Django's middleware adds to the answer."""


class Shortcut:
    """Publishes requests that are in order."""

    def __init__(self, middleware: Middleware) -> None:
        self._middleware = middleware
        self._addressing = list(_ADDRESSING)
        if settings.SECURE_PROXY_SSL_HEADER:
            name = settings.SECURE_PROXY_SSL_HEADER[0].removeprefix("HTTP_").replace("_", "-").lower().encode()
            self._addressing.append(name)
        self._names = frozenset((*_PLAIN, *_READ, *self._addressing))
        self._addressed: dict[tuple[Any, ...], Headers] = {}

    async def publish(self, scope: dict[str, Any], body: bytes) -> Answered | None:
        """The answer; None if the request is left to the view.

        Raises what publishing raises, and :class:`~ticks.access.shares.OverShare`.
        """
        received = received_now()
        head = self._head(scope)
        if head is None or not _fits(body) or head.length not in (None, b"%d" % len(body)):
            return None
        grant = await _grant(scope, head)
        if grant is None or (ticks := _ticks(body, grant, received)) is None:
            return None
        headers = _encoded(shares.take(grant, len(ticks)))
        await shares.check_new(grant, ticks)
        origin, idempotency = Origin(received, head.traceparent), _idempotency(head, grant, ticks, received)
        return _answered(head, len(ticks), headers, await publish.publish(ticks, idempotency, grant, "http", origin))

    def poster(self, scope: dict[str, Any]) -> Poster | None:
        """What publishes requests of this connection that have this head; None if they are left to the view."""
        head = None if publication_spans() is not None else self._head(scope)
        return None if head is None else Poster(head, door.anonymous(client_address(scope)))

    def _head(self, scope: dict[str, Any]) -> _Head | None:
        """None if anything about it is out of the ordinary."""
        heads: Heads = {}
        for name, value in scope["headers"]:
            if name in self._names:
                if name in heads:
                    return None
                heads[name] = value
        if any(heads.get(name) not in values for name, values in _PLAIN.items()):
            return None
        sent, trace = heads.get(b"idempotency-key"), heads.get(b"traceparent")
        key = None if sent is None else publish.key_of(sent.decode("latin1"))
        more = self._more(scope, heads)
        if more is None or (key is None and sent is not None):
            return None
        traceparent = "" if trace is None else checked_traceparent(trace.decode("latin1"))
        return _Head(heads.get(b"authorization"), key, traceparent, heads.get(b"content-length"), more)

    def _more(self, scope: dict[str, Any], heads: Heads) -> Headers | None:
        """What Django's middleware adds to answers; None if it answers itself, or the host is not allowed."""
        address = (scope.get("scheme"), *map(heads.get, self._addressing))
        if address not in self._addressed:
            request = ASGIRequest(scope, BytesIO())
            try:
                request.get_host()
                redirect = self._middleware.redirect(request)
            except DisallowedHost:
                return None
            if redirect is not None:
                return None
            if len(self._addressed) >= _MOST:
                self._addressed.clear()
            self._addressed[address] = self._middleware.headers(request)
        return self._addressed[address]


class Poster:
    """Publishes requests of one connection that have the same head, without waiting.

    What the head says was read once. What its credential allows is asked for each request, and by whom it is.
    """

    def __init__(self, head: _Head, anonymous: Grant) -> None:
        self._head = head
        self._anonymous = anonymous
        self.grant = NOBODY
        """Of the last request."""
        self._is_limited = False

    def begin(self, body: bytes, done: Callable[[Answered | Exception], None]) -> bool:
        """As :meth:`Shortcut.publish`: ``done`` is told the answer later, or what publishing raised.

        False if the request is left to others, which it is too if anybody must be asked first.
        """
        received, head = received_now(), self._head
        grant = self._grant_at_hand()
        if grant is None or not _fits(body) or (ticks := _ticks(body, grant, received)) is None:
            return False
        headers: Headers = []
        if self._is_limited:
            if not shares.knows(grant, ticks):
                return False
            headers = _encoded(shares.take(grant, len(ticks)))

        def published(outcome: bool | Exception) -> None:
            done(outcome if isinstance(outcome, Exception) else _answered(head, len(ticks), headers, outcome))

        idempotency = _idempotency(head, grant, ticks, received)
        publish.begin(ticks, idempotency, grant, Origin(received, head.traceparent), published)
        return True

    def _grant_at_hand(self) -> Grant | None:
        """As :func:`_grant`, without asking anybody."""
        shown = self._head.shown
        try:
            grant = self._anonymous if shown is None else door.at_hand(shown) or self._anonymous
        except (door.InvalidCredential, door.NotAtHand, DatabaseUnavailable):
            return None
        if grant is not self.grant:
            self.grant = grant
            self._is_limited = shares.is_limited(grant)
        return grant if grant.publish else None


async def _grant(scope: dict[str, Any], head: _Head) -> Grant | None:
    """What the publisher may do; None if it may not publish, or nobody can tell."""
    try:
        grant = None if head.shown is None else await door.shown(head.shown)
    except (door.InvalidCredential, DatabaseUnavailable):
        return None
    if grant is None:
        grant = door.anonymous(client_address(scope))
    else:
        scope["grant"] = grant  # where the server can see whose request it is
    return grant if grant.publish else None


def _fits(body: bytes) -> bool:
    return 0 < len(body) <= MAX_BODY_BYTES


def _ticks(body: bytes, grant: Grant, received: int) -> list[Tick] | None:
    """None if the view is to say what is wrong with them."""
    try:
        ticks = decode_fast(body, received=moment(received))
    except (msgspec.DecodeError, InvalidTicks, ValueError, RecursionError):
        return None
    return None if publish.denied_symbols(grant, ticks) else ticks


def _idempotency(head: _Head, grant: Grant, ticks: list[Tick], received: int) -> Idempotency | None:
    return None if head.key is None else publish.idempotency(head.key, grant.owner, ticks, moment(received))


def _encoded(headers: Any) -> Headers:
    return [(name.lower().encode("ascii"), value.encode("latin1")) for name, value in headers.items()]


def _answered(head: _Head, accepted: int, headers: Headers, is_published: bool) -> Answered:
    """``headers``: what is left to the publisher."""
    intake.publications["http|published" if is_published else "http|repeated"] += 1
    body = b'{"accepted":%d}\n' % accepted
    length = (b"content-length", b"%d" % len(body))
    repeat = () if is_published else (_REPEAT,)
    return Answered([_TYPE, *headers, *repeat, *_ALWAYS, length, *head.more], body)


_TYPE: Final = (b"content-type", _JSON)
_REPEAT: Final = (b"idempotency-replayed", b"true")
_ALWAYS: Final = ((b"vary", b"Accept"), (b"allow", b"GET, POST, HEAD, OPTIONS"))
"""What DRF adds to the answers of this view."""
