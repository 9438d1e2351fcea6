"""The client's side of the WebSocket protocol: frames and the opening handshake."""

from __future__ import annotations

import base64
import hashlib

import pytest

from gateway.loadtest import websocket
from gateway.loadtest.target import Target
from gateway.loadtest.websocket import Handshake, HandshakeError

# Frames


def server_frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 65_536:
        return bytes([first, 126]) + size.to_bytes(2, "big") + payload
    return bytes([first, 127]) + size.to_bytes(8, "big") + payload


def unmask(frame: bytes, header: int) -> bytes:
    mask, payload = frame[header : header + 4], frame[header + 4 :]
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


MESSAGES = [
    (websocket.TEXT, b'{"type":"pong"}'),
    (websocket.TEXT, b"x" * 130),
    (websocket.PING, b""),
    (websocket.TEXT, b"y" * 125),
    (websocket.TEXT, b"z" * 66_000),
    (websocket.CLOSE, (4001).to_bytes(2, "big") + b"slow"),
]


@pytest.mark.parametrize("messages", [MESSAGES[:4], MESSAGES[4:]], ids=["short", "long"])
def test_frames_are_found_wherever_a_read_cuts_them(messages: list[tuple[int, bytes]]) -> None:
    data = b"".join(server_frame(*message) for message in messages)
    interesting = [*range(min(len(data), 400)), *range(max(0, len(data) - 50), len(data))]
    for cut in interesting:
        before, rest = websocket.split(data[:cut])
        after, left = websocket.split(rest + data[cut:])
        assert before + after == messages
        assert left == b""


def test_frames_are_found_in_single_bytes() -> None:
    found, rest = [], b""
    for byte in b"".join(server_frame(*message) for message in MESSAGES[:4]):
        whole, rest = websocket.split(rest + bytes([byte]))
        found += whole
    assert found == MESSAGES[:4]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x85abcdhello", id="masked"),
        pytest.param(b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), id="a terabyte"),
        pytest.param(b"\xc1\x7e\x00\x80", id="compressed"),
    ],
)
def test_what_no_server_may_send_is_refused(data: bytes) -> None:
    with pytest.raises(websocket.FrameError):
        websocket.split(data)


@pytest.mark.parametrize(("size", "header"), [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_client_frames_are_masked_whatever_their_size(size: int, header: int) -> None:
    frame = websocket.encode(websocket.TEXT, b"s" * size)
    assert frame[1] & 0x80
    assert unmask(frame, header) == b"s" * size


def test_a_close_frame_gives_its_code() -> None:
    assert websocket.close_code((4001).to_bytes(2, "big") + b"slow") == 4001
    assert websocket.close_code(b"") == websocket.NO_CODE


# Handshake


def accept_for(request: bytes) -> bytes:
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return base64.b64encode(digest)


def test_the_handshake_takes_the_answer_to_its_own_key_only() -> None:
    handshake = Handshake()
    accept = accept_for(handshake.request(Target.from_url("http://127.0.0.1:8000")))
    handshake.check(b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept:  " + accept)
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept"):
        Handshake().check(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept)


@pytest.mark.parametrize(
    ("head", "reason"),
    [(b"HTTP/1.1 403 Forbidden\r\nServer: x", "403 Forbidden"), (b"SSH-2.0-OpenSSH", "no HTTP response")],
)
def test_a_refused_handshake_says_why(head: bytes, reason: str) -> None:
    with pytest.raises(HandshakeError, match=reason):
        Handshake().check(head)
