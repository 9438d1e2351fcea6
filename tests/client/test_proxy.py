"""Proxies: the environment's, a given one, none for this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from marketmux_client import Backoff, Client, Refused
from tests.client.fake import FakeGateway, fake_gateway

NOBODY = "http://127.0.0.1:1"
NAMES = ["http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy", "socks_proxy", "no_proxy"]


class HttpProxy:
    """Answers CONNECT, and tunnels to the gateway whatever was asked for. ``status``: what it answers instead."""

    def __init__(self, gateway: FakeGateway) -> None:
        self.gateway = gateway
        self.status: int | None = None
        self.asked: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
        if self.status is not None:
            writer.write(f"HTTP/1.1 {self.status} No\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, outer), pipe(inner, writer), return_exceptions=True)


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    finally:
        writer.close()


@asynccontextmanager
async def http_proxy(gateway: FakeGateway) -> AsyncIterator[HttpProxy]:
    proxy = HttpProxy(gateway)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway() as gateway:
        yield gateway


@pytest.fixture
async def proxy(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpProxy]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with http_proxy(gateway) as proxy:
        yield proxy


async def test_the_environments_proxy_is_used(
    gateway: FakeGateway, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    async with Client("ws://gateway.invalid:81/ws"):
        assert proxy.asked == ["gateway.invalid:81"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_there_is_no_proxy_to_this_machine(
    gateway: FakeGateway, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, NOBODY)
    async with Client(gateway.url.replace("127.0.0.1", host), connect_timeout=30):
        assert len(gateway.handshakes) == 1


async def test_a_proxy_that_is_given_goes_before_the_environments(
    gateway: FakeGateway, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", NOBODY)
    async with Client(gateway.url, proxy=proxy.url):  # even to this machine
        assert proxy.asked == [f"127.0.0.1:{gateway.port}"]


async def test_the_environments_proxy_can_be_declined(
    gateway: FakeGateway, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    with pytest.raises(TimeoutError, match="name of the host"):
        await Client("ws://gateway.invalid/ws", proxy=None, connect_timeout=2, backoff=Backoff(0.01)).open()
    assert proxy.asked == []


async def test_a_proxy_that_refuses_is_named(gateway: FakeGateway, proxy: HttpProxy) -> None:
    proxy.status = 407
    with pytest.raises(Refused, match="proxy answered HTTP 407"):
        await Client(gateway.url, proxy=proxy.url).open()


async def test_what_a_socks_proxy_takes_is_said(gateway: FakeGateway, proxy: HttpProxy) -> None:
    with pytest.raises(Refused, match="python-socks"):
        await Client("ws://gateway.invalid/ws", proxy="socks5://127.0.0.1:1").open()
