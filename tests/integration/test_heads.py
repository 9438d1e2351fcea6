"""Requests and handshakes of another kind than clients send, at a real server: each is answered, and logged in one line."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.servers import GatewayProcess

HANDSHAKE = (
    b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)
TICK = b'{"symbol":"AAPL","price":1}'


def exchange(gateway: GatewayProcess, request: bytes) -> bytes:
    """What comes back until the connection ends, or 0.5 seconds long."""
    with socket.create_connection((gateway.host, gateway.port), timeout=10) as connection:
        connection.sendall(request)
        received = connection.recv(65_536)
        connection.settimeout(0.5)
        try:
            while more := connection.recv(65_536):
                received += more
        except TimeoutError:
            pass
        return received


def status(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.fixture(scope="module")
def open_gateway(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[GatewayProcess]:
    """A gateway that pages from anywhere may open."""
    directory = tmp_path_factory.mktemp("open")
    process = GatewayProcess(directory, database=migrated_database, MARKETMUX_ALLOWED_ORIGINS="*")
    process.start()
    yield process
    process.stop()


@pytest.mark.parametrize("origin", [b"null", b"https://anywhere.example", b"file://", b"capacitor://localhost"])
def test_pages_from_anywhere_may_be_let_in(open_gateway: GatewayProcess, origin: bytes) -> None:
    answer = exchange(open_gateway, b"GET /ws HTTP/1.1\r\n" + HANDSHAKE + b"Origin: " + origin + b"\r\n\r\n")
    assert status(answer) == 101


def test_a_target_in_absolute_form_publishes(gateway: GatewayProcess) -> None:
    head = b"Host: other\r\nContent-Type: application/json\r\nContent-Encoding: Identity\r\nContent-Length: %d\r\n\r\n"
    answer = exchange(gateway, b"POST http://localhost/api/v1/ticks HTTP/1.1\r\n" + head % len(TICK) + TICK)
    assert status(answer) == 202


@pytest.mark.soak
def test_thousands_of_bad_handshakes_are_a_few_lines_of_log(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    before = len(gateway.output())
    bad = [
        HANDSHAKE.replace(b"Version: 13", b"Version: 12"),
        HANDSHAKE.replace(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b""),
        HANDSHAKE + b"Sec-WebSocket-Protocol: \xc3\xa9\r\n",
        HANDSHAKE + b"Daphne-Root-Path: \xff\r\nOrigin: http://evil.example\r\n",
    ]
    for number in range(300):
        with socket.create_connection((gateway.host, gateway.port), timeout=10) as connection:
            connection.sendall(b"GET /ws HTTP/1.1\r\n" + bad[number % len(bad)] + b"\r\n")
            assert status(connection.recv(65_536)) in {400, 403}
    log = gateway.output()[before:]
    assert "Traceback" not in log
    assert len(log) < 60 * 300  # it was 2 KB for each
    assert "evil.example" in log
    metrics = exchange(gateway, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
    counted = next(line for line in metrics.splitlines() if line.startswith("marketmux_handshakes_refused_total"))
    assert float(counted.split()[1]) == 300
