"""Asks the bus what clients missed that this process has not seen: once for all who ask meanwhile, and not too fast.

After a restart of a neighbour thousands of clients come back at once. What each of them missed costs the bus as much as
publishing does, and publishing goes first. So a few symbols are asked for at a time, each once for all who wait for it,
and the bus has most of the time for others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from bus.contract import Since
from gateway.protocol.messages import tick_frame

__all__ = ["History", "Missed", "Replay"]

logger = logging.getLogger(__name__)

Ticks: TypeAlias = list[tuple[int, str]]
History: TypeAlias = Callable[[Mapping[str, Since]], Awaitable[Mapping[str, Ticks | None]]]

_SYMBOLS: Final = 20
"""Asked for at once. With full histories that is a good half of a millisecond of Redis's time."""
_REST: Final = 3.0
_LONGEST_REST_SECONDS: Final = 0.01
"""How long the bus is left alone before it is asked again: so many times as long as its answer took, but no longer than
that, as it is our own event loop that is busy then.
"""


class Missed(NamedTuple):
    """Consecutive ticks of a stream: their bodies, and their frames by seq."""

    first: int
    bodies: list[str]
    frames: dict[int, bytes]


class _Wanted:
    """A symbol that is to be asked for, and where all who wait for it have what came before."""

    __slots__ = ("future", "since")

    def __init__(self, since: Since) -> None:
        self.since = since
        self.future: asyncio.Future[Missed | None] = asyncio.get_running_loop().create_future()


class Replay:
    """Collects what is asked for while the bus answers, or rests."""

    def __init__(self, history: History) -> None:
        """``history`` gives all ticks after a place of each symbol as ``(seq, body)``, or None where it has not all."""
        self._history = history
        self._wanted: dict[str, _Wanted] = {}
        self._task: asyncio.Task[None] | None = None
        self.asked = 0
        """Symbols that the bus was asked for."""

    async def after(self, places: Mapping[str, Since]) -> dict[str, Missed]:
        """What came after the place of each symbol, or after an earlier one; without those that cannot be had whole.

        The bus is asked after this is called, so that what arrives from now on begins no later than its answer ends.
        """
        wanted = {symbol: self._want(symbol, since) for symbol, since in places.items()}
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        await asyncio.wait([each.future for each in wanted.values()])
        found = {symbol: each.future.result() for symbol, each in wanted.items()}
        return {symbol: missed for symbol, missed in found.items() if missed is not None}

    def _want(self, symbol: str, since: Since) -> _Wanted:
        wanted = self._wanted.get(symbol)
        if wanted is None or wanted.since.epoch != since.epoch:
            # Who waits for an epoch that is over is told with the others of the next.
            later, wanted = wanted, _Wanted(since)
            if later is not None:
                wanted.future.add_done_callback(lambda _: later.future.set_result(None))
            self._wanted[symbol] = wanted
        elif since.seq < wanted.since.seq:
            wanted.since = since
        return wanted

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._wanted:
                started = loop.time()
                await self._ask()
                await asyncio.sleep(min(_REST * (loop.time() - started), _LONGEST_REST_SECONDS))
        finally:
            self._task = None

    async def _ask(self) -> None:
        asked = {symbol: self._wanted.pop(symbol) for symbol in [*self._wanted][:_SYMBOLS]}
        self.asked += len(asked)
        answer: Mapping[str, Ticks | None] = {}
        try:
            answer = await self._history({symbol: wanted.since for symbol, wanted in asked.items()})
        except Exception:  # who waits gets a snapshot
            logger.exception("Could not ask what was missed of %d symbols.", len(asked))
        for symbol, wanted in asked.items():
            wanted.future.set_result(_missed(answer.get(symbol)))


def _missed(ticks: Ticks | None) -> Missed | None:
    if not ticks:
        return None
    return Missed(ticks[0][0], [body for _, body in ticks], {seq: tick_frame(body, seq) for seq, body in ticks})
