"""Where time goes: from each of a tick's four stamps to the next, and to its arrival here. By one machine's clock.

A hundredth of the clients ask for traces, so that the others, and what the gateway does for them, stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from gateway.loadtest import messages
from gateway.loadtest.histogram import Histogram
from gateway.loadtest.websocket import Frame

__all__ = ["ONE_IN", "STEPS", "Traces"]

ONE_IN: Final = 100
"""Clients, of which the first asks."""

_STAMPS: Final = ("published", "received", "sequenced", "sent", "arrived")
STEPS: Final = (*pairwise(_STAMPS), (_STAMPS[0], _STAMPS[-1]))
"""From which stamp to which: the last is all of the way."""

_TRACE: Final = b',"trace":'


class Traces:
    """The books of all clients that asked."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Starts from zero."""
        self.steps = {step: Histogram() for step in STEPS}

    def merge(self, other: Traces) -> None:
        for step, taken in self.steps.items():
            taken.merge(other.steps[step])

    def read(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames as they are for others, after their traces have been booked."""
        arrived = time.time_ns() // 1_000
        return [(first, self._read(payload, arrived)) for first, payload in frames]

    def _read(self, payload: bytes, arrived: int) -> bytes:
        at = payload.rfind(_TRACE)
        if at < 0 or not payload.startswith(b'{"type":"'):
            return payload
        if messages.is_tick(payload):
            self._book(messages.decode(payload[at + len(_TRACE) : -1]), arrived)
        return payload[:at] + b"}"

    def _book(self, trace: dict[str, Any], arrived: int) -> None:
        stamps = {**trace, "arrived": arrived}
        for begin, end in STEPS:
            if begin in stamps and end in stamps:
                self.steps[begin, end].add(max(0, stamps[end] - stamps[begin]) * 1_000)
