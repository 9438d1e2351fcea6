"""Telling clients where streams are, before their ticks: those of everything a slice at a time.

There may be a hundred thousand. So a client that begins to take everything is told of a slice, others get their ticks,
and then comes the next slice. Of a stream it was not told of yet it gets nothing: what ticks meanwhile is in the
position that it is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gateway.fanout.outbox import Outbox
from gateway.fanout.subscriptions import Subscriptions
from gateway.protocol.codes import FAILED
from gateway.protocol.messages import Position, introduced_frame

__all__ = ["Introductions"]

logger = logging.getLogger(__name__)

_SLICE: Final = 500
"""With long symbols that is a message of 40 KB, and two milliseconds."""


class Introductions:
    """One slice at a time, whichever client it is for."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._tasks: dict[Outbox, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self.slice = _SLICE
        """Streams of which a client is told at once."""

    def introduce(
        self,
        outbox: Outbox,
        symbols: Collection[str],
        *,
        snapshot: bool,
        since: Collection[str] = (),
        missed: Mapping[str, bytes] = MappingProxyType({}),
    ) -> tuple[dict[str, Position], list[bytes]]:
        """Where the streams are, and the frames that follow that: what was ``missed``, or the last ticks.

        Their ticks reach the client from now on, so what is returned must be sent at once.
        """
        positions: dict[str, Position] = {}
        frames: list[bytes] = []
        for symbol in symbols:
            stream = self._subscriptions.admit(outbox, symbol)
            if stream is None:
                continue
            is_void = outbox.waiting.forget(symbol)
            if symbol in missed:
                frames.append(missed[symbol])
            elif snapshot or is_void or symbol in since:
                frames.append(stream.snapshot)
            positions[symbol] = Position(stream.seq, stream.epoch, symbol in missed if symbol in since else None)
        return positions, frames

    def begin(self, outbox: Outbox, symbols: Sequence[str], *, snapshot: bool) -> None:
        """Tells a client that takes everything of more streams, after what it is told now; instead of those before."""
        self.end(outbox)
        if symbols:
            task = asyncio.get_running_loop().create_task(self._run(outbox, symbols, snapshot))
            self._tasks[outbox] = task

    def end(self, outbox: Outbox) -> None:
        """The client is gone, or no longer takes everything."""
        task = self._tasks.pop(outbox, None)
        if task is not None:
            task.cancel()

    async def _run(self, outbox: Outbox, symbols: Sequence[str], snapshot: bool) -> None:
        try:
            for start in range(0, len(symbols), self.slice):
                await outbox.caught_up()  # or all of it would wait here
                async with self._turn:
                    await asyncio.sleep(0)
                    self._tell(outbox, symbols[start : start + self.slice], snapshot)
        except Exception:
            logger.exception("Could not tell a client where all streams are.")
            outbox.close(FAILED)
        if self._tasks.get(outbox) is asyncio.current_task():
            del self._tasks[outbox]

    def _tell(self, outbox: Outbox, symbols: Sequence[str], snapshot: bool) -> None:
        held = self._subscriptions.clients[outbox]
        others = [symbol for symbol in symbols if symbol not in held]  # the rest it has asked for by name since
        positions, frames = self.introduce(outbox, others, snapshot=snapshot)
        if positions:
            outbox.reply(b"".join([introduced_frame(positions), *frames]))
