"""Streams of server-sent events on our own server: how long they last, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pytest_django.fixtures import Settings

from gateway.edge.process import get_node
from gateway.protocol.codes import NO_ROOM
from gateway.server.timeouts import Timeouts
from gateway.server.worker import GatewayServer
from marketmux.asgi import application
from tests.gateway.fakes import until
from tests.gateway.server.conftest import Serve

PATH = "/api/v1/stream?symbols=AAPL"
SHORT = Timeouts(answer=0.2, idle=0.2, head=0.2, body=0.2, round=0.02)


@pytest.fixture(autouse=True)
def beating(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.05


@asynccontextmanager
async def stream(
    server: GatewayServer, version: str = "1.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A stream that has begun."""
    await until(lambda: server._ports)
    reader, writer = await asyncio.open_connection("127.0.0.1", server._ports[0].getHost().port)
    writer.write(f"GET {PATH} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b'"type":"subscribed"'), 30)
    yield reader, writer
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_no_time_limit_of_answers_cuts_a_stream(serve: Serve) -> None:
    async with stream(serve(application, timeouts=SHORT)) as (reader, _):
        until_when = time.monotonic() + 1.0
        while time.monotonic() < until_when:
            assert await asyncio.wait_for(reader.readuntil(b'{"type":"heartbeat"'), 30)
    await until(lambda: not get_node().hub.connections)


async def test_draining_ends_a_stream_at_once(serve: Serve) -> None:
    server = serve(application)
    async with stream(server) as (reader, _):
        began = time.monotonic()
        server.shut_down()
        rest = await asyncio.wait_for(reader.read(), 30)
        assert b"event: closing\n" in rest
        assert b"\nid: " in rest
        assert rest.endswith(b"0\r\n\r\n")
        await until(lambda: not server.visitors.open)
        assert time.monotonic() - began < 3.0  # of four that it would wait


async def test_an_old_client_gets_no_chunks(serve: Serve) -> None:
    server = serve(application)
    async with stream(server, "1.0") as (reader, _):
        server.shut_down()
        rest = await asyncio.wait_for(reader.read(), 30)
        assert rest.endswith(b"\n\n")
        assert b"\r" not in rest


async def test_a_client_that_leaves_is_let_go_of(serve: Serve) -> None:
    server = serve(application)
    async with stream(server) as (_, writer):
        assert get_node().hub.connections == 1
        writer.transport.abort()
        await until(lambda: not get_node().hub.connections and not server.visitors.open)


async def test_a_guest_gives_way_in_good_order(serve: Serve) -> None:
    server = serve(application)
    async with contextlib.AsyncExitStack() as stack:
        readers = [(await stack.enter_async_context(stream(server)))[0] for _ in range(7)]
        assert len(server.visitors.guests) == 7
        server.visitors.room = 8  # of which guests do not get the last
        other, _ = await stack.enter_async_context(stream(server))
        rest = await asyncio.wait_for(other.read(), 30)
        assert f'"code":{NO_ROOM.code}'.encode() in rest
        for reader in readers:
            assert await asyncio.wait_for(reader.readuntil(b"heartbeat"), 30)
