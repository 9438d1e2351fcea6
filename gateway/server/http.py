"""HTTP connections of our own server: Daphne's and Twisted's, with a limit on how long each step may take.

Twisted times the silence between two reads, so a request that dribbles in byte by byte never times out. Here the head
and the body of a request have a time each, from their beginning (``Timeouts``).
"""

from __future__ import annotations

import math
import socket
import time
from functools import cached_property, partial
from typing import Any, Final

from daphne.http_protocol import HTTPFactory
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from gateway.protocol import codes, problems
from gateway.server.head import has_one_coding
from gateway.server.request import GatewayRequest
from gateway.server.short import ShortRequests
from gateway.server.timeouts import Stage
from gateway.server.turns import Turns
from gateway.server.upgrade import Upgrade, addresses_of, upgrade_in
from gateway.server.visitors import Standing

__all__ = ["GatewayHTTPConnection", "GatewayHTTPFactory"]

LINGER_SECONDS: Final = 2.0
"""How long a connection whose request was refused is left open for the answer to be read."""

_HEAD_BYTES: Final = 4_096
_CHUNKED_BYTES: Final = 2_048
_BODY_BYTES: Final = 65_536
"""What is read at once of a head, a chunked body, and one whose length is known. A chunk costs the same whether it
has one byte or thousands: 64 KB of them are 75 ms.
"""

NO_ANSWER: Final = problems.closing_answer("no_answer", "The request was not answered in time.")
TIMED_OUT: Final = problems.closing_answer("request_timeout", "The request was not complete in time.")
NO_ROOM: Final = problems.closing_answer("head_too_large", "The headers are longer than is taken.")
URI_TOO_LONG: Final = problems.closing_answer("uri_too_long", "The first line is longer than is taken.")
FOLDED: Final = problems.closing_answer("bad_request", "A header goes on in a second line.")
MALFORMED: Final = problems.closing_answer("bad_request", "This is not a request of HTTP/1.1.")
CODED_TWICE: Final = problems.closing_answer(
    "bad_request", "A request has one Transfer-Encoding, which is chunked, and no Content-Length beside it."
)


class GatewayHTTPConnection(HTTPChannel):
    """One HTTP connection."""

    abortTimeout = 5  # noqa: N815 - Twisted's name
    transport: Any
    goes_on = False
    _deadline = math.inf

    def __init__(self) -> None:
        super().__init__()
        self._has_been_served = False
        self._stage = Stage.IDLE
        self._timed = Stage.IDLE
        self._head_bytes = 0
        self._is_refused = False
        self._is_parsing = False
        self._short: ShortRequests | None = None
        self.is_known = False
        self.failure: Exception | None = None
        """What became of the request that comes next, where that is known already."""

    @cached_property
    def _server(self) -> Any:
        return self.factory.server

    @property
    def turns(self) -> Turns:
        """In which it is read: a first request, or a handshake, does not hold up those who were there before."""
        turns: Turns = self._server.requests if self._has_been_served else self._server.newcomers
        return turns

    @property
    def has_own_turns(self) -> bool:
        """Whether what is read now takes its turn as a whole request (short.py), and not for being read.

        To read a little costs no more than to wait for it.
        """
        return self._stage is not Stage.BODY and self._is_short

    @property
    def appetite(self) -> int:
        """How many bytes are read at once."""
        if self._stage is not Stage.BODY:
            return _HEAD_BYTES
        return _CHUNKED_BYTES if self.length is None else _BODY_BYTES

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self._server.housekeeping.http_connections.add(self)
        self.timeOut = self._server.timeouts.head
        super().connectionMade()
        self._server.rests(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self._server.housekeeping.http_connections.discard(self)
        self._server.connection_closed(self.transport)
        if self._short is not None:
            self._short.end()
        self.requests = [request for request in self.requests if not request.finished]
        super().connectionLost(reason)

    def setTimeout(self, period: float | None) -> float | None:  # noqa: N802 - Twisted's name
        """Notes when time is up. Twisted would make a timer for the connection, and another for each request."""
        previous = self.timeOut
        self.timeOut = period  # type: ignore[assignment] # Twisted takes fractions too
        self._deadline = math.inf if period is None else time.monotonic() + period
        return previous

    def resetTimeout(self) -> None:  # noqa: N802 - Twisted's name
        """Twisted would give a request its time again with every byte."""

    def forgive(self, seconds: float) -> None:
        """This process stood still for so long, which is nobody else's fault."""
        self._deadline += seconds
        for request in self.requests:
            request.forgive(seconds)
        if self._short is not None:
            self._short.forgive(seconds)

    def check_timeouts(self) -> None:
        """Ends what takes too long: called every round."""
        if time.monotonic() >= self._deadline:
            self.setTimeout(None)
            self.timeoutConnection()
        elif self._stage is Stage.ANSWER and self.requests:
            self.requests[0].check_timeouts()
        elif self._short is not None and time.monotonic() - self._short.waits_since > self._server.timeouts.answer:
            self.answer(NO_ANSWER, self.is_known, is_last=True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        if self._is_refused:
            return
        short = self._short
        if short is None and self._stage is Stage.IDLE and self.persistent:
            if self._server.short_requests and not self._has_been_served:
                upgrade = upgrade_in(data)
                if upgrade is not None:
                    self._begin_websocket(upgrade)
                    return
            way = self._server.short
            if way is not None and data.startswith(way.line):
                short = self._short = ShortRequests(self, way, self._scope(way.application.path))
                short.read(data, is_its_turn=True)
                return
        if short is not None and self._is_short:
            short.read(data, is_its_turn=self._stage is Stage.BODY)
        else:
            self.pass_on(data)

    @property
    def _is_short(self) -> bool:
        """Whether what comes now is behind short requests, and not Twisted's."""
        short = self._short
        return short is not None and not self._is_parsing and (self._stage is Stage.IDLE or short.is_open)

    def pass_on(self, data: bytes) -> None:
        """Gives what was read to Twisted."""
        was_parsing, self._is_parsing = self._is_parsing, True
        try:
            super().dataReceived(data)
        finally:
            self._is_parsing = was_parsing
        if self._is_refused:
            return
        if self._stage is Stage.IDLE:
            self._stage = Stage.HEAD
        # A request that was complete in one read, as most are, gets here only when it is being answered.
        if self._timed is not self._stage:
            if self._stage is Stage.HEAD:
                self.setTimeout(self._server.timeouts.head)
            elif self._stage is Stage.BODY:
                self.setTimeout(self._server.timeouts.body)
            self._timed = self._stage

    def _begin_websocket(self, upgrade: Upgrade) -> None:
        """Hands the connection on, with a handshake that was read already."""
        server, transport = self._server, self.transport
        server.housekeeping.http_connections.discard(self)
        protocol = server.ws_factory.protocol()
        transport.protocol = protocol
        protocol.take_over(transport, upgrade)
        server.rests(transport)

    # Short requests

    @property
    def is_draining(self) -> bool:
        draining: bool = self._server.draining
        return draining

    @property
    def server_name(self) -> bytes:
        name: str = self._server.server_name
        return name.encode()

    def _scope(self, path: str) -> dict[str, Any]:
        """What the scopes of this connection's short requests have in common, as Daphne would make them."""
        client, server = addresses_of(self.transport)
        return {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": self._server.root_path,
            "scheme": "https" if self.isSecure() else "http",
            "query_string": b"",
            "client": client,
            "server": server,
        }

    def at_stage(self, stage: Stage) -> None:
        """Where the requests are that Twisted does not read."""
        before, self._stage = self._stage, stage
        if stage is before:
            return
        if stage is Stage.ANSWER:
            self.setTimeout(None)
        else:
            seconds = self._server.timeouts
            self.setTimeout(
                seconds.idle if stage is Stage.IDLE else seconds.head if stage is Stage.HEAD else seconds.body
            )
        self._timed = stage
        if self.is_known:
            return
        if stage is Stage.ANSWER:
            self._server.visitors.forget(self.transport)
        elif before is Stage.ANSWER:
            self._server.rests(self.transport)

    def answer(self, answers: bytes, is_known: bool, is_last: bool) -> None:
        """Writes answers to short requests. ``is_known``: they came with a good credential."""
        self._has_been_served = True
        self.transport.write(answers)
        if is_known and not self.is_known:
            self.is_known = True
            self._server.stands(self.transport, Standing.KNOWN, "")
        if is_last:
            if self._short is not None:
                self._short.end()
            # A client that does not read the answer would keep the connection open.
            self.setTimeout(self._server.timeouts.idle)
            self.loseConnection()

    def hand_over(self, data: bytes) -> None:
        """Has Twisted read on from here: what came before is answered."""
        if self._stage is Stage.ANSWER:
            self.at_stage(Stage.IDLE)
        self.pass_on(data)

    def replay(self, data: bytes, failure: Exception | None) -> None:
        """Has the application answer a request that was short; ``failure``: what became of it, if anything."""
        self.failure = failure
        self.pass_on(data)
        self.failure = None

    def read_on(self) -> None:
        """There is room again for what comes in."""
        if not self._waitingForTransport:
            self.transport.resumeProducing()

    # The head

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        if self._is_refused:
            return
        self._head_bytes += len(line)
        if self._head_bytes > self.totalHeadersSize:
            self.refuse(NO_ROOM)
        elif line[:1] in {b" ", b"\t"}:
            self.refuse(FOLDED)  # which RFC 9112 has ended
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self.refuse(NO_ROOM if self._head_bytes else URI_TOO_LONG)

    def headerReceived(self, line: bytes) -> bool:  # noqa: N802 - Twisted's name
        name, _, value = line.partition(b":")
        headers = self.requests[-1].requestHeaders
        if name.lower() == b"transfer-encoding" and not has_one_coding(headers, value.strip(b" \t")):
            self.refuse(CODED_TWICE)
            return False
        return bool(super().headerReceived(line))

    def refuse(self, answer: bytes) -> None:
        """Answers a request whose head is not taken, and closes: what else has come in is not read as a request."""
        self._is_refused = True
        self.clearLineBuffer()
        self.transport.write(answer)
        # To close with something unread would reset the connection, and the answer could be lost.
        self.setTimeout(LINGER_SECONDS)
        self.transport.loseWriteConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802 - Twisted's name
        self.transport.write(MALFORMED)
        self.loseConnection()

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        self._stage = Stage.BODY
        self._head_bytes = 0
        request = self.requests[-1]
        if request.requestHeaders.hasHeader(b"expect") and (self.length or 0) > self._server.max_body_bytes:
            # The client waits to be told whether to send its body. The application sees the length, and refuses it.
            request.requestHeaders.removeHeader(b"expect")
            request.requestHeaders.setRawHeaders(b"connection", [b"close"])
            self.length = 0
        super().allHeadersReceived()

    def allContentReceived(self) -> None:  # noqa: N802 - Twisted's name
        self._stage = Stage.ANSWER
        if not self.is_known:
            self._server.visitors.forget(self.transport)
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:  # noqa: N802 - Twisted's name
        self._has_been_served = True
        if self._dataBuffer and not self.turns.at_once():
            # More requests came with this one: they would all be answered, one within the other, in one turn.
            self.turns.add(partial(self._next_request, request))
        else:
            self._next_request(request)

    def _next_request(self, request: Any) -> None:
        if request not in self.requests:
            return  # the client has left meanwhile
        self._stage = self._timed = Stage.IDLE
        super().requestDone(request)  # goes on with what came in meanwhile
        if self._short is not None and self.persistent:
            self._short.came_back()
        if self._stage is Stage.IDLE:
            # Also where the connection is being closed: a client that does not read the response would keep it open.
            self.setTimeout(self._server.timeouts.idle)
            if not self.is_known:
                self._server.rests(self.transport)

    def timeoutConnection(self) -> None:  # noqa: N802 - Twisted's name
        if self._is_refused:
            self.transport.abortConnection()
            return
        if self._stage in {Stage.HEAD, Stage.BODY}:
            self.transport.write(TIMED_OUT)
        super().timeoutConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:  # noqa: N802 - Twisted's name
        if not self._server.draining:
            return bool(super().checkPersistence(request, version))
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def make_room(self, in_good_order: bool) -> None:
        """Another connection needs the room of this one, which is idle, or has a stream without a credential."""
        if in_good_order and self.requests and self.requests[0].is_live:
            self.requests[0].close_with(codes.NO_ROOM)
        else:
            self.transport.abortConnection()

    def drain(self) -> None:
        """Makes the request that has begun, if any, the last one on this connection."""
        if self._stage in {Stage.BODY, Stage.ANSWER} and self.requests:
            self.persistent = False
            if not self.requests[0].startedWriting:
                self.requests[0].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def leave(self) -> None:
        """Closes the connection if no request has begun: what has come in is still answered."""
        if self._stage is Stage.IDLE and not self._has_unread():
            self.loseConnection()

    def _has_unread(self) -> bool:
        try:
            return bool(self.transport.getHandle().recv(1, socket.MSG_PEEK))
        except OSError:
            return False


class GatewayHTTPFactory(HTTPFactory):  # type: ignore[misc] # Daphne ships no types
    """Makes the connections of a server, as many as it admits and has room for."""

    protocol = GatewayHTTPConnection

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        # Without Twisted's parsing of form bodies: ASGI has no place for what it finds.
        self._request_factory = partial(GatewayRequest, parsePOSTFormSubmission=False)

    @property
    def in_line(self) -> int:
        """How many newcomers wait to be read."""
        return len(self.server.newcomers)

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """A connection; None, at which Twisted closes the socket, if it is one too many."""
        if not self.server.connection_opened(getattr(addr, "host", "")):
            return None
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = self._request_factory
        return protocol
