"""A client's socket in memory, which takes as much as the test allows."""

from __future__ import annotations

from gateway.errors import Closure
from gateway.frames import texts
from gateway.outbox import Outbox

__all__ = ["FakeWire"]


class FakeWire:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.full = False
        self.closure: Closure | None = None
        self.reading = True
        self.released = False
        self._outbox: Outbox | None = None
        self.send = self._take

    def open(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def _take(self, frames: bytes) -> int:
        """A full socket takes half of what it is given, and ``finish`` the other half."""
        taken = len(frames) // 2 if self.full else len(frames)
        self.writes.append(frames[:taken])
        return taken

    def finish(self, rest: bytes) -> None:
        self.writes[-1] += rest

    def close(self, closure: Closure) -> None:
        self.closure = closure

    def release(self) -> None:
        self.released = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def drain(self, full: bool = False) -> None:
        """The socket has taken everything; ``full``: the next write fills it again."""
        self.full = full
        if self._outbox is not None:
            self._outbox.drained()

    def lose(self) -> None:
        """The connection is lost."""
        if self._outbox is not None:
            self._outbox.let_go()

    @property
    def texts(self) -> list[str]:
        return [text for write in self.writes for text in texts(write)]
