"""Where a batch of ticks comes from: when this gateway received it, and the trace that it belongs to. No I/O.

It travels on the bus beside the batch, as a note, and is read only for clients that asked for it.
"""

from __future__ import annotations

import re
import time
from typing import Final, NamedTuple

__all__ = ["Origin", "checked_traceparent", "received_now", "trace_id"]

_SIZE: Final = 8
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL
)


class Origin(NamedTuple):
    """``received`` is in microseconds since 1970, by the clock of the gateway that took the batch; 0 is unknown."""

    received: int = 0
    traceparent: str = ""
    """As :func:`checked_traceparent` has it; empty for none."""

    def note(self) -> bytes:
        return self.received.to_bytes(_SIZE, "big") + self.traceparent.encode()

    @classmethod
    def of(cls, note: bytes) -> Origin:
        """What a note says; nothing if it is not one that :meth:`note` could have made."""
        if len(note) < _SIZE:
            return cls()
        return cls(int.from_bytes(note[:_SIZE], "big"), checked_traceparent(note[_SIZE:].decode("latin1")))


def received_now() -> int:
    """This moment, as the time of a receipt."""
    return time.time_ns() // 1_000


def trace_id(header: bytes) -> str:
    """Of a ``traceparent``; empty if it is none."""
    return checked_traceparent(header.decode("latin1"))[3:35]


def checked_traceparent(text: str | None) -> str:
    """A ``traceparent`` of W3C Trace Context, in its version 00; empty if it is none, as the standard has it.

    Of a later version what version 00 knows is kept.
    """
    match = _TRACEPARENT.fullmatch(text or "")
    if match is None or (match[3] is not None and match[1] == "00"):
        return ""
    return f"00-{match[2]}"
