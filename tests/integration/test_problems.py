"""Whatever goes wrong, on whatever way, is said in the form of RFC 9457, with a code that the table knows."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest
from django.urls import URLResolver, get_resolver

from tests.conftest import StartGateway
from tests.servers import GatewayProcess
from ticks.problems import MEDIA_TYPE, PROBLEMS, TYPES

TICK = {"symbol": "A", "price": 1}
COOKIE = {"cookie": "theme=dark"}
"""A request with a cookie takes Django's way."""


def is_a_line(response: httpx.Response) -> bool:
    """What curl shows ends before the next prompt, and its length is that of what came."""
    length = response.headers.get("content-length", str(response.num_bytes_downloaded))
    return response.content.endswith(b"}\n") and length == str(response.num_bytes_downloaded)


def held(response: httpx.Response) -> dict[str, Any]:
    """The problem in an answer, which is one with all that the RFC asks for."""
    assert response.headers["content-type"] == MEDIA_TYPE, response.text
    assert is_a_line(response)
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


def test_a_wrong_content_type_is_told_the_right_ones(gateway: GatewayProcess) -> None:
    body = held(httpx.post(f"{gateway.http}/api/v1/ticks", data={"symbol": "A", "price": "1"}))
    assert "send Content-Type: application/json or" in body["detail"]


def paths(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    """Every path of the project that has no part to fill in."""
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern).lstrip("^").rstrip("$")
        if isinstance(pattern, URLResolver):
            yield from paths(pattern, path)
        elif not set("<(\\") & set(path):
            yield path


@pytest.mark.parametrize("query", ["", "?format=json", "?indent=2"])
def test_every_json_answer_is_a_line(gateway: GatewayProcess, query: str) -> None:
    httpx.post(f"{gateway.http}/api/v1/ticks", json=TICK).raise_for_status()
    with httpx.Client(base_url=gateway.http, timeout=30) as client:
        asked = [*paths(get_resolver()), "/api/v1/ticks/A", f"{TYPES}parse_error"]
        answers = {path: client.get(path + query) for path in asked if "stream" not in path}
        answers["posted"] = client.post("/api/v1/ticks", json=TICK)
        answers["by Django"] = client.post(f"/api/v1/ticks{query}", json=TICK, headers=COOKIE)
    json = {path: answer for path, answer in answers.items() if "json" in answer.headers.get("content-type", "")}
    assert json.keys() >= {"/healthz", "/api/v1/ticks", "/api/v1/openapi.json", "/api/v1/access", "posted", "by Django"}
    assert [path for path, answer in json.items() if not is_a_line(answer)] == []


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\n folded\r\n\r\n", b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"]
)
def test_what_the_server_itself_answers_is_a_line(gateway: GatewayProcess, head: bytes) -> None:
    with socket.create_connection((gateway.host, gateway.port)) as connection:
        connection.sendall(head)
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert answer.read().endswith(b"}\n")


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
