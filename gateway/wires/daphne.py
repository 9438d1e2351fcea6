"""The ways to a client's socket.

Frames are built already, so over plain TCP under Daphne they pass Autobahn's framing and Twisted's buffered write by
and go to the socket in one system call. On our own server (``OwnWire``) Autobahn's own frames, pongs and the closing
handshake, go the same way, and the protocol tells when it closes, so there is nothing to look at first. On a Daphne
that knows nothing of us (``DirectWire``) each write makes sure that Twisted's buffer is empty and the connection
open. Over TLS frames go to Twisted's transport, and other ASGI servers are sent one event a message.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from autobahn.websocket.protocol import WebSocketProtocol as Handshake
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.tcp import Connection

from gateway.fanout.outbox import Outbox, Wire
from gateway.protocol.codes import Closure
from gateway.protocol.frames import PING, texts
from gateway.server.timeouts import Timeouts

__all__ = ["AsgiWire", "DirectWire", "GatewayProtocol", "OwnWire", "TransportWire", "unacknowledged_for", "wire_for"]

Send = Callable[[Any], Awaitable[None]]

_FULL = 65_536
"""Bytes waiting on an ASGI server beyond which the client counts as full; Twisted's own mark for its transports."""

_TCP_INFO = struct.Struct("=3x B 20x I 28x I")
"""Of Linux' tcp_info: tcpi_probes, not answered; tcpi_unacked, packets; tcpi_last_ack_recv, milliseconds ago."""

_CLOSE_SECONDS = 1.0
"""How long an ASGI server may take to send what was written before a close; Autobahn's time for a closing handshake."""


def wire_for(send: Send, unsent: int) -> Wire:
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


def _limit_unsent(connection: socket.socket, size: int) -> None:
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)


def unacknowledged_for(connection: socket.socket) -> float:
    """Seconds since the other end said anything, if it owes an answer; 0 if not, and where the system does not tell.

    An end that is there and does not read owes none: it is sent nothing but probes, and answers them.
    """
    if sys.platform != "linux":
        return 0.0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    probes, packets, milliseconds = _TCP_INFO.unpack(info)
    return milliseconds / 1_000 if packets or probes > 1 else 0.0


def _daphne_protocol(send: Send) -> WebSocketProtocol | None:
    """Daphne hands an application ``partial(server.handle_reply, protocol)``."""
    if isinstance(send, functools.partial) and send.args and isinstance(send.args[0], WebSocketProtocol):
        return send.args[0]
    return None


class _DaphneWire:
    """What the ways through Daphne share. A Twisted producer, since that is how a transport says that it drained."""

    is_tidy = False

    def __init__(self, protocol: WebSocketProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._outbox: Outbox | None = None

    def open(self, outbox: Outbox) -> None:
        self._outbox = outbox
        # The HTTP channel that carried the handshake is still registered and would be asked to pause in our stead.
        self._transport.unregisterProducer()
        # A breach of the WebSocket protocol is answered with its close code, where Daphne would just hang up.
        self._protocol.failByDrop = False

    def fileno(self) -> int:
        return -1

    def close(self, closure: Closure) -> None:
        # Autobahn's sendClose refuses 1008 and 1009 to applications; Daphne itself closes this way.
        self._protocol.sendCloseFrame(code=closure.code, reasonUtf8=closure.reason.encode())
        self.release()

    def release(self) -> None:
        self._outbox = None

    def pause_reading(self) -> None:
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        if not self._transport.disconnecting:
            self._transport.resumeProducing()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost. Where the consumer awaits its next event it hears so from Daphne too."""
        if self._outbox is not None:
            self._outbox.let_go()


class DirectWire(_DaphneWire):
    """Writes to the socket itself, on a Daphne that knows nothing of it."""

    def __init__(self, protocol: WebSocketProtocol) -> None:
        super().__init__(protocol)
        self._send = self._transport.socket.send
        self._open_state = protocol.STATE_OPEN

    def send(self, frames: bytes) -> int:
        transport = self._transport
        if self._protocol.state != self._open_state:
            return len(frames)  # nothing may follow a close frame; the consumer hears of the end from Daphne
        if transport.dataBuffer or transport._tempDataBuffer:
            transport.doWrite()  # what Autobahn has written goes first
            if not self._is_clear():
                return 0
        sent: int = self._send(frames)
        return sent

    def finish(self, rest: bytes) -> None:
        transport = self._transport
        transport.write(rest)
        if transport.connected:
            # A pull producer is called whenever the buffer runs empty.
            transport.registerProducer(self, False)

    def _is_clear(self) -> bool:
        return not (self._transport.dataBuffer or self._transport._tempDataBuffer)

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        # Also called by registerProducer itself, when there is nothing to tell yet.
        if self._is_clear():
            # A registered producer would keep the transport from closing.
            self._transport.unregisterProducer()
            if self._outbox is not None:
                self._outbox.drained()


class OwnWire(DirectWire):
    """The same on our own server, whose protocol sends what Autobahn has to say the same way and tells when it closes.

    So there is nothing to look at before a write, and ``send`` is the socket's own.
    """

    is_tidy = True

    def open(self, outbox: Outbox) -> None:
        super().open(outbox)
        if not self._is_clear():
            self._transport.doWrite()  # the answer to the handshake
        if self._is_clear():
            self.send = self._send  # type: ignore[method-assign] # every step is paid for each client and pass
        self._protocol.outbox = outbox

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


class GatewayProtocol(WebSocketProtocol):  # type: ignore[misc] # Daphne ships no types
    """Daphne's WebSocket protocol for a server that delivers through outboxes, with a clock that nobody sets."""

    outbox: Outbox | None = None
    held = False
    """Whether the inbox is full, so that nothing is read."""
    _state = WebSocketProtocol.STATE_CLOSED
    _opened = _heard = _pinged = 0.0
    _asked_again = False

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """What Autobahn does here, without what it finds out about the connection for its log.

        That, in colours, is a tenth of what it costs to accept a client, whether anybody reads the log or not.
        """
        self._opened = self._heard = time.monotonic()
        self.transport.setTcpNoDelay(True)
        Handshake._connectionMade(self)
        self.factory.countConnections += 1

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        if self.outbox is not None:
            self.outbox.let_go()  # first of all: the socket is closed, and its descriptor may be another's next
        self.factory.server_class.connection_closed()
        super().connectionLost(reason)
        # What refers to this in a circle would keep a client that is gone until a full collection.
        self.is_closed = None
        inbox = getattr(self, "application_queue", None)  # there is none before the handshake
        if inbox is not None:
            inbox.abandon()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._heard = time.monotonic()
        self._dataReceived(data)  # Autobahn's, without what its Twisted side writes to the log

    def heard(self) -> None:
        """Silence counts from now on."""
        self._heard = time.monotonic()

    def processData(self) -> bool:  # noqa: N802 - Autobahn's name
        """One step through what was read; False if that is all, or all there is room for."""
        return not self.held and bool(super().processData())

    def hold(self) -> None:
        """The inbox is full: reads no further."""
        self.held = True
        self.transport.pauseProducing()

    def release(self) -> None:
        """The inbox has room: goes on with what was read already, then reads on."""
        self.held = False
        self.consumeData()
        if not self.held and (self.outbox is None or not self.outbox.behind):
            self.heard()
            self.transport.resumeProducing()

    def close_with(self, closure: Closure) -> None:
        """Closes an open connection, behind all that was delivered to it."""
        if self.outbox is not None:
            self.outbox.close(closure)
        else:
            # sendClose allows only the codes that an application may send.
            self.sendCloseFrame(code=closure.code, reasonUtf8=closure.reason.encode())

    def duration(self) -> float:
        """Seconds since the connection was made."""
        return time.monotonic() - self._opened

    def check_timeouts(self) -> float:
        """Pings a client that is silent, and drops one that stays so. Returns in how many seconds to look again.

        Daphne would close a connection that is a day old, too.
        """
        timeouts = self.server.timeouts
        if self.state == self.STATE_OPEN:
            return self._check_silence(time.monotonic())
        if self.state == self.STATE_CONNECTING:
            left: float = timeouts.handshake - self.duration()
            if left > 0:
                return left
            self.serverReject()
        return float(timeouts.ping)

    def _check_silence(self, now: float) -> float:
        timeouts: Timeouts = self.server.timeouts
        if self.held or (self.outbox is not None and self.outbox.behind):
            # Nothing is read, so silence says nothing. But the client's system still says what has arrived there.
            self._heard = now
            if unacknowledged_for(self.transport.socket) >= timeouts.ping + timeouts.pong:
                self.onAutoPingTimeout()
            return 2 * timeouts.round
        if self._pinged <= self._heard:
            if now - self._heard < timeouts.ping:
                return self._heard + timeouts.ping - now
            self._pinged = now
            self._asked_again = False
            self.sendData(PING)
        elif now - self._pinged >= timeouts.pong:
            self.onAutoPingTimeout()
        elif not self._asked_again and now - self._pinged >= timeouts.pong / 2:
            # Some client is not ready to answer the first one, such as one that is still busy opening its connections.
            self._asked_again = True
            self.sendData(PING)
        return self._pinged + (timeouts.pong if self._asked_again else timeouts.pong / 2) - now

    @property
    def state(self) -> int:
        state: int = self._state
        return state

    @state.setter
    def state(self, state: int) -> None:
        self._state = state
        if self.outbox is not None and state != self.STATE_OPEN:
            self.outbox.let_go()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        """Control frames go the way of the ticks, so that all frames stay whole and in order.

        A client that is behind gets them after what was begun, ahead of what waits. Nothing here is ever sent in pieces
        or by turns, which the other two parameters would ask for.
        """
        if self.outbox is None or self.outbox.behind:
            self.transport.write(data)
        else:
            self.outbox.write(data)


class TransportWire(_DaphneWire):
    """Writes to the transport, which buffers: for TLS, where nobody else may write to the socket."""

    def __init__(self, protocol: WebSocketProtocol) -> None:
        super().__init__(protocol)
        self._paused = False

    def open(self, outbox: Outbox) -> None:
        super().open(outbox)
        self._transport.registerProducer(self, True)

    def send(self, frames: bytes) -> int:
        if self._paused:
            return 0
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._transport.write(frames)
        return len(frames)

    def finish(self, rest: bytes) -> None:
        self._transport.write(rest)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        if self._paused:
            self._paused = False
            if self._outbox is not None:
                self._outbox.drained()


class AsgiWire:
    """Sends events to any ASGI server, from a task that lives only while something waits to be sent."""

    is_tidy = False

    def __init__(self, send: Send) -> None:
        self._send = send
        self._outbox: Outbox | None = None
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._full = False
        self._pumping: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def open(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def fileno(self) -> int:
        return -1

    def send(self, frames: bytes) -> int:
        if self._size > _FULL:
            return 0
        self._enqueue(frames)
        return len(frames)

    def finish(self, rest: bytes) -> None:
        self._full = True
        self._enqueue(rest)

    def close(self, closure: Closure) -> None:
        self._outbox = None
        self._closing = asyncio.get_running_loop().create_task(self._finish(closure))

    def release(self) -> None:
        self._outbox = None
        self._queue.clear()
        if self._pumping is not None:
            self._pumping.cancel()

    def pause_reading(self) -> None:
        """An ASGI server reads on as it likes; commands wait in its queue."""

    def resume_reading(self) -> None: ...

    def _enqueue(self, frames: bytes) -> None:
        self._queue.append(frames)
        self._size += len(frames)
        if self._pumping is None:
            self._pumping = asyncio.get_running_loop().create_task(self._pump())

    async def _pump(self) -> None:
        try:
            while self._queue:
                frames = self._queue.popleft()
                for text in texts(frames):
                    await self._send_event({"type": "websocket.send", "text": text})
                self._size -= len(frames)
        finally:
            self._pumping = None
        if self._full:
            self._full = False
            if self._outbox is not None:
                self._outbox.drained()

    async def _finish(self, closure: Closure) -> None:
        """Lets what was written go first, unless the client does not take it."""
        if self._pumping is not None:
            await asyncio.wait([self._pumping], timeout=_CLOSE_SECONDS)
            self.release()
        await self._send_event({"type": "websocket.close", "code": closure.code, "reason": closure.reason})

    async def _send_event(self, event: dict[str, Any]) -> None:
        try:
            await self._send(event)
        except Exception:  # servers differ in what they raise for a client that is gone
            self._queue.clear()
            if self._outbox is not None:
                self._outbox.let_go()
