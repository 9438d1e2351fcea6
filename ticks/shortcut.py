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
from ticks.access.grant import Grant
from ticks.address import client_address
from ticks.decode import decode_fast
from ticks.endpoint import Headers, Middleware
from ticks.errors import InvalidTicks
from ticks.grammar import moment
from ticks.lookups import DatabaseUnavailable
from ticks.origin import Origin, checked_traceparent, received_now
from ticks.spans import publication_spans
from ticks.tick import MAX_BODY_BYTES, Tick

__all__ = ["Answered", "Shortcut"]

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


class _Post(NamedTuple):
    """A request, as far as it can be told without knowing whose it is."""

    heads: Heads
    more: Headers
    """What Django's middleware adds to the answer."""
    origin: Origin


class _Publication(NamedTuple):
    """What is to be published."""

    ticks: list[Tick]
    idempotency: Idempotency | None
    grant: Grant


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
        post = self._read(scope, body)
        grant = None if post is None else await _grant(scope, post.heads)
        if post is None or grant is None or (publication := _publication(post, grant, body)) is None:
            return None
        ticks = publication.ticks
        headers = _encoded(shares.take(grant, len(ticks)))
        await shares.check_new(grant, ticks)
        return _answered(post, len(ticks), headers, await publish.publish(*publication, "http", post.origin))

    def begin(self, scope: dict[str, Any], body: bytes, done: Callable[[Answered | Exception], None]) -> bool:
        """The same without waiting: ``done`` is told the answer later, or what publishing raised.

        False if the request is left to others, which it is too if anybody must be asked first.
        """
        if publication_spans() is not None or (post := self._read(scope, body)) is None:
            return False
        grant = _grant_at_hand(scope, post.heads)
        if grant is None or (publication := _publication(post, grant, body)) is None:
            return False
        ticks = publication.ticks
        if not shares.knows(grant, ticks):
            return False
        headers = _encoded(shares.take(grant, len(ticks)))

        def published(outcome: bool | Exception) -> None:
            done(outcome if isinstance(outcome, Exception) else _answered(post, len(ticks), headers, outcome))

        publish.begin(*publication, post.origin, published)
        return True

    def _read(self, scope: dict[str, Any], body: bytes) -> _Post | None:
        received = received_now()
        heads = self._heads(scope["headers"], body)
        more = None if heads is None else self._more(scope, heads)
        if heads is None or more is None:
            return None
        return _Post(heads, more, Origin(received, _traceparent(heads)))

    def _heads(self, headers: Headers, body: bytes) -> Heads | None:
        """The headers that matter, if nothing about them is out of the ordinary."""
        heads: Heads = {}
        for name, value in headers:
            if name in self._names:
                if name in heads:
                    return None
                heads[name] = value
        if any(heads.get(name) not in values for name, values in _PLAIN.items()):
            return None
        size = len(body)
        if not 0 < size <= MAX_BODY_BYTES or heads.get(b"content-length", b"%d" % size) != b"%d" % size:
            return None
        return heads

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


async def _grant(scope: dict[str, Any], heads: Heads) -> Grant | None:
    """What the publisher may do; None if it may not publish, or nobody can tell."""
    shown = heads.get(b"authorization")
    try:
        grant = None if shown is None else await door.shown(shown)
    except (door.InvalidCredential, DatabaseUnavailable):
        return None
    return _publishing(scope, grant)


def _grant_at_hand(scope: dict[str, Any], heads: Heads) -> Grant | None:
    """The same without asking anybody."""
    shown = heads.get(b"authorization")
    try:
        grant = None if shown is None else door.at_hand(shown)
    except (door.InvalidCredential, door.NotAtHand, DatabaseUnavailable):
        return None
    return _publishing(scope, grant)


def _publishing(scope: dict[str, Any], grant: Grant | None) -> Grant | None:
    if grant is None:
        grant = door.anonymous(client_address(scope))
    else:
        scope["grant"] = grant  # where the server can see whose request it is
    return grant if grant.publish else None


def _publication(post: _Post, grant: Grant, body: bytes) -> _Publication | None:
    """None if the view is to say what is wrong with it."""
    key = post.heads.get(b"idempotency-key")
    name = None if key is None else publish.key_of(key.decode("latin1"))
    if key is not None and name is None:
        return None
    when = moment(post.origin.received)
    try:
        ticks = decode_fast(body, received=when)
    except (msgspec.DecodeError, InvalidTicks, ValueError, RecursionError):
        return None
    if publish.denied_symbols(grant, ticks):
        return None
    idempotency = None if name is None else publish.idempotency(name, grant.owner, ticks, when)
    return _Publication(ticks, idempotency, grant)


def _traceparent(heads: Heads) -> str:
    sent = heads.get(b"traceparent")
    return "" if sent is None else checked_traceparent(sent.decode("latin1"))


def _encoded(headers: Any) -> Headers:
    return [(name.lower().encode("ascii"), value.encode("latin1")) for name, value in headers.items()]


def _answered(post: _Post, accepted: int, headers: Headers, is_published: bool) -> Answered:
    """``headers``: what is left to the publisher."""
    intake.publications["http|published" if is_published else "http|repeated"] += 1
    body = b'{"accepted":%d}\n' % accepted
    length = (b"content-length", b"%d" % len(body))
    repeat = () if is_published else (_REPEAT,)
    return Answered([_TYPE, *headers, *repeat, *_ALWAYS, length, *post.more], body)


_TYPE: Final = (b"content-type", _JSON)
_REPEAT: Final = (b"idempotency-replayed", b"true")
_ALWAYS: Final = ((b"vary", b"Accept"), (b"allow", b"GET, POST, HEAD, OPTIONS"))
"""What DRF adds to the answers of this view."""
