"""The client's side of the WebSocket protocol (RFC 6455): the opening handshake, and frames. No I/O."""

from __future__ import annotations

import base64
import hashlib
import os

from gateway.loadtest.target import Target

__all__ = [
    "CLOSE",
    "NO_CODE",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "FrameError",
    "Handshake",
    "HandshakeError",
    "close_code",
    "encode",
    "split",
]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# First bytes of a frame: the FIN bit and the opcode. This gateway never fragments a message.
TEXT = 0x81
CLOSE = 0x88
PING = 0x89
PONG = 0x8A
_KNOWN = frozenset((TEXT, CLOSE, PING, PONG))

NO_CODE = 1005
"""Stands for a close frame without a code."""

MAX_PAYLOAD = 16 * 1024 * 1024
_MASKED = 0x80

Frame = tuple[int, bytes]
"""First byte and payload."""


class HandshakeError(Exception):
    """The server refused, or what answered is no WebSocket server."""


class Handshake:
    """One request and the check of its answer."""

    def __init__(self) -> None:
        self._key = base64.b64encode(os.urandom(16))

    def request(self, target: Target, path: str = "/ws") -> bytes:
        return target.request(
            "GET",
            path,
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {self._key.decode()}",
            "Sec-WebSocket-Version: 13",
        )

    def check(self, head: bytes) -> None:
        """:class:`HandshakeError` unless ``head``, the response down to its empty line, accepts this handshake."""
        status, *lines = head.split(b"\r\n")
        if status.split(b" ")[1:2] != [b"101"]:
            raise HandshakeError(status.partition(b" ")[2].decode("latin-1") or "no HTTP response")
        digest = hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest()
        if _header(lines, b"sec-websocket-accept") != base64.b64encode(digest):
            raise HandshakeError("wrong Sec-WebSocket-Accept")


def _header(lines: list[bytes], name: bytes) -> bytes:
    for line in lines:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


class FrameError(Exception):
    """The server sent what no server may send, or this client was not made for."""


def split(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the start of ``data`` as (first byte, payload), and what is left of it."""
    frames = []
    offset, end = 0, len(data)
    while end - offset >= 2:
        start, length = offset + 2, data[offset + 1]
        if length > 125:
            start, length = _extended(data, offset)
        if (stop := start + length) > end:
            break
        frames.append((data[offset], data[start:stop]))
        offset = stop
    return frames, data[offset:]


def _extended(data: bytes, offset: int) -> tuple[int, int]:
    """Start and length of a payload whose length has bytes of its own; these count as empty until they are there."""
    if data[offset] not in _KNOWN or data[offset + 1] & _MASKED:
        raise FrameError(f"unexpected frame {data[offset : offset + 2].hex()}")
    start = offset + (4 if data[offset + 1] == 126 else 10)
    length = int.from_bytes(data[offset + 2 : start], "big") if len(data) >= start else 0
    if length > MAX_PAYLOAD:
        raise FrameError(f"frame of {length:,} bytes")
    return start, length


def encode(first: int, payload: bytes) -> bytes:
    """A client's frame, masked."""
    mask = os.urandom(4)
    return bytes([first]) + _length(len(payload)) + mask + _xor(payload, mask)


def _length(size: int) -> bytes:
    if size < 126:
        return bytes([_MASKED | size])
    if size < 65_536:
        return bytes([_MASKED | 126]) + size.to_bytes(2, "big")
    return bytes([_MASKED | 127]) + size.to_bytes(8, "big")


def _xor(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def close_code(payload: bytes) -> int:
    """The code in the payload of a close frame."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_CODE
