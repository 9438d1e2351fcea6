"""One subscriber: its handshake, its subscription, its ticks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.loadtest import frames, messages
from gateway.loadtest.handshake import Handshake, HandshakeError
from gateway.loadtest.ledger import Cursor, Tally
from gateway.loadtest.loop import Loop
from gateway.loadtest.stream import Stream
from gateway.loadtest.target import Target

__all__ = ["ABNORMAL", "Connection", "Observer"]

ABNORMAL = 1006
"""Stands for an end without a close frame."""


class Observer(Protocol):
    """Who wants to know how connections fare."""

    def subscribed(self, connection: Connection) -> None: ...

    def ended(self, connection: Connection, code: int, reason: str) -> None: ...


class Connection:
    """Connects, upgrades, subscribes to ``symbols``, then reports each tick to ``tally``."""

    __slots__ = ("_cursors", "_handshake", "_observer", "_rest", "_stream", "_take", "_tally", "symbols")

    def __init__(self, loop: Loop, symbols: Sequence[str], tally: Tally, observer: Observer) -> None:
        self.symbols = symbols
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
        """Says goodbye and does not wait for the answer."""
        if self._stream.is_open:
            self._stream.send(frames.encode(frames.CLOSE, (1000).to_bytes(2, "big")))
            self._stream.close()

    def give_up(self, reason: str, code: int = ABNORMAL) -> None:
        """Ends the connection from this side, because of what the other side did or failed to do."""
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
        self._stream.send(frames.encode(frames.TEXT, messages.subscribe(self.symbols)))
        return self._take_frames(rest)

    def _take_frames(self, data: bytes) -> bytes:
        now = time.monotonic_ns()
        try:
            whole, rest = frames.split(data)
        except frames.FrameError as error:
            self.give_up(str(error), code=1002)
            return b""
        for first, payload in whole:
            if stamp := messages.stamp_of(payload):
                self._tally.tick(self._cursors, stamp, now)
            elif self._stream.is_open:
                self._take_other(first, payload, now)
        return rest

    def _take_other(self, first: int, payload: bytes, now: int) -> None:
        if first == frames.TEXT:
            self._take_message(messages.decode(payload), now)
        elif first == frames.PING:
            self._stream.send(frames.encode(frames.PONG, payload))
        elif first == frames.CLOSE:
            self._stream.send(frames.encode(frames.CLOSE, payload[:2]))
            self.give_up("closed", frames.close_code(payload))
        elif first != frames.PONG:
            self.give_up(f"unexpected frame {first:02x}", code=1002)

    def _take_message(self, message: dict[str, Any], now: int) -> None:
        if message.get("type") == "subscribed":
            self._take_acknowledgement(message)
        elif message.get("type") == "error" and message.get("id") == 1:
            self.give_up(f"subscribe: {message.get('code')}")
        elif message.get("type") == "tick":
            self._tally.tick(self._cursors, str(message.get("timestamp")).encode(), now)
        else:
            self._tally.message(message)

    def _take_acknowledgement(self, message: dict[str, Any]) -> None:
        if self._cursors.keys() <= set(message.get("symbols", ())):
            self._observer.subscribed(self)
        else:
            self.give_up("acknowledged without a symbol that was asked for")
