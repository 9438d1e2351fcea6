"""The compact format: ticks as arrays, those that stand side by side in one message. No I/O.

Others get their frames as ever. What a frame is in this format is found once for all clients that chose it: those who
deliver hand on the very same bytes, so they are found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from gateway.protocol.frames import split, text_frame, texts
from ticks.fields import FIELDS

__all__ = ["COMPACT", "ROW", "compacted"]

COMPACT: Final = "compact"
"""The ``format`` that a client asks for."""

ROW: Final = (
    *(field.name for field in FIELDS if field.presence != "optional"),
    "seq",
    *(field.name for field in FIELDS if field.presence == "optional" and field.kind != "object"),
)
"""What stands in an array, in this order; all else of a tick is in an object behind it."""

_MOST_CACHED_BYTES: Final = 4_096
_TICK: Final = b'{"type":"tick",'
_HEAD: Final = 10
"""Bytes before a text at most."""
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def compacted(frames: bytes) -> bytes:
    """Whole frames of a server, with ticks in the compact format."""
    return _made_once(frames) if len(frames) <= _MOST_CACHED_BYTES else _made(frames)


def _made(frames: bytes) -> bytes:
    return b"".join(_runs(split(frames)))


_made_once: Final = lru_cache(maxsize=256)(_made)


def _runs(frames: list[bytes]) -> Iterator[bytes]:
    rows: list[bytes] = []
    for frame in frames:
        if _TICK in frame[: len(_TICK) + _HEAD]:
            rows.append(_row(frame))
            continue
        yield from _message(rows)
        rows = []
        yield frame
    yield from _message(rows)


def _message(rows: list[bytes]) -> Iterator[bytes]:
    if rows:
        yield text_frame(b"[%b]" % b",".join(rows))


@lru_cache(maxsize=1_024)
def _row(frame: bytes) -> bytes:
    """The array of a tick."""
    (text,) = texts(frame)
    fields = _fields(text)
    del fields["type"]
    values = [bytes(fields.pop(name, b"null")) for name in ROW]
    while values[-1] == b"null":
        values.pop()
    if fields:
        values.append(msgspec.json.encode(fields))
    return b"[%b]" % b",".join(values)
