"""Server-sent events: the messages of ``/ws`` as text/event-stream, and ids that say where a client stands. No I/O.

An event's name is the ``type`` of a message and its data the same JSON. A frame is made an event once for all clients
that get it: those who deliver hand on the very same bytes, so they are found again. A heartbeat is a comment.

A browser that comes back shows the last id alone. So an id has the place of each symbol that the client named, in the
order of their first mention: runs of ``EPOCH-SEQ.SEQ``, joined by commas, as all streams may not be of one epoch. With
several symbols a checksum of their names follows, so that an id means nothing to an address with others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from bus.contract import Since
from gateway.protocol.frames import texts

__all__ = ["MOST_ID_BYTES", "Event", "Places", "events", "places_in"]

MOST_ID_BYTES: Final = 4_096
"""Servers and proxies take some 8 KB of headers: a client with a longer id could not come back at all."""

_MOST_CACHED_BYTES: Final = 4_096
_RUN: Final = "[0-9a-f]{0,20}-[0-9.]+"
_ID: Final = re.compile(f"({_RUN}(?:,{_RUN})*)(?:~([0-9a-f]{{8}}))?")
_MOST_SEQ_DIGITS: Final = 18


class Event(NamedTuple):
    """One message: the lines of its event without the empty one at the end, and what it says of places."""

    lines: bytes
    symbol: str | None
    """Where this stream is afterwards, if that of any."""
    seq: int
    epoch: str | None
    """None: the one that it was in."""
    wait: float | None
    """Of a ``closing``: the least seconds before coming back."""

    @property
    def is_comment(self) -> bool:
        return self.lines.startswith(b":")


class _Head(msgspec.Struct):
    type: str
    symbol: str | None = None
    seq: int = 0
    epoch: str | None = None
    wait: float | None = None


_head: Final = msgspec.json.Decoder(_Head).decode


def events(frames: bytes) -> Sequence[Event]:
    """The events of WebSocket frames that were made by ``text_frame`` and joined."""
    return _made_once(frames) if len(frames) <= _MOST_CACHED_BYTES else _made(frames)


def _made(frames: bytes) -> Sequence[Event]:
    return [_event(text) for text in texts(frames)]


_made_once: Final = lru_cache(maxsize=256)(_made)


def _event(text: str) -> Event:
    head = _head(text)
    if head.type == "heartbeat":
        return Event(f": {text}\n".encode(), None, 0, None, None)
    lines = f"event: {head.type}\ndata: {text}\n".encode()
    return Event(lines, head.symbol, head.seq, head.epoch, head.wait)


class Places:
    """Where one client stands: the seq and the epoch of each symbol that it named."""

    __slots__ = ("_epochs", "_mark", "_seqs")

    def __init__(self, symbols: Sequence[str]) -> None:
        self._seqs = dict.fromkeys(symbols, 0)
        self._epochs = dict.fromkeys(symbols, "")
        self._mark = _mark(symbols)

    def __len__(self) -> int:
        return len(self._seqs)

    def move(self, symbol: str, seq: int, epoch: str | None = None) -> None:
        """The client knows the stream up to there."""
        if symbol in self._seqs:
            self._seqs[symbol] = seq
            if epoch is not None:
                self._epochs[symbol] = epoch

    def id(self) -> bytes:
        """All of that, for :func:`places_in`; empty if it would be too long, or there is nothing to say."""
        if len(self._seqs) == 1:
            ((symbol, seq),) = self._seqs.items()
            return f"{self._epochs[symbol]}-{seq}".encode()
        seqs = iter(self._seqs.values())
        runs = [f"{epoch}-{'.'.join([str(next(seqs)) for _ in run])}" for epoch, run in groupby(self._epochs.values())]
        made = f"{','.join(runs)}{self._mark}".encode()
        return made if self._seqs and len(made) <= MOST_ID_BYTES else b""


def places_in(shown: str, symbols: Sequence[str]) -> dict[str, Since]:
    """What an id says of the symbols that the client names now; nothing if it is not of these."""
    match = _ID.fullmatch(shown) if len(shown) <= MOST_ID_BYTES else None
    if match is None or (match[2] or "") != _mark(symbols)[1:]:
        return {}
    places: list[Since] = []
    for run in match[1].split(","):
        epoch, _, seqs = run.partition("-")
        places += [Since(epoch, int(seq)) for seq in seqs.split(".") if 0 < len(seq) <= _MOST_SEQ_DIGITS]
    if len(places) != len(symbols):
        return {}
    return {symbol: place for symbol, place in zip(symbols, places, strict=True) if place.epoch}


def _mark(symbols: Iterable[str]) -> str:
    names = ",".join(symbols)
    return f"~{crc32(names.encode()):08x}" if "," in names else ""
