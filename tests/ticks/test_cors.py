"""Pages of other origins read the API if they may open a WebSocket: by Django and by the short way alike."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from bus.layers import MemoryLayer
from marketmux.asgi import application

TICKS = "/api/v1/ticks"
DESK = "https://desk.example:8443"


@pytest.fixture(autouse=True)
def open_gateway(settings: Settings) -> Iterator[None]:
    settings.MARKETMUX_ANONYMOUS = True
    settings.MARKETMUX_ALLOWED_ORIGINS = [DESK, "https://www.example"]
    channel_layers.set("default", MemoryLayer())
    yield
    channel_layers.backends.clear()


async def ask(method: str, path: str = TICKS, body: bytes = b"", **headers: str) -> tuple[int, httpx.Headers]:
    """Status and headers of an answer of the whole application."""
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.request(method, path, content=body, headers=named)
    return answer.status_code, answer.headers


@pytest.mark.parametrize("origin", [DESK, "https://www.example", "https://www.example:443"])
async def test_a_listed_page_reads_publishes_and_asks_first(origin: str) -> None:
    status, headers = await ask("OPTIONS", origin=origin, access_control_request_method="POST")
    assert (status, headers["access-control-allow-origin"]) == (200, origin)
    assert {"authorization", "content-type", "idempotency-key"} <= set(
        headers["access-control-allow-headers"].split(", ")
    )
    assert headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS, POST"
    status, headers = await ask("POST", body=b'{"symbol":"A","price":1}', origin=origin)
    assert (status, headers["access-control-allow-origin"]) == (202, origin)
    assert "retry-after" in headers["access-control-expose-headers"]
    assert "origin" in headers["vary"].lower()
    status, headers = await ask("GET", origin=origin)
    assert (status, headers["access-control-allow-origin"]) == (200, origin)


@pytest.mark.parametrize(
    "origin",
    ["http://www.example", "https://www.example:8443", "https://desk.example", "https://evil.example", "null",
     "https://desk.example:8443.evil.example", "https://[", ""],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_no_other_page_does(origin: str, method: str) -> None:
    _, headers = await ask(method, body=b"{}", origin=origin, access_control_request_method="POST")
    assert not {name for name in headers if name.startswith("access-control-")}


async def test_any_page_does_where_all_are_listed(settings: Settings) -> None:
    settings.MARKETMUX_ALLOWED_ORIGINS = ["*"]
    for method in ("GET", "POST", "OPTIONS"):
        _, headers = await ask(method, body=b"{}", origin="https://any.example", access_control_request_method="POST")
        assert headers["access-control-allow-origin"] in ("*", "https://any.example")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_an_answer_says_so_too_when_it_refuses(settings: Settings, method: str) -> None:
    """Without it a page could not read why."""
    settings.MARKETMUX_ANONYMOUS = False
    _, headers = await ask(method, body=b"{}", origin=DESK)
    assert headers["access-control-allow-origin"] == DESK


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_cookies_are_never_for_another_origin(settings: Settings, method: str) -> None:
    for origins in ([DESK], ["*"]):
        settings.MARKETMUX_ALLOWED_ORIGINS = origins
        _, headers = await ask(method, body=b"{}", origin=DESK, access_control_request_method="POST", cookie="a=b")
        assert "access-control-allow-credentials" not in headers


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/auth/login/", "/healthz", "/metrics"])
async def test_nothing_but_the_api_is_for_other_origins(path: str) -> None:
    _, headers = await ask("GET", path, origin=DESK)
    assert "access-control-allow-origin" not in headers
