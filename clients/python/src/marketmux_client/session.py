"""One connection, from the handshake to its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket as socket_module
import ssl as ssl_module
from collections.abc import Callable, Mapping
from typing import Any, Final

import websockets
from websockets.asyncio.client import ClientConnection, connect

from .budget import Budget
from .closures import LOST, Closure, announced, closure
from .commands import encode
from .errors import BadMessage, CommandRefused, Refused
from .messages import decode, decode_all
from .target import Target, reason_of
from .timeouts import timeout

__all__ = ["Session", "Settle", "opened", "shut"]

Settle = Callable[[dict[str, Any]], None]

_MISSED_HEARTBEATS: Final = 2
_MARGIN: Final = 1.0
"""Seconds that a slow network may add to them."""
_SILENCE: Final = 10.0
"""How long a gateway without heartbeats may say nothing before it is asked, and then again before it is given up."""
_LOOKS: Final = 4
"""How often silence is looked for while it lasts."""
_CLOSE_TIMEOUT: Final = 0.5
_MAX_BYTES: Final = 64 * 1024 * 1024
_RECEIVE_BUFFER: Final = 64 * 1024
"""Bytes, about 450 ticks: enough for 4,000 a second from a gateway that is 100 ms away."""
_TRANSIENT_STATUS: Final = frozenset({408, 425, 429})
_HOPELESS: Final = (
    websockets.InvalidURI,  # of a redirection
    websockets.InvalidProxy,
    ssl_module.SSLCertVerificationError,
    ImportError,  # what a SOCKS proxy takes
)


class Session:
    """A connection that has been welcomed.

    One task reads (``receive``) and hands answers to ``answered``; another sends commands, one at a time (``ask``).
    """

    def __init__(self, socket: ClientConnection, welcome: Mapping[str, Any], on_quiet: Callable[[], None]) -> None:
        """``on_quiet``: called when a gateway without heartbeats should be asked for a sign of life."""
        loop = asyncio.get_running_loop()
        limits = welcome["limits"]
        self.version = str(welcome["version"])
        self.expires_at: str | None = welcome.get("expires_at")
        """When the connection ends by itself, unless another token is shown before: RFC 3339 in UTC."""
        self.message_bytes = int(limits["message_bytes"])
        self._fields: list[str] = welcome.get("fields", [])
        self._socket = socket
        self._budget = Budget(float(limits["commands_per_second"]), loop.time)
        self._heartbeat = float(welcome.get("heartbeat", 0))
        self._on_quiet = on_quiet
        self._last_id = 0
        self._settle: Settle | None = None
        self._answer: asyncio.Future[None] | None = None
        self._announced: Closure | None = None
        self._abandoned: Closure | None = None
        self._quiet_looks = 0
        self._looker = loop.call_later(self._look_interval, self._look)

    @classmethod
    async def open(cls, target: Target, patience: float, on_quiet: Callable[[], None]) -> Session:
        """Connects and awaits the welcome, for ``patience`` seconds each.

        Raises Refused if there is no use in trying again, BadMessage if this is no gateway, OSError, TimeoutError or
        websockets' own exceptions if there may be.
        """
        # No pings of websockets' own: heartbeats are looked for here.
        socket = await opened(target, patience)
        try:
            _bound_buffer(socket)
            async with timeout(patience):
                text = await socket.recv()
            return cls(socket, _welcome(text), on_quiet)
        except BaseException:
            await shut(socket)
            raise

    async def receive(self) -> list[dict[str, Any]]:
        """The next message, or several ticks. Raises ConnectionClosed at the end, and BadMessage."""
        text = await self._socket.recv()
        self._quiet_looks = 0
        try:
            return decode_all(text, self._fields)
        except ValueError as error:
            raise BadMessage(str(text[:200])) from error

    async def ask(self, fields: Mapping[str, Any], settle: Settle) -> None:
        """Sends a command and returns when it has been answered.

        ``settle`` is called with the answer before anything that follows it is read. Raises CommandRefused.
        """
        await asyncio.sleep(self._budget.spend())
        self._last_id += 1
        self._settle = settle
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send(encode({**fields, "id": self._last_id}))
            await self._answer
        finally:
            self._settle = self._answer = None

    def answered(self, message: dict[str, Any]) -> None:
        """Takes an answer or an error. One that could not be read as far as its id was refused has none."""
        if self._answer is None or self._answer.done() or self._settle is None:
            return
        if message["type"] == "error":
            if message.get("id", self._last_id) == self._last_id:
                self._answer.set_exception(_refusal(message))
        elif message.get("id") == self._last_id:
            self._settle(message)
            self._answer.set_result(None)

    def closing(self, message: Mapping[str, Any]) -> None:
        """Takes the announcement of the close that follows."""
        self._announced = announced(message)

    def abandon(self, reason: str) -> None:
        """Ends a connection that is good for nothing any more, without a word."""
        self._abandoned = closure(LOST, reason)
        self._socket.transport.abort()

    async def close(self) -> Closure:
        """Closes what is still open, promptly; returns how the connection ended."""
        self._looker.cancel()
        await shut(self._socket)
        if self._abandoned is not None:
            return self._abandoned
        if self._announced is not None:
            return self._announced
        received = self._socket.protocol.close_rcvd
        return closure(received.code, received.reason) if received is not None else closure(LOST)

    @property
    def _look_interval(self) -> float:
        silence = _MISSED_HEARTBEATS * self._heartbeat + _MARGIN if self._heartbeat > 0 else _SILENCE
        return silence / _LOOKS

    def _look(self) -> None:
        # Silence is counted in looks, not read off a clock: a process that was stopped for a minute has looked once,
        # and what came meanwhile is read before it looks again.
        self._looker = asyncio.get_running_loop().call_later(self._look_interval, self._look)
        self._quiet_looks += 1
        seconds = self._quiet_looks * self._look_interval
        if self._quiet_looks > _LOOKS * (1 if self._heartbeat > 0 else 2):
            self.abandon(f"nothing came for {seconds:.1f} s")
        elif self._heartbeat <= 0 and self._quiet_looks == _LOOKS:
            self._on_quiet()


def _refusal(message: Mapping[str, Any]) -> CommandRefused:
    wait = message.get("retry_after")
    return CommandRefused(
        str(message["code"]),
        str(message["message"]),
        map(str, message.get("symbols", ())),
        str(message.get("reason", "")),
        None if wait is None else float(wait),
    )


def _bound_buffer(socket: ClientConnection) -> None:
    """The kernel would let its buffer grow to megabytes while the process is busy, and all of it would be stale."""
    raw = socket.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, _RECEIVE_BUFFER)


def _welcome(text: str | bytes) -> dict[str, Any]:
    try:
        message = decode(text)
        if (
            message["type"] == "welcome"
            and message["version"]
            and message["limits"].keys() >= {"message_bytes", "commands_per_second"}
        ):
            return message
    except (ValueError, KeyError, AttributeError):
        pass
    raise BadMessage(str(text[:200]))


async def opened(target: Target, patience: float, ping_interval: float | None = None) -> ClientConnection:
    """A connection after its handshake. Raises Refused if there is no use in trying again, OSError, TimeoutError or
    websockets' own exceptions if there may be.
    """
    try:
        return await connect(
            target.url,
            additional_headers=target.headers,
            ssl=target.ssl,
            proxy=target.proxy,
            compression=None,
            open_timeout=patience,
            ping_interval=ping_interval,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=_MAX_BYTES,
        )
    except (websockets.InvalidStatus, websockets.InvalidProxyStatus) as error:
        status = error.response.status_code
        if 400 <= status < 500 and status not in _TRANSIENT_STATUS:
            raise Refused(status, reason_of(error)) from error
        raise
    except asyncio.TimeoutError as error:
        raise TimeoutError(str(error)) from error
    except _HOPELESS as error:
        raise Refused(None, str(error)) from error


async def shut(socket: ClientConnection) -> None:
    """Closes the socket; cuts it off where the other side does not answer at once."""
    try:
        with contextlib.suppress(TimeoutError):
            async with timeout(_CLOSE_TIMEOUT):
                await socket.close()
    finally:
        socket.transport.abort()
        await socket.wait_closed()
