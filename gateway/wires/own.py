"""The way to a socket on our own server (gateway/server/websocket.py).

Autobahn's own frames, pongs and the closing handshake, go the same way, and the protocol tells when it closes. So
nothing has to be checked before a write, and ``send`` is the socket's own.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

from gateway.wires.daphne import DirectWire
from gateway.wires.wire import Queue, Sender

__all__ = ["OwnWire", "queue_of"]


_TCP_INFO: Final = struct.Struct("=120x Q 16x 2I 48x 2Q")
"""Of Linux' tcp_info: tcpi_bytes_acked; tcpi_notsent_bytes; tcpi_min_rtt, microseconds; tcpi_bytes_sent; _retrans."""


def queue_of(connection: socket.socket) -> Queue | None:
    """What the system holds for the other end of a TCP connection; None where it does not tell."""
    if sys.platform != "linux":
        return None
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(info) < _TCP_INFO.size:
        return None
    acknowledged, unsent, round_trip, sent, again = _TCP_INFO.unpack(info)
    return Queue(unsent + sent - again - acknowledged, acknowledged, round_trip / 1_000_000)


class OwnWire(DirectWire):
    """Writes to the socket itself, with nothing in between."""

    is_tidy = answers_pings = True

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

    def queue(self) -> Queue | None:
        return queue_of(self._transport.socket)

    def ask_along(self) -> bool:
        along: bool = self._protocol.ask_along()
        return along

    def release(self) -> None:
        super().release()
        self._protocol.outbox = None

    def resume_reading(self) -> None:
        if not self._protocol.held:  # by an inbox that is full
            self._protocol.heard()
            super().resume_reading()
