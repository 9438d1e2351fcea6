"""What a stream has delivered lately, for clients that come back: the bus need not be asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from gateway.protocol.frames import split
from gateway.protocol.messages import tick_frame

__all__ = ["NO_ROOM", "Recent", "Room"]


class Room:
    """How much the streams of one process may keep: so many ticks each, for so many seconds, and bytes between them."""

    __slots__ = ("_size", "seconds", "share", "ticks")

    def __init__(self, ticks: int = 0, seconds: float = 0.0, size: int = 0) -> None:
        self.ticks = ticks if seconds > 0 else 0
        self.seconds = seconds
        self._size = size
        self.share = size
        """Bytes for each stream."""

    def divide(self, streams: int) -> None:
        self.share = self._size // max(1, streams)


NO_ROOM: Final = Room()


class Recent:
    """The frames of consecutive ticks of one stream, the newest of them."""

    __slots__ = ("_count", "_entries", "_room", "_size")

    def __init__(self, room: Room) -> None:
        self._room = room
        # When they came, the seq of the first, how many, and their frames in one: nothing for the garbage collector.
        self._entries: deque[tuple[float, int, int, bytes]] = deque()
        self._count = 0
        self._size = 0

    def add(self, now: float, seq: int, frames: Sequence[bytes]) -> None:
        """Takes the next ones, ``seq`` being the first one's. What stands here is paid for every packet."""
        room = self._room
        if not room.ticks:
            return
        count = len(frames)
        data = frames[0] if count == 1 else b"".join(frames)
        entries = self._entries
        entries.append((now, seq, count, data))
        self._count += count
        self._size += len(data)
        while self._size > room.share or self._count - entries[0][2] >= room.ticks:
            _, _, gone, old = entries.popleft()
            self._count -= gone
            self._size -= len(old)
            if not entries:
                break

    def clear(self) -> None:
        """What comes next does not follow."""
        self._entries.clear()
        self._count = self._size = 0

    def after(self, seq: int, now: float) -> bytes | None:
        """The frames of all ticks after ``seq``; None if they are not all here, or too old."""
        oldest = now - self._room.seconds
        found: list[bytes] = []
        for time, first, count, data in reversed(self._entries):
            if first + count <= seq + 1:
                break
            if time < oldest:
                return None
            found.append(data if first > seq else b"".join(split(data)[seq + 1 - first :]))
            if first <= seq + 1:
                return b"".join(reversed(found))
        return None

    def contradicts(self, seq: int, bodies: Sequence[str]) -> bool:
        """Whether one of these ticks, of which the first has ``seq``, was another one when it was delivered."""
        kept = {
            number: frame
            for _, first, count, data in self._entries
            if first < seq + len(bodies) and first + count > seq
            for number, frame in enumerate(split(data), first)
        }
        return any(kept.get(number, frame) != frame for number, frame in _framed(seq, bodies))


def _framed(seq: int, bodies: Sequence[str]) -> list[tuple[int, bytes]]:
    return [(number, tick_frame(body, number)) for number, body in enumerate(bodies, seq)]
