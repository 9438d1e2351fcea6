"""The two ways of a batch to the gateway, a WebSocket and HTTP. Each sends one at a time, and gives its verdict."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket as socket_module
import ssl as ssl_module
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import websockets
from websockets.asyncio.client import ClientConnection

from .arguments import header_fields, text
from .closures import LOST, Closure, announced, closure
from .errors import BadMessage, ClosedForGood, CommandRefused, Refused
from .session import opened, shut
from .target import Proxy, Target, reason_of, retry_after
from .timeouts import timeout
from .tokens import Tokens, TokenUnavailable
from .verdict import ACCEPTED, Verdict, refusal

__all__ = ["Batch", "Http", "Unreachable", "Way", "WebSocket", "way"]

_PATIENCE: Final = 10.0
"""Seconds for a handshake, and for an answer: the gateway itself gives up after one or two."""
_PING: Final = 20.0
"""Seconds between pings, which keep an idle connection open and find out that one is dead."""
_PATH: Final = "/api/v1/ticks"
_ANSWERS: Final = frozenset({"published", "error", "auth"})


class Batch(NamedTuple):
    """``json``: an array of ticks. ``key``: under which it is published once, however often it is sent."""

    json: str
    key: str


class Unreachable(Exception):
    """No answer came, for ``reason``. ``wait``: least seconds before the next attempt."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class Way(Protocol):
    """A way to the gateway. ``in_doubt``: the last batch was sent, and not answered, so it may have been published."""

    url: str
    in_doubt: bool

    async def send(self, batch: Batch) -> Verdict:
        """Raises Unreachable where it may be sent again; Refused, ClosedForGood or BadMessage where that is no use."""

    async def close(self) -> None: ...


def way(
    url: Any,
    key: Any,
    tokens: Tokens,
    *,
    headers: Mapping[str, str] | None,
    ssl: ssl_module.SSLContext | None,
    proxy: Proxy,
) -> Way:
    """Raises TypeError, ValueError, or Refused for a URL that is none."""
    if text("url", url).partition("://")[0] in {"http", "https"}:
        return Http(url, key, tokens, headers=headers, ssl=ssl)
    return WebSocket(Target.checked(url, key, headers, ssl, proxy), tokens)


class WebSocket:
    """``/ws/publish``. A connection is made when there is something to send, and kept."""

    def __init__(self, target: Target, tokens: Tokens) -> None:
        self.url = target.url
        self._target = target
        self._tokens = tokens
        self._socket: ClientConnection | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._number = 0
        """Of the last message on this connection."""
        self.in_doubt = False

    async def send(self, batch: Batch) -> Verdict:
        self.in_doubt = False
        if self._socket is not None and self._socket.state is not websockets.State.OPEN:
            await self._forget(self._socket)
        if self._socket is None:
            await self._connect()
        answer = await self._ask(f'{{"key":"{batch.key}","ticks":{batch.json}}}', is_batch=True)
        self.in_doubt = False
        return ACCEPTED if answer["type"] == "published" else refusal(answer)

    async def close(self) -> None:
        if self._refresher is not None:
            self._refresher.cancel()
            await asyncio.wait({self._refresher})
        if self._socket is not None:
            await shut(self._socket)
        self._socket = self._refresher = None

    async def _connect(self) -> None:
        try:
            target = await self._tokens.show(self._target)
            self._socket = await opened(target, _PATIENCE, _PING)
            self._number = 0
            async with timeout(_PATIENCE):
                welcome = _message(await self._socket.recv())
        except (OSError, websockets.WebSocketException) as error:
            await self.close()
            raise Unreachable(reason_of(error), retry_after(error)) from error
        if welcome["type"] != "welcome":
            raise BadMessage(str(welcome)[:200])
        expires_at = welcome.get("expires_at") if self._tokens.is_asked_for else None
        self._refresher = asyncio.create_task(self._tokens.keep_fresh(expires_at, self._authenticate))

    async def _authenticate(self, token: str) -> str | None:
        try:
            answer = await self._ask(json.dumps({"action": "auth", "token": token}))
        except (Unreachable, ClosedForGood) as error:  # the next batch finds it out
            raise TokenUnavailable(str(error)) from error
        if answer["type"] == "error":
            raise CommandRefused(str(answer["code"]), str(answer["message"]))
        return answer.get("expires_at")

    async def _ask(self, message: str, *, is_batch: bool = False) -> dict[str, Any]:
        """Sends a message and returns the answer to it."""
        async with self._turn:
            if self._socket is None:
                raise Unreachable("the connection was lost")
            socket = self._socket
            self._number += 1
            goodbye: list[Closure] = []
            try:
                async with timeout(_PATIENCE):
                    self.in_doubt = self.in_doubt or (is_batch and socket.state is websockets.State.OPEN)
                    with contextlib.suppress(websockets.ConnectionClosed):  # what it said before is still to be read
                        await socket.send(message)
                    return await self._answer(socket, goodbye)
            except TimeoutError:
                await self._drop(socket)
                raise Unreachable(f"no answer came for {_PATIENCE:g} s") from None
            except websockets.ConnectionClosed:
                end = goodbye[0] if goodbye else _closure(socket)
                await self._drop(socket)
                if not end.reconnect:
                    raise ClosedForGood(end.code, end.reason) from None
                raise Unreachable(f"{end.code} {end.reason}".rstrip(), end.wait) from None

    async def _answer(self, socket: ClientConnection, goodbye: list[Closure]) -> dict[str, Any]:
        """The answer to the last message. What the gateway says before it closes goes to ``goodbye``."""
        while True:
            message = _message(await socket.recv())
            if message["type"] == "closing":
                goodbye.append(announced(message))
            elif message.get("id") == self._number and message["type"] in _ANSWERS:
                return message

    async def _forget(self, socket: ClientConnection) -> None:
        """Lets go of a connection that ended while there was nothing to send; the next one need not wait."""
        goodbye: list[Closure] = []
        with contextlib.suppress(websockets.ConnectionClosed):
            await self._answer(socket, goodbye)
        end = goodbye[0] if goodbye else _closure(socket)
        await self._drop(socket)
        if not end.reconnect:
            raise ClosedForGood(end.code, end.reason)

    async def _drop(self, socket: ClientConnection) -> None:
        self._socket = None
        if self._refresher is not None and self._refresher is not asyncio.current_task():
            self._refresher.cancel()
        await shut(socket)


def _closure(socket: ClientConnection) -> Closure:
    received = socket.protocol.close_rcvd
    return closure(received.code, received.reason) if received is not None else closure(LOST)


def _message(data: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(data)
        if isinstance(message, dict) and isinstance(message.get("type"), str):
            return message
    except ValueError:
        pass
    raise BadMessage(str(data[:200]))


class Http:
    """``POST /api/v1/ticks`` on one kept-alive connection, which lives in a thread of its own."""

    def __init__(
        self,
        url: str,
        key: Any,
        tokens: Tokens,
        *,
        headers: Mapping[str, str] | None,
        ssl: ssl_module.SSLContext | None,
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Refused(None, f"{url} is no address: {error}") from error
        if not host:
            raise Refused(None, f"{url} is no address: it has no host")
        self._path = parts.path if parts.path.strip("/") else _PATH
        self.url = f"{parts.scheme}://{parts.netloc}{self._path}"
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=_PATIENCE, context=ssl
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
        known = header_fields({} if headers is None else headers)
        if key is not None:
            known |= header_fields({"Authorization": f"Api-Key {text('key', key)}"})
        self._target = Target(self.url, {**known, "Content-Type": "application/json"}, ssl, None)
        self._tokens = tokens
        self._thread = ThreadPoolExecutor(1, "marketmux publisher")
        self.in_doubt = False

    async def send(self, batch: Batch) -> Verdict:
        self.in_doubt = False
        try:
            target = await self._tokens.show(self._target)
        except TokenUnavailable as error:
            raise Unreachable(str(error)) from error
        headers = {**target.headers, "Idempotency-Key": batch.key}
        exchange = partial(self._exchange, batch.json.encode("ascii"), headers)
        self.in_doubt = True
        try:
            verdict = await asyncio.get_running_loop().run_in_executor(self._thread, exchange)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self.in_doubt = not isinstance(error, ConnectionRefusedError | socket_module.gaierror)
            raise Unreachable(reason_of(error)) from error
        except Refused:
            self.in_doubt = False
            raise
        self.in_doubt = False
        return verdict

    async def close(self) -> None:
        # A thread that waits for an answer is told by its socket.
        socket = self._connection.sock
        if socket is not None:
            with contextlib.suppress(OSError):
                socket.shutdown(socket_module.SHUT_RDWR)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._connection.close()

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> Verdict:
        was_kept = self._connection.sock is not None
        try:
            return self._post(body, headers)
        except (ConnectionError, http.client.BadStatusLine):
            # A server may close a kept-alive connection at any moment; that alone does not mean that it is away.
            self._connection.close()
            if not was_kept:
                raise
            return self._post(body, headers)

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Verdict:
        self._connection.request("POST", self._path, body, dict(headers))
        response = self._connection.getresponse()
        answer = response.read()
        if response.status == http.HTTPStatus.ACCEPTED:
            return ACCEPTED._replace(is_repeated=response.headers.get("Idempotency-Replayed") == "true")
        problem = _problem(answer)
        if response.status in {401, 404, 405} or (300 <= response.status < 400):
            raise Refused(response.status, str(problem.get("detail") or f"HTTP {response.status}"))
        wait = response.headers.get("Retry-After", "")
        return refusal(problem, response.status, float(wait) if wait.isascii() and wait.isdigit() else 0.0)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {}
