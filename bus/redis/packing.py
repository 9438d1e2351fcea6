"""Packets as bytes: what bus/redis/lua/publish.lua makes of a batch's messages, and how to read it.

    magic, version      a byte each
    epoch               13 characters
    time                8 bytes: when Redis published it, in ms
    seq                 8 bytes: of the first message
    count               4 bytes: how many messages; none where the stream was dropped
    microseconds        2 bytes: what the time has beyond its ms
    note                of the publisher, its length before it in a byte
    the messages        a single one as it is, several with their length before each, in 4 bytes

In version 1, which a Redis may still hold, the messages follow the count. No serializer of a channel layer makes
anything that begins with the magic byte, so a plain ``group_send`` can be told from a packet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from bus.contract import Packet

__all__ = ["EPOCH_LENGTH", "MAGIC", "is_consecutive", "pack", "unpack"]

MAGIC: Final = 0xC1
EPOCH_LENGTH: Final = 13

_VERSION: Final = 2
_HEADER: Final = struct.Struct(f">BB{EPOCH_LENGTH}sQQIHB")
_HEADER_SIZE: Final = _HEADER.size
_COUNTED: Final = _HEADER_SIZE - 3
"""Where the count ends."""
_LENGTH: Final = struct.Struct(">I")

_unpack_header = _HEADER.unpack_from


def pack(messages: Sequence[bytes]) -> tuple[bytes, int]:
    """The body of a packet of several messages, and where in it the last one begins, counted from 1 as Lua does."""
    parts: list[bytes] = []
    for message in messages:
        parts += (_LENGTH.pack(len(message)), message)
    body = b"".join(parts)
    return body, len(body) - len(messages[-1]) + 1


def unpack(group: str, raw: bytes, read: Callable[[bytes], Any] = bytes) -> Packet:
    """The packet of ``group``, its messages as ``read`` makes them; ``ValueError`` if it is none of this version."""
    try:
        if raw[1:2] == b"\1":
            raw = b"".join((raw[:1], b"\2", raw[2:_COUNTED], b"\0\0\0", raw[_COUNTED:]))
        magic, version, epoch, ms, seq, count, micros, size = _unpack_header(raw)
        if magic != MAGIC or version != _VERSION:
            raise ValueError(f"a packet of version {version}")
        start = _HEADER_SIZE + size
        at, note = ms * 1_000 + micros, raw[_HEADER_SIZE:start]
        if count == 1:
            return Packet(group, epoch.decode(), seq, [read(raw[start:])], at, note)
        if not count and (seq or not at):
            raise ValueError("a packet of no messages")
        return Packet(group, epoch.decode(), seq, [read(message) for message in _split(raw, start, count)], at, note)
    except struct.error as error:
        raise ValueError(f"a packet that is cut short: {error}") from None


def is_consecutive(packets: Iterable[Packet], seq: int) -> bool:
    """True if each begins where the one before it ends, and the first has what follows ``seq``."""
    following: int | None = None
    for packet in packets:
        first, messages = packet.seq, packet.messages
        if first != following if following is not None else not first <= seq + 1 < first + len(messages):
            return False
        following = first + len(messages)
    return True


def _split(raw: bytes, start: int, count: int) -> list[bytes]:
    messages = []
    for _ in range(count):
        (size,) = _LENGTH.unpack_from(raw, start)
        start += _LENGTH.size
        messages.append(raw[start : start + size])
        start += size
    if start != len(raw):
        raise ValueError("a packet of another length than it says")
    return messages
