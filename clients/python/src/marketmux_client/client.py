"""The client: one task that connects, reads, and comes back, and the calls of those who use it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl as ssl_module
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, SupportsIndex, TypeVar

import websockets

from . import messages
from .arguments import Number, count, flag, not_negative, number, text
from .backoff import Backoff, Refusals
from .books import Books, Counts
from .closures import LOST
from .commands import Options
from .consumers import Consumers
from .errors import BadMessage, ClientClosed, ClientError, ClosedForGood, CommandRefused, Refused
from .events import BusState, Connected, Disconnected, Event, Quote
from .inbox import Inbox
from .session import Session
from .subscriptions import Subscriptions
from .target import Proxy, Target, reason_of, retry_after
from .timeouts import timeout
from .tokens import Token, Tokens

__all__ = ["Client", "Latest"]

logger = logging.getLogger(__name__)

ClientT = TypeVar("ClientT", bound="Client")

_HANDSHAKE_TIMEOUT: Final = 10.0
_ANSWERS: Final = frozenset({"subscribed", "unsubscribed", "subscriptions", "pong", "auth", "error"})


class Latest(NamedTuple):
    """The last price of a symbol that came. ``is_stale``: there is, or may be, a newer one that did not."""

    quote: Quote
    is_stale: bool


class Client:
    """A connection to a gateway that comes back by itself, and says what was lost.

    An asynchronous context manager, and an asynchronous iterator over events for one consumer. It belongs to the event
    loop it was made in.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        token: Token | None = None,
        connect_timeout: Number | None = None,
        max_queue: SupportsIndex = 1000,
        max_age: Number | None = 1.0,
        headers: Mapping[str, str] | None = None,
        ssl: ssl_module.SSLContext | None = None,
        backoff: Backoff | None = None,
        proxy: Proxy = True,
        refused_for: Number = 60.0,
        compact: bool = False,
    ) -> None:
        """
        Args:
            url: ``ws://host:port/ws``, or ``wss://``.
            key: the API key.
            token: in place of a key, a token, or an asynchronous function that gives one. The function is asked before
                each connection, and before a connection ends by itself. What it raises is tried again.
            connect_timeout: how long ``open`` tries to make the first connection, in seconds; None for as long as it
                takes.
            max_queue: events that may wait for the consumer. When more do, the client keeps the newest tick of each
                symbol and counts what it leaves out (``Conflated``, ``"slow"``).
            max_age: for how many seconds an event may wait before the same happens; None for as long as it takes.
            headers: more headers for the handshake.
            ssl: for ``wss://``, where the defaults will not do.
            backoff: the pauses between attempts to connect.
            proxy: the URL of a proxy, or None for none. True is the one that the environment names (``https_proxy``,
                ``no_proxy`` and so on), but none to this machine itself.
            refused_for: for how many seconds of nothing but refusals a client that was welcomed before tries again.
            compact: whether ticks are to come in less than half the bytes (docs/reference/protocol.md).

        Raises TypeError or ValueError for what it cannot use, Refused for a URL that is none.
        """
        if not isinstance(backoff, Backoff | None):
            raise TypeError(f"backoff is a Backoff, not {type(backoff).__name__}")
        if key is not None and token is not None:
            raise ValueError("a client shows a key or a token, not both")
        self._target = Target.checked(url, key, headers, ssl, proxy)
        if flag("compact", compact):
            self._target = self._target.asking("format=compact")
        self._tokens = Tokens(token)
        self._connect_timeout = None if connect_timeout is None else not_negative("connect_timeout", connect_timeout)
        self._backoff = backoff or Backoff()
        self._refusals = Refusals(not_negative("refused_for", refused_for), time.monotonic)
        self._inbox = Inbox(
            count("max_queue", max_queue), None if max_age is None else not_negative("max_age", max_age)
        )
        self._books = Books(self._inbox.put)
        self._subscriptions = Subscriptions(self._books, self._inbox)
        self._consumers = Consumers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._end: ClientError | Exception | None = None
        self._failure: BaseException | None = None
        self._is_connected = False
        self._bus = BusState(connected=True)
        self.server_time: str | None = None
        """The gateway's clock at its last heartbeat: RFC 3339 in UTC. None until there was one."""

    # For its users

    async def open(self) -> None:
        """Connects, and returns when the gateway has welcomed.

        Tries again as long as that may help. Raises Refused if it cannot, TimeoutError after ``connect_timeout``.
        """
        if self._runner is not None:
            raise RuntimeError("a client is opened once")
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self._runner = asyncio.create_task(self._run(), name=f"marketmux client of {self._target.url}")
        try:
            async with timeout(self._connect_timeout):
                await self._opened
        except TimeoutError:
            await self.close()
            why = "nobody answers" if self._failure is None else reason_of(self._failure)
            message = f"no connection to {self._target.url} within {self._connect_timeout:g} s: {why}"
            raise TimeoutError(message) from self._failure
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the connection and the iteration, within about a second. What waits for the consumer is dropped."""
        self._finish(ClientClosed(), discard=True)
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})

    async def subscribe(
        self, *symbols: str, max_rate: Number | None = None, snapshot: bool = True, trace: bool = False
    ) -> float | None:
        """Subscribes to ``symbols``, all or none; ``"*"`` is every symbol. Returns when the gateway has acknowledged.

        It waits for as long as there is no connection or no bus, so give it a time-out if that matters. If it is
        cancelled it has not happened. Subscribing again replaces the options, and the stream goes on where it is.

        Args:
            max_rate: ticks a second at most, for each symbol; None for every tick.
            snapshot: whether the last tick of each symbol is wanted first.
            trace: whether ticks say when they were where (``Tick.trace``).

        Returns:
            The rate that the gateway has taken, which may be somewhat lower than ``max_rate``; None for every tick.

        Raises:
            TypeError, ValueError: an argument is none, and nothing was asked for.
            CommandRefused: the gateway will not (``invalid_symbol``, ``access_denied``, ``too_many_symbols``,
                ``invalid_message``).
            ClientError: there is no connection any more, and there will be none.
        """
        rate = None if max_rate is None else number("max_rate", max_rate)
        options = Options(rate, flag("snapshot", snapshot), flag("trace", trace))
        self._check(symbols)
        if rate is not None and rate <= 0:
            raise CommandRefused("invalid_message", f"max_rate is above 0 ticks a second, not {max_rate}.", symbols)
        return await self._subscriptions.subscribe(symbols, options)

    async def unsubscribe(self, *symbols: str) -> None:
        """Ends subscriptions; after it has returned no event of the symbols comes. Raises ClientError as above."""
        self._check(symbols)
        await self._subscriptions.unsubscribe(symbols)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is subscribed to, in that order."""
        return tuple(self._subscriptions.wanted)

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @property
    def counts(self) -> Counts:
        """What has happened so far."""
        counts = self._books.counts
        return replace(counts, skipped=counts.skipped + self._inbox.skipped)

    def latest(self, symbol: str) -> Latest | None:
        """The last price of ``symbol`` that came, also if it still waits for the consumer; None if there was none."""
        quote = self._books.last(text("symbol", symbol))
        if quote is None:
            return None
        bus = self._bus
        has_bus = bus.connected or (bool(bus.symbols) and symbol not in bus.symbols)
        is_fresh = self._is_connected and has_bus and self._books.is_current(symbol)
        return Latest(quote, not is_fresh)

    async def __aenter__(self: ClientT) -> ClientT:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Raises RuntimeError while another task iterates: of two consumers each would have holes in what it gets."""
        return self._consumers.begin(self.__anext__)

    async def __anext__(self) -> Event:
        """Raises ClosedForGood, Refused or BadMessage when there is no going on."""
        if self._runner is None:
            raise RuntimeError("the client was not opened")
        try:
            return await self._inbox.get()
        except ClientClosed:
            raise StopAsyncIteration from None

    def _check(self, symbols: tuple[str, ...]) -> None:
        if not symbols:
            raise TypeError("symbols are strings, at least one")
        for symbol in symbols:
            text("a symbol", symbol)
        if self._runner is None:
            raise RuntimeError("the client was not opened")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the client belongs to another event loop")
        if self._end is not None:
            raise self._end

    # The task

    async def _run(self) -> None:
        try:
            while True:  # noqa: ASYNC110 - nothing to wait for but the time
                await asyncio.sleep(await self._attempt())
        except asyncio.CancelledError:
            self._finish(ClientClosed(), discard=True)
            raise
        except Exception as error:
            self._finish(error)

    async def _attempt(self) -> float:
        """One connection, from beginning to end; returns the seconds to wait before the next.

        Raises ClientError if there should be none.
        """
        try:
            target = await self._tokens.show(self._target)
            session = await Session.open(target, _HANDSHAKE_TIMEOUT, self._subscriptions.ping)
        except (Refused, BadMessage) as error:
            left = self._refusals.left()
            if not left:
                raise
            return self._try_again(error, min(left, self._backoff.next()))
        except (OSError, websockets.WebSocketException) as error:
            self._refusals.interrupted()
            return self._try_again(error, retry_after(error) + self._backoff.next())
        return await self._use(session)

    def _try_again(self, error: Exception, wait: float) -> float:
        self._failure = error
        event = Disconnected(LOST, reason_of(error), wait)
        logger.info("No connection to %s (%s); trying again in %.1f s.", self._target.url, event.reason, wait)
        self._inbox.put_failure(event)
        return wait

    async def _use(self, session: Session) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._serve(session)
        finally:
            self._is_connected = False
            self._books.disconnected()
            closure = await session.close()
        if not closure.reconnect:
            raise ClosedForGood(closure.code, closure.reason)
        self._backoff.ended(loop.time() - began)
        event = Disconnected(closure.code, closure.reason, closure.wait + self._backoff.next())
        logger.info("Lost %s (%d %s); trying again in %.1f s.", self._target.url, event.code, event.reason, event.wait)
        self._inbox.put(event)
        return event.wait

    async def _serve(self, session: Session) -> None:
        """Reads until the connection ends, while another task asks for what is wanted."""
        self._is_connected, self._bus = True, BusState(connected=True)
        self._refusals.welcomed()
        self._inbox.put(Connected(session.version))
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        pump = asyncio.create_task(self._subscriptions.pump(session))
        pump.add_done_callback(partial(_end_with, session))
        expires_at = session.expires_at if self._tokens.is_asked_for else None
        refresher = asyncio.create_task(self._tokens.keep_fresh(expires_at, self._subscriptions.authenticate))
        try:
            await self._read(session)
        finally:
            for task in (pump, refresher):
                task.cancel()
            await asyncio.wait({pump, refresher})
        if not pump.cancelled() and (error := pump.exception()) is not None:
            raise error

    async def _read(self, session: Session) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self._inbox.room()
                found = await session.receive()
                try:
                    for message in found:
                        self._take(session, message)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise BadMessage(str(message)[:200]) from error

    def _take(self, session: Session, message: dict[str, Any]) -> None:
        """What a message means. Types that are not known are for newer clients."""
        kind = message["type"]
        if self._subscriptions.is_stray(message):
            pass
        elif kind == "tick":
            self._books.tick(messages.tick(message), message.get("skipped", 0))
        elif kind == "snapshot":
            self._books.snapshot(messages.snapshot(message))
        elif kind == "conflated":
            self._books.conflated(message["reason"], message["skipped"])
        elif kind == "gap":
            self._books.gap(message["symbol"], message["missed"], message["seq"], message["epoch"])
        elif kind == "heartbeat":
            self.server_time = message.get("time")
            if "seqs" in message:
                self._subscriptions.resume(self._books.heartbeat(message["seqs"]))
        elif kind == "introduced":
            self._subscriptions.introduced(message["positions"])
        elif kind in _ANSWERS:
            session.answered(message)
        elif kind == "bus":
            self._bus = BusState(bool(message["connected"]), frozenset(message.get("symbols", ())))
            self._inbox.put(self._bus)
        elif kind == "access":
            self._subscriptions.limit(message.get("lost", ()), message["patterns"])
        elif kind == "closing":
            session.closing(message)

    def _finish(self, end: Exception, discard: bool = False) -> None:
        """There will be no connection any more: tells everybody who waits."""
        if self._end is None:
            self._end = end
        self._inbox.finish(self._end, discard)
        self._subscriptions.fail(self._end)
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(self._end)
            self._opened.exception()  # a caller that was cancelled does not look at it


def _end_with(session: Session, pump: asyncio.Task[None]) -> None:
    """Where nothing can be asked for any more, there is no use in reading on."""
    if not pump.cancelled() and pump.exception() is not None:
        session.abandon("nothing can be asked for any more")
