"""A subscriber's WebSocket: its handshake, its subscription, its ticks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.loadtest import messages, websocket
from gateway.loadtest.ledger import Cursor, Tally
from gateway.loadtest.loop import Loop, Stream
from gateway.loadtest.proof import Book
from gateway.loadtest.target import Target
from gateway.loadtest.traces import Traces
from gateway.loadtest.websocket import Handshake, HandshakeError

__all__ = ["ABNORMAL", "Observer", "Socket"]

ABNORMAL = 1006
"""Stands for an end without a close frame."""


class Observer(Protocol):
    """Is told when a socket has its subscription, and when it ends."""

    def subscribed(self, socket: Socket) -> None: ...

    def ended(self, socket: Socket, code: int, reason: str) -> None: ...


class Socket:
    """Connects, upgrades, subscribes to ``symbols``, then reports each tick to ``tally``.

    With a ``book`` it goes on where the book ends, and books everything; then ticks from before the connection do not
    count as deliveries. ``max_rate`` is in ticks a second. ``number`` is the owner's name for it. ``wait``: the seconds
    that the gateway asked its client to wait before it reconnects, if it closed the connection. With ``traces`` it asks
    for them.
    """

    __slots__ = (
        "_cursors",
        "_handshake",
        "_max_rate",
        "_observer",
        "_rest",
        "_stream",
        "_take",
        "_tally",
        "_traces",
        "book",
        "number",
        "symbols",
        "wait",
    )

    def __init__(
        self,
        loop: Loop,
        symbols: Sequence[str],
        tally: Tally,
        observer: Observer,
        *,
        number: int = 0,
        book: Book | None = None,
        max_rate: float | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.symbols = symbols
        self.number = number
        self.book = book
        self.wait = 0.0
        self._max_rate = max_rate
        self._traces = traces
        self._cursors = {symbol: Cursor() for symbol in symbols}
        self._handshake = Handshake()
        self._tally = tally
        self._observer = observer
        self._stream = Stream(loop, self._receive, self._cut)
        self._rest = b""
        self._take: Callable[[bytes], bytes] = self._take_response

    def open(self, target: Target, source: tuple[str, int] | None = None) -> None:
        try:
            self._stream.connect(target.family, target.address, source)
        except OSError as error:
            self._observer.ended(self, ABNORMAL, (error.strerror or str(error)).lower())
        else:
            self._stream.send(self._handshake.request(target))

    def close(self) -> None:
        """Sends a close frame and does not wait for the answer."""
        if self._stream.is_open:
            self._stream.send(websocket.encode(websocket.CLOSE, (1000).to_bytes(2, "big")))
            self._stream.close()

    def pause(self) -> None:
        """Stops reading and stays connected."""
        self._stream.pause()

    def drop(self) -> None:
        """Closes the TCP connection without a close frame, as a client does that crashes."""
        self._stream.close()

    def give_up(self, reason: str, code: int = ABNORMAL) -> None:
        """Closes the connection because of something the other side did or failed to do."""
        self._stream.close()
        self._observer.ended(self, code, reason)

    def _receive(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        self._rest = self._take(data)

    def _cut(self, reason: str) -> None:
        self._observer.ended(self, ABNORMAL, reason)

    def _take_response(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        try:
            self._handshake.check(head)
        except HandshakeError as error:
            self.give_up(str(error))
            return b""
        self._take = self._take_frames
        since = self.book.since() if self.book is not None else None
        command = messages.subscribe(self.symbols, self._max_rate, since, trace=self._traces is not None)
        self._stream.send(websocket.encode(websocket.TEXT, command))
        return self._take_frames(rest)

    def _take_frames(self, data: bytes) -> bytes:
        now = time.monotonic_ns()
        try:
            whole, rest = websocket.split(data)
        except websocket.FrameError as error:
            self.give_up(str(error), code=1002)
            return b""
        if self._traces is not None:
            whole = self._traces.read(whole)
        if self.book is not None:
            whole = self.book.read(whole)
        for first, payload in whole:
            if stamp := messages.stamp_of(payload):
                self._tally.tick(self._cursors, stamp, now)
                self._tally.conflated += messages.skipped_by(payload)
            elif self._stream.is_open:
                self._take_other(first, payload, now)
        return rest

    def _take_other(self, first: int, payload: bytes, now: int) -> None:
        if first == websocket.TEXT:
            self._take_message(messages.decode(payload), now)
        elif first == websocket.PING:
            self._stream.send(websocket.encode(websocket.PONG, payload))
        elif first == websocket.CLOSE:
            self._stream.send(websocket.encode(websocket.CLOSE, payload[:2]))
            self.give_up("closed", websocket.close_code(payload))
        elif first != websocket.PONG:
            self.give_up(f"unexpected frame {first:02x}", code=1002)

    def _take_message(self, message: dict[str, Any], now: int) -> None:
        if message.get("type") == "subscribed":
            self._take_acknowledgement(message)
        elif message.get("type") == "error" and message.get("id") == 1:
            self.give_up(f"subscribe: {message.get('code')}")
        elif message.get("type") == "tick":
            self._tally.tick(self._cursors, str(message.get("timestamp")).encode(), now)
        elif message.get("type") == "closing":
            self.wait = float(message.get("wait", 0))
        else:
            self._tally.message(message)

    def _take_acknowledgement(self, message: dict[str, Any]) -> None:
        if self._cursors.keys() <= set(message.get("symbols", ())):
            self._observer.subscribed(self)
        else:
            self.give_up("acknowledged without a symbol that was asked for")
