"""Publishers' POSTs on one connection, as the server reads them itself: in order, and no longer than their key is good."""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest

from tests.clients import receive, subscriber, tick
from tests.conftest import StartGateway

TICKS = "/api/v1/ticks"


def post(body: bytes, more: bytes = b"") -> bytes:
    head = b"Host: localhost\r\nContent-Type: application/json\r\nX-Request-ID: the-request\r\nContent-Length: %d\r\n"
    return b"POST /api/v1/ticks HTTP/1.1\r\n" + head % len(body) + more + b"\r\n" + body


@pytest.mark.parametrize("bus", ["memory", "redis"])
async def test_requests_that_are_sent_together_are_published_and_answered_in_order(
    start_gateway: StartGateway, bus: str, request: pytest.FixtureRequest
) -> None:
    gateway = start_gateway(redis_url=request.getfixturevalue("redis_url") if bus == "redis" else None)
    stream = b""
    for price in range(300):
        body = json.dumps(tick("A", price + 1)).encode()
        stream += post(b"nonsense") if price % 50 == 7 else b""
        stream += post(body, b"Cookie: theme=dark\r\n" if price % 50 == 9 else b"")
    async with subscriber(gateway, "A") as client:
        with socket.create_connection((gateway.host, gateway.port), timeout=20) as connection:
            connection.sendall(stream)
            received = b""
            while received.count(b"HTTP/1.1 ") < 306 or not received.endswith(b"}\n"):
                received += connection.recv(65_536)
        prices: list[int] = []
        while len(prices) < 300:
            message = await receive(client)
            if message["type"] in {"tick", "snapshot"}:
                prices.append(message["price"])
    assert prices == list(range(1, 301))
    statuses = [int(answer[:3]) for answer in received.split(b"HTTP/1.1 ")[1:]]
    assert [place for place, status in enumerate(statuses) if status == 400] == [7 + 51 * n for n in range(6)]
    assert set(statuses) == {202, 400}


def test_the_setting_changes_no_answer(start_gateway: StartGateway) -> None:
    answers = []
    for setting in ("1", "0"):
        gateway = start_gateway(MARKETMUX_SHORT_REQUESTS=setting)
        with socket.create_connection((gateway.host, gateway.port), timeout=20) as connection:
            connection.sendall(post(b'[{"symbol":"A","price":1,"timestamp":"2026-05-12T15:04:05Z"}]'))
            answers.append(connection.recv(65_536))
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 202 ")


@pytest.mark.database
def test_a_key_that_is_put_out_is_refused_on_the_same_connection(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    code = "from ticks.access.models import ApiKey; print('key', ApiKey.objects.issue('short')[1])"
    [key] = [line[4:] for line in gateway.manage("shell", "-v", "0", "-c", code).splitlines() if line[:4] == "key "]
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=20)
    headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}

    def status() -> int:
        connection.request("POST", TICKS, b'{"symbol":"A","price":1}', headers)
        response = connection.getresponse()
        response.read()
        return response.status

    assert [status() for _ in range(3)] == [202, 202, 202]
    code = "from ticks.access.models import ApiKey; k = ApiKey.objects.get(name='short'); k.active = False; k.save()"
    gateway.manage("shell", "-v", "0", "-c", code)
    until = time.monotonic() + 20
    while (last := status()) == 202 and time.monotonic() < until:
        time.sleep(0.05)
    assert last == 401
    connection.close()
