"""Clients of a running gateway for the tests: a publisher, a subscriber, and a raw socket that need not read."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
import websockets
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from websockets.asyncio.client import ClientConnection

from tests.servers import GatewayProcess

__all__ = ["RawClient", "metrics", "publish", "receive", "samples", "subscriber", "tick"]


def tick(symbol: str, price: int | str) -> dict[str, Any]:
    return {"symbol": symbol, "price": price, "timestamp": "2026-05-12T15:04:05Z"}


async def publish(http: httpx.AsyncClient, ticks: Any) -> None:
    """Posts the ticks; they must be accepted."""
    response = await http.post("/api/v1/ticks", json=ticks)
    assert response.status_code == 202, response.text


@asynccontextmanager
async def subscriber(gateway: GatewayProcess, *symbols: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """A connection whose subscriptions are acknowledged."""
    async with websockets.connect(gateway.ws, compression=None, **options) as connection:
        assert (await receive(connection))["type"] == "welcome"
        await connection.send(json.dumps({"action": "subscribe", "symbols": symbols}))
        assert (await receive(connection))["type"] == "subscribed"
        yield connection


async def receive(connection: ClientConnection) -> Any:
    """The next message that is no heartbeat."""
    while True:
        message = json.loads(await connection.recv())
        if message["type"] != "heartbeat":
            return message


def metrics(gateway: GatewayProcess) -> dict[str, float]:
    """The gateway's metrics by name, without prefix and labels: added up over workers and reasons."""
    total: dict[str, float] = defaultdict(float)
    for sample in samples(gateway):
        total[sample.name.removeprefix("marketmux_")] += sample.value
    return dict(total)


def samples(gateway: Endpoint, timeout: float = 30) -> list[Sample]:
    """The gateway's metrics as Prometheus' own parser reads them."""
    text = httpx.get(f"http://{gateway.host}:{gateway.port}/metrics", timeout=timeout).raise_for_status().text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


class Endpoint(Protocol):
    """Where a gateway listens: a :class:`GatewayProcess`, or something else's idea of one."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class RawClient:
    """A WebSocket client on a bare socket: it reads only when told to."""

    def __init__(self, gateway: Endpoint, *symbols: str, receive_buffer: int | None = None, path: str = "/ws") -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect((gateway.host, gateway.port))
        self._data = b""
        self._shake_hands(gateway, path)
        assert self.read()["type"] == "welcome"
        if symbols:
            self.send(json.dumps({"action": "subscribe", "symbols": symbols}).encode())
            while (answer := self.read()["type"]) == "heartbeat":
                pass
            assert answer == "subscribed"

    def send(self, payload: bytes, opcode: int = 1) -> None:
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        else:
            length = b"\xfe" + size.to_bytes(2, "big") if size < 65_536 else b"\xff" + size.to_bytes(8, "big")
        self.socket.sendall(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def read(self) -> Any:
        """The next text message; for a close frame, ``{"close": code}``."""
        while True:
            opcode, payload = self._frame()
            if opcode == 1:
                return json.loads(payload)
            if opcode == 8:
                return {"close": int.from_bytes(payload[:2], "big")}

    def echo(self) -> None:
        """Sends a WebSocket ping and returns when its pong is there; what comes before is dropped."""
        payload = os.urandom(8)
        self.send(payload, opcode=9)
        while self._frame() != (10, payload):
            pass

    def read_until(self, types: Iterable[str] = (), price: int | None = None) -> list[Any]:
        """Messages up to the first of one of ``types``, or up to the tick with ``price``."""
        messages = []
        while True:
            messages.append(self.read())
            if messages[-1].get("type") in types or (price is not None and messages[-1].get("price") == price):
                return messages

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shake_hands(self, gateway: Endpoint, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {gateway.host}:{gateway.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._data:
            self._fill()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        assert b" 101 " in head.splitlines()[0], head

    def _frame(self) -> tuple[int, bytes]:
        head = self._take(2)
        size = head[1] & 127
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return head[0] & 15, self._take(size)

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._fill()
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _fill(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the gateway closed the connection")
        self._data += data
