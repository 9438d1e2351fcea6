"""Two gateways behind a real nginx with deploy/nginx: TLS, the page, WebSockets, batches, and who the client is."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets

from tests.clients import tick
from tests.conftest import StartGateway
from tests.integration.tls import certificate_in, trusting
from tests.nginx import Nginx
from tests.servers import GatewayProcess

HOST = {"host": "ticks.example.com"}


@pytest.fixture
def gateways(start_gateway: StartGateway, redis_url: str) -> list[GatewayProcess]:
    return [
        start_gateway(
            redis_url,
            MARKETMUX_PUBLIC_URL="https://ticks.example.com",
            MARKETMUX_TRUSTED_PROXIES="127.0.0.1",
            MARKETMUX_ACCESS_LOG="1",
            MARKETMUX_LOG_FORMAT="json",
        )
        for _ in range(2)
    ]


@pytest.fixture
def trust(tmp_path: Path) -> ssl.SSLContext:
    return trusting(certificate_in(tmp_path))


@pytest.fixture
def nginx(tmp_path: Path, gateways: list[GatewayProcess], trust: ssl.SSLContext) -> Iterator[Nginx]:
    with Nginx(tmp_path / "nginx", gateways, tmp_path / "both.pem") as nginx:
        yield nginx


async def test_a_gateway_behind_nginx(nginx: Nginx, gateways: list[GatewayProcess], trust: ssl.SSLContext) -> None:
    base = f"https://127.0.0.1:{nginx.port}"
    async with httpx.AsyncClient(base_url=base, headers=HOST, verify=trust, timeout=30) as http:
        page = await http.get("/")
        assert (page.status_code, "strict-transport-security" in page.headers) == (200, True)
        for path in ("/metrics", "/livez", "/readyz", "/healthz"):
            assert (await http.get(path)).status_code == 404
        async with websockets.connect(
            "wss://ticks.example.com/ws", host="127.0.0.1", port=nginx.port, ssl=trust, compression=None,
            origin="https://ticks.example.com", proxy=None,  # type: ignore[arg-type] # a str too
        ) as client:  # fmt: skip
            await client.send('{"action":"subscribe","symbol":"AAPL"}')
            batch = [tick("AAPL", price) for price in range(1, 1_001)]
            forged = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "http", "x-forwarded-host": "evil.example"}
            posted = await http.post("/api/v1/ticks", json=batch, headers=forged)
            assert posted.status_code == 202
            assert len(posted.headers["x-request-id"]) == 32  # nginx's own
            prices = []
            while 1_000 not in prices:
                message = json.loads(await client.recv())
                if message["type"] in {"tick", "snapshot"}:
                    prices.append(message["price"])
        plain = f"http://127.0.0.1:{nginx.plain_port}"
        moved = await http.post(f"{plain}/api/v1/ticks", json=tick("AAPL", 1))
        assert (moved.status_code, moved.headers["location"]) == (308, "https://ticks.example.com/api/v1/ticks")
        assert (await http.get(f"{plain}/ws")).status_code == 403
    lines = [json.loads(line) for each in gateways for line in each.output().splitlines() if line.startswith("{")]
    posts = [line for line in lines if line.get("method") == "POST"]
    # The test is at an address that is named as a proxy's, so what it says of its client counts.
    assert [(line["status"], line["client"]) for line in posts] == [(202, "203.0.113.9")]
    assert "evil.example" not in str(lines)
