"""Chooses the best way to a client's socket that its server allows."""

from __future__ import annotations

import functools
import socket

from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

from gateway.server.websocket import GatewayProtocol
from gateway.wires.asgi import AsgiWire, SendEvent
from gateway.wires.daphne import DirectWire, TransportWire
from gateway.wires.events import BodyWire
from gateway.wires.own import OwnWire
from gateway.wires.response import DirectResponse, Response, TransportResponse
from gateway.wires.wire import Wire

__all__ = ["body_wire_for", "is_over_tls", "wire_for"]


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


def body_wire_for(send: SendEvent, unsent: int) -> tuple[Wire, bool]:
    """The best way for the body of a response whose head was sent by ``send``; whether it has to be sent in chunks."""
    request = _behind(send)
    if not isinstance(request, WebRequest) or request.channel is None or request.finished:
        return BodyWire(send), False
    is_chunked, transport = bool(request.chunked), request.channel.transport
    if isinstance(transport, Connection) and not transport.TLS:
        _limit_unsent(transport.socket, unsent)
        return DirectResponse(Response(request)), is_chunked
    return TransportResponse(Response(request)), is_chunked


def is_over_tls(send: SendEvent) -> bool:
    """Whether Daphne itself ends TLS for the WebSocket behind ``send``, which its scope does not say."""
    protocol = _daphne_protocol(send)
    return protocol is not None and ISSLTransport.providedBy(protocol.transport)


def _limit_unsent(connection: socket.socket, size: int) -> None:
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)


def _daphne_protocol(send: SendEvent) -> WebSocketProtocol | None:
    protocol = _behind(send)
    return protocol if isinstance(protocol, WebSocketProtocol) else None


def _behind(send: SendEvent) -> object:
    """Daphne hands an application ``partial(server.handle_reply, protocol)``; middleware may have wrapped it."""
    while hasattr(send, "__wrapped__"):
        send = send.__wrapped__
    return send.args[0] if isinstance(send, functools.partial) and send.args else None
