"""The cases that every client passes: clients/conformance/README.md says what they mean."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from marketmux_client import (
    AccessChanged,
    Backoff,
    BadMessage,
    BusState,
    Client,
    ClosedForGood,
    Conflated,
    Connected,
    Delayed,
    Disconnected,
    Event,
    Gap,
    Snapshot,
    Tick,
)

CASES = Path(__file__).resolve().parents[2] / "conformance"
PATIENCE = 60.0
NAMES = {
    Tick: "tick",
    Snapshot: "snapshot",
    Gap: "gap",
    Conflated: "conflated",
    BusState: "bus",
    AccessChanged: "access",
    Delayed: "delayed",
    Connected: "connected",
    Disconnected: "disconnected",
}
WELCOME = {
    "type": "welcome",
    "version": "0.1.0",
    "limits": {"symbols": 1000, "message_bytes": 65_536, "commands_per_second": 100},
    "heartbeat": 10,
}


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text())
    ]


class Gateway:
    """Does what a case says."""

    def __init__(self, welcome: dict[str, Any]) -> None:
        self._welcome = WELCOME | welcome
        self._connections: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self._connection: ServerConnection | None = None
        self._refusals: list[int] = []
        self._command: dict[str, Any] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server: Server = await serve(self._greet, "127.0.0.1", 0, process_request=self._refuse, compression=None)
        try:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
        finally:
            server.close()
            await server.wait_closed()

    def refuse(self, status: int, times: int) -> None:
        self._refusals += [status] * times

    async def receive(self, expected: dict[str, Any]) -> None:
        connection = await self._current()
        self._command = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE))
        assert {name: self._command.get(name) for name in expected} == expected

    async def answer(self, fields: dict[str, Any]) -> None:
        kind = f"{self._command['action']}d"
        answer = {"type": kind, "symbols": self._command["symbols"], "id": self._command["id"]} | fields
        await self.send([answer])

    async def send(self, messages: list[Any]) -> None:
        connection = await self._current()
        for message in messages:
            await connection.send(message if isinstance(message, str) else json.dumps(message))

    async def close(self, code: int, reason: str) -> None:
        connection, self._connection = await self._current(), None
        await connection.close(code, reason)

    async def cut(self) -> None:
        connection, self._connection = await self._current(), None
        connection.transport.abort()

    async def _current(self) -> ServerConnection:
        if self._connection is None:
            self._connection = await asyncio.wait_for(self._connections.get(), PATIENCE)
        return self._connection

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(HTTPStatus(self._refusals.pop(0)), "") if self._refusals else None

    async def _greet(self, connection: ServerConnection) -> None:
        await connection.send(json.dumps(self._welcome))
        self._connections.put_nowait(connection)
        await connection.wait_closed()


class Consumer:
    """Takes what comes out of a client, and compares."""

    def __init__(self, client: Client) -> None:
        self._events: list[dict[str, Any]] = []
        self._seen = 0
        self._more = asyncio.Event()
        self.reading = asyncio.ensure_future(self._read(client))

    async def _read(self, client: Client) -> None:
        async for event in client:
            self._events.append(plain(event))
            self._more.set()

    async def expect(self, expected: list[dict[str, Any]]) -> None:
        while len(self._events) < self._seen + len(expected) and not self.reading.done():
            self._more.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._more.wait(), PATIENCE)
                continue
            break
        came = self._events[self._seen : self._seen + len(expected)]
        self._seen += len(came)
        assert [
            {name: event.get(name, "nothing") for name in like} for event, like in zip(came, expected, strict=False)
        ] == expected

    def rest(self) -> list[dict[str, Any]]:
        return self._events[self._seen :]


def plain(event: Event) -> dict[str, Any]:
    return {"type": NAMES[type(event)]} | {
        field.name: simple(getattr(event, field.name)) for field in dataclasses.fields(event)
    }


def simple(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return {name: simple(inner) for name, inner in value.items()}
    return sorted(value) if isinstance(value, frozenset | tuple) else value


async def take(step: dict[str, Any], gateway: Gateway, client: Client, consumer: Consumer) -> None:
    ((action, value),) = ((name, inner) for name, inner in step.items() if name != "times")
    if action == "events":
        await consumer.expect(value)
    elif action == "refuse":
        gateway.refuse(value, step["times"])
    elif action == "close":
        await gateway.close(value["code"], value["reason"])
    elif action == "cut":
        await gateway.cut()
    elif action == "unsubscribe":
        tasks.append(asyncio.ensure_future(client.unsubscribe(*value)))
    elif action == "latest":
        for symbol, like in value.items():
            latest = client.latest(symbol)
            found = None if latest is None else {"seq": latest.quote.seq, "is_stale": latest.is_stale}
            assert found == like
    else:
        acts: dict[str, Callable[[Any], Awaitable[None]]] = {
            "receive": gateway.receive,
            "answer": gateway.answer,
            "send": gateway.send,
        }
        await acts[action](value)


tasks: list[asyncio.Future[Any]] = []
"""What the program of a case waits for meanwhile."""


@pytest.mark.asyncio
@pytest.mark.parametrize("case", cases())
async def test_the_client_does_what_every_client_does(case: dict[str, Any]) -> None:
    gateway = Gateway(case.get("welcome", {}))
    async with gateway.running() as url:
        options = {"max_age": None, "max_queue": 1_000_000, "proxy": None, "compact": case.get("compact", False)}
        async with Client(url, backoff=Backoff(0.001, 0.002), **options) as client:
            consumer = Consumer(client)
            for wanted in case["subscribe"]:
                options = {name: value for name, value in wanted.items() if name != "symbols"}
                tasks.append(asyncio.ensure_future(client.subscribe(*wanted["symbols"], **options)))
            for step in case["steps"]:
                await take(step, gateway, client, consumer)
            if "end" in case:
                await ends(consumer, case["end"])
        await asyncio.gather(*tasks, consumer.reading, return_exceptions=True)
        tasks.clear()
    assert consumer.rest() == []


async def ends(consumer: Consumer, end: dict[str, Any]) -> None:
    with pytest.raises({"closed_for_good": ClosedForGood, "bad_message": BadMessage}[end["type"]]) as caught:
        await asyncio.wait_for(asyncio.shield(consumer.reading), PATIENCE)
    if "code" in end:
        assert isinstance(caught.value, ClosedForGood)
        assert caught.value.code == end["code"]
