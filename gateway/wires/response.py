"""The ways to a socket for the body of an HTTP response that goes on: those of WebSockets, through Daphne's request."""

from __future__ import annotations

from typing import Any

from daphne.http_protocol import WebRequest

from gateway.protocol.codes import Closure
from gateway.server.request import GatewayRequest
from gateway.wires.daphne import DaphneWire, DirectWire, TransportWire
from gateway.wires.own import queue_of
from gateway.wires.wire import Queue, Sender

__all__ = ["DirectResponse", "TransportResponse"]


class Response:
    """A request whose response has begun, as its wire sees connections."""

    STATE_OPEN = True
    failByDrop = False  # noqa: N815 - Autobahn's name

    def __init__(self, request: WebRequest) -> None:
        self.request: Any = request
        self.transport = request.channel.transport

    @property
    def state(self) -> bool:
        return not self.request.finished and self.request.channel is not None


class _Body(DaphneWire):
    _protocol: Response

    def open(self, sender: Sender, /) -> None:
        super().open(sender)
        if isinstance(self._protocol.request, GatewayRequest):
            self._protocol.request.outbox = sender

    def close(self, closure: Closure) -> None:
        """Ends the response, and the connection. What a client is not reading it does not read to the end either."""
        if self._sender is not None and self._sender.stuffed:
            self._transport.abortConnection()
        elif self._protocol.state:
            self._protocol.request.channel.persistent = False
            self._protocol.request.finish()
        self.release()


class DirectResponse(_Body, DirectWire):
    """Over plain TCP."""

    def queue(self) -> Queue | None:
        return queue_of(self._transport.socket)


class TransportResponse(_Body, TransportWire):
    """Over TLS."""
