"""Where a batch comes from, as it travels on the bus."""

from __future__ import annotations

import pytest

from ticks.grammar import moment
from ticks.origin import Origin, checked_traceparent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("origin", [Origin(), Origin(1_779_000_000_123_456), Origin(1, TRACE)])
def test_a_note_is_read_as_it_was_written(origin: Origin) -> None:
    assert Origin.of(origin.note()) == origin
    assert len(origin.note()) < 256


@pytest.mark.parametrize("note", [b"", b"1234567", b"\xff" * 255, b"\x00" * 8 + b'","x":"'])
def test_what_others_put_in_a_note_is_no_traceparent(note: bytes) -> None:
    assert not Origin.of(note).traceparent


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (TRACE, TRACE),
        (TRACE[:-1] + "0", TRACE[:-1] + "0"),
        ("cc" + TRACE[2:] + "-what-comes-later", TRACE),
        ("cc" + TRACE[2:], TRACE),
        (TRACE + "-more", ""),
        (TRACE + "-", ""),
        ("cc" + TRACE[2:] + ".more", ""),
        ("ff" + TRACE[2:], ""),
        (TRACE.upper(), ""),
        (TRACE + "\n", ""),
        (f" {TRACE}", ""),
        (f"{TRACE},{TRACE}", ""),
        (TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), ""),
        (TRACE.replace("00f067aa0ba902b7", "0" * 16), ""),
        (TRACE[:-1], ""),
        (TRACE.replace("0", "\u0660"), ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_traceparent_is_held_to_the_standard(given: str | None, taken: str) -> None:
    assert checked_traceparent(given) == taken


def test_a_moment_is_written_to_the_microsecond() -> None:
    assert moment(1_778_598_245_000_007) == "2026-05-12T15:04:05.000007Z"
    assert moment(0) == "1970-01-01T00:00:00.000000Z"
