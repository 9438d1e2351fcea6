"""One client that sends as much as it can: the others get what is theirs meanwhile, and a client that keeps on is closed.

What is measured is the processor time of the longest turn of the server's loop, since nothing else happens within one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import Final

import pytest

from gateway.server.timeouts import Timeouts
from tests.faults.figures import figure
from tests.faults.lone import LoneServer, frame, open_websocket

TEXT, PING, PONG, CLOSE = 1, 9, 10, 8
LONGEST: Final = 0.05
"""Seconds that a turn of the loop may take; some milliseconds are usual."""
FLOOD_SECONDS: Final = 1.0

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BAD = b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    with LoneServer(tmp_path_factory.mktemp("lone"), Timeouts(closing=1, message=1, ping=0.5, round=0.1)) as server:
        yield server


def fragment(payload: bytes, opcode: int = 0) -> bytes:
    """A frame that is not the last of its message."""
    return bytes([opcode, 0x80 | len(payload)]) + bytes(4) + payload


def flood(client: socket.socket, data: bytes, seconds: float = FLOOD_SECONDS) -> int:
    """Sends the data over and over for some time, unless the server ends it; returns how many bytes."""
    sent, until = 0, time.monotonic() + seconds
    client.setblocking(False)
    block = data * (1 + 65_536 // len(data))
    while time.monotonic() < until:
        try:
            sent += client.send(block[sent % len(data) :])
        except BlockingIOError:
            time.sleep(0.001)
        except ConnectionError:
            break
        with contextlib.suppress(OSError):  # answers are read, so that it is not them that hold up the flood
            client.recv(1_000_000)
    client.settimeout(30)
    return sent


def ticks_of(bystander: socket.socket) -> int:
    """How many messages a bystander got that were not read yet."""
    bystander.setblocking(False)
    received = b""
    with contextlib.suppress(BlockingIOError):
        while data := bystander.recv(65_536):
            received += data
    return received.count(b"tick")


def closed_with(client: socket.socket) -> int | None:
    """The code of the close frame that comes at last; None if there is none."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65_536):
            received = (received + data)[-200:]
    _, is_there, rest = received.rpartition(b"\x88")
    return int.from_bytes(rest[1:3]) if is_there else None


def hold_up_nobody(client: socket.socket, beginning: bytes, data: bytes, lone: LoneServer) -> None:
    """Floods the server over ``client``; a bystander gets its ticks meanwhile."""
    with open_websocket(lone.port, "/ticking") as bystander:
        ticks_of(bystander)
        with lone.longest_turn() as longest:
            client.sendall(beginning)
            flood(client, data)
        ticks = ticks_of(bystander)
    figure(f"longest turn {longest[0] * 1000:.1f} ms of processor time, {ticks} ticks of a bystander")
    assert longest[0] < LONGEST
    assert ticks, "how many there are follows from how long the flood took"


@pytest.mark.parametrize(
    ("beginning", "data"),
    [
        pytest.param(b"", frame(b"", PING), id="pings"),
        pytest.param(b"", frame(b"", PONG), id="pongs"),
        pytest.param(fragment(b"", TEXT), fragment(b""), id="empty fragments"),
        pytest.param(fragment(b"x", TEXT), fragment(b"x"), id="fragments of a byte"),
        pytest.param(b"", frame(b""), id="empty messages"),
        pytest.param(b"", frame(b"x"), id="messages of a byte"),
        pytest.param(b"", fragment(b"x", TEXT) + frame(b"x", 0), id="messages of two fragments"),
    ],
)
def test_no_flood_of_frames_holds_up_the_others(beginning: bytes, data: bytes, lone: LoneServer) -> None:
    with open_websocket(lone.port) as client:
        hold_up_nobody(client, beginning, data, lone)


@pytest.mark.parametrize(
    ("beginning", "data"),
    [
        pytest.param(b"", GET, id="requests"),
        pytest.param(b"", BAD, id="requests that are refused"),
        pytest.param(CHUNKED, b"1\r\nx\r\n", id="chunks of a byte"),
    ],
)
def test_no_flood_of_requests_holds_up_the_others(beginning: bytes, data: bytes, lone: LoneServer) -> None:
    with socket.create_connection(("127.0.0.1", lone.port), timeout=30) as client:
        hold_up_nobody(client, beginning, data, lone)


def test_a_crowd_that_comes_at_once_does_not_hold_up_the_others(lone: LoneServer) -> None:
    with contextlib.ExitStack() as stack:
        handshake = (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        with lone.longest_turn() as longest:
            crowd = []
            for _ in range(300):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(("127.0.0.1", lone.port))
                crowd.append(client)
            for client in crowd:
                client.settimeout(30)
                client.sendall(handshake)
            for client in crowd:
                assert b" 101 " in client.recv(4_096)
    figure(f"longest turn {longest[0] * 1000:.1f} ms of processor time while 300 clients came")
    assert longest[0] < LONGEST


@pytest.mark.parametrize(
    ("beginning", "data"),
    [
        pytest.param(b"", frame(b"", PING), id="pings"),
        pytest.param(b"", frame(b"", PONG), id="pongs"),
        pytest.param(fragment(b"", TEXT), fragment(b""), id="empty fragments"),
    ],
)
def test_whoever_keeps_on_is_closed(beginning: bytes, data: bytes, lone: LoneServer) -> None:
    with open_websocket(lone.port) as client:
        client.sendall(beginning + 2_000 * data)
        assert closed_with(client) == 1008


def test_many_pings_at_once_are_answered_together(lone: LoneServer) -> None:
    with open_websocket(lone.port) as client:
        client.sendall(b"".join(frame(b"%03d" % number, PING) for number in range(50)))
        pongs = b""
        while not pongs.endswith(b"049"):
            pongs += client.recv(65_536)
    assert pongs.count(b"\x8a\x03") <= 30


def test_a_message_in_large_fragments_is_no_flood(lone: LoneServer) -> None:
    with open_websocket(lone.port) as client:
        piece = os.urandom(50).hex().encode()
        client.sendall(fragment(piece, TEXT) + 3_000 * fragment(piece) + frame(b"", 0) + frame(b"", CLOSE))
        assert closed_with(client) == 1000


# Time


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneServer]:
    """A connection is looked at for the first time when its handshake must be over."""
    timeouts = Timeouts(handshake=1, closing=1, message=1, ping=0.5, round=0.1)
    with LoneServer(tmp_path_factory.mktemp("impatient"), timeouts) as server:
        yield server


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"\x81", id="header"),
        pytest.param(b"\x81\xfe\x01\x00" + bytes(4) + b"x", id="payload"),
        pytest.param(fragment(b"x", TEXT), id="message"),
        pytest.param(fragment(b"x" * 100, TEXT) + b"\x89", id="ping within a message"),
    ],
)
def test_a_message_that_does_not_end_has_its_time(beginning: bytes, impatient: LoneServer) -> None:
    with open_websocket(impatient.port) as client:
        began = time.monotonic()
        client.sendall(beginning)
        assert closed_with(client) == 1008
        assert time.monotonic() - began >= 1
