"""Server-to-client WebSocket frames (RFC 6455): unmasked, unfragmented text, and pings; and clients' short messages.

A tick is framed once, and the same bytes go to every subscriber. No I/O here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

__all__ = [
    "ANSWER_BYTES",
    "NUMBER_BYTES",
    "PING",
    "begins_short",
    "ping_frame",
    "rewritten",
    "short_texts",
    "split",
    "text_frame",
    "texts",
]

PING: Final = b"\x89\x00"
"""Asks a client whether it is there."""

NUMBER_BYTES: Final = 4
"""Of a ping that has a number."""

ANSWER_BYTES: Final = 6 + NUMBER_BYTES
"""Of the longest pong that answers a ping of ours: a head, a mask and the number."""

_TEXT = 0x81  # FIN and opcode 1
_PING = 0x89


def text_frame(payload: bytes) -> bytes:
    """The frame that carries ``payload``, UTF-8 text, to a client."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65_536:
        return bytes((_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + payload


def ping_frame(number: int) -> bytes:
    """A ping that its pong can be told by."""
    return bytes((_PING, NUMBER_BYTES)) + number.to_bytes(NUMBER_BYTES, "big")


def split(frames: bytes) -> list[bytes]:
    """The single frames of those that were made by :func:`text_frame` and joined."""
    return [frames[start:end] for start, _, end in _bounds(frames)]


def rewritten(frames: bytes, rewrite: Callable[[bytes], bytes]) -> bytes:
    """Whole frames of a server, each text as ``rewrite`` has it."""
    return b"".join(
        [
            text_frame(rewrite(frames[payload:end])) if frames[start] == _TEXT else frames[start:end]
            for start, payload, end in _bounds(frames)
        ]
    )


def texts(frames: bytes) -> Iterator[str]:
    """The texts of such frames: for servers that do their own framing."""
    return (frames[start:end].decode() for _, start, end in _bounds(frames))


def short_texts(data: bytes) -> Iterator[tuple[str, int]]:
    """The texts that a client's bytes begin with, and where each ends: of messages that are whole, masked, in one frame
    of under 126 bytes, and UTF-8. What is behind them takes a whole implementation of the RFC.
    """
    start, end = 0, len(data)
    while end - start >= 6 and data[start] == _TEXT and 0x80 <= data[start + 1] < 0x80 + 126:
        size = data[start + 1] - 0x80
        payload, start = start + 6, start + 6 + size
        if start > end:
            return
        mask = (data[payload - 4 : payload] * (size // 4 + 1))[:size]
        unmasked = int.from_bytes(data[payload:start], "big") ^ int.from_bytes(mask, "big")
        try:
            text = unmasked.to_bytes(size, "big").decode()
        except UnicodeDecodeError:
            return
        yield text, start


def begins_short(data: bytes) -> bool:
    """Whether these bytes, of which :func:`short_texts` finds nothing, may be the beginning of what it finds."""
    if data[:1] != b"\x81" or len(data) < 2:
        return data == b"\x81"
    size = data[1] - 0x80
    return 0 <= size < 126 and len(data) < 6 + size


def _bounds(frames: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each frame, where it starts, where its payload does, and where both end."""
    start, end = 0, len(frames)
    while start < end:
        size, payload = frames[start + 1], start + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, payload = int.from_bytes(frames[payload : payload + width], "big"), payload + width
        yield start, payload, payload + size
        start = payload + size
