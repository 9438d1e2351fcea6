"""The WebSocket protocol of our own server: Daphne's, for a server that delivers through outboxes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from autobahn.wamp.types import TransportDetails
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.protocol import WebSocketProtocol as Handshake
from autobahn.websocket.types import ConnectionDeny
from autobahn.websocket.utf8validator import Utf8Validator
from daphne.ws_protocol import WebSocketProtocol

from gateway.protocol.budget import Budget
from gateway.protocol.codes import FLOODING, NO_ROOM, Closure
from gateway.protocol.frames import NUMBER_BYTES, PING, begins_short, short_texts
from gateway.protocol.problems import closing_answer
from gateway.server.outgoing import Outgoing, unacknowledged_for
from gateway.server.refusals import refusals
from gateway.server.timeouts import Timeouts
from gateway.server.turns import Turns
from gateway.server.upgrade import Upgrade, addresses_of
from gateway.server.visitors import STANDING, Standing

__all__ = ["FRAMES_AT_ONCE", "FRAMES_PER_SECOND", "TINY_BYTES", "GatewayProtocol"]

_ANSWER: Final = bytes((0x8A, 0x80 | NUMBER_BYTES))
"""The head of a pong that answers an outbox; a mask and the number come behind it."""
_SIGN_OF_LIFE: Final = b"\x8a\x80"
"""The head of a pong that answers ``PING``; a mask comes behind it."""

_OF_THE_HANDSHAKE: Final = ("http_", "websocket_", "_wskey", "_transport_details", "_raw_query_string", "clean_headers")
"""How attributes begin that nothing reads once the connection is open."""
_OF_NO_USE: Final = frozenset(["is_open", "is_closed", "trafficStats", "send_queue", "_valid_events", "_results"])
"""What Autobahn keeps for listeners there are none of, and for writes that are put off: here is one for all."""

_READ_BYTES: Final = 512
"""What is read at once between two payloads. It may be 80 frames, which take a millisecond; 64 KB of them take 200."""
_LONG_READ_BYTES: Final = 65_536
"""What is read at once within a payload."""
FRAMES_PER_SECOND: Final = 100
FRAMES_AT_ONCE: Final = 1_000
"""How many frames a client may send that carry nothing: pings, pongs that answer no ping of ours, tiny fragments. What
other frames bring is bounded where it goes.
"""
TINY_BYTES: Final = 64
"""A fragment under this size carries nothing."""
_PONGS: Final = 10
"""How many of the pings that came in one read are answered: the last ones."""


class _Unheard:
    """Stands for the Deferreds of a connection that nobody waits for."""

    def callback(self, _: object) -> None: ...


class _Asked(NamedTuple):
    """What is left of the request of an open connection."""

    path: str


class _Verdict:
    """Stands for the Deferred that Daphne calls with what the application said of a handshake."""

    __slots__ = ("_protocol", "_upgrade")

    def __init__(self, protocol: GatewayProtocol, upgrade: Upgrade) -> None:
        self._protocol = protocol
        self._upgrade = upgrade

    def callback(self, subprotocol: str | None) -> None:
        self._protocol.open_with(self._upgrade.answer(self._protocol.factory.server, subprotocol))

    def errback(self, denied: ConnectionDeny) -> None:
        self._protocol.failHandshake(str(denied.reason), denied.code)


class GatewayProtocol(WebSocketProtocol):  # type: ignore[misc] # Daphne ships no types
    """Daphne's WebSocket protocol for a server that delivers through outboxes, timed by the monotonic clock.

    It is read a little at a time, in turns, since a frame costs the same whether it carries anything or not.
    """

    outbox: Outgoing | None = None
    held = False
    """Whether the inbox is full, so that nothing is read."""
    owed = 0
    """Pings of ours that the client has not answered."""
    inside_message = False
    current_frame: Any = None
    data = b""
    """What came and was not looked at yet."""
    goes_on = False
    """Whether there is more to read, behind short messages of which the inbox takes some more."""
    _begun: float | None = None
    """When the message, or frame, began of which not all has come yet."""
    _frames: Budget | None = None
    _pings: tuple[bytes, ...] = ()
    """What is to be answered."""
    _is_flooding = False
    _state = WebSocketProtocol.STATE_CLOSED
    _opened = _heard = _pinged = 0.0
    _asked_again = False
    _has_standing = False
    _denial_status = 403
    _denial_headers: Sequence[tuple[bytes, bytes]] = ()
    _denial_body = b""
    """With what the application refuses the handshake."""

    request: Any = None
    client_addr = path = None
    """As long as a handshake has not come to the application."""

    @cached_property
    def utf8validator(self) -> Utf8Validator:
        """For what Autobahn reads; most clients send nothing but short messages."""
        return Utf8Validator()  # type: ignore[no-untyped-call]

    is_open: Any = _Unheard()
    is_closed: Any = _Unheard()
    websocket_version = 13
    websocket_protocol_in_use = application_deferred = None
    trafficStats = TrafficStats()  # type: ignore[no-untyped-call] # noqa: N815 - Autobahn's name
    send_queue: Any = ()
    _transport_details = TransportDetails()

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __init__(self) -> None:
        """Makes nothing of what Autobahn does here, for listeners there are none of: it is in the class."""

    # The handshake

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """What Autobahn does here, without the description of the connection that it formats for its log.

        That is a tenth of what it costs to accept a client, whatever the log level.
        """
        self._opened = self._heard = time.monotonic()
        self.transport.setTcpNoDelay(True)
        Handshake._connectionMade(self)
        self.factory.countConnections += 1

    def take_over(self, transport: Any, upgrade: Upgrade) -> None:
        """Begins on a connection whose handshake was read already (upgrade.py): what Autobahn and Daphne do for others.

        What is the same in every connection is in the class, and need not be set here and dropped in ``onOpen``.
        """
        self.transport, self.connected = transport, 1
        self._opened = self._heard = time.monotonic()
        self._state = self.STATE_CONNECTING
        self.factory.countConnections += 1
        self.server.protocol_connected(self)
        self.client_addr, server_addr = addresses_of(transport)
        self.path = sys.intern(upgrade.path)
        self.request = _Asked(self.path)
        self.handshake_deferred = _Verdict(self, upgrade)
        scope = upgrade.scope(self.client_addr, server_addr, self.server.root_path)
        self.application_queue = self.server.create_application(self, scope)
        self.application_queue.put_nowait({"type": "websocket.connect"})

    def open_with(self, answer: bytes) -> None:
        """The application has accepted such a handshake."""
        self.transport.write(answer)
        self.state = self.STATE_OPEN
        if self.data:  # sent before it was known whether anybody would take it
            data, self.data = self.data, b""
            self.dataReceived(data)
            if not self.held:
                self.transport.resumeProducing()

    def onConnect(self, request: Any) -> Any:  # noqa: N802 - Autobahn's name
        """Gives the application the whole path: Autobahn cuts off what follows a semicolon, which a proxy does not."""
        request.path = self.http_request_uri.partition("?")[0]
        return super().onConnect(request)

    def onOpen(self) -> None:  # noqa: N802 - Autobahn's name
        """Lets go of the handshake, and of what is the same in every connection: most of what Autobahn keeps."""
        super().onOpen()
        self.request, self.application_deferred = _Asked(sys.intern(self.request.path)), None
        kind = type(self)
        self.__dict__ = {
            name: value
            for name, value in vars(self).items()
            if name not in _OF_NO_USE
            and not name.startswith(_OF_THE_HANDSHAKE)
            and getattr(kind, name, self) is not value
        }

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:  # noqa: N802, N803
        refusals.add(str(self.transport.getPeer().host), reason)
        headers = [(name.decode("latin1"), value.decode("latin1")) for name, value in self._denial_headers]
        super().failHandshake(reason, code, responseHeaders or headers)

    def sendHttpErrorResponse(  # noqa: N802 - Autobahn's name
        self,
        code: int,
        reason: str,
        responseHeaders: Sequence[tuple[str, str]] | None = None,  # noqa: N803
    ) -> None:
        """Autobahn's, with a body: what its client sent belongs into none of the lines of a head."""
        kind = "bad_request" if code == HTTPStatus.BAD_REQUEST else "handshake_refused"
        headers = "".join(f"{name}: {value}\r\n" for name, value in responseHeaders or ())
        if self._denial_body:
            head = f"HTTP/1.1 {code} {reason}\r\nConnection: close\r\nContent-Length: {len(self._denial_body)}\r\n"
            self.sendData(f"{head}{headers}\r\n".encode() + self._denial_body)
        else:
            self.sendData(closing_answer(kind, f"{reason}.", code, headers.encode()))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803
        if self.request is not None:
            super().onClose(wasClean, code, reason)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Daphne's, which also sends empty messages, and refuses a handshake with the response that it is given."""
        if message["type"].startswith("websocket.http.response.") and self.state == self.STATE_CONNECTING:
            self._deny(message)
            return
        if message["type"] == STANDING:
            self._stand(message["standing"], message["address"])
            return
        contents = message.get("text"), message.get("bytes")
        if message["type"] == "websocket.send" and not any(contents) and self.state == self.STATE_OPEN:
            self.serverSend(*((contents[0], False) if contents[0] is not None else (b"", True)))
        else:
            super().handle_reply(message)
            if message["type"] == "websocket.accept" and not self._has_standing:
                self._stand(Standing.GUEST)  # of an application that has never heard of it

    def _stand(self, standing: str, address: str = "") -> None:
        self._has_standing = True
        self.server.stands(self.transport, standing, address)

    def make_room(self, in_good_order: bool) -> None:
        """Another connection needs the room of this one."""
        if in_good_order and self.state == self.STATE_OPEN:
            self.close_with(NO_ROOM)
        else:
            self.transport.abortConnection()

    def _deny(self, message: dict[str, Any]) -> None:
        """Takes the response's start, and with its body, which comes in one piece, sends it."""
        if message["type"] == "websocket.http.response.start":
            self._denial_status, self._denial_headers = message["status"], message.get("headers", ())
            return
        self._denial_body, status = message.get("body", b""), self._denial_status
        self.handshake_deferred.errback(ConnectionDeny(status, HTTPStatus(status).phrase))  # type: ignore[no-untyped-call]
        del self.handshake_deferred
        self.server.protocol_disconnected(self)

    # What comes in

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        if self.outbox is not None:
            self.outbox.let_go()  # first of all: the socket is closed, and its descriptor may soon be another client's
        self.factory.server_class.connection_closed(self.transport)
        super().connectionLost(reason)
        # A reference cycle would keep a client that is gone until a full collection.
        self.is_closed = None
        self.__dict__.pop("handshake_deferred", None)
        inbox = getattr(self, "application_queue", None)  # there is none before the handshake
        if inbox is not None:
            inbox.abandon()

    @property
    def turns(self) -> Turns:
        """In which it is read, and what was read is taken."""
        turns: Turns = self.factory.server_class.messages
        return turns

    @property
    def appetite(self) -> int:
        """How many bytes are read at once."""
        if self._is_flooding:
            return _LONG_READ_BYTES
        if self.current_frame is None:
            return _READ_BYTES
        rest: int = self.current_frame.length - self.current_frame_masker.pointer()
        return max(_READ_BYTES, min(rest, _LONG_READ_BYTES))

    @property
    def owes(self) -> bool:
        """Whether what comes next may well be a pong that we wait for."""
        return self.owed > 0 or (self.outbox is not None and self.outbox.owes)

    def take_answer(self, data: bytes) -> bool:
        """Takes all that has come, if that is such a pong and nothing else."""
        if not self._is_between_messages or self.data or not self._is_answer(data):
            return False
        self._heard = time.monotonic()
        return True

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._heard = time.monotonic()
        self.goes_on = False
        if self._is_flooding:
            return
        if self._is_undecided:
            self.data += data
            self.transport.pauseProducing()
            return
        if self._is_between_messages:
            if not self.data and self._is_answer(data):
                return
            is_cut = len(data) >= _READ_BYTES
            data, self.data = self._take_short(self.data + data), b""
            if is_cut and (not data or begins_short(data)):  # by us: the rest is read next
                data, self.data, self.goes_on = b"", data, True
        if data:
            self._dataReceived(data)  # Autobahn's, without what its Twisted side writes to the log
        self._after_reading()

    @property
    def _is_undecided(self) -> bool:
        """Whether the application has not said yet whether it takes a handshake that was read by us."""
        return self.state == int(self.STATE_CONNECTING) and type(getattr(self, "handshake_deferred", None)) is _Verdict

    @property
    def _is_between_messages(self) -> bool:
        """Whether what comes next begins a message, or is a control frame, and is to be looked at."""
        if self.held or self.inside_message or self.current_frame is not None:
            return False
        return self._state == self.STATE_OPEN and not self.muted

    def _is_answer(self, data: bytes) -> bool:
        """Takes a pong that answers us and comes by itself, at a fraction of what Autobahn's way costs."""
        size = len(data)
        if size not in {6, 10} or data[0] != _ANSWER[0] or self.outbox is None:
            return False
        if size == 10 and data.startswith(_ANSWER):
            return self.outbox.answered(int.from_bytes(data[2:6]) ^ int.from_bytes(data[6:10]))
        if self.owed and data.startswith(_SIGN_OF_LIFE):
            self.owed -= 1
            return True
        return False

    def _take_short(self, data: bytes) -> bytes:
        """Takes short messages, at a tenth of what Autobahn's way costs; returns what is behind them."""
        taken = 0
        for text, end in short_texts(data):
            self.application_queue.put_nowait({"type": "websocket.receive", "text": text})
            taken, self._begun = end, None
            if self.held:  # the inbox is full
                break
        return data[taken:]

    def _after_reading(self) -> None:
        for payload in self._pings:
            self.sendPong(payload)
        self._pings = ()
        if not self.inside_message and self.current_frame is None and not self.data:
            self._begun = None
        elif self._begun is None:
            self._begun = self._heard

    def heard(self) -> None:
        """Silence counts from now on, and the time of a message too: it was not read."""
        self._heard = time.monotonic()
        if self._begun is not None:
            self._begun = self._heard

    # Frames

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803 - Autobahn's names
        self._begun = None
        super().onMessage(payload, isBinary)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802 - Autobahn's name
        super().onMessageFrameBegin(length)
        if length < TINY_BYTES and not self.current_frame.fin:
            self._count_frame()

    def onPing(self, payload: bytes) -> None:  # noqa: N802 - Autobahn's name
        self._count_frame()
        self._pings = (*self._pings[1 - _PONGS :], payload)

    def onPong(self, payload: bytes) -> None:  # noqa: N802 - Autobahn's name
        if self.outbox is not None and len(payload) == NUMBER_BYTES and self.outbox.answered(int.from_bytes(payload)):
            return
        if self.owed:
            self.owed -= 1
        else:
            self._count_frame()

    def _count_frame(self) -> None:
        """One more that carries nothing. A client that keeps on is closed, and what still comes is not looked at."""
        if self._frames is None:
            self._frames = Budget(FRAMES_PER_SECOND, time.monotonic, FRAMES_AT_ONCE)
        if not self._frames.spend() and not self._is_flooding:
            self._is_flooding = True
            self.close_with(FLOODING)

    def ask(self) -> None:
        """Pings the client."""
        self.owed += 1
        self.sendData(PING)

    def ask_along(self) -> bool:
        """Whether a ping is to go out with what is sent next; it need not be if the client owes an answer already."""
        if self._pinged > self._heard or self._state != self.STATE_OPEN:
            return False
        self._pinged = time.monotonic()
        self._asked_again = False
        self.owed += 1
        return True

    def processData(self) -> bool:  # noqa: N802 - Autobahn's name
        """One step through what was read; False if that is all, or all there is room for."""
        return not self.held and not self._is_flooding and bool(super().processData())

    def hold(self) -> None:
        """The inbox is full: reads no further."""
        self.held = True
        self.transport.pauseProducing()

    def release(self) -> None:
        """The inbox has room: goes on with what was read already, then reads on."""
        self.held = False
        self.consumeData()
        self._after_reading()
        if not self.held and (self.outbox is None or not self.outbox.stuffed):
            self.heard()
            self.transport.resumeProducing()

    @property
    def is_live(self) -> bool:
        """Whether messages can be sent, and it can be closed in good order."""
        return self.state == int(self.STATE_OPEN)

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

    def forgive(self, seconds: float) -> None:
        """This process stood still for so long, which is not the client's fault."""
        self._opened += seconds
        self._heard += seconds
        self._pinged += seconds
        if self._begun is not None:
            self._begun += seconds

    def check_timeouts(self) -> float | None:
        """Pings a client that is silent, and drops one that stays so.

        Returns in how many seconds to check again; None if that is over. Daphne would close a connection that is a day
        old, too.
        """
        timeouts = self.server.timeouts
        if self._state == self.STATE_OPEN:
            return min(self._check_silence(time.monotonic()), self._check_message(time.monotonic()))
        if self.state == self.STATE_CONNECTING:
            left: float = timeouts.handshake - self.duration()
            if left > 0:
                return left
            self.serverReject()
            return None
        return float(timeouts.ping)

    def _check_message(self, now: float) -> float:
        """Closes a client whose message has taken too long; not while it is us who do not read it."""
        if self._begun is None:
            return math.inf
        message: float = self.server.timeouts.message
        if self.held or (self.outbox is not None and self.outbox.behind):
            return message
        if now - self._begun >= message:
            self._is_flooding = True
            self.close_with(FLOODING)
        return max(0.0, self._begun + message - now)

    def _check_silence(self, now: float) -> float:
        timeouts: Timeouts = self.server.timeouts
        if self.held or (self.outbox is not None and self.outbox.behind):
            # Nothing is read, so silence says nothing. But the client's system still acknowledges what arrives.
            self._heard = now
            if unacknowledged_for(self.transport.socket) >= timeouts.ping + timeouts.pong:
                self.onAutoPingTimeout()
            return 2 * timeouts.round
        if self._pinged <= self._heard:
            if now - self._heard < timeouts.ping:
                return self._heard + timeouts.ping - now
            self._pinged = now
            self._asked_again = False
            self.ask()
        elif self._asked_again and now - self._pinged >= timeouts.pong:
            self.onAutoPingTimeout()
        elif not self._asked_again and now - self._pinged >= timeouts.pong / 2:
            # A client may not be ready to answer the first one, such as one that is still opening its connections.
            self._asked_again = True
            if now - self._pinged >= timeouts.pong:  # it was asked along, and not looked at since
                self._pinged = now - timeouts.pong / 2
            self.ask()
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
        """Sends control frames the way ticks go, so that all frames stay whole and in order.

        A client whose socket is full gets them after the frame that was begun and ahead of those that wait. ``sync``
        and ``chopsize``, which would have data sent in turns or in pieces, are never used here.
        """
        if self.outbox is None or self.outbox.stuffed:
            self.transport.write(data)
        else:
            self.outbox.write(data)
