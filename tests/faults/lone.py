"""Our own server alone, in a process of its own: with an application that misbehaves as a test wants, and quick to wait.

``python -m tests.faults.lone PORT TIMEOUTS`` serves; ``LoneServer`` runs that.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from gateway.protocol.codes import SERVICE_RESTART
from gateway.server.timeouts import Timeouts
from tests.environment import clean_environment
from tests.servers import free_port, wait_until
from ticks.tick import MAX_BODY_BYTES

__all__ = ["LONG_BODY", "LoneServer", "frame", "open_websocket"]

TICK_SECONDS = 0.02
LONG_BODY = bytes(range(256)) * 20_000

ROOT = Path(__file__).resolve().parent.parent.parent


class LoneServer:
    """The server's process, from ``with`` to its end."""

    def __init__(self, directory: Path, timeouts: Timeouts) -> None:
        self.port = free_port()
        self._log = directory / "lone.log"
        self._timeouts = timeouts
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def get(self, path: str, timeout: float = 10.0) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=timeout)

    def state(self) -> dict[str, int]:
        state: dict[str, int] = self.get("/state").json()
        return state

    @contextlib.contextmanager
    def longest_turn(self) -> Iterator[list[float]]:
        """Puts the longest turn of the server's loop meanwhile into the list, in seconds of processor time."""
        longest: list[float] = []
        self.get("/watch")
        yield longest
        longest.append(self.get("/longest").json())

    def output(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> LoneServer:
        arguments = [str(self.port), json.dumps(dataclasses.asdict(self._timeouts))]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.lone", *arguments],
                cwd=ROOT,
                env=clean_environment() | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._answers, 60)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            assert self._process.wait(20) == 0, self.output()
        finally:
            self._process.kill()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output()
        try:
            return self.get("/").status_code == 200
        except httpx.TransportError:
            return False


def open_websocket(port: int, path: str = "/") -> socket.socket:
    """A WebSocket of which the test sees every byte; what it does not do, such as to answer a ping, nobody does."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, head
        head += byte
    assert b" 101 " in head.splitlines()[0], head
    return client


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A client's frame of under 126 bytes; its mask is zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


class LongestTurn:
    """How long the longest turn of the loop was, in processor time, which a busy machine does not make longer."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last = 0.0
        self._next: asyncio.Handle | None = None

    def start(self) -> None:
        self._last, self.seconds = time.thread_time(), 0.0
        self._look()

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _look(self) -> None:
        now = time.thread_time()
        self.seconds = max(self.seconds, now - self._last)
        self._last = now
        self._next = asyncio.get_running_loop().call_soon(self._look)


class Application:
    """An ASGI application that does what a good one would not."""

    def __init__(self) -> None:
        self.server: Any = None
        self._longest = LongestTurn()
        self._gate = asyncio.Event()
        self._taken = 0
        self._cancelled = 0
        self._files: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._talk(scope, receive, send)
        else:
            await self._answer(scope, send)

    async def _talk(self, scope: Any, receive: Any, send: Any) -> None:
        """Takes messages; on ``/gated`` only once ``GET /open`` has opened the gate. ``/ticking`` sends some instead."""
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/ticking":
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                await asyncio.sleep(TICK_SECONDS)
        if scope["path"] == "/gated":
            await self._gate.wait()
        while (await receive())["type"] != "websocket.disconnect":
            self._taken += 1

    async def _answer(self, scope: Any, send: Any) -> None:
        body = b"ok"
        match scope["path"]:
            case "/open":
                self._gate.set()
            case "/exhaust":
                self._exhaust()
            case "/relieve":
                for file in self._files:
                    os.close(file)
                self._files.clear()
            case "/long":
                body = LONG_BODY
            case "/watch":
                self._longest.start()
            case "/longest":
                self._longest.stop()
                body = json.dumps(self._longest.seconds).encode()
            case "/state":
                body = json.dumps(self._state()).encode()
            case "/hung":
                try:
                    await asyncio.Event().wait()
                finally:
                    self._cancelled += 1
            case "/early":
                raise RuntimeError("before the response")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        if scope["path"] == "/broken":
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
            raise RuntimeError("in the middle of the response")
        await send({"type": "http.response.body", "body": body})

    def _exhaust(self) -> None:
        """Opens files until no more can be opened."""
        with contextlib.suppress(OSError):
            while True:
                self._files.append(os.dup(0))

    def _state(self) -> dict[str, int]:
        queues = [getattr(protocol, "application_queue", None) for protocol in self.server.connections]
        return {
            "connections": len(self.server.connections),
            "applications": sum("application_instance" in details for details in self.server.connections.values()),
            "http_connections": len(self.server.housekeeping.http_connections),
            "waiting": max((len(queue) for queue in queues if queue is not None), default=0),
            "taken": self._taken,
            "cancelled": self._cancelled,
        }


def _serve(port: int, timeouts: Timeouts) -> None:
    import django  # noqa: PLC0415 - the process that tests has it set up

    django.setup()
    from gateway.server import collector  # noqa: PLC0415 - needs the apps
    from gateway.server.worker import BACKLOG, GatewayServer  # noqa: PLC0415 - the same

    application = Application()
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    listener.setblocking(False)
    application.server = GatewayServer(
        application,
        listener,
        max_message_bytes=65_536,
        max_body_bytes=MAX_BODY_BYTES,
        restart=SERVICE_RESTART,
        timeouts=timeouts,
    )
    collector.freeze()  # as gateway/asgi.py does: the collector's walk through all modules is no turn of the server's
    application.server.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Timeouts(**json.loads(sys.argv[2])))
