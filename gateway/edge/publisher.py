"""The consumer behind ``/ws/publish``: takes ticks over a WebSocket, for publishers that post too often for HTTP.

A message is what the body of a POST would be: one tick, or an array of ticks of which all or none are published. It
may also be an object with either as its ``ticks``, and a ``key`` under which it is published once, however often it is
sent. Messages are published in the order in which they came, several at a time, and acknowledged by count. While a full
window of them is under way the socket is not read: TCP holds the publisher back, and memory stays bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, NamedTuple

import msgspec
from channels.generic.websocket import AsyncWebsocketConsumer
from rest_framework.exceptions import APIException

from bus.contract import BusUnavailable, Idempotency, IdempotencyConflict, LimitReached, Reason, Refusal
from gateway import VERSION
from gateway.edge.auth import expiry, refresh
from gateway.edge.watch import get_watch
from gateway.fanout.outbox import Outbox
from gateway.protocol.codes import REVOKED, SERVICE_RESTART, TOO_BIG, Closure, ErrorCode, ProtocolError
from gateway.protocol.commands import Auth, KeyedTicks, checked_text
from gateway.protocol.messages import (
    PublisherLimits,
    access_frame,
    authenticated_frame,
    error_frame,
    published_frame,
    publisher_welcome_frame,
)
from gateway.server.visitors import Standing, stand
from gateway.wires.asgi import SendEvent
from gateway.wires.choose import wire_for
from ticks import intake, publish, shares
from ticks.access.credentials import Audience
from ticks.access.grant import Grant, Scope
from ticks.access.shares import OverShare
from ticks.address import client_address
from ticks.conf import conf
from ticks.decode import decode
from ticks.errors import InvalidTicks, about, explain, explain_denied
from ticks.grammar import moment
from ticks.origin import Origin, checked_traceparent, received_now
from ticks.publish import MAX_KEY_LENGTH, denied_symbols, key_of
from ticks.tick import MAX_BATCH, MAX_BODY_BYTES, Tick

__all__ = ["PublishConsumer"]

Receive = Callable[[], Awaitable[dict[str, Any]]]

WINDOW: Final = 8
"""Messages that may be under way to the bus; while there are as many, the socket is not read."""


class Message(NamedTuple):
    """A message under way: its number, how many ticks it has, and its publication."""

    number: int
    size: int
    publication: asyncio.Task[bool]


class PublisherOutbox(Outbox):
    """A publisher's. One that a gateway sends away when it ends may come back at once: it has the prices."""

    def close(self, closure: Closure) -> None:
        super().close(SERVICE_RESTART if closure.code == SERVICE_RESTART.code else closure)


class PublishConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """One publisher's stream."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: SendEvent) -> None:
        self.scope = scope
        self.base_send = send
        await receive()  # websocket.connect
        await self.accept(scope.get("subprotocol"))
        self.wire = wire_for(send, conf.MARKETMUX_UNSENT_BYTES)
        self.outbox = PublisherOutbox(self.wire, conf.MARKETMUX_SLOW_CLIENT_SECONDS)
        self.grant: Grant = scope["grant"]
        self.under_way: deque[Message] = deque()
        self.refusing = asyncio.Lock()
        self.messages = self.ticks = 0
        limits = PublisherLimits(MAX_BATCH, MAX_BODY_BYTES)
        self.outbox.reply(publisher_welcome_frame(VERSION, limits, expiry(self.grant)))
        watch = get_watch()
        watch.add(self)
        try:
            await self.take(receive)
        finally:
            watch.discard(self)
            self.outbox.discard()

    is_publisher = True

    def regrant(self, grant: Grant, closure: Closure = REVOKED) -> None:
        """Goes on with what is left of the grant. What is under way is finished; what comes behind it is refused."""
        before, self.grant = self.grant, grant
        if not grant.publish:
            self.close_with(closure)
        elif grant.publish != before.publish:
            self.outbox.reply(access_frame(list(grant.publish)))

    def symbols(self) -> Collection[str]:
        return ()

    def rates(self) -> Collection[float | None]:
        return ()

    def close_with(self, closure: Closure) -> None:
        self.ending = asyncio.get_running_loop().create_task(self.end(closure))

    async def end(self, closure: Closure) -> None:
        await self.settle(0)
        async with self.refusing:
            self.outbox.close(closure)

    async def take(self, receive: Receive) -> None:
        """Publishes message after message until the publisher disconnects; all it sent before is published."""
        number = 0
        is_idle = not self.grant.stands_on
        while (event := await receive())["type"] != "websocket.disconnect":
            number += 1
            try:
                if (auth := _auth(event.get("text"))) is None:
                    await self.publish(number, event)
                else:
                    await self.authenticate(auth, number)
            except ProtocolError as error:
                async with self.refusing:
                    await self.settle(0)  # an answer comes after those to the messages before it
                    self.refuse(error)
            if is_idle and self.under_way:
                is_idle = False
                await stand(self.scope, self.base_send, Standing.GUEST, client_address(self.scope))
            if len(self.under_way) >= WINDOW or self.outbox.behind:
                await self.hold_back()
        await self.settle(0)

    async def authenticate(self, auth: Auth, number: int) -> None:
        await refresh(self, auth.token, Scope.PUBLISH, Audience.PUBLISH, number)
        async with self.refusing:
            await self.settle(0)
            self.outbox.reply(authenticated_frame(expiry(self.grant), number))

    async def publish(self, number: int, event: dict[str, Any]) -> None:
        body = checked_text(event.get("text"), MAX_BODY_BYTES, number).encode()
        intake.received_bytes["websocket"] += len(body)
        origin = Origin(received_now())
        received = moment(origin.received)
        keyed = _keyed(body)
        try:
            if keyed is None:
                ticks = decode(body, received=received)
                idempotency = None
            else:
                ticks, idempotency = self.once(keyed, number, received)
                origin = origin._replace(traceparent=checked_traceparent(keyed.traceparent))
        except InvalidTicks as error:
            detail = str(error.detail)
            raise ProtocolError(ErrorCode.INVALID_TICKS, detail, number, error.errors, error.count) from None
        except APIException as error:
            raise ProtocolError(ErrorCode.INVALID_JSON, str(error.detail), number) from None
        if denied := denied_symbols(self.grant, ticks):
            raise ProtocolError(ErrorCode.ACCESS_DENIED, explain_denied(denied), number, symbols=denied)
        try:
            shares.take(self.grant, len(ticks))
            await shares.check_new(self.grant, ticks)  # before the next message is read: they stay in their order
        except OverShare as error:
            code = ErrorCode(f"too_many_{error.what}")
            raise ProtocolError(code, error.message, number, retry_after=error.wait) from None
        except BusUnavailable as error:
            detail = f"Nothing was published: {error.reason.sentence} Send it again."
            raise ProtocolError(ErrorCode.BUS_UNAVAILABLE, detail, number, reason=error.reason) from None
        if denied := denied_symbols(self.grant, ticks):  # the grant may have been narrowed meanwhile
            raise ProtocolError(ErrorCode.ACCESS_DENIED, explain_denied(denied), number, symbols=denied)
        publication = asyncio.get_running_loop().create_task(
            publish.publish(ticks, idempotency, self.grant, "websocket", origin)
        )
        publication.add_done_callback(self.acknowledge)
        self.under_way.append(Message(number, len(ticks), publication))

    def once(self, keyed: KeyedTicks, number: int, received: str) -> tuple[list[Tick], Idempotency]:
        if (key := key_of(keyed.key)) is None:
            detail = f"A key has 1 to {MAX_KEY_LENGTH} visible ASCII characters."
            raise ProtocolError(ErrorCode.INVALID_MESSAGE, detail, number)
        ticks = decode(bytes(keyed.ticks), received=received)
        return ticks, publish.idempotency(key, self.grant.owner, ticks, received)

    def acknowledge(self, _: asyncio.Task[bool]) -> None:
        """Answers the messages that are done, in their order; one answer acknowledges all up to its number."""
        last = None
        while self.under_way and self.under_way[0].publication.done():
            message = self.under_way.popleft()
            if message.publication.cancelled() or message.publication.exception() is not None:
                self.report(message)
            else:
                result = "published" if message.publication.result() else "repeated"
                intake.publications[f"websocket|{result}"] += 1
                last = message.number
                self.messages += 1
                self.ticks += message.size
        if last is not None:
            self.outbox.reply(published_frame(last, self.messages, self.ticks))

    def report(self, message: Message) -> None:
        code, reason = ErrorCode.BUS_UNAVAILABLE, None
        error = None if message.publication.cancelled() else message.publication.exception()
        symbols = publish.concerned(error) if isinstance(error, Refusal) else []
        if isinstance(error, IdempotencyConflict):
            code, detail = ErrorCode.IDEMPOTENCY_KEY_REUSED, explain(error)
        elif isinstance(error, LimitReached):
            code, detail = ErrorCode(f"too_many_{error.what}"), explain(error)
        else:
            reason = error.reason if isinstance(error, BusUnavailable) else Reason.AWAY
            detail = f"The message is not confirmed: {reason.sentence}{about(symbols)} Send it again."
        self.refuse(ProtocolError(code, detail, message.number, reason=reason, symbols=symbols))

    def refuse(self, error: ProtocolError) -> None:
        intake.publications[f"websocket|{error.reason or error.code}"] += 1
        self.outbox.reply(error_frame(error))
        if error.code is ErrorCode.MESSAGE_TOO_BIG:
            self.outbox.close(TOO_BIG)

    async def hold_back(self) -> None:
        """Stops reading until half of the window is free and the publisher has read its answers."""
        self.wire.pause_reading()
        try:
            await self.settle(WINDOW // 2)
            await self.outbox.caught_up()
        finally:
            self.wire.resume_reading()

    async def settle(self, rest: int) -> None:
        """Waits until no more than ``rest`` messages are under way."""
        while len(self.under_way) > rest:
            await asyncio.wait([self.under_way[0].publication])
            await asyncio.sleep(0)  # the callbacks of a task run after those who wait for it


def _auth(text: str | None) -> Auth | None:
    """The message if it shows a token; None if it is ticks, or invalid."""
    if text is None or '"action"' not in text or text.lstrip()[:1] != "{":
        return None
    try:
        return msgspec.json.decode(text, type=Auth)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def _keyed(body: bytes) -> KeyedTicks | None:
    """The message if it has a key; None if it is ticks, or invalid."""
    # Ticks have no such field: looking at the bytes saves decoding them twice.
    if b'"ticks"' not in body or body.lstrip()[:1] != b"{":
        return None
    try:
        return msgspec.json.decode(body, type=KeyedTicks)
    except (msgspec.DecodeError, RecursionError):
        return None
