"""Conflation by choice: one symbol at one rate, for all the clients that chose that rate.

The first tick after quiet goes out at once, and then at most one every interval, the newest, so the last one always
arrives. Before a tick that others were left out for comes a receipt that says how many. Choosing the newest, the timer
and the frame are work for all of them together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.fanout.outbox import Outbox
from gateway.fanout.writer import Writer
from gateway.protocol.messages import conflated_frame

__all__ = ["Pace"]


def _nobody() -> list[Outbox]:
    return []


def _nothing() -> None: ...


class Pace:
    """Sends the ticks of ``symbol`` to those who chose it, at most ``rate`` a second.

    ``members`` chose the symbol; ``followers``, at the same rate, everything.
    """

    __slots__ = (
        "_count",
        "_followers",
        "_interval",
        "_known",
        "_newest",
        "_retired",
        "_symbol",
        "_timer",
        "_turn",
        "_writer",
        "members",
    )

    def __init__(
        self,
        symbol: str,
        rate: float,
        writer: Writer,
        followers: Callable[[], Sequence[Outbox]] = _nobody,
        retired: Callable[[], object] = _nothing,
    ) -> None:
        """``followers`` are asked for when a tick goes out. ``retired`` is called when nobody needs it any more."""
        self._symbol = symbol
        self._writer = writer
        self._interval = 1 / rate
        self._followers = followers
        self._retired = retired
        self.members: dict[Outbox, None] = {}
        self._known: dict[Outbox, int] = {}
        """How many of the ticks that wait came before a client did: it knows them from its snapshot."""
        self._newest = b""
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0
        """In which it asked its members last how far they have read."""
        writer.paces += 1

    @property
    def is_settled(self) -> bool:
        """Whether everybody has the newest tick."""
        return not self._count

    def add(self, outbox: Outbox) -> None:
        """Takes in a client that holds the newest tick."""
        self.members[outbox] = None
        self.note(outbox)

    def note(self, outbox: Outbox) -> None:
        """A client, maybe a follower, holds the newest tick."""
        if self._count:
            self._known[outbox] = self._count

    def remove(self, outbox: Outbox) -> None:
        """Lets go of a member."""
        self._known.pop(outbox, None)
        if outbox in self.members:
            del self.members[outbox]
            if not self.members and not self._followers():
                self.retire()

    def offer(self, newest: bytes, count: int) -> None:
        """``count`` more ticks came, of which ``newest`` is the last."""
        self._newest = newest
        self._count += count
        if self._timer is None:
            self._send()

    def flush(self) -> None:
        """Sends what waits now, ahead of its time."""
        if self._count:
            self._send()

    def release(self, outbox: Outbox) -> None:
        """Lets go of a client that goes on another way, with what waits for it."""
        known = self._known.get(outbox, 0)
        if self._count > known:
            self._send_to(outbox, self._count - known - 1)
        self.remove(outbox)

    def stop(self) -> None:
        """Lets go of what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._count = 0
        self._known.clear()

    def retire(self) -> None:
        """Nobody needs it any more."""
        self.stop()
        self._writer.paces -= 1
        self._retired()

    def _on_time(self) -> None:
        self._timer = None
        if self._count:
            self._send()
        elif not self.members:
            self.retire()  # followers need none until the next tick

    def _send(self) -> None:
        newest, count, known = self._newest, self._count, self._known
        self._known = {}
        self.stop()
        outboxes = [*self.members, *self._followers()]
        if not outboxes:
            self.retire()
            return
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_time)
        ready = []
        for outbox in outboxes:
            told = known.get(outbox, 0)
            if not told and not outbox.behind:
                ready.append(outbox)
            elif told < count:
                self._send_to(outbox, count - told - 1)
        self._writer.skipped += (count - 1) * len(ready)
        self._writer.delivered += len(ready)
        self._writer.write_each(ready, [self._receipt(count - 1) + newest] * len(ready))
        if self._turn != self._writer.freshness.turn:
            self._turn = self._writer.freshness.turn
            self._writer.freshness.ask(ready)

    def _send_to(self, outbox: Outbox, skipped: int) -> None:
        self._writer.skipped += skipped
        if outbox.behind:
            outbox.park(self._symbol, [self._newest], skipped)
        else:
            self._writer.delivered += 1
            outbox.write(self._receipt(skipped) + self._newest)

    def _receipt(self, skipped: int) -> bytes:
        return conflated_frame("rate", {self._symbol: skipped}) if skipped else b""
