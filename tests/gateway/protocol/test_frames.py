"""Frames are what RFC 6455 says, checked against a WebSocket library that is not ours."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.protocol.frames import begins_short, short_texts, text_frame, texts

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


def sent(text: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(opcode, text, fin).serialize(mask=True)


SHORT = ["", "a", "{}", "ab\n", "é" * 62, "x" * 125]


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        sent(b"x" * 126),
        sent(b"half", fin=False),
        sent(b"", Opcode.PING),
        sent(b"b", Opcode.BINARY),
        sent(b"\xff"),
        text_frame(b"not masked"),
        sent(b"cut")[:-1],
        sent(b"cut")[:1],
    ],
    ids=[
        "nothing",
        "long",
        "fragment",
        "ping",
        "binary",
        "no UTF-8",
        "not masked",
        "cut",
        "its first byte",
    ],  # masks differ
)
def test_short_messages_are_read_up_to_the_first_that_is_something_else(behind: bytes) -> None:
    frames = [sent(text.encode()) for text in SHORT]
    found = list(short_texts(b"".join(frames) + behind))
    assert [text for text, _ in found] == SHORT
    assert [end for _, end in found] == [len(b"".join(frames[:count])) for count in range(1, len(SHORT) + 1)]


def test_every_beginning_of_a_short_message_is_one() -> None:
    frame = sent(b"x" * 125)
    assert [begins_short(frame[:size]) for size in range(len(frame) + 1)] == [False, *[True] * (len(frame) - 1), False]
    for other in (sent(b"x" * 126), sent(b"", Opcode.PING), sent(b"b", Opcode.BINARY), text_frame(b"no")):
        assert not begins_short(other[:2])
        assert not begins_short(other)
    assert not begins_short(sent(b"\xff")), "it is whole"
