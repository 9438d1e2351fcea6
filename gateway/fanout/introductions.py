"""Telling clients where streams are, before their ticks: those of everything a slice at a time.

There may be a hundred thousand. So a client that begins to take everything is told of a slice, others get their ticks,
and then comes the next slice (gateway/fanout/everything.py). Of a stream it was not told of yet it gets nothing: what
ticks meanwhile is in the position that it is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

from gateway.fanout.outbox import Outbox
from gateway.fanout.stream import Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.protocol.codes import FAILED
from gateway.protocol.messages import Position, introduced_frame
from gateway.protocol.values import EVERYTHING

__all__ = ["Introductions"]

logger = logging.getLogger(__name__)

_SLICE: Final = 500
"""With long symbols that is a message of 40 KB, and two milliseconds."""


class Introductions:
    """One slice at a time, whichever client it is for."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._everything = subscriptions.everything
        self._tasks: dict[Outbox, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self.slice = _SLICE
        """Streams of which a client is told at once."""

    def is_telling(self, outbox: Outbox) -> bool:
        return outbox in self._tasks

    async def over(self, outbox: Outbox) -> None:
        """Returns when the client has been told of everything."""
        if outbox in self._tasks:
            await asyncio.wait([self._tasks[outbox]])

    def end(self, outbox: Outbox) -> None:
        """The client is gone, or no longer takes everything."""
        task = self._tasks.pop(outbox, None)
        if task is not None:
            task.cancel()

    def first(self, outbox: Outbox, wanted: Collection[str], since: Collection[str]) -> list[Stream]:
        """The streams that the answer to a subscription is about: what was named in it, and a slice of everything.

        What the client had asked for by name before stays as it is.
        """
        streams, held = self._subscriptions.streams, self._subscriptions.clients[outbox]
        if EVERYTHING not in wanted:
            return [streams[symbol] for symbol in wanted]
        named = dict.fromkeys(chain(wanted, (symbol for symbol in since if symbol not in held)))
        told = [streams[symbol] for symbol in named if symbol in streams]
        for stream in told:
            if stream.symbol not in held:
                self._everything.release(outbox, stream)
                self._everything.skip(outbox, stream)
                self._everything.hold(outbox, stream)
        return told + self._move(outbox, max(0, self.slice - len(told)))

    def rest(self, outbox: Outbox, *, snapshot: bool) -> int:
        """Tells a client that takes everything of the other streams, after what it is told now; returns how many."""
        if outbox not in self._everything.tours or outbox in self._tasks:
            return 0
        ahead = len(self._everything.ahead(outbox, self._subscriptions.streams))
        self._tasks[outbox] = asyncio.get_running_loop().create_task(self._run(outbox, snapshot))
        return ahead

    def introduce(
        self,
        outbox: Outbox,
        streams: Iterable[Stream],
        *,
        snapshot: bool,
        since: Collection[str] = (),
        missed: Mapping[str, bytes] = MappingProxyType({}),
    ) -> tuple[dict[str, Position], list[bytes]]:
        """Where the streams are, and the frames that follow that: what was ``missed``, or the last ticks.

        Their ticks reach the client from now on, so what is returned must be sent at once.
        """
        held = self._subscriptions.clients[outbox]
        positions: dict[str, Position] = {}
        frames: list[bytes] = []
        for stream in streams:
            symbol = stream.symbol
            if not stream.epoch and symbol not in held:
                continue  # it is not known yet where it is: it introduces itself then
            is_void = outbox.waiting.forget(symbol)
            if symbol in missed:
                frames.append(missed[symbol])
            elif snapshot or is_void or symbol in since:
                frames.append(stream.snapshot)
            positions[symbol] = Position(stream.seq, stream.epoch, symbol in missed if symbol in since else None)
        return positions, frames

    def _move(self, outbox: Outbox, most: int) -> list[Stream]:
        """Moves a client's tour on; returns the streams that it is to be told of now."""
        ahead = self._everything.ahead(outbox, self._subscriptions.streams)
        told = self._everything.move(outbox, ahead[:most]) if ahead[:most] else []
        if len(ahead) <= most:
            self._everything.arrive(outbox)
        return told

    async def _run(self, outbox: Outbox, snapshot: bool) -> None:
        try:
            while outbox in self._everything.tours:
                await outbox.caught_up()  # or all of it would wait here
                async with self._turn:
                    await asyncio.sleep(0)
                    self._tell(outbox, snapshot)
        except Exception:
            logger.exception("Could not tell a client where all streams are.")
            outbox.close(FAILED)
        if self._tasks.get(outbox) is asyncio.current_task():
            del self._tasks[outbox]

    def _tell(self, outbox: Outbox, snapshot: bool) -> None:
        positions, frames = self.introduce(outbox, self._move(outbox, self.slice), snapshot=snapshot)
        if positions:
            outbox.reply(b"".join([introduced_frame(positions), *frames]))
