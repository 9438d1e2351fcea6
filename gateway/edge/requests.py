"""Which request it is: an id in the log and in the answer, and a line for each request where the access log is on."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from structlog.contextvars import bind_contextvars, get_contextvars

from ticks.address import client_address
from ticks.origin import trace_id

__all__ = ["REQUEST_ID", "AccessLog", "Exchanged", "Identified", "called", "given_id", "identify", "note", "sent_past"]

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

logger = logging.getLogger("gateway.access")

REQUEST_ID: Final = b"x-request-id"
_ANSWER: Final = "marketmux.answer"
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{8,128}\Z")
_SECRETS: Final = re.compile(r"mm[xt]_[\w.~-]+|eyJ[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
"""Keys, tokens and JWTs, which somebody may have written into a path."""


class Identified:
    """ASGI middleware: each request and handshake has an id, its own ``X-Request-ID`` where that is well-formed.

    The log's lines of it have the id, and so has an answer over HTTP. What wraps ``send`` says so by ``__wrapped__``: a
    stream finds the way to its socket behind it (wires/choose.py).
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if "headers" not in scope:
            return self._application(scope, receive, send)
        value = identify(scope)
        if scope["type"] != "http":
            return self._application(scope, receive, send)  # nothing of this stays as long as a client

        async def answer(event: dict[str, Any]) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event.get("headers", ()), (REQUEST_ID, value)]
            await send(event)

        answer.__wrapped__ = send  # type: ignore[attr-defined]
        return self._application(scope, receive, answer)


def identify(scope: dict[str, Any]) -> bytes:
    """The id of a request or handshake, which lines of the log have from now on in this context."""
    return called(given_id(scope["headers"]))


def given_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The well-formed id that a client has given a request; empty if there is none."""
    for name, value in headers:
        if name == REQUEST_ID:
            return value if _WELL_FORMED.match(value) else b""
    return b""


def called(given: bytes) -> bytes:
    """The id of a request that was given this one, or an own one if none; lines of the log have it in this context."""
    value = given.decode() or os.urandom(8).hex()
    bind_contextvars(request_id=value)
    return value.encode()


class AccessLog:
    """ASGI middleware: a line for each request and, at its end, each WebSocket. Without query and headers."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        began = time.monotonic()
        scope[_ANSWER] = answer = Exchanged()

        async def noted(event: dict[str, Any]) -> None:
            answer.note(event)
            await send(event)

        noted.__wrapped__ = send  # type: ignore[attr-defined]
        try:
            await self._application(scope, receive, noted if scope["type"] == "http" else send)
        finally:
            note(scope, answer, time.monotonic() - began)


class Exchanged:
    """What was answered over HTTP; 500 if nothing was."""

    def __init__(self, status: int = 500, size: int = 0) -> None:
        self.status, self.size = status, size

    def note(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
        elif event["type"] == "http.response.body":
            self.size += len(event.get("body", b""))


def sent_past(scope: dict[str, Any], size: int) -> None:
    """An application has written so many bytes of its answer to the socket itself, past ``send``."""
    if (answer := scope.get(_ANSWER)) is not None:
        answer.size = max(answer.size, size)


def note(scope: dict[str, Any], answer: Exchanged, seconds: float) -> None:
    """Writes the line of a request or a WebSocket that has ended."""
    path, client = _SECRETS.sub("***", scope["path"]), client_address(scope) or "unix"
    about: dict[str, Any] = {"path": path, "client": client, "ms": round(seconds * 1_000, 1)}
    if scope["type"] == "websocket":
        about["outcome"] = "closed" if "connection_id" in get_contextvars() else "refused"
        text = f"WebSocket {path} of {client} {about['outcome']} after {seconds:.1f} s"
    else:
        about |= {"method": scope["method"], "status": answer.status, "bytes": answer.size}
        text = f"{scope['method']} {path} of {client}: {answer.status}, {answer.size} bytes in {about['ms']} ms"
    if trace := trace_id(next((value for name, value in scope["headers"] if name == b"traceparent"), b"")):
        about["trace_id"] = trace
        text += f", trace {trace}"
    logger.info("%s", text, extra=about)
