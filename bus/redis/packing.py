"""Packets as bytes: what bus/redis/lua/publish.lua makes of a batch's messages, and how to read it.

    magic, version      a byte each
    epoch               13 characters
    time                8 bytes: when Redis published it, in ms
    seq                 8 bytes: of the first message
    count               4 bytes: how many messages
    the messages        a single one as it is, several with their length before each, in 4 bytes

No serializer of a channel layer makes anything that begins with the magic byte, so a plain ``group_send`` can be told
from a packet.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

__all__ = ["EPOCH_LENGTH", "MAGIC", "Bundle", "bundle", "is_consecutive", "unbundle"]

MAGIC: Final = 0xC1
EPOCH_LENGTH: Final = 13

_VERSION: Final = 1
_HEADER: Final = struct.Struct(f">BB{EPOCH_LENGTH}sQQI")
_HEADER_SIZE: Final = _HEADER.size
_LENGTH: Final = struct.Struct(">I")

_unpack_header = _HEADER.unpack_from

Bundle: TypeAlias = tuple[str, int, Sequence[bytes]]
"""A packet whose messages are still serialized: its epoch, the seq of the first, and the messages."""


def bundle(messages: Sequence[bytes]) -> tuple[bytes, int]:
    """The body of a packet of several messages, and where in it the last one begins, counted from 1 as Lua does."""
    parts: list[bytes] = []
    for message in messages:
        parts += (_LENGTH.pack(len(message)), message)
    body = b"".join(parts)
    return body, len(body) - len(messages[-1]) + 1


def unbundle(packet: bytes) -> Bundle:
    """What is in a packet; ``ValueError`` if it is none, or of another version."""
    try:
        magic, version, epoch, _, seq, count = _unpack_header(packet)
        if magic != MAGIC or version != _VERSION:
            raise ValueError(f"a packet of version {version}")
        return epoch.decode(), seq, (packet[_HEADER_SIZE:],) if count == 1 else _split(packet, count)
    except struct.error as error:
        raise ValueError(f"a packet that is cut short: {error}") from None


def is_consecutive(bundles: Iterable[Bundle], seq: int) -> bool:
    """True if each begins where the one before it ends, and the first has what follows ``seq``."""
    following: int | None = None
    for _, first, messages in bundles:
        if first != following if following is not None else not first <= seq + 1 < first + len(messages):
            return False
        following = first + len(messages)
    return True


def _split(packet: bytes, count: int) -> list[bytes]:
    messages = []
    start = _HEADER_SIZE
    for _ in range(count):
        (size,) = _LENGTH.unpack_from(packet, start)
        start += _LENGTH.size
        messages.append(packet[start : start + size])
        start += size
    if not count or start != len(packet):
        raise ValueError("a packet of another length than it says")
    return messages
