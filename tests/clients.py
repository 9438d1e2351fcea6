"""Clients of a running gateway for the tests: a publisher, a subscriber, and a raw socket that need not read."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self

import httpx
import websockets
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from websockets.asyncio.client import ClientConnection

from tests.servers import GatewayProcess

__all__ = ["EventStream", "RawClient", "metrics", "publish", "receive", "samples", "subscriber", "tick"]


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


class EventStream:
    """A client of server-sent events: it reads only when told to, as browsers do where the lines allow it."""

    def __init__(
        self,
        gateway: Endpoint,
        query: str,
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.last_id = ""
        self.retry = 0
        self.comments = 0
        self._http = http.client.HTTPConnection(gateway.host, gateway.port)
        self._http.sock = socket.socket()
        if receive_buffer is not None:
            self._http.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._http.sock.settimeout(30)
        self._http.sock.connect((gateway.host, gateway.port))
        self._http.request("GET", f"/api/v1/stream?{query}", headers=dict(headers or {}))
        self.response = self._http.getresponse()
        self.status = self.response.status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self._http.close()

    def read(self) -> Any:
        """The next message; None behind the last."""
        name, data = "", ""
        while line := self.response.readline().decode():
            assert line.endswith("\n"), "the response was cut"
            field, _, value = line.rstrip("\n").partition(": ")
            match field:
                case "event":
                    name = value
                case "data":
                    data = value
                case "id":
                    self.last_id = value
                case "retry":
                    self.retry = int(value)
                case "":
                    if data:
                        message = json.loads(data)
                        assert message["type"] == name
                        return message
                    self.comments += bool(value)
        return None

    def read_until(self, kind: str) -> list[Any]:
        """The messages up to the first of that type, and that one."""
        messages = [self.read()]
        while messages[-1] is not None and messages[-1]["type"] != kind:
            messages.append(self.read())
        return messages

    def ticks(self, count: int) -> list[tuple[str, int]]:
        """Symbol and seq of the next so many ticks; nothing else may come between them."""
        messages = [self.read() for _ in range(count)]
        assert {message["type"] for message in messages} == {"tick"}, messages
        return [(message["symbol"], message["seq"]) for message in messages]
