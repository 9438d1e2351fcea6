"""The way to a client that gets frames otherwise than all others: with traces, or in the compact format.

It stands before the wire that the client has, so that all others get their frames as ever, and get the same. Where
clients share a form, what is made of frames is the same for them all, and a ring can write it to their sockets.
"""

from __future__ import annotations

from gateway.protocol.codes import Closure
from gateway.wires.wire import Form, Queue, Sender, Wire

__all__ = ["RewritingWire"]


class RewritingWire:
    """Sends frames as ``rewrite`` has them, by another wire."""

    def __init__(self, wire: Wire, rewrite: Form, *, is_shared: bool = False) -> None:
        """``is_shared``: ``rewrite`` is the form of many clients, and makes the same of the same frames."""
        self.wire = wire
        self.form = rewrite if is_shared and wire.form is None else None
        self.is_tidy, self.answers_pings = wire.is_tidy, wire.answers_pings
        self._rewrite = rewrite
        self._rest = b""

    def open(self, sender: Sender, /) -> None:
        self.wire.open(sender)

    def fileno(self) -> int:
        return -1 if self.form is None else self.wire.fileno()

    def queue(self) -> Queue | None:
        return self.wire.queue()

    def ask_along(self) -> bool:
        return self.wire.ask_along()

    def send(self, frames: bytes) -> int:
        data = self._rewrite(frames)
        try:
            sent = self.wire.send(data)
        except BlockingIOError:
            sent = 0
        self._rest = data[sent:]
        return 0 if self._rest else len(frames)

    def finish(self, rest: bytes) -> None:
        """After ``send`` the rest is kept here, and ``rest`` is of frames as they were."""
        self.wire.finish(self._rest or rest)
        self._rest = b""

    def close(self, closure: Closure) -> None:
        self.wire.close(closure)

    def release(self) -> None:
        self.wire.release()

    def pause_reading(self) -> None:
        self.wire.pause_reading()

    def resume_reading(self) -> None:
        self.wire.resume_reading()
