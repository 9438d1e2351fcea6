"""The ways to a socket through Daphne as it comes, without what our server adds to it.

Over plain TCP frames pass Autobahn's framing and Twisted's buffered write by and go to the socket in one system call
(``DirectWire``); each write makes sure that Twisted's buffer is empty and the connection open. Over TLS they go to
Twisted's transport (``TransportWire``).
"""

from __future__ import annotations

from daphne.ws_protocol import WebSocketProtocol

from gateway.protocol.codes import Closure
from gateway.wires.wire import Queue, Sender

__all__ = ["DaphneWire", "DirectWire", "TransportWire"]


class DaphneWire:
    """The part that both ways share. It is a Twisted producer, since that is how a transport says that it drained."""

    is_tidy = answers_pings = False
    form = None

    def __init__(self, protocol: WebSocketProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._sender: Sender | None = None

    def open(self, sender: Sender, /) -> None:
        self._sender = sender
        # The HTTP channel that carried the handshake is still registered and would be asked to pause instead of this.
        self._transport.unregisterProducer()
        # A breach of the WebSocket protocol is answered with its close code, where Daphne would just hang up.
        self._protocol.failByDrop = False

    def fileno(self) -> int:
        return -1

    def queue(self) -> Queue | None:
        return None

    def ask_along(self) -> bool:
        return False  # Daphne pings as it likes

    def close(self, closure: Closure) -> None:
        # Autobahn's sendClose refuses 1008 and 1009 to applications; Daphne itself closes this way.
        self._protocol.sendCloseFrame(code=closure.code, reasonUtf8=closure.reason.encode())
        self.release()

    def release(self) -> None:
        self._sender = None

    def pause_reading(self) -> None:
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        if not self._transport.disconnecting:
            self._transport.resumeProducing()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost. Where the consumer awaits its next event it hears so from Daphne too."""
        if self._sender is not None:
            self._sender.let_go()


class DirectWire(DaphneWire):
    """Writes to the socket itself, behind what Autobahn has written to Twisted's buffer."""

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
            if self._sender is not None:
                self._sender.drained()


class TransportWire(DaphneWire):
    """Writes to the transport, which buffers: for TLS, where nothing else may write to the socket."""

    def __init__(self, protocol: WebSocketProtocol) -> None:
        super().__init__(protocol)
        self._paused = False

    def open(self, sender: Sender, /) -> None:
        super().open(sender)
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
            if self._sender is not None:
                self._sender.drained()
