"""The way to a socket on our own server (gateway/server/websocket.py).

Autobahn's own frames, pongs and the closing handshake, go the same way, and the protocol tells when it closes. So there
is nothing to look at before a write, and ``send`` is the socket's own.
"""

from __future__ import annotations

from gateway.wires.daphne import DirectWire
from gateway.wires.wire import Client

__all__ = ["OwnWire"]


class OwnWire(DirectWire):
    """The same on our own server, whose protocol sends what Autobahn has to say the same way and tells when it closes.

    So there is nothing to look at before a write, and ``send`` is the socket's own.
    """

    is_tidy = True

    def open(self, client: Client, /) -> None:
        super().open(client)
        if not self._is_clear():
            self._transport.doWrite()  # the answer to the handshake
        if self._is_clear():
            self.send = self._send  # type: ignore[method-assign] # every step is paid for each client and pass
        self._protocol.outbox = client

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
