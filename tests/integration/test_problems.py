"""Whatever goes wrong, on whatever way, is said in the form of RFC 9457, with a code that the table knows."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import StartGateway
from tests.servers import GatewayProcess
from ticks.problems import MEDIA_TYPE, PROBLEMS, TYPES

TICK = {"symbol": "A", "price": 1}
COOKIE = {"cookie": "theme=dark"}
"""A request with a cookie takes Django's way."""


def held(response: httpx.Response) -> dict[str, Any]:
    """The problem in an answer, which is one with all that the RFC asks for."""
    assert response.headers["content-type"] == MEDIA_TYPE, response.text
    body: dict[str, Any] = response.json()
    kind = PROBLEMS[body["code"]]
    assert (body["type"], body["title"]) == (TYPES + kind.code, kind.title)
    assert body["status"] == response.status_code == kind.status
    assert body["detail"].endswith(".")
    return body


@pytest.mark.parametrize("cookie", [{}, COOKIE], ids=["short", "django"])
@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/problem+json, application/json"])
def test_a_refused_tick_is_a_problem_with_its_mistakes(
    gateway: GatewayProcess, cookie: dict[str, str], accept: str
) -> None:
    headers = {"accept": accept, **cookie}
    body = held(httpx.post(f"{gateway.http}/api/v1/ticks", json={"symbol": "A"}, headers=headers))
    assert (body["code"], body["error_count"]) == ("invalid_ticks", 1)
    assert body["errors"] == [{"index": 0, "field": "price", "code": "required", "message": "This field is required."}]


@pytest.mark.parametrize("cookie", [{}, COOKIE], ids=["short", "django"])
@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("POST", "/api/v1/ticks", {"content-type": "text/plain"}, "unsupported_media_type"),
        ("POST", "/api/v1/ticks", {"accept": "image/png"}, "not_acceptable"),
        ("POST", "/api/v1/ticks", {"idempotency-key": ""}, "invalid_idempotency_key"),
        ("POST", "/api/v1/ticks", {"authorization": "Api-Key no"}, "authentication_failed"),
        ("POST", "/api/v1/ticks", {"host": "elsewhere.example"}, "disallowed_host"),
        ("GET", "/api/v1/ticks", {"host": "elsewhere.example"}, "disallowed_host"),
        ("DELETE", "/api/v1/ticks", {}, "method_not_allowed"),
        ("GET", "/api/v1/ticks?page=9", {}, "not_found"),
        ("GET", "/api/v1/ticks/NOBODY", {}, "not_found"),
        ("GET", "/api/v1/nothing", {}, "not_found"),
        ("GET", "/api/v2/ticks", {}, "not_found"),
        ("GET", "/api/", {}, "not_found"),
        ("GET", "/api/v1/problems/nothing", {}, "not_found"),
        ("GET", "/ws", {}, "upgrade_required"),
        ("POST", "/ws/publish", {}, "upgrade_required"),
    ],
)
def test_each_refusal_is_a_problem(  # noqa: PLR0917
    gateway: GatewayProcess, method: str, path: str, headers: dict[str, str], code: str, cookie: dict[str, str]
) -> None:
    content = {} if method == "GET" else {"json": TICK}
    response = httpx.request(method, gateway.http + path, headers={**headers, **cookie}, **content)  # type: ignore[arg-type]
    assert held(response)["code"] == code


def test_a_browser_gets_pages_and_no_problems(gateway: GatewayProcess) -> None:
    with httpx.Client(base_url=gateway.http, headers={"accept": "text/html"}) as browser:
        for accept in ("text/*", "text/*, */*", "TEXT/HTML;q=0.5, image/png", "text/html"):
            page = browser.post("/api/v1/ticks", json={"symbol": "A"}, headers={"accept": accept})
            assert (page.status_code, page.headers["content-type"].partition(";")[0]) in {
                (400, "text/html"),
                (406, MEDIA_TYPE),
            }, accept
        for path in ("/api/v1/ticks/NOBODY", "/api/v1/nothing", "/nothing"):
            page = browser.get(path)
            assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (404, "text/html")


def test_a_gateway_without_its_bus_says_so_as_a_problem(start_gateway: StartGateway) -> None:
    gateway = start_gateway(redis_url="redis://127.0.0.1:1/0")
    for response in (
        httpx.post(f"{gateway.http}/api/v1/ticks", json=TICK, timeout=20),
        httpx.get(f"{gateway.http}/api/v1/ticks", timeout=20),
        httpx.get(f"{gateway.http}/healthz", timeout=20),
    ):
        assert held(response)["code"] == "bus_unavailable"
        assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_each_type_leads_to_what_it_means(gateway: GatewayProcess, code: str) -> None:
    kind = PROBLEMS[code]
    answer = httpx.get(gateway.http + TYPES + code).raise_for_status().json()
    assert answer == {"code": code, "status": kind.status, "title": kind.title, "when": kind.when}
