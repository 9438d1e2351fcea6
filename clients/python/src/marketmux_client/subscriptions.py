"""Which symbols are wanted, whatever the connection does meanwhile, and the task that asks for them."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any, Final, Literal

import websockets

from . import commands
from .books import Books
from .commands import EVERYTHING, Command, Options
from .errors import CommandRefused
from .events import AccessChanged, Delayed
from .inbox import Inbox
from .session import Session

__all__ = ["Subscriptions"]

_PASSING: Final = frozenset({"auth_unavailable", "bus_unavailable", "too_many_commands"})
_RETRY: Final = 1.0
"""Least seconds before a command is sent again that was refused for the moment."""


class Request:
    """A call of ``subscribe`` or ``unsubscribe`` that waits for its answers; its caller may cancel ``done``.

    Nobody waits for an ``undo``, which unsubscribes from what is not wanted after all.
    """

    def __init__(
        self,
        action: Literal["subscribe", "unsubscribe", "undo"],
        symbols: Iterable[str],
        options: Options = Options(),  # noqa: B008 - it cannot be changed
    ) -> None:
        self.action = action
        self.symbols = list(dict.fromkeys(symbols))
        self.options = options
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.before: dict[str, Options | None] = {}
        """How what it has changed was wanted before."""
        self.rate: float | None = None
        """What the gateway has taken of ``max_rate``."""

    def is_for(self, symbol: str) -> bool:
        """Whether it subscribes to ``symbol``."""
        return self.action == "subscribe" and symbol in self.symbols


class Subscriptions:
    """What is wanted, and what has still to be asked for.

    Requests are carried out in their order, one command at a time. What they have won is wanted from then on, and is
    asked for again on each new connection, with the positions of the books. A request that fails, or whose caller has
    gone, is undone: all of its symbols or none.
    """

    def __init__(self, books: Books, inbox: Inbox) -> None:
        self._books = books
        self._inbox = inbox
        self.wanted: dict[str, Options] = {}
        self._due: dict[str, None] = {}
        self._stray: set[str] = set()
        self._named: set[str] = set()
        """What this connection has by name: the gateway says nothing of it when it is asked for every symbol."""
        self._requests: deque[Request] = deque()
        self._wake = asyncio.Event()
        self._is_connected = False
        self._has_to_ping = False
        self._token: tuple[str, asyncio.Future[str | None]] | None = None
        self._has_snapshots = True
        """Whether the gateway has been asked for those of every symbol."""

    def covers(self, symbol: str) -> bool:
        """Whether ticks of ``symbol`` are wanted."""
        return symbol in self.wanted or EVERYTHING in self.wanted

    def is_stray(self, message: Mapping[str, Any]) -> bool:
        """Whether a message is of a symbol of which the gateway has not heard yet that it is not wanted after all."""
        if not self._stray or (symbol := message.get("symbol")) is None or self.covers(symbol):
            return False
        return symbol in self._stray or EVERYTHING in self._stray

    async def subscribe(self, symbols: Iterable[str], options: Options) -> float | None:
        """The rate that was taken, once the gateway has acknowledged; raises CommandRefused."""
        request = Request("subscribe", symbols, options)
        await self._request(request)
        return request.rate

    async def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Returns when no more ticks come; without a connection at once."""
        request = Request("unsubscribe", symbols)
        if self._is_connected or self._requests:
            await self._request(request)
        else:
            self._let_go(request.symbols)

    def introduced(self, positions: Mapping[str, Mapping[str, Any]]) -> None:
        """The gateway says of more of every symbol where they are, a while after its answer."""
        covered = {symbol: place for symbol, place in positions.items() if self.covers(symbol)}
        self._books.subscribed(covered, {}, snapshot=self._has_snapshots)

    def resume(self, symbols: Iterable[str]) -> None:
        """Asks for symbols again that are not where they should be."""
        for symbol in symbols:
            if symbol in self.wanted:
                self._due[symbol] = None
            elif EVERYTHING in self.wanted:
                self._due[EVERYTHING] = None
        self._wake.set()

    def limit(self, lost: Iterable[str], patterns: Iterable[str]) -> None:
        """Takes what the gateway says that may be seen from now on."""
        allowed = tuple(str(pattern) for pattern in patterns)
        beginnings = tuple(pattern[:-1] for pattern in allowed if pattern.endswith("*"))
        symbols = tuple(map(str, lost))
        self._let_go(symbols, lambda symbol: symbol in allowed or symbol.startswith(beginnings))
        self._inbox.put(AccessChanged(symbols, allowed))

    def ping(self) -> None:
        """Asks for a sign of life."""
        self._has_to_ping = True
        self._wake.set()

    async def authenticate(self, token: str) -> str | None:
        """Shows another token; returns when that one ends, if it does by itself. Raises CommandRefused."""
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._token = token, done
        self._wake.set()
        return await done

    def fail(self, error: BaseException) -> None:
        """There will be no more connection: tells all who wait."""
        for request in self._requests:
            if not request.done.done():
                request.done.set_exception(error)
        self._requests.clear()

    async def pump(self, session: Session) -> None:
        """Asks for everything on a new connection, and for whatever comes up; returns when the connection ends."""
        self._due = dict.fromkeys(self.wanted)
        self._requests = deque(request for request in self._requests if request.action != "undo")
        self._stray.clear()
        self._named.clear()
        self._has_to_ping = False
        self._token = None
        self._is_connected = True
        try:
            while True:
                await self._step(session)
        except websockets.ConnectionClosed:
            pass  # the reader says how
        finally:
            self._is_connected = False

    async def _request(self, request: Request) -> None:
        self._requests.append(request)
        self._wake.set()
        try:
            await request.done
        except asyncio.CancelledError:
            if not request.done.cancelled() and request.done.exception() is None:
                # It was carried out a moment ago, and its caller will never know.
                self._undo(request)
            raise

    async def _step(self, session: Session) -> None:
        if self._token is not None:
            await self._show_token(session, *self._token)
        elif self._due:
            await self._ask_again(session)
        elif self._requests:
            request = self._requests[0]
            if request.done.done():  # its caller has stopped waiting
                self._undo(request)
            else:
                await self._carry_out(session, request)
            self._requests.remove(request)
        elif self._has_to_ping:
            self._has_to_ping = False
            await self._ask(session, lambda: Command({"action": "ping"}), lambda _command, _message: None)
        else:
            self._wake.clear()
            await self._wake.wait()

    async def _show_token(self, session: Session, token: str, done: asyncio.Future[str | None]) -> None:
        def settle(_command: Command, message: dict[str, Any]) -> None:
            if not done.done():
                done.set_result(message.get("expires_at"))

        self._token = None
        try:
            await self._ask(session, lambda: Command({"action": "auth", "token": token}), settle)
        except CommandRefused as error:
            if not done.done():
                done.set_exception(error)

    async def _ask_again(self, session: Session) -> None:
        """For some of what is due. Every symbol goes first: what was chosen for one by name comes on top of it."""
        for symbol in [symbol for symbol in self._due if symbol not in self.wanted]:
            del self._due[symbol]
        if not self._due:
            return
        first = EVERYTHING if EVERYTHING in self._due else next(iter(self._due))
        options = self.wanted[first]
        alike = [first, *(symbol for symbol in self._due if self.wanted[symbol] == options and symbol != first)]
        try:
            taken = await self._ask_for(session, alike, options)
        except CommandRefused as error:
            denied = [symbol for symbol in error.symbols if symbol in self.wanted]
            if error.code != "access_denied" or not denied:
                raise
            # It was taken away while there was no connection; the rest is asked for again.
            self._let_go(denied)
            self._inbox.put(AccessChanged(tuple(denied)))
            return
        for symbol in taken:
            self._due.pop(symbol, None)

    async def _carry_out(self, session: Session, request: Request) -> None:
        """Sends as many commands as the request takes."""
        left = [symbol for symbol in request.symbols if request.action != "undo" or symbol not in self.wanted]
        try:
            while left and not request.done.done():
                if request.action == "subscribe":
                    taken = await self._ask_for(session, left, request.options, request)
                else:
                    taken = await self._ask_to_end(session, left)
                left = [symbol for symbol in left if symbol not in taken]
        except CommandRefused as error:
            self._undo(request)
            if not request.done.done():
                symbols = error.symbols or request.symbols
                request.done.set_exception(
                    CommandRefused(error.code, error.message, symbols, error.reason, error.retry_after)
                )
            return
        if request.done.cancelled():
            self._undo(request)
        else:
            request.done.set_result(None)

    async def _ask_for(
        self, session: Session, symbols: list[str], options: Options, request: Request | None = None
    ) -> tuple[str, ...]:
        """Subscribes to as many of ``symbols`` as go into a command; returns them."""

        def settle(command: Command, message: dict[str, Any]) -> None:
            if request is not None:
                rate = message.get("max_rate")
                request.rate = None if rate is None else float(rate)
                for symbol in command.symbols:
                    request.before.setdefault(symbol, self.wanted.get(symbol))
                    self.wanted[symbol] = options
            self._stray.difference_update(command.symbols)
            self._named.update(command.symbols)
            if EVERYTHING in command.symbols:
                self._has_snapshots = options.snapshot
            self._books.subscribed(message["positions"], command.since, snapshot=options.snapshot)
            if request is not None and request.done.cancelled():
                # Here, and not where the answer is awaited: its ticks may come right behind it.
                self._undo(request)

        def make() -> Command:
            return self._subscribe_command(session, symbols, options)

        return await self._ask(session, make, settle, request)

    def _subscribe_command(self, session: Session, symbols: list[str], options: Options) -> Command:
        def named_first() -> list[str]:
            # Symbols without room start over, which those asked for by name should not.
            known = dict.fromkeys(chain(self.wanted, self._books.symbols()))
            return [symbol for symbol in known if symbol not in self._named]

        return commands.subscribe(symbols, options, self._books.since, named_first, session.message_bytes)

    async def _ask_to_end(self, session: Session, symbols: list[str]) -> tuple[str, ...]:
        def settle(command: Command, _message: dict[str, Any]) -> None:
            self._let_go(command.symbols)

        return await self._ask(session, lambda: commands.unsubscribe(symbols, session.message_bytes), settle)

    async def _ask(
        self,
        session: Session,
        make: Callable[[], Command],
        settle: Callable[[Command, dict[str, Any]], None],
        request: Request | None = None,
    ) -> tuple[str, ...]:
        """Sends a command, built again each time, until it is not refused for passing reasons; returns its symbols.

        Gives up, and returns none, when the caller of ``request`` has stopped waiting.
        """
        told = None
        while request is None or not request.done.done():
            command = make()
            try:
                await session.ask(command.fields, partial(settle, command))
            except CommandRefused as error:
                # What is wanted again may still be counted for the connection before, until the gateway misses it.
                if error.code not in _PASSING and (request is not None or error.retry_after is None):
                    raise
                wait = max(_RETRY, error.retry_after or 0.0)
                if told != (told := (error.code, error.reason)):
                    self._inbox.put(Delayed(error.code, error.message, error.reason, wait))
                await asyncio.sleep(wait * random.uniform(1, 1.5))  # noqa: S311 - jitter
            else:
                return command.symbols
        return ()

    def _undo(self, request: Request) -> None:
        """Wants again what was wanted before the request."""
        before, request.before = request.before, {}
        stray = []
        for symbol, options in before.items():
            heir = next((other for other in self._requests if other is not request and other.is_for(symbol)), None)
            if heir is not None:
                # Another call subscribes to it next, and undoes both if that is not to be either.
                heir.before.setdefault(symbol, options)
            elif options is None:
                stray.append(symbol)
            else:
                self.wanted[symbol] = options
                self._due[symbol] = None
        self._let_go(stray)
        if stray and self._is_connected:
            self._stray.update(stray)
            self._requests.appendleft(Request("undo", stray))
        self._wake.set()

    def _let_go(self, symbols: Iterable[str], may_see: Callable[[str], bool] = lambda _: True) -> None:
        for symbol in symbols:
            self._stray.discard(symbol)
            self._named.discard(symbol)
            self.wanted.pop(symbol, None)
            self._due.pop(symbol, None)

        def stays(symbol: str) -> bool:
            return self.covers(symbol) and may_see(symbol)

        self._books.keep(stays)
        self._inbox.purge(lambda symbol: not stays(symbol))
