"""The opening handshake (RFC 6455, section 4), from the client's side. No I/O."""

from __future__ import annotations

import base64
import hashlib
import os

from gateway.loadtest.target import Target

__all__ = ["Handshake", "HandshakeError"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class HandshakeError(Exception):
    """The server refused, or what answered is no WebSocket server."""


class Handshake:
    """One request and the check of its answer."""

    def __init__(self) -> None:
        self._key = base64.b64encode(os.urandom(16))

    def request(self, target: Target) -> bytes:
        return target.request(
            "GET",
            "/ws",
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
