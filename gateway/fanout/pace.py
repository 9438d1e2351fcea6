"""Conflation by choice: one symbol at one rate, for all the clients that chose that rate.

The first tick after quiet goes out at once, and then at most one every interval, the newest, so the last one always
arrives. It says how many others were left out before it. Choosing the newest, the timer and the frame are work for all
of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.fanout.outbox import Outbox
from gateway.fanout.writer import Writer, gather
from gateway.protocol.messages import skipping

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
        "_known",
        "_newest",
        "_retired",
        "_schedule",
        "_step",
        "_symbol",
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
        self._schedule = writer.schedule(rate)
        self._followers = followers
        self._retired = retired
        self.members: dict[Outbox, None] = {}
        self._known: dict[Outbox, int] = {}
        """How many of the ticks that wait came before a client did: it knows them from its snapshot."""
        self._newest = b""
        self._count = 0
        self._step: int | None = None
        """At which it may send again; None if it may now."""
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
        if self._step is None:
            self._send()

    def flush(self) -> None:
        """Sends what waits now, ahead of its time."""
        if self._count:
            self._send()

    def release(self, outbox: Outbox) -> None:
        """Lets go of a client that goes on another way, with what waits for it."""
        known = self._known.get(outbox, 0)
        if self._count > known:
            touched: list[Outbox] = []
            self._send_to(outbox, self._count - known - 1, touched)
            self._writer.write_gathered(touched, asks=False)
        self.remove(outbox)

    def stop(self) -> None:
        """Lets go of what waits."""
        if self._step is not None:
            self._schedule.forget(self, self._step)
            self._step = None
        self._count = 0
        self._known.clear()

    def retire(self) -> None:
        """Nobody needs it any more."""
        self.stop()
        self._writer.paces -= 1
        self._retired()

    def turn(self, step: int, touched: list[Outbox]) -> bool:
        """An interval is over."""
        if self._step != step:
            return False  # it was stopped in this very pass
        self._step = None
        if self._count:
            return self._gather(step, touched)
        if not self.members:
            self.retire()  # followers need none until the next tick
        return False

    def _send(self) -> None:
        touched: list[Outbox] = []
        asks = self._gather(None, touched)
        self._writer.write_gathered(touched, asks)

    def _gather(self, step: int | None, touched: list[Outbox]) -> bool:
        newest, count, known = self._newest, self._count, self._known
        self._known = {}
        self.stop()
        outboxes = [*self.members, *self._followers()]
        if not outboxes:
            self.retire()
            return False
        self._step = self._schedule.rest(self, step)
        ready = []
        for outbox in outboxes:
            told = known.get(outbox, 0)
            if not told and not outbox.behind:
                ready.append(outbox)
            elif told < count:
                self._send_to(outbox, count - told - 1, touched)
        self._writer.skipped += (count - 1) * len(ready)
        self._writer.delivered += len(ready)
        gather(ready, skipping(newest, count - 1), touched)
        asks = self._turn != self._writer.freshness.turn
        self._turn = self._writer.freshness.turn
        return asks

    def _send_to(self, outbox: Outbox, skipped: int, touched: list[Outbox]) -> None:
        self._writer.skipped += skipped
        if outbox.behind:
            outbox.park(self._symbol, [self._newest], skipped)
        else:
            self._writer.delivered += 1
            gather([outbox], skipping(self._newest, skipped), touched)
