"""How old a tick is by its own timestamp, which is its publisher's. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import Final

__all__ = ["Seconds"]

_MARK: Final = b'"timestamp":"'
_SKIPPED: Final = len(_MARK)
_TO_SECONDS: Final = len("2026-05-12T15:04:05")
_REMEMBERED: Final = 256


class Seconds:
    """The times of ticks, which carry them as text. Most are of the same few seconds, which are remembered."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str | bytes, float] = {}

    def of(self, stamp: str | bytes) -> float:
        """Seconds since 1970 of a timestamp as ticks have it; of bytes as of text."""
        whole = stamp[:_TO_SECONDS]
        return (self._known.get(whole) or self._learn(whole)) + float(stamp[_TO_SECONDS:-1] or 0)

    def micros(self, stamp: bytes) -> int:
        """The same in whole microseconds."""
        whole = stamp[:_TO_SECONDS]
        seconds = self._known.get(whole) or self._learn(whole)
        return int(seconds) * 1_000_000 + int(stamp[_TO_SECONDS + 1 : -1].ljust(6, b"0")[:6])

    def of_frame(self, frame: bytes) -> float | None:
        """The same of the tick in a frame; None if there is none."""
        start = frame.find(_MARK) + _SKIPPED
        if start < _SKIPPED:
            return None
        return self.of(frame[start : frame.index(b'"', start + _TO_SECONDS)])

    def _learn(self, whole: str | bytes) -> float:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        text = whole if isinstance(whole, str) else whole.decode()
        seconds = self._known[whole] = datetime.fromisoformat(f"{text}+00:00").timestamp()
        return seconds
