"""Two gateways behind a real nginx and a real Caddy with the files in deploy/: TLS, the page, WebSockets, batches, and
who the client is.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import websockets

from tests.caddy import Caddy
from tests.clients import tick
from tests.integration.tls import certificate_in, trusting
from tests.nginx import Nginx
from tests.servers import GatewayProcess, RedisServer

NAME: Final = "ticks.example.com"
FORGED: Final = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "http", "x-forwarded-host": "evil.example"}


@pytest.fixture(scope="module")
def gateways(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, shared_redis: RedisServer
) -> Iterator[list[GatewayProcess]]:
    shared_redis.flush()
    processes = [
        GatewayProcess(
            tmp_path_factory.mktemp("gateway"),
            database=migrated_database,
            redis_url=shared_redis.url,
            MARKETMUX_PUBLIC_URL=f"https://{NAME}",
            MARKETMUX_TRUSTED_PROXIES="127.0.0.1",
            MARKETMUX_ACCESS_LOG="1",
            MARKETMUX_LOG_FORMAT="json",
        )
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    yield processes
    for process in processes:
        process.stop()


class Proxy:
    """What a client knows of a proxy. ``plain``: its address without TLS."""

    def __init__(self, proxy: Nginx | Caddy, trust: ssl.SSLContext) -> None:
        self.port, self.trust = proxy.port, trust
        self.plain = f"http://127.0.0.1:{proxy.plain_port}"

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}", headers={"host": NAME}, verify=self.trust, timeout=30
        ) as client:
            client.event_hooks["request"] = [_name_the_host]
            yield client

    def websocket(self, path: str = "/ws") -> websockets.connect:
        return websockets.connect(
            f"wss://{NAME}{path}", host="127.0.0.1", port=self.port, ssl=self.trust, compression=None,
            origin=f"https://{NAME}", proxy=None,  # type: ignore[arg-type] # a str too
        )  # fmt: skip


async def _name_the_host(request: httpx.Request) -> None:
    request.extensions["sni_hostname"] = NAME


@pytest.fixture
def nginx(tmp_path: Path, gateways: list[GatewayProcess]) -> Iterator[Proxy]:
    trust = trusting(certificate_in(tmp_path))
    with Nginx(tmp_path / "nginx", gateways, tmp_path / "both.pem") as nginx:
        yield Proxy(nginx, trust)


@pytest.fixture
def caddy(tmp_path: Path, gateways: list[GatewayProcess]) -> Iterator[Proxy]:
    with Caddy(tmp_path / "caddy", gateways) as caddy:
        yield Proxy(caddy, caddy.trust)


def posts(gateways: list[GatewayProcess]) -> list[tuple[int, str]]:
    """The status and the client of each POST of the access logs."""
    lines = [json.loads(line) for each in gateways for line in each.output().splitlines() if line.startswith("{")]
    assert "evil.example" not in str(lines)
    return [(line["status"], line["client"]) for line in lines if line.get("method") == "POST"]


async def test_a_gateway_behind_nginx(nginx: Proxy, gateways: list[GatewayProcess]) -> None:
    before = len(posts(gateways))
    async with nginx.http() as http:
        await serves(http, nginx, "NGINX")
        moved = await http.post(f"{nginx.plain}/api/v1/ticks", json=tick("AAPL", 1))
        assert (moved.status_code, moved.headers["location"]) == (308, f"https://{NAME}/api/v1/ticks")
        assert (await http.get(f"{nginx.plain}/ws")).status_code == 403
    # The test is at an address that is named as a proxy's, so what it says of its client counts.
    assert posts(gateways)[before:] == [(202, "203.0.113.9")]


async def test_a_gateway_behind_caddy(caddy: Proxy, gateways: list[GatewayProcess]) -> None:
    before = len(posts(gateways))
    async with caddy.http() as http:
        await serves(http, caddy, "CADDY")
        moved = await http.post(f"{caddy.plain}/api/v1/ticks", json=tick("AAPL", 1))
        assert (moved.status_code, moved.headers["location"]) == (308, f"https://{NAME}/api/v1/ticks")
        assert (await http.get(f"{caddy.plain}/ws")).status_code == 403
    # Caddy believes no client: whatever it says, its address is the one that it has.
    assert set(posts(gateways)[before:]) <= {(202, "127.0.0.1"), (413, "127.0.0.1")}
    assert (202, "127.0.0.1") in posts(gateways)[before:]


async def serves(http: httpx.AsyncClient, proxy: Proxy, symbol: str) -> None:
    """The page, no probe, a WebSocket that gets a whole batch, a stream of events, and a body that is too large."""
    page = await http.get("/")
    assert (page.status_code, "strict-transport-security" in page.headers) == (200, True)
    for path in ("/metrics", "/livez", "/readyz", "/healthz"):
        assert (await http.get(path)).status_code == 404
    async with (
        proxy.websocket() as client,
        http.stream("GET", "/api/v1/stream", params={"symbols": symbol}) as stream,
    ):
        await client.send(json.dumps({"action": "subscribe", "symbol": symbol}))
        assert stream.status_code == 200
        batch = [tick(symbol, price) for price in range(1, 1_001)]
        posted = await http.post("/api/v1/ticks", json=batch, headers=FORGED)
        assert posted.status_code == 202
        assert len(posted.headers["x-request-id"].replace("-", "")) == 32  # the proxy's own
        prices = []
        while 1_000 not in prices:
            message = json.loads(await client.recv())
            if message["type"] in {"tick", "snapshot"}:
                prices.append(message["price"])
        async for line in stream.aiter_lines():
            if '"price":1000' in line:
                break
    large = await http.post("/api/v1/ticks", content=b" " * 1_100_000, headers={"content-type": "application/json"})
    assert large.status_code == 413
