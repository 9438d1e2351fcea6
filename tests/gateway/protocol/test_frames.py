"""Frames are what RFC 6455 says, checked against a WebSocket library that is not ours."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.protocol.frames import text_frame, texts

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 100_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_client_reads_the_text(size: int) -> None:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    client.receive_data(text_frame(b"x" * size))
    (frame,) = client.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.fin, len(frame.data)) == (1, True, size)


def test_joined_frames_come_apart_again() -> None:
    parts = ["é" * size for size in SIZES]
    assert list(texts(b"".join(text_frame(part.encode()) for part in parts))) == parts
