"""Clients that stay: each comes back when the gateway closes it, as soon as it is told and no sooner."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any, Final

from gateway.loadtest import websocket
from gateway.loadtest.target import Target

__all__ = ["Crowd"]

JITTER: Final = 0.5
"""The first bound of the clients' own backoff, in seconds."""


class Crowd:
    """``size`` clients of one symbol. ``back``: when each came back, and was welcome; ``waits``: what each was told."""

    def __init__(self, url: str, size: int, symbol: str = "AAPL") -> None:
        self.size = size
        self.target = Target.from_url(url)
        self.symbol = symbol
        self.subscribed = 0
        self.back: list[float] = []
        self.waits: list[float] = []
        self.codes: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self.ticks = 0

    async def come(self, at_once: int = 50) -> None:
        """Returns when all have subscribed; ``at_once`` knock at a time."""
        gate = asyncio.Semaphore(at_once)

        async def knock() -> None:
            async with gate:
                await self.connect(_Client(self))

        await asyncio.gather(*(knock() for _ in range(self.size)))
        while self.subscribed < self.size:  # noqa: ASYNC110 - counted as they come
            await asyncio.sleep(0.05)

    async def connect(self, client: _Client) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: client, *self.target.address[:2])
        except OSError as error:
            self.failures[type(error).__name__] += 1

    def come_back(self, wait: float) -> None:
        delay = wait + random.uniform(0, JITTER)  # noqa: S311
        loop = asyncio.get_running_loop()
        loop.call_later(delay, lambda: tasks.add(loop.create_task(self.connect(_Client(self, again=True)))))

    def leave(self) -> None:
        for client in list(clients):
            client.leave()


clients: set[_Client] = set()
tasks: set[asyncio.Task[None]] = set()


class _Client(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, crowd: Crowd, again: bool = False) -> None:
        self._crowd = crowd
        self._again = again
        self._handshake = websocket.Handshake()
        self._is_open = self._is_subscribed = self._is_leaving = False
        self._data = b""
        self._wait: float | None = None
        self._code = 1006

    def connection_made(self, transport: Any) -> None:
        clients.add(self)
        self.transport = transport
        transport.write(self._handshake.request(self._crowd.target))

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._is_open and not self._opens():
            return
        frames, self._data = websocket.split(self._data)
        for first, payload in frames:
            if first == websocket.TEXT:
                self._take(json.loads(payload))
            elif first == websocket.PING:
                self.transport.write(websocket.encode(websocket.PONG, payload))
            elif first == websocket.CLOSE:
                self._code = websocket.close_code(payload)
                self.transport.write(websocket.encode(websocket.CLOSE, payload[:2]))
                self.transport.close()

    def _opens(self) -> bool:
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return False
        try:
            self._handshake.check(head)
        except websocket.HandshakeError as error:
            self._crowd.failures[str(error)] += 1
            self._is_leaving = True
            self.transport.abort()
            return False
        self._is_open, self._data = True, rest
        return True

    def _take(self, message: Any) -> None:
        crowd = self._crowd
        match message["type"]:
            case "welcome":
                if self._again:
                    crowd.back.append(asyncio.get_running_loop().time())
                command = json.dumps({"action": "subscribe", "symbol": crowd.symbol}).encode()
                self.transport.write(websocket.encode(websocket.TEXT, command))
            case "subscribed":
                self._is_subscribed = True
                crowd.subscribed += 1
            case "tick":
                crowd.ticks += 1
            case "closing":
                self._wait = message["wait"]
                crowd.waits.append(message["wait"])

    def connection_lost(self, exc: Exception | None) -> None:
        clients.discard(self)
        if self._is_leaving:
            return
        if not self._is_open:
            self._crowd.failures["cut before an answer"] += 1
            return
        self._crowd.subscribed -= self._is_subscribed
        self._crowd.codes[self._code] += 1
        self._crowd.come_back(self._wait or 0.0)

    def leave(self) -> None:
        self._is_leaving = True
        self.transport.abort()
