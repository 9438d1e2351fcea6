"""The way to a socket on our own server (gateway/server/websocket.py).

Autobahn's own frames, pongs and the closing handshake, go the same way, and the protocol tells when it closes. So
nothing has to be checked before a write, and ``send`` is the socket's own.
"""

from __future__ import annotations

from gateway.wires.daphne import DirectWire
from gateway.wires.wire import Sender

__all__ = ["OwnWire"]


class OwnWire(DirectWire):
    """Writes to the socket itself, with nothing in between."""

    is_tidy = True

    def open(self, sender: Sender, /) -> None:
        super().open(sender)
        if not self._is_clear():
            self._transport.doWrite()  # the answer to the handshake
        if self._is_clear():
            self.send = self._send  # type: ignore[method-assign] # every step is paid for each client and pass
        self._protocol.outbox = sender

    def fileno(self) -> int:
        descriptor: int = self._transport.fileno() if self.send is self._send else -1
        return descriptor

    def release(self) -> None:
        super().release()
        self._protocol.outbox = None

    def resume_reading(self) -> None:
        if not self._protocol.held:  # by an inbox that is full
            self._protocol.heard()
            super().resume_reading()
