"""A request on an HTTP connection of our own server: Daphne's, timed by the monotonic clock, refused as a problem."""

from __future__ import annotations

import time
from typing import Any, Final

from daphne.http_protocol import WebRequest
from twisted.python.failure import Failure

from gateway.protocol import codes, problems
from gateway.server.downloads import Download, is_download
from gateway.server.head import split_target, why_no_websocket
from gateway.server.outgoing import Outgoing, unacknowledged_for
from gateway.server.refusals import refusals
from gateway.server.visitors import STANDING, Standing

__all__ = ["GatewayRequest"]

_CODES: Final = {400: "bad_request", 503: "no_answer"}
"""Of what Daphne refuses, by status."""


class GatewayRequest(WebRequest):  # type: ignore[misc] # Daphne ships no types
    """One request, timed by the monotonic clock."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    uri: bytes
    download: Download | None = None
    """The response, where it is a file."""
    outbox: Outgoing | None = None
    """What writes the response, where that is a stream."""
    _began: float | None = None

    def process(self) -> Any:
        self._began = time.monotonic()
        self.requestHeaders.removeHeader(b"Daphne-Root-Path")  # it is a proxy's to send, and anybody can
        problem = self._problem()
        if problem is not None:
            self._refuse(problem)
            return None
        processing = super().process()
        if self.transport is None:  # a WebSocket's handshake: its protocol has the connection now
            self.server.housekeeping.http_connections.discard(self.channel)
            self.channel.requests.clear()  # otherwise the two are a cycle, left to the garbage collector
            self.server.rests(self.channel.transport)
        return processing

    def _problem(self) -> str | None:
        """What is wrong with the target, or with a WebSocket's handshake; makes an absolute target one like others."""
        try:
            absolute = split_target(self.uri)
        except ValueError as error:
            return f"Bad target: {error}"
        if absolute is not None:
            host, self.uri = absolute
            self.path = self.uri.partition(b"?")[0]
            self.requestHeaders.setRawHeaders(b"Host", [host])  # RFC 9112: whatever Host says
        if self.clientproto != b"HTTP/1.1" and self.requestHeaders.hasHeader(b"Transfer-Encoding"):
            return "Transfer-Encoding needs HTTP/1.1"
        if self.requestHeaders.getRawHeaders(b"Upgrade", [b""])[0].lower() != b"websocket":
            return None
        has_body = bool(self.content.read(1))
        problem = why_no_websocket(self.clientproto, self.requestHeaders, has_body)
        if problem is not None:
            refusals.add(str(self.client.host), problem)
        return problem

    def _refuse(self, problem: str) -> None:
        self.setResponseCode(400)
        self.setHeader(b"Content-Type", problems.MEDIA_TYPE)
        self.write(problems.encode(400, "bad_request", f"{problem}."))
        self.finish()

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Daphne's, as a problem: what it or an application could not do."""
        code = _CODES.get(status, "internal_error")
        headers = [(b"Content-Type", problems.MEDIA_TYPE), *([(b"Retry-After", b"1")] if status == 503 else [])]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": problems.encode(status, code, body.rstrip(".") + ".")})

    @property
    def is_live(self) -> bool:
        """Whether its response is a stream that goes on."""
        return self.outbox is not None and not self.finished and self.channel is not None

    def close_with(self, closure: codes.Closure) -> None:
        """Ends a stream, behind all that was delivered to it."""
        if self.outbox is not None:
            self.outbox.close(closure)

    def check_timeouts(self) -> None:
        """A stream may take as long as it likes, unless its client is gone."""
        if self.outbox is None:
            super().check_timeouts()
        elif unacknowledged_for(self.channel.transport.socket) >= self.server.timeouts.ping + self.server.timeouts.pong:
            self.channel.transport.abortConnection()

    def forgive(self, seconds: float) -> None:
        """Takes so many seconds off its time."""
        if self._began is not None:
            self._began += seconds

    def duration(self) -> float:
        """Seconds since the request was complete."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def handle_reply(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and self.channel is not None and is_download(message["headers"]):
            self.download = Download(self, self._taken)
        if message["type"] != STANDING:
            super().handle_reply(message)
        elif self.channel is not None:
            if message["standing"] == Standing.KNOWN:
                self.channel.is_known = True
            self.server.stands(self.channel.transport, message["standing"], message["address"])

    def _taken(self) -> None:
        """The client has read what was written: its time begins again."""
        self._began = time.monotonic()

    def finish(self) -> None:
        if self.download is not None:
            self.download.end()
        super().finish()
        if self.outbox is not None:
            self.send_disconnect()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        if self.outbox is not None:
            self.outbox.let_go()  # first of all: the socket is closed
            self.send_disconnect()
        if self.download is not None:
            self.download.stopProducing()
            self.send_disconnect()  # Daphne tells only an application that has not taken all yet
        super().connectionLost(reason)

    def handle_exception(self, exception: BaseException) -> None:
        """Answers with 500, or cuts a response that has begun: its client must not take it for whole."""
        if self.finished or self.channel is None:
            return
        if self._response_started:
            self.channel.loseConnection()
        else:
            super().handle_exception(exception)
