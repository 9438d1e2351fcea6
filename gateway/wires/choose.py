"""Chooses the best way to a client's socket that its server allows."""

from __future__ import annotations

import functools
import socket

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

from gateway.server.websocket import GatewayProtocol
from gateway.wires.asgi import AsgiWire, SendEvent
from gateway.wires.daphne import DirectWire, TransportWire
from gateway.wires.own import OwnWire
from gateway.wires.wire import Wire

__all__ = ["is_over_tls", "wire_for"]


def wire_for(send: SendEvent, unsent: int) -> Wire:
    """The best way to the client behind the ``send`` of an accepted WebSocket.

    ``unsent``: bytes that may wait in the kernel for a client that does not read, before it counts as behind. Left to
    itself the kernel takes some megabytes, which such a client then reads first, stale as they are.
    """
    protocol = _daphne_protocol(send)
    if protocol is None or protocol.state != protocol.STATE_OPEN:  # the client may have left already
        return AsgiWire(send)
    if isinstance(protocol.transport, Connection) and not protocol.transport.TLS:
        _limit_unsent(protocol.transport.socket, unsent)
        return OwnWire(protocol) if isinstance(protocol, GatewayProtocol) else DirectWire(protocol)
    return TransportWire(protocol)


def is_over_tls(send: SendEvent) -> bool:
    """Whether Daphne itself ends TLS for the WebSocket behind ``send``, which its scope does not say."""
    protocol = _daphne_protocol(send)
    return protocol is not None and ISSLTransport.providedBy(protocol.transport)


def _limit_unsent(connection: socket.socket, size: int) -> None:
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)


def _daphne_protocol(send: SendEvent) -> WebSocketProtocol | None:
    """Daphne hands an application ``partial(server.handle_reply, protocol)``."""
    if isinstance(send, functools.partial) and send.args and isinstance(send.args[0], WebSocketProtocol):
        return send.args[0]
    return None
