"""The log of a running gateway: ids of requests and connections, JSON, and an access log without secrets."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.clients import RawClient, tick
from tests.conftest import StartGateway
from tests.servers import GatewayProcess, wait_until

KEY = "mmx_" + "A1" * 20
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def lines(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """The log's lines; what `serve` prints for people is none."""
    return [json.loads(line) for line in gateway.output().splitlines() if line.startswith("{")]


def accesses(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return [line for line in lines(gateway) if line["logger"] == "gateway.access"]


@pytest.mark.parametrize("given", ["0f9e8d7c-1234", "A" * 128])
@pytest.mark.parametrize("path", ["/api/v1/ticks", "/livez", "/nothing"])
def test_a_request_keeps_its_id(gateway: GatewayProcess, given: str, path: str) -> None:
    answer = httpx.get(gateway.http + path, headers={"x-request-id": given})
    assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "short", "A" * 129, "two words", "a\tb" * 4, "<script>1", "%0a%0d%0a%0d"])
def test_an_id_that_is_not_well_formed_is_another(gateway: GatewayProcess, given: str) -> None:
    answer = httpx.post(f"{gateway.http}/api/v1/ticks", json=tick("AAPL", 1), headers={"x-request-id": given})
    made = answer.headers["x-request-id"]
    assert answer.status_code == 202
    assert (made != given, len(made), made.isalnum()) == (True, 16, True)


def test_an_access_log_has_requests_and_connections_and_no_secrets(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ACCESS_LOG="1", MARKETMUX_LOG_FORMAT="json")
    headers = {"authorization": f"Api-Key {KEY}", "x-request-id": "request-1", "cookie": f"sessionid={KEY}"}
    httpx.post(f"{gateway.http}/api/v1/ticks?key={KEY}", json=tick("AAPL", 1), headers=headers)
    for path in (f"/{KEY}", f"/a/{JWT}/b", "/%0aforged%1b[2J%e2%80%a8", f"/ws?token={JWT}"):
        httpx.get(gateway.http + path, headers=headers)
    with RawClient(gateway, "AAPL"):
        httpx.get(f"{gateway.http}/livez")
    wait_until(lambda: len(accesses(gateway)) >= 7)
    found = accesses(gateway)
    output = gateway.output()
    assert KEY not in output
    assert JWT not in output
    assert "\x1b" not in output
    post = next(line for line in found if line.get("method") == "POST")
    assert (post["path"], post["status"], post["request_id"]) == ("/api/v1/ticks", 401, "request-1")
    assert post["client"] == "127.0.0.1"
    assert {"/***", "/a/***/b"} <= {line["path"] for line in found}
    [socket] = [line for line in found if "outcome" in line]
    assert (socket["path"], socket["outcome"]) == ("/ws", "closed")
    assert socket["connection_id"].endswith(":1")


def test_a_handshake_that_is_refused_is_a_line_too(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ACCESS_LOG="1", MARKETMUX_LOG_FORMAT="json", MARKETMUX_ANONYMOUS="0")
    headers = {
        "connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    httpx.get(f"{gateway.http}/ws", headers=headers)
    wait_until(lambda: [line["outcome"] for line in accesses(gateway) if "outcome" in line] == ["refused"])


@pytest.mark.soak
def test_without_it_there_is_no_line(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_LOG_LEVELS="gateway=DEBUG,bus=ERROR")
    for _ in range(3):
        assert httpx.get(f"{gateway.http}/livez").status_code == 200
    gateway.stop()
    assert "livez" not in gateway.output()
