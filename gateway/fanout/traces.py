"""Clients that asked when their ticks were where: published, received, sequenced, sent.

Nothing else knows of them. The frames are those of all clients; a wire of their own (gateway/wires/rewriting.py) adds
to each tick, as it is sent, what is known of it. While there are such clients, what came with the packets of their
symbols is kept for a while, which is longer than most ticks wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from time import time_ns
from typing import Final

from bus.contract import Packet
from gateway.fanout.outbox import Outbox
from gateway.fanout.subscriptions import Subscriptions
from gateway.protocol.frames import rewritten
from gateway.protocol.messages import Trace, traced
from gateway.protocol.values import EVERYTHING
from gateway.wires.rewriting import RewritingWire
from gateway.wires.wire import Wire
from ticks.age import Seconds
from ticks.origin import Origin
from ticks.tick import group_name

__all__ = ["Traces"]

_KEPT: Final = 20_000
"""Ticks of which it is known where they were, at least, and twice as many at most."""


class Traces:
    """Those of one process. True while there are some."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._chosen: dict[Outbox, set[str]] = {}
        self._groups: Counter[str] = Counter()
        """Of what they chose, by how many of them."""
        # By group, epoch and seq: when the bus gave it that place, and the note that came with it.
        self._newer: dict[tuple[str, str, int], tuple[int, bytes]] = {}
        self._older: dict[tuple[str, str, int], tuple[int, bytes]] = {}
        self._seconds = Seconds()

    def __bool__(self) -> bool:
        return bool(self._chosen)

    # Who asked

    def choose(self, outbox: Outbox, symbols: Iterable[str]) -> None:
        """A client wants to know it of the ticks of these symbols."""
        if outbox not in self._chosen:
            chosen = self._chosen[outbox] = set()
            held = self._subscriptions.clients[outbox]
            wrapped = partial(RewritingWire, rewrite=partial(self._traced, held.keys(), chosen))
            self._subscriptions.reroute(outbox, wrapped)
        new = set(symbols) - self._chosen[outbox]
        self._chosen[outbox] |= new
        self._groups.update(map(_group, new))

    def end(self, outbox: Outbox, symbols: Iterable[str]) -> None:
        """A client no longer wants to know it of these."""
        if outbox not in self._chosen:
            return
        left = self._chosen[outbox].intersection(symbols)
        self._release(left)
        self._chosen[outbox] -= left
        if not self._chosen[outbox]:
            del self._chosen[outbox]
            self._subscriptions.reroute(outbox, _unwrapped)

    def forget(self, outbox: Outbox) -> None:
        """A client is gone."""
        self._release(self._chosen.pop(outbox, ()))

    def _release(self, symbols: Iterable[str]) -> None:
        self._groups.subtract(map(_group, symbols))
        self._groups = +self._groups
        if not self._groups:
            self._newer, self._older = {}, {}

    # What is known

    def arrived(self, packets: Sequence[Packet]) -> None:
        """These are about to be delivered."""
        wanted, is_all = self._groups, EVERYTHING in self._groups
        for group, epoch, first, messages, at, note in packets:
            if is_all or group in wanted:
                known = at, note
                self._newer.update({(group, epoch, seq): known for seq in range(first, first + len(messages))})
        if len(self._newer) >= _KEPT:
            self._older, self._newer = self._newer, {}

    def _traced(self, held: Collection[str], chosen: Collection[str], frames: bytes) -> bytes:
        """The frames as one client gets them now."""
        sent = time_ns() // 1_000

        def trace(symbol: str, seq: int, timestamp: bytes) -> Trace | None:
            if (symbol if symbol in held else EVERYTHING) not in chosen:
                return None
            sequenced, note = self._known(symbol, seq)
            received, traceparent = Origin.of(note)
            published = self._seconds.micros(timestamp)
            return Trace(
                published=None if published == received else published,
                received=received or None,
                sequenced=sequenced or None,
                sent=sent,
                traceparent=traceparent,
            )

        return rewritten(frames, partial(traced, trace))

    def _known(self, symbol: str, seq: int) -> tuple[int, bytes]:
        stream = self._subscriptions.streams.get(symbol)
        if stream is None:
            return 0, b""
        place = group_name(symbol), stream.epoch, seq
        return self._newer.get(place) or self._older.get(place) or (0, b"")


def _group(symbol: str) -> str:
    return symbol if symbol == EVERYTHING else group_name(symbol)


def _unwrapped(wire: Wire) -> Wire:
    return wire.wire if isinstance(wire, RewritingWire) else wire
