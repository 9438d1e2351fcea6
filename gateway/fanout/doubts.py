"""Packets that do not follow from what came before them: the bus is asked who is right.

Such a packet means that ticks were missed, that the bus has begun another epoch, or that somebody else has published in
the group. Only the bus can tell. A packet that came before it was asked is decided by its answer: the bus has it, and
then its last tick is as new, or it is not the bus's. What came after that waits until then, and follows.

A stream in doubt goes on all the while: what follows from where it is never comes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Final, TypeAlias

from bus.contract import BusUnavailable, Packet, Position, Since
from gateway.fanout.stream import Stream

__all__ = ["Doubts", "Positions"]

logger = logging.getLogger(__name__)

Positions: TypeAlias = Callable[[Collection[str]], Awaitable[Mapping[str, Position]]]
Settle: TypeAlias = Callable[[Mapping[str, Position], Mapping[str, Since]], None]

_KEPT: Final = 1_000
"""Packets of a symbol that wait. If there are more, what the oldest had is in a gap."""
_CHUNK: Final = 1_000
"""Symbols asked for at once."""
_PAUSE_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 0.25


class Doubts:
    """Keeps the packets, and asks: at once, and then with a pause, however many come."""

    def __init__(self, positions: Positions, settle: Settle) -> None:
        """``settle`` holds the streams against the bus's answer, given where they were when it was asked."""
        self._positions = positions
        self._settle = settle
        self._packets: dict[str, deque[Packet]] = {}
        self._places: dict[str, Since] = {}
        self._task: asyncio.Task[None] | None = None
        self.refuted = 0
        """Packets of which the bus did not know."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is in doubt."""
        return self._task is None

    def add(self, packet: Packet, at: Since) -> None:
        """Takes a packet of a stream that is ``at`` a place."""
        self._packets.setdefault(packet.group, deque(maxlen=_KEPT)).append(packet)
        self._places[packet.group] = at
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def following(self, symbol: str, stream: Stream) -> Iterator[Packet]:
        """Those that follow, one by one, from where the stream is then."""
        for packet in list(self._packets.get(symbol, ())):
            if packet.epoch == stream.epoch and packet.seq <= stream.seq + 1 < packet.seq + len(packet.messages):
                self._packets[symbol].remove(packet)
                yield packet

    async def _run(self) -> None:
        try:
            while self._packets:
                await self._ask([*self._packets][:_CHUNK])
                await asyncio.sleep(_PAUSE_SECONDS)
        except Exception:
            logger.exception("Could not make out where %d streams are.", len(self._packets))
            self._packets.clear()
        finally:
            self._task = None

    async def _ask(self, symbols: list[str]) -> None:
        places = {symbol: self._places.pop(symbol) for symbol in symbols}
        before = {symbol: self._packets.pop(symbol) for symbol in symbols}
        positions: Mapping[str, Position] = {}
        with contextlib.suppress(BusUnavailable):
            positions = await self._positions(symbols)
        self._settle(positions, places)
        for symbol, packets in before.items():
            if symbol in positions:
                self._count(positions[symbol], packets)
            else:  # its host is away
                self._packets[symbol] = deque([*packets, *self._packets.pop(symbol, ())], _KEPT)
                self._places.setdefault(symbol, places[symbol])
        self._packets = {symbol: packets for symbol, packets in self._packets.items() if packets}
        if len(positions) < len(symbols):
            await asyncio.sleep(_RETRY_SECONDS)

    def _count(self, position: Position, packets: Collection[Packet]) -> None:
        for symbol, epoch, seq, bodies, _, _ in packets:
            if not bodies or (epoch == position.epoch and seq + len(bodies) - 1 <= position.seq):
                continue
            self.refuted += 1
            if self.refuted == 1:
                logger.warning(
                    "Ignored a packet of %s at %d of %s, which is not the bus's, and will ignore others like it.",
                    symbol, seq, epoch,
                )  # fmt: skip
