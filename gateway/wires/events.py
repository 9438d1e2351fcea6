"""The way to a client of server-sent events: what others get as WebSocket frames is made events for it.

It stands before another wire to the same socket, which sends bytes as they are. What a frame is as an event is found
once for all clients (gateway/protocol/events.py); for each of them an id is added, and the frame of a chunk.

An id says where the client stands in all of its symbols. It is left out while it is longer than what was sent since the
last one, so that with many symbols it no more than doubles what is sent. A client that comes back then gets again what
came since, and ``seq`` says so. A heartbeat brings what is outstanding.
"""

from __future__ import annotations

import random
from typing import Any, Final

from gateway.protocol.codes import Closure
from gateway.protocol.events import Event, Places, events
from gateway.wires.asgi import AsgiWire
from gateway.wires.wire import Queue, Sender, Wire

__all__ = ["BodyWire", "EventWire", "retry_after"]

_RETRY_SECONDS: Final = 1.0, 3.0
"""When a client comes back that lost its stream: between these, as browsers put no jitter on top."""


class BodyWire(AsgiWire):
    """Sends what it is given as the body of a response, through any ASGI server."""

    def _events(self, frames: bytes) -> list[dict[str, Any]]:
        return [{"type": "http.response.body", "body": frames, "more_body": True}]

    def _end(self, _closure: Closure) -> dict[str, Any]:
        return {"type": "http.response.body", "body": b""}


class EventWire:
    """Sends events from ``begin`` on; keeps what it is given before."""

    is_tidy = answers_pings = False
    form = None

    def __init__(self, places: Places) -> None:
        """``places``: where the client stands, kept up to date by what is sent."""
        self._places = places
        self._sender: Sender | None = None
        self._wire: Wire | None = None
        self._is_chunked = False
        self._early = b"retry: %d\n\n" % retry_after(0)
        self._closure: Closure | None = None
        self._rest = b""
        self.written = 0
        """Bytes of events."""
        self._unsaid = 0
        """Bytes of ticks that no id has told of."""
        self._id_size = 0

    def begin(self, wire: Wire, *, is_chunked: bool) -> None:
        """The response has begun, and ``wire`` sends its body; ``is_chunked``: in chunks that are to be made here."""
        self._wire, self._is_chunked = wire, is_chunked
        if self._sender is not None:
            wire.open(self._sender)
        early, self._early = self._early, b""
        if not self._write(wire, early):
            wire.finish(self._rest)  # what comes next finds it there
        if self._closure is not None:
            wire.close(self._closure)

    def settle(self) -> None:
        """The client has been told of places otherwise: an id is due when there is nothing else to say."""
        self._unsaid += 1

    def open(self, sender: Sender, /) -> None:
        self._sender = sender

    def fileno(self) -> int:
        return -1

    def queue(self) -> Queue | None:
        return None if self._wire is None else self._wire.queue()

    def ask_along(self) -> bool:
        return False

    def send(self, frames: bytes) -> int:
        text = b"".join([self._text(event) for event in events(frames)])
        if self._wire is None:
            self._early += text
            return len(frames)
        return len(frames) if self._write(self._wire, text) else 0

    def finish(self, rest: bytes) -> None:
        """``rest`` is of frames, which are events by now: what the socket did not take of them is kept here."""
        if self._wire is not None:
            self._wire.finish(self._rest)

    def close(self, closure: Closure) -> None:
        self._closure = closure
        if self._wire is not None:
            self._wire.close(closure)

    def release(self) -> None:
        self._sender = None
        if self._wire is not None:
            self._wire.release()

    def pause_reading(self) -> None:
        """The client has nothing to say, and that it has left is to be heard at once."""

    def resume_reading(self) -> None: ...

    def _write(self, wire: Wire, text: bytes) -> bool:
        """Whether the socket took all; what it did not is in ``_rest``."""
        self.written += len(text)
        data = b"%x\r\n%b\r\n" % (len(text), text) if self._is_chunked else text
        try:
            sent = wire.send(data)
        except BlockingIOError:
            sent = 0
        self._rest = data[sent:]
        return not self._rest

    def _text(self, event: Event) -> bytes:
        lines, symbol, seq, epoch, wait = event
        if symbol is not None:
            self._places.move(symbol, seq, epoch)
            self._unsaid += len(lines)
            if self._unsaid < self._id_size:
                return lines + b"\n"
        elif wait is not None:
            lines = b"retry: %d\n%b" % (retry_after(wait), lines)
        elif not event.is_comment:
            return lines + b"\n"
        return lines + self._id() + b"\n"

    def _id(self) -> bytes:
        if not self._unsaid or not (said := self._places.id()):
            return b""
        self._unsaid, self._id_size = 0, len(said)
        return b"id: %b\n" % said


def retry_after(wait: float) -> int:
    """In how many milliseconds to come back, at least ``wait`` seconds."""
    return round(1_000 * (wait + random.uniform(*_RETRY_SECONDS)))  # noqa: S311 - spreads clients
