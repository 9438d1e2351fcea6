"""Connections of the server in memory: what is written is kept, and the test sets the clock."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final
from unittest import mock

from daphne.ws_protocol import WebSocketFactory
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from gateway.protocol.codes import SERVICE_RESTART
from gateway.server import worker
from gateway.server.http import GatewayHTTPConnection, GatewayHTTPFactory
from gateway.server.timeouts import Timeouts
from gateway.server.websocket import GatewayProtocol
from gateway.server.worker import GatewayServer

__all__ = ["HANDSHAKE", "Client", "Clock", "Transport", "frame", "idle_server", "until"]

HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Transport(StringTransport):
    """What is written, and how the connection was ended."""

    protocol: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.socket = mock.Mock(spec=socket.socket)
        self.socket.recv.side_effect = BlockingIOError
        self.aborted = False

    def setTcpNoDelay(self, _: bool) -> None:  # noqa: N802 - Twisted's name
        pass

    def getHandle(self) -> Any:  # noqa: N802 - Twisted's name
        return self.socket

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.aborted = True

    def loseWriteConnection(self) -> None:  # noqa: N802 - Twisted's name
        pass

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        if not self.disconnecting:
            super().resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802 - Twisted's name
        self.producer = None


class Client:
    """The other end of a connection to a server."""

    def __init__(self, server: GatewayServer) -> None:
        self.server = server
        self.transport = Transport()
        self.http: GatewayHTTPConnection = GatewayHTTPFactory(server).buildProtocol(IPv4Address("TCP", "::1", 1))
        self.transport.protocol = self.http
        self.http.makeConnection(self.transport)

    @property
    def websocket(self) -> GatewayProtocol:
        """Our side after a handshake has begun."""
        assert isinstance(self.transport.protocol, GatewayProtocol)
        return self.transport.protocol

    @property
    def has_ended(self) -> bool:
        return self.transport.disconnecting or self.transport.aborted

    def send(self, data: bytes) -> None:
        self.transport.protocol.dataReceived(data)

    def leave(self) -> None:
        self.transport.protocol.connectionLost(Failure(ConnectionDone()))

    def received(self) -> bytes:
        """What was written since the last call."""
        written: bytes = self.transport.value()
        self.transport.clear()
        return written

    async def shake_hands(self) -> None:
        """Opens a WebSocket, with an application that accepts it."""
        self.send(HANDSHAKE)
        await until(lambda: self.websocket.state == self.websocket.STATE_OPEN)
        assert b" 101 " in self.received()


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A client's frame of under 126 bytes, masked with zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - anything may make it true
            await asyncio.sleep(0)


def idle_server(application: Any, timeouts: Timeouts, *, short_requests: bool = True) -> GatewayServer:
    """A server that has been started as far as connections need it, and listens to nothing."""
    server = GatewayServer(
        application,
        mock.Mock(spec=socket.socket),
        max_message_bytes=65_536,
        max_body_bytes=1_000,
        restart=SERVICE_RESTART,
        short_requests=short_requests,
        timeouts=timeouts,
    )
    server._loop = asyncio.get_running_loop()
    server.ws_factory = WebSocketFactory(server)
    server.ws_factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0, allowNullOrigin=True)
    server.ws_factory.protocol = worker._with_options(server.ws_factory)
    return server
