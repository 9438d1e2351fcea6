"""A gateway without a socket, so that a test can go through what a client does step by step."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from types import SimpleNamespace
from typing import Any

from tests.client.fake import EPOCH, tick

__all__ = ["MemoryGateway"]


class MemoryGateway:
    """The client's side of a connection, and the gateway behind it, which answers ``delay`` turns of the loop later.

    ``refusals``: the codes that the next subscriptions are refused with.
    """

    def __init__(self, delay: int, message_bytes: int = 65_536) -> None:
        self.subscribed: dict[str, float | None] = {}
        self.refusals: deque[str] = deque()
        self.commands = self.opened = self.closed = 0
        self._delay = delay
        self._out: asyncio.Queue[str] = asyncio.Queue()
        self._say(
            type="welcome",
            version="0.1.0",
            heartbeat=60,
            limits={"message_bytes": message_bytes, "commands_per_second": 10_000},
        )
        # What a session uses of a ClientConnection.
        self.transport = SimpleNamespace(abort=lambda: None, get_extra_info=lambda _name: None)
        self.protocol = SimpleNamespace(close_rcvd=None)

    async def connect(self, *_: Any, **__: Any) -> MemoryGateway:
        self.opened += 1
        return self

    async def recv(self) -> str:
        return await self._out.get()

    async def send(self, text: str) -> None:
        self.commands += 1
        self._later(self._delay, json.loads(text))

    async def close(self) -> None:
        self.closed += 1

    async def wait_closed(self) -> None: ...

    def tick(self, seq: int) -> None:
        for symbol in self.subscribed:
            self._out.put_nowait(tick(seq, symbol))

    def _later(self, turns: int, command: dict[str, Any]) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._later, turns - 1, command)
        else:
            self._obey(command)

    def _obey(self, command: dict[str, Any]) -> None:
        action, symbols = command["action"], command["symbols"]
        if action == "subscribe" and self.refusals:
            self._say(type="error", code=self.refusals.popleft(), message="No.", id=command["id"])
            return
        positions = {}
        for symbol in symbols:
            if action == "unsubscribe":
                self.subscribed.pop(symbol, None)
            else:
                self.subscribed[symbol] = command.get("max_rate")
                recovered = {"recovered": True} if symbol in command.get("since", {}) else {}
                positions[symbol] = {"seq": 0, "epoch": EPOCH, **recovered}
        self._say(type=f"{action}d", symbols=list(self.subscribed), positions=positions, id=command["id"])

    def _say(self, **message: Any) -> None:
        self._out.put_nowait(json.dumps(message))
