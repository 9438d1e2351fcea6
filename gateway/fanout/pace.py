"""Conflation by choice: one symbol at one rate, for all the clients that chose that rate.

The first tick after quiet goes out at once, and then at most one every interval, the newest, so the last one always
arrives. Before a tick that others were left out for comes a receipt that says how many. Choosing the newest, the timer
and the frame are work for all of them together.
"""

from __future__ import annotations

import asyncio

from gateway.fanout.outbox import Outbox
from gateway.fanout.writer import Writer
from gateway.protocol.messages import conflated_frame

__all__ = ["Pace"]


class Pace:
    """Sends the ticks of ``symbol`` to its members, at most ``rate`` a second."""

    __slots__ = ("_count", "_interval", "_members", "_newest", "_symbol", "_timer", "_turn", "_writer")

    def __init__(self, symbol: str, rate: float, writer: Writer) -> None:
        self._symbol = symbol
        self._writer = writer
        self._interval = 1 / rate
        # A member's number says how many of the ticks that wait came before it did: it knows them from its snapshot.
        self._members: dict[Outbox, int] = {}
        self._newest = b""
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0
        """In which it asked its members last how far they have read."""

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> list[Outbox]:
        return list(self._members)

    @property
    def is_settled(self) -> bool:
        """Whether every member has the newest tick."""
        return not self._count

    def add(self, outbox: Outbox) -> None:
        """Takes in a client that holds the newest tick."""
        self._members[outbox] = self._count

    def remove(self, outbox: Outbox) -> None:
        self._members.pop(outbox, None)
        if not self._members:
            self.stop()

    def offer(self, newest: bytes, count: int) -> None:
        """``count`` more ticks came, of which ``newest`` is the last."""
        self._newest = newest
        self._count += count
        if self._timer is None:
            self._send()

    def flush(self) -> None:
        """Sends what waits now, ahead of its time."""
        if self._count:
            if self._timer is not None:
                self._timer.cancel()
            self._send()

    def release(self, outbox: Outbox) -> None:
        """Lets go of a member that goes on another way, with what waits for it."""
        if self._count > self._members[outbox]:
            self._send_to(outbox, self._count - self._members[outbox] - 1)
        self.remove(outbox)

    def stop(self) -> None:
        """Lets go of what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._count = 0

    def _on_time(self) -> None:
        self._timer = None
        if self._count:
            self._send()

    def _send(self) -> None:
        newest, count = self._newest, self._count
        self._count = 0
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_time)
        ready = []
        for outbox, known in list(self._members.items()):
            if known:
                self._members[outbox] = 0
                if known < count:
                    self._send_to(outbox, count - known - 1)
            elif outbox.behind:
                self._send_to(outbox, count - 1)
            else:
                ready.append(outbox)
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
