"""A gateway whose every word the test decides: a real WebSocket server on a real port."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from marketmux_client import Client, Event

__all__ = [
    "EPOCH",
    "TIMEOUT",
    "FakeGateway",
    "Peer",
    "deaf",
    "eventually",
    "fake_gateway",
    "place",
    "snapshot",
    "tick",
    "until",
]

TIMEOUT = 120.0
EPOCH = "5f3a9c1e"

Kind = TypeVar("Kind", bound=Event)


class Peer:
    """The gateway's side of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.done = asyncio.Event()

    async def send(self, *messages: dict[str, Any] | str) -> None:
        for message in messages:
            await self.connection.send(message if isinstance(message, str) else json.dumps(message))

    async def command(self, action: str = "subscribe") -> dict[str, Any]:
        """The client's next command, which must be this."""
        async with asyncio.timeout(TIMEOUT):
            command: dict[str, Any] = json.loads(await self.connection.recv())
        assert command["action"] == action, command
        return command

    async def subscribed(self, command: dict[str, Any], **positions: dict[str, Any]) -> None:
        """Answers; a symbol's position is 1041 unless given."""
        places = {symbol: positions.get(symbol, place(1041)) for symbol in command["symbols"] if symbol != "*"}
        places |= positions
        await self.send({"type": "subscribed", "symbols": command["symbols"], "positions": places, "id": command["id"]})

    async def subscribe(self, **positions: dict[str, Any]) -> dict[str, Any]:
        """Takes a subscription and acknowledges it."""
        command = await self.command()
        await self.subscribed(command, **positions)
        return command

    async def error(self, command: dict[str, Any], code: str) -> None:
        await self.send({"type": "error", "code": code, "message": "No.", "id": command["id"]})

    async def tick(self, *seqs: int, symbol: str = "AAPL") -> None:
        await self.send(*(tick(seq, symbol) for seq in seqs))

    async def close(self, code: int = 1012, reason: str = "") -> None:
        await self.connection.close(code, reason)
        self.done.set()

    def cut(self) -> None:
        """The connection breaks, as with a worker's kill -9."""
        self.connection.transport.abort()
        self.done.set()


class FakeGateway:
    """``status``: what handshakes are answered with, None for an upgrade. ``heartbeat``: what the welcome says."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.version = "0.1.0"
        self.heartbeat = 10.0
        self.expires_at: str | None = None
        self.limits = {"symbols": 1000, "message_bytes": 65_536, "commands_per_second": 100}
        self.handshakes: list[Request] = []
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def peer(self) -> Peer:
        """The next client that was welcomed."""
        async with asyncio.timeout(TIMEOUT):
            return await self._peers.get()

    async def serve(self) -> Server:
        server = await serve(
            self._converse,
            "127.0.0.1",
            self.port,
            process_request=self._refuse,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        return server

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        return None if self.status is None else connection.respond(HTTPStatus(self.status), "")

    async def _converse(self, connection: ServerConnection) -> None:
        peer = Peer(connection)
        await peer.send(
            {"type": "welcome", "version": self.version, "limits": self.limits, "heartbeat": self.heartbeat}
            | ({"expires_at": self.expires_at} if self.expires_at else {})
        )
        self._peers.put_nowait(peer)
        lost = asyncio.create_task(connection.wait_closed())
        done = asyncio.create_task(peer.done.wait())
        _, pending = await asyncio.wait({lost, done}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()


@asynccontextmanager
async def fake_gateway() -> AsyncIterator[FakeGateway]:
    gateway = FakeGateway()
    server = await gateway.serve()
    try:
        yield gateway
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def deaf() -> Iterator[str]:
    """The URL of a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"


def place(seq: int, recovered: bool | None = None, epoch: str = EPOCH) -> dict[str, Any]:
    return {"seq": seq, "epoch": epoch} | ({} if recovered is None else {"recovered": recovered})


def tick(seq: int, symbol: str = "AAPL") -> str:
    return f'{{"type":"tick","symbol":"{symbol}","price":150.250,"timestamp":"2026-05-12T15:04:05.123456789Z","seq":{seq}}}'


def snapshot(seq: int, symbol: str = "AAPL", epoch: str = EPOCH) -> dict[str, Any]:
    return {
        "type": "snapshot",
        "symbol": symbol,
        "price": 150,
        "timestamp": "2026-05-12T15:04:05Z",
        "seq": seq,
        "epoch": epoch,
    }


async def until(client: Client, kind: type[Kind], **fields: Any) -> list[Event]:
    """What the client says, up to the first event of a kind with these fields."""
    events: list[Event] = []
    async with asyncio.timeout(TIMEOUT):
        async for event in client:
            events.append(event)
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                return events
    raise AssertionError(f"the iteration ended before a {kind.__name__}: {events}")


async def eventually(condition: Callable[[], object]) -> None:
    """Returns as soon as the condition holds."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)
