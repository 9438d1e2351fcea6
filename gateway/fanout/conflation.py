"""What becomes of the ticks that a client does not keep up with. Until it falls behind this costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from operator import sub
from typing import Protocol

from gateway.protocol.messages import conflated_frame, skipping

__all__ = ["Conflation", "KeepAll", "KeepNewest"]


class Conflation(Protocol):
    """What waits for one client that is behind."""

    skipped: int
    """Ticks that were left out because the client was behind."""

    def open(self, overflow: Callable[[], None], /) -> None:
        """``overflow`` closes the client: called when more would have to be kept than is allowed."""

    def park(self, symbol: str, frames: Sequence[bytes], skipped: int = 0) -> None:
        """Takes the next ticks of ``symbol``, at least one; ``skipped`` before them were left out because of a rate."""

    def take(self, symbol: str | None = None, room: int = sys.maxsize) -> list[bytes]:
        """Hands out what waits, of one symbol or of all, each of which says what was left out before it.

        ``room``: in bytes; it stops behind the first message that fills it.
        """

    def forget(self, symbol: str) -> bool:
        """Drops what waits of ``symbol``; says whether a tick did."""

    def keep(self, symbols: Container[str]) -> None:
        """Drops what waits of all other symbols."""

    def clear(self) -> None:
        """The client is gone or about to be closed: drops everything."""


class _Newest:
    __slots__ = ("count", "frame", "rated")

    def __init__(self) -> None:
        self.frame = b""
        self.count = 0
        """Ticks that came, this one included."""
        self.rated = 0
        """Ticks left out because of the client's rate."""


class KeepNewest:
    """Keeps the newest tick of each symbol, in the order in which the symbols first fell behind, and counts the others.

    So what waits is bounded by what the client subscribed to.
    """

    __slots__ = ("_waiting", "skipped")

    def __init__(self) -> None:
        self._waiting: dict[str, _Newest] = {}
        self.skipped = 0

    def open(self, overflow: Callable[[], None], /) -> None: ...

    def park(self, symbol: str, frames: Sequence[bytes], skipped: int = 0) -> None:
        # Paid for every tick and client that is behind.
        try:
            newest = self._waiting[symbol]
        except KeyError:
            newest = self._waiting[symbol] = _Newest()
        newest.frame = frames[-1]
        newest.count += len(frames)
        newest.rated += skipped

    def take(self, symbol: str | None = None, room: int = sys.maxsize) -> list[bytes]:
        taken: dict[str, _Newest] = {}
        for each in _chosen(self._waiting, symbol):
            if room <= 0:
                break
            taken[each] = self._waiting.pop(each)
            room -= len(taken[each].frame)
        slow = {each: newest.count - 1 for each, newest in taken.items() if newest.count > 1}
        self.skipped += sum(slow.values())
        receipts = [conflated_frame("slow", slow)] if slow else []
        return receipts + [skipping(newest.frame, newest.rated) for newest in taken.values()]

    def forget(self, symbol: str) -> bool:
        return self._waiting.pop(symbol, None) is not None

    def keep(self, symbols: Container[str]) -> None:
        self._waiting = {symbol: newest for symbol, newest in self._waiting.items() if symbol in symbols}

    def clear(self) -> None:
        self._waiting.clear()


class KeepAll:
    """Keeps every tick: for messages of which each counts.

    Of at most ``limit`` bytes: a client for which more would wait is closed, as one that stays behind for too long is.
    """

    __slots__ = ("_frames", "_limit", "_overflow", "_size", "skipped")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._overflow: Callable[[], None] | None = None
        self._frames: dict[str, list[bytes]] = {}
        self._size = 0
        """Of all that was parked since the client fell behind: what was taken for one symbol waits in the outbox."""
        self.skipped = 0

    def open(self, overflow: Callable[[], None], /) -> None:
        self._overflow = overflow

    def park(self, symbol: str, frames: Sequence[bytes], skipped: int = 0) -> None:
        if self._overflow is None:
            return  # it is closed already
        self._size += sum(map(len, frames))
        if self._size > self._limit:
            self._overflow()
        else:
            first, *rest = frames
            self._frames.setdefault(symbol, []).extend([skipping(first, skipped), *rest])

    def take(self, symbol: str | None = None, room: int = sys.maxsize) -> list[bytes]:
        taken: list[bytes] = []
        for each in _chosen(self._frames, symbol):
            frames = self._frames.pop(each)
            count = next((index for index, left in enumerate(_left(room, frames)) if left <= 0), len(frames))
            taken += frames[:count]
            room -= sum(map(len, frames[:count]))
            if count < len(frames):
                self._frames = {each: frames[count:], **self._frames}
                break
        if symbol is None:
            self._size = sum(map(len, chain.from_iterable(self._frames.values())))
        return taken

    def forget(self, symbol: str) -> bool:
        frames = self._frames.pop(symbol, [])
        self._size -= sum(map(len, frames))
        return bool(frames)

    def keep(self, symbols: Container[str]) -> None:
        for symbol in [symbol for symbol in self._frames if symbol not in symbols]:
            self.forget(symbol)

    def clear(self) -> None:
        self._frames.clear()
        self._overflow = None  # which refers back to the client


def _left(room: int, frames: Iterable[bytes]) -> Iterator[int]:
    """How much room there is before each frame."""
    return accumulate(map(len, frames), sub, initial=room)


def _chosen(waiting: Mapping[str, object], symbol: str | None) -> list[str]:
    return list(waiting) if symbol is None else [symbol] if symbol in waiting else []
