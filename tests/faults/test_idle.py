"""Connections that ask for nothing, as many as there may be open files: they keep nobody out."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.clients import RawClient, metrics, receive, tick
from tests.servers import GatewayProcess

FILES = 300
MANY = 320
HANDSHAKE = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

Idler = Callable[[GatewayProcess], object]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[GatewayProcess]:
    launcher = ("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "limited")
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), database=migrated_database, launcher=launcher)
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def key(gateway: GatewayProcess) -> dict[str, str]:
    plaintext = next(word for word in gateway.manage("create_key", "feed").split() if word.startswith("mmx_"))
    return {"Authorization": f"Api-Key {plaintext}"}


def sends(data: bytes) -> Idler:
    def idle(gateway: GatewayProcess) -> socket.socket:
        connection = socket.create_connection((gateway.host, gateway.port), timeout=30)
        connection.sendall(data)
        return connection

    return idle


def is_answered(gateway: GatewayProcess) -> socket.socket:
    connection = socket.create_connection((gateway.host, gateway.port), timeout=30)
    connection.sendall(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 426 " in connection.recv(1_000)
    return connection


IDLERS: dict[str, Idler] = {
    "says nothing": sends(b""),
    "half a request": sends(b"GET /healthz HTTP/1.1\r\nHost: lo"),
    "half a body": sends(b"POST /api/v1/ticks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"),
    "half a handshake": sends(HANDSHAKE),
    "was answered once": is_answered,
    "a socket that asks for nothing": RawClient,
}


@pytest.mark.parametrize("idler", IDLERS.values(), ids=IDLERS)
async def test_idle_connections_keep_nobody_out(gateway: GatewayProcess, key: dict[str, str], idler: Idler) -> None:
    async with connect(gateway.ws, additional_headers=key) as known, connect(gateway.ws) as guest:
        for client in (known, guest):
            await receive(client)
            await client.send(json.dumps({"action": "subscribe", "symbols": ["AAPL"], "snapshot": False}))
            assert (await receive(client))["type"] == "subscribed"
        with contextlib.ExitStack() as idlers:
            for _ in range(MANY):
                idlers.enter_context(contextlib.closing(idler(gateway)))  # type: ignore[type-var]
            async with httpx.AsyncClient(base_url=gateway.http, headers=key, timeout=30) as http:
                assert (await http.post("/api/v1/ticks", json=tick("AAPL", 1))).status_code == 202
            with RawClient(gateway, "AAPL"):
                async with connect(f"{gateway.ws}/publish", additional_headers=key) as publisher:
                    await receive(publisher)
                    await publisher.send(json.dumps(tick("AAPL", 2)))
                    assert (await receive(publisher))["type"] == "published"
        for client in (known, guest):
            assert [(await receive(client))["price"] for _ in range(2)] == [1, 2]


async def test_a_socket_that_made_room_is_told_and_may_come_back(gateway: GatewayProcess) -> None:
    async with connect(gateway.ws) as first:
        await receive(first)
        with contextlib.ExitStack() as idlers:
            for _ in range(MANY):
                idlers.enter_context(RawClient(gateway))
            last = await receive(first)
            assert (last["type"], last["code"], last["reconnect"]) == ("closing", 1013, True)
            with pytest.raises(websockets.ConnectionClosedError):
                await first.recv()
    assert first.close_code == 1013


async def test_guests_leave_room_for_those_who_show_a_credential(gateway: GatewayProcess, key: dict[str, str]) -> None:
    with contextlib.ExitStack() as guests:
        for _ in range(MANY):
            with contextlib.suppress(ConnectionError, AssertionError, TimeoutError):
                guests.enter_context(RawClient(gateway, "AAPL"))
        async with connect(gateway.ws, additional_headers=key) as known:
            await receive(known)
            await known.send(json.dumps({"action": "subscribe", "symbols": ["AAPL"], "snapshot": False}))
            assert (await receive(known))["type"] == "subscribed"
            async with httpx.AsyncClient(base_url=gateway.http, headers=key, timeout=30) as http:
                assert (await http.post("/api/v1/ticks", json=tick("AAPL", 3))).status_code == 202
            assert metrics(gateway)["open_files"] < FILES
