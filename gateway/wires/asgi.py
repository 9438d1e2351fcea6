"""The way to a client of any ASGI server: one event a message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.protocol.codes import Closure
from gateway.protocol.frames import texts
from gateway.wires.wire import Sender

__all__ = ["AsgiWire"]

SendEvent = Callable[[Any], Awaitable[None]]

_FULL: Final = 65_536
"""Bytes waiting on an ASGI server beyond which the client counts as full; Twisted's own mark for its transports."""

_CLOSE_SECONDS: Final = 1.0
"""How long an ASGI server may take to send what was written before a close; Autobahn's time for a closing handshake."""


class AsgiWire:
    """Sends events to any ASGI server, from a task that lives only while something waits to be sent."""

    is_tidy = answers_pings = False
    form = None

    def __init__(self, send: SendEvent) -> None:
        self._send = send
        self._sender: Sender | None = None
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._full = False
        self._pumping: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def open(self, sender: Sender, /) -> None:
        self._sender = sender

    def fileno(self) -> int:
        return -1

    def queue(self) -> None:
        """Its server knows."""

    def ask_along(self) -> bool:
        return False

    def send(self, frames: bytes) -> int:
        if self._size > _FULL:
            return 0
        self._enqueue(frames)
        return len(frames)

    def finish(self, rest: bytes) -> None:
        self._full = True
        self._enqueue(rest)

    def close(self, closure: Closure) -> None:
        self._sender = None
        self._closing = asyncio.get_running_loop().create_task(self._finish(closure))

    def release(self) -> None:
        self._sender = None
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
                for event in self._events(frames):
                    await self._send_event(event)
                self._size -= len(frames)
        finally:
            self._pumping = None
        if self._full:
            self._full = False
            if self._sender is not None:
                self._sender.drained()

    async def _finish(self, closure: Closure) -> None:
        """Lets what was written go first, unless the client does not take it."""
        if self._pumping is not None:
            await asyncio.wait([self._pumping], timeout=_CLOSE_SECONDS)
            self.release()
        await self._send_event(self._end(closure))

    def _events(self, frames: bytes) -> list[dict[str, Any]]:
        """What is sent for these frames."""
        return [{"type": "websocket.send", "text": text} for text in texts(frames)]

    def _end(self, closure: Closure) -> dict[str, Any]:
        return {"type": "websocket.close", "code": closure.code, "reason": closure.reason}

    async def _send_event(self, event: dict[str, Any]) -> None:
        try:
            await self._send(event)
        except Exception:  # servers differ in what they raise for a client that is gone
            self._queue.clear()
            if self._sender is not None:
                self._sender.let_go()
