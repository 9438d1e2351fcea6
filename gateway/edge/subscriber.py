"""The consumer behind ``/ws``: carries out a client's commands one by one and answers them.

It is a Channels consumer without a channel of its own: ticks reach its client through the hub, which is a member of
their groups for all clients of the process. So a client needs no queue, no second task and no Redis subscription.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import takewhile
from time import perf_counter
from typing import Any, Final
from urllib.parse import parse_qsl

from channels.generic.websocket import AsyncWebsocketConsumer

from bus.contract import BusUnavailable
from bus.histogram import SECONDS, Histogram
from gateway import VERSION
from gateway.edge.auth import expiry, refresh
from gateway.edge.process import get_node
from gateway.edge.watch import get_watch
from gateway.fanout.hub import Reception
from gateway.protocol.budget import TOKEN_BYTES, Budget
from gateway.protocol.codes import FLOODING, REVOKED, TOO_BIG, Closure, ErrorCode, ProtocolError
from gateway.protocol.commands import Action, Command, checked_text, parse
from gateway.protocol.compact import COMPACT, ROW, compacted
from gateway.protocol.messages import (
    Limits,
    Position,
    access_frame,
    authenticated_frame,
    error_frame,
    pong_frame,
    subscribed_frame,
    subscriptions_frame,
    unsubscribed_frame,
    welcome_frame,
)
from gateway.protocol.values import EVERYTHING
from gateway.server.inbox import waiting
from gateway.server.visitors import Standing, stand
from gateway.wires.asgi import SendEvent
from gateway.wires.choose import wire_for
from gateway.wires.rewriting import RewritingWire
from gateway.wires.wire import Wire
from ticks import shares
from ticks.access.credentials import Audience
from ticks.access.grant import Grant, Scope
from ticks.access.shares import OverShare
from ticks.address import client_address
from ticks.conf import conf
from ticks.errors import about, explain_denied
from ticks.publish import concerned

__all__ = ["TickConsumer", "carried_out"]

logger = logging.getLogger(__name__)

_POSITION_BYTES: Final = 40
"""Of a stream that the client is told of after the answer, which counts as part of it."""

Receive = Callable[[], Awaitable[dict[str, Any]]]

carried_out: Final = Histogram(SECONDS)
"""From a command to its answer, of all clients of this process."""

_MOST_UNSENT: Final = 16_384
"""Bytes of answers that wait for those of the commands behind."""

_KEPT: Final = frozenset({b"x-forwarded-for", b"traceparent"})
"""Headers of a handshake that are looked at again."""
_AUTH_COST: Final = 10
"""Commands that looking at a token counts as, on top of one."""


class TickConsumer(AsyncWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """One client's conversation. The language is in gateway/protocol/."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: SendEvent) -> None:
        self.scope = scope
        self.base_send = send
        if isinstance(headers := scope.get("headers"), list):
            # In the one list that all hold: the others would stay as long as the client.
            headers[:] = [header for header in headers if header[0] in _KEPT]
        await receive()  # websocket.connect
        chosen = dict(parse_qsl(scope.get("query_string", b"").decode("latin1"))).get("format", "")
        if chosen not in ("", COMPACT):
            await self.close()
            return
        await self.accept(scope.get("subprotocol"))
        wire = wire_for(send, conf.MARKETMUX_UNSENT_BYTES)
        self.fields = ROW if chosen else ()
        await self.serve(receive, RewritingWire(wire, compacted, is_shared=True) if chosen else wire)

    async def serve(self, receive: Receive, wire: Wire) -> None:
        """From the client's first message to its end."""
        self.grant: Grant = self.scope["grant"]
        self.is_idle = not self.grant.stands_on
        self.holder, self.holding = self.grant.owner, 0
        node = get_node()
        self.hub = node.hub
        self.outbox = node.open(wire)
        self.answers: list[bytes] = []
        self.unsent = 0
        if not self.grant.subscribe.is_all:
            self.hub.limit(self.outbox, self.grant.subscribe)
        watch = get_watch()
        watch.add(self)
        try:
            self.greet()
            await self.converse(receive)
        finally:
            watch.discard(self)
            node.close(self.outbox)
            shares.let_go(self.holder, "symbols", self.holding)

    fields: Sequence[str] = ()
    """What the arrays of ticks have, for a client that chose the compact format."""
    is_publisher = False
    ticks = 0

    def symbols(self) -> Collection[str]:
        return self.hub.symbols(self.outbox)

    def rates(self) -> Collection[float | None]:
        return self.hub.rates(self.outbox)

    def close_with(self, closure: Closure) -> None:
        self.outbox.close(closure)

    def regrant(self, grant: Grant, closure: Closure = REVOKED) -> None:
        """Goes on with what is left of the grant, without the subscriptions that it no longer covers."""
        before, self.grant = self.grant, grant
        if not grant.subscribe:
            self.outbox.close(closure)
        elif grant.subscribe != before.subscribe:
            lost = self.hub.limit(self.outbox, grant.subscribe)
            self.give_back()
            self.outbox.reply(access_frame(list(grant.subscribe), tuple(lost)))

    def greet(self) -> None:
        self.limits = Limits(
            symbols=conf.MARKETMUX_MAX_SYMBOLS,
            message_bytes=conf.MARKETMUX_MAX_MESSAGE_BYTES,
            commands_per_second=conf.MARKETMUX_MAX_COMMANDS_PER_SECOND,
        )
        self.budget = Budget(self.limits.commands_per_second, asyncio.get_running_loop().time)
        seconds = conf.MARKETMUX_HEARTBEAT_SECONDS
        self.outbox.reply(welcome_frame(VERSION, self.limits, seconds, expiry(self.grant), self.fields))
        self.hub.outage.tell(self.outbox)

    async def converse(self, receive: Receive) -> None:
        """Carries out commands in their order until the client disconnects.

        Those that have come together are answered in one write, which goes out before anything is awaited: no tick may
        come in between. Plain subscriptions among them, one behind the other, are one to the hub. While answers wait
        for a client that is behind no command is carried out, since its answer would too.
        """
        take = waiting(receive)
        plain: list[str] = []
        began = 0.0
        while True:
            event = None if self.outbox.behind else take()
            if event is None:
                await self.subscribe_each(plain, began)
                self.flush()
                if self.outbox.behind:
                    await self.outbox.caught_up()
                event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            began = began if plain else perf_counter()
            try:
                command = self.command(event)
                if command.is_plain and not self.hub.traces:
                    plain += command.symbols
                    continue
                await self.subscribe_each(plain, began)
                await self.obey(command)
            except ProtocolError as error:
                await self.subscribe_each(plain, began)
                self.refuse(error)
            carried_out.add(perf_counter() - began)

    async def subscribe_each(self, symbols: list[str], began: float) -> None:
        """Carries out plain subscriptions, and empties the list: as one or, where that is refused, one by one.

        Those at the front that need not wait for the bus do not wait with the others.
        """
        while symbols:
            some = list(takewhile(self.hub.is_at_hand, symbols)) or symbols[:]
            del symbols[: len(some)]
            try:
                await self.subscribe(Command(Action.SUBSCRIBE, tuple(dict.fromkeys(some)), None), some)
            except ProtocolError as error:
                if len(some) > 1:
                    for symbol in some:
                        await self.subscribe_each([symbol], began)
                    continue
                self.refuse(error)
            carried_out.add(perf_counter() - began, len(some))

    def command(self, event: dict[str, Any]) -> Command:
        if not self.budget.spend():
            raise ProtocolError(
                ErrorCode.TOO_MANY_COMMANDS,
                f"At most {self.limits.commands_per_second} commands a second; this one was not carried out.",
            )
        text = checked_text(event.get("text"), self.limits.message_bytes)
        self.budget.charge(len(text))
        return parse(text)

    async def obey(self, command: Command) -> None:
        if self.hub.traces:
            self.flush()  # what was answered before goes out as it was asked for
        match command.action:
            case Action.SUBSCRIBE:
                await self.subscribe(command)
            case Action.PING:
                self.reply(pong_frame(command.request_id))
            case Action.AUTH:
                self.flush()
                self.budget.charge(_AUTH_COST * TOKEN_BYTES)
                await refresh(self, command.token, Scope.SUBSCRIBE, Audience.WS, command.request_id)
                self.answer(authenticated_frame(expiry(self.grant), command.request_id))
            case Action.UNSUBSCRIBE:
                ended = self.hub.unsubscribe(self.outbox, command.symbols)
                self.give_back()
                self.answer(unsubscribed_frame(ended, command.request_id))
                self.tell_outage()
            case Action.LIST:
                self.answer(subscriptions_frame(self.hub.symbols(self.outbox), command.request_id))
                self.tell_outage()

    async def subscribe(self, command: Command, each: Sequence[str] = ()) -> None:
        """``each``: the symbols of the plain subscriptions that the command stands for."""
        self.check_covered(command)
        held = self.hub.symbols(self.outbox)
        new = len([symbol for symbol in command.symbols if symbol not in held])
        if len(held) + new > self.limits.symbols:
            raise ProtocolError(
                ErrorCode.TOO_MANY_SYMBOLS,
                f"A connection has at most {self.limits.symbols} symbols; nothing was subscribed.",
                command.request_id,
            )
        try:
            if shares.most(self.grant, "symbols") is not None:
                self.flush()
                self.holding += await shares.hold(self.grant, "symbols", new)
        except OverShare as error:
            detail = f"{error.message} Nothing was subscribed."
            raise ProtocolError(
                ErrorCode.TOO_MANY_SYMBOLS, detail, command.request_id, retry_after=error.wait
            ) from None
        try:
            await self.receive_ticks(command, each)
        finally:
            self.give_back()

    def give_back(self) -> None:
        """Lets go of what is held for symbols that are not, or no longer, subscribed to."""
        if self.holding and (surplus := self.holding - len(self.hub.symbols(self.outbox))) > 0:
            self.holding -= surplus
            shares.let_go(self.holder, "symbols", surplus)

    async def receive_ticks(self, command: Command, each: Sequence[str]) -> None:
        # No await between subscription and answer: the ticks that follow the positions come next.
        if each:
            if not self.hub.subscribe_plainly(self.outbox, command.symbols):
                self.flush()
                await self.join(command)
            self.reply(self.hub.answers(each))
        else:
            await self.receive_any(command)
        self.tell_outage()
        if self.is_idle:
            self.is_idle = False
            self.flush()
            await stand(self.scope, self.base_send, Standing.GUEST, client_address(self.scope))

    async def receive_any(self, command: Command) -> None:
        reception = None
        if not command.since:
            reception = self.hub.subscribe_at_once(
                self.outbox, command.symbols, snapshot=command.snapshot, rate=command.rate, trace=command.trace
            )
        if reception is None:
            self.flush()
            reception = await self.join(command)
        answer = subscribed_frame(command.symbols, reception.positions, command.request_id, command.rate)
        self.answer(answer, reception.frames)
        self.answered(reception.positions)
        self.budget.charge(reception.rest * _POSITION_BYTES)

    async def join(self, command: Command) -> Reception:
        """Waits for the bus."""
        try:
            reception = await self.hub.subscribe(
                self.outbox,
                command.symbols,
                snapshot=command.snapshot,
                rate=command.rate,
                since=command.since,
                trace=command.trace,
            )
        except BusUnavailable as error:
            # Only debug: the listener has logged that the bus is away, and thousands of clients may retry meanwhile.
            logger.debug("Could not join the groups of %d symbols: %s", len(command.symbols), error)
            refused = [symbol for symbol in concerned(error) if symbol in command.symbols]
            detail = f"Nothing was subscribed: {error.reason.sentence}{about(refused)} Try again in a second."
            raise ProtocolError(
                ErrorCode.BUS_UNAVAILABLE, detail, command.request_id, reason=error.reason, symbols=refused
            ) from None
        try:
            self.check_covered(command)
        except ProtocolError:
            self.hub.unsubscribe(self.outbox, command.symbols)  # the grant was narrowed meanwhile
            raise
        return reception

    def check_covered(self, command: Command) -> None:
        if self.grant.subscribe.is_all:
            return
        # Everything is what may be seen of it.
        if denied := self.grant.denied(Scope.SUBSCRIBE, (name for name in command.symbols if name != EVERYTHING)):
            detail = explain_denied(denied)
            raise ProtocolError(ErrorCode.ACCESS_DENIED, detail, command.request_id, symbols=denied)

    def answer(self, frames: bytes, ticks: bytes = b"") -> None:
        """Sends what a command is to be answered; a long answer counts as several commands."""
        self.budget.charge(len(frames))
        self.reply(frames + ticks)

    def reply(self, frames: bytes) -> None:
        self.answers.append(frames)
        self.unsent += len(frames)
        if self.unsent > _MOST_UNSENT:
            self.flush()

    def flush(self) -> None:
        """Sends the answers that wait."""
        if self.answers:
            self.outbox.reply(b"".join(self.answers))
            self.answers.clear()
            self.unsent = 0

    def tell_outage(self) -> None:
        if self.hub.outage.is_news:
            self.flush()
            self.hub.outage.tell(self.outbox)

    def answered(self, positions: Mapping[str, Position]) -> None:
        """Where the client is now in what it subscribed to."""

    def refuse(self, error: ProtocolError) -> None:
        self.reply(error_frame(error))
        if error.code is ErrorCode.MESSAGE_TOO_BIG:
            self.flush()
            self.outbox.close(TOO_BIG)
        elif self.budget.exhausted:
            self.flush()
            self.outbox.close(FLOODING)
