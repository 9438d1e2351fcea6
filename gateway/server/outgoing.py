"""The outgoing side of a client, as far as its connection knows it, and whether the other end is still there."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final, Protocol

from gateway.protocol.codes import Closure

__all__ = ["Outgoing", "unacknowledged_for"]

_TCP_INFO: Final = struct.Struct("=3x B 20x I 28x I")
"""Of Linux' tcp_info: tcpi_probes, not answered; tcpi_unacked, packets; tcpi_last_ack_recv, milliseconds ago."""


class Outgoing(Protocol):
    """The outgoing side of a client, as far as its connection knows it."""

    @property
    def behind(self) -> bool:
        """Whether the client does not keep up."""

    @property
    def stuffed(self) -> bool:
        """Whether its socket is full."""

    def write(self, frames: bytes) -> None:
        """Sends frames to a client whose socket is not full."""

    @property
    def owes(self) -> bool:
        """Whether the client has been asked how far it has read, and has not answered."""

    def answered(self, number: int) -> bool:
        """The client has read up to the ping of that number; says whether it had been asked."""

    def close(self, closure: Closure) -> None:
        """Closes the connection, behind all that was delivered to it."""

    def let_go(self) -> None:
        """The connection is lost or being closed: nothing is delivered any more."""


def unacknowledged_for(connection: socket.socket) -> float:
    """Seconds since the other end sent anything, if it owes an acknowledgement; 0 if not, and where the system does not
    tell.

    A client that is there and does not read owes none: it is sent only probes, and its system answers them.
    """
    if sys.platform != "linux":
        return 0.0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    probes, packets, milliseconds = _TCP_INFO.unpack(info)
    return milliseconds / 1_000 if packets or probes > 1 else 0.0
