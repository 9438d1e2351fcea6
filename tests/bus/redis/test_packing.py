"""Packets as bytes."""

from __future__ import annotations

import struct

import pytest

from bus.contract import Packet
from bus.redis.packing import pack, unpack

EPOCH = b"0123456789abc"
BEFORE = struct.Struct(">BB13sQQI")


def test_a_packet_has_its_time_to_the_microsecond_and_its_note() -> None:
    head = struct.pack(">BB13sQQIHB", 0xC1, 2, EPOCH, 1_000, 7, 1, 234, 4)
    assert unpack("ticks.A", head + b"note" + b"body") == Packet(
        "ticks.A", EPOCH.decode(), 7, [b"body"], 1_000_234, b"note"
    )


@pytest.mark.parametrize("messages", [[b"a"], [b"a", b"bc"]])
def test_what_a_redis_still_holds_of_the_version_before_is_read(messages: list[bytes]) -> None:
    body = messages[0] if len(messages) == 1 else pack(messages)[0]
    raw = BEFORE.pack(0xC1, 1, EPOCH, 1_000, 7, len(messages)) + body
    assert unpack("ticks.A", raw) == Packet("ticks.A", EPOCH.decode(), 7, messages, 1_000_000)


@pytest.mark.parametrize("version", [0, 3, 255])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(ValueError, match="version"):
        unpack("ticks.A", struct.pack(">BB13sQQIHB", 0xC1, version, EPOCH, 1_000, 7, 1, 0, 0) + b"body")
