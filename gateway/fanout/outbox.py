"""What is on its way to one client, and what happens when the client does not take it.

While the client keeps up nothing is kept: a frame goes to its socket in the call that delivers it. When the socket is
full the client is *behind*: from then on the outbox holds the newest frame of each symbol, in the order in which the
symbols first fell behind, so what waits is bounded by what the client subscribed to. When the socket has drained, all
of it goes out in one write: answers, receipts that say how many ticks of which symbol were skipped and why, and the
newest ticks. A client that does not drain in time is closed.

Delivery is synchronous and never awaits a socket.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from itertools import compress
from operator import not_
from typing import Protocol

from gateway.protocol.codes import SLOW_CONSUMER, Closure
from gateway.protocol.messages import closing_frame, conflated_frame
from gateway.wires.io_uring import ROOM, Ring
from gateway.wires.wire import Wire

__all__ = ["Outbox", "Owner", "write_each"]


class Owner(Protocol):
    """Whoever writes to outboxes without looking at each."""

    def fell_behind(self, outbox: Outbox) -> None:
        """From now on nothing may be written to the client but through ``park``, ``reply`` and ``report``."""

    def came_back(self, outbox: Outbox) -> None:
        """The client keeps up again."""


class Outbox:
    """The outgoing side of one client.

    ``send`` hands frames straight to the socket: for an owner that knows the client is not behind, and calls ``took``
    if the socket did not take all.
    """

    __slots__ = (
        "_closed",
        "_counts",
        "_deadline",
        "_notes",
        "_owner",
        "_parked",
        "_patience",
        "_rated",
        "_waiting",
        "_wire",
        "behind",
        "descriptor",
        "gathered",
        "send",
        "skipped",
    )

    def __init__(self, wire: Wire, patience: float, owner: Owner | None = None) -> None:
        """``patience``: how long the client may stay behind before it is closed, in seconds."""
        self._wire = wire
        self._patience = patience
        self._owner = owner
        self._notes: list[bytes] = []
        self._parked: dict[str, bytes] = {}
        self._counts: dict[str, int] = {}
        self._rated: dict[str, int] = {}
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False
        self.behind = False
        self.gathered: list[bytes] = []
        self.skipped = 0
        wire.open(self)
        self.send = wire.send
        self.descriptor = wire.fileno()
        """Of the socket that ``send`` writes to with nothing in between; -1 if there is no such, or not any more."""

    @property
    def is_tidy(self) -> bool:
        """Whether the client, when it is gone, leaves nothing for the garbage collector."""
        return self._wire.is_tidy

    def write(self, frames: bytes) -> None:
        """Sends frames to a client that is not behind. What stands here is paid for every client and pass."""
        try:
            sent = self.send(frames)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the connection is gone; the server finds out when it reads
        if sent != len(frames):
            self.took(frames, sent)

    def took(self, frames: bytes, sent: int) -> None:
        """The socket took only the first ``sent`` bytes of ``frames``: the client is behind."""
        self._wire.finish(frames[sent:])
        self._fall_behind()

    def collect(self) -> bytes:
        """Hands out what a pass gathered, to be sent in one write."""
        gathered = self.gathered
        frames = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        gathered.clear()
        return frames

    def park(self, symbol: str, newest: bytes, count: int) -> None:
        """Keeps the newest of ``count`` ticks of ``symbol`` for a client that is behind."""
        self._parked[symbol] = newest
        self._counts[symbol] = self._counts.get(symbol, 0) + count

    def skip(self, symbol: str, count: int) -> None:
        """Notes for a client that is behind that ``count`` ticks were left out because of the rate it chose.

        The tick behind them is parked next.
        """
        if count:
            self._rated[symbol] = self._rated.get(symbol, 0) + count

    def reply(self, frame: bytes) -> None:
        """Sends an answer; to a client that is behind, ahead of the ticks that wait."""
        if not self.behind:
            self.write(frame)
        elif not self._closed:
            self._notes.append(frame)

    def report(self, symbol: str, frame: bytes) -> None:
        """Sends what is to be known between the ticks of ``symbol`` before it and those behind it."""
        if symbol in self._parked and not self._closed:
            newest = self._parked.pop(symbol)
            self._notes += [*self._receipts([symbol]), newest]
        self.reply(frame)

    def forget(self, symbol: str) -> bool:
        """Drops what waits of a symbol whose subscription ends or begins anew; says whether anything did."""
        self._rated.pop(symbol, None)
        if self._counts.pop(symbol, None) is None:
            return False
        del self._parked[symbol]
        return True

    async def caught_up(self) -> None:
        """Returns when the client is not behind."""
        while self.behind and not self._closed:
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiting)

    def close(self, closure: Closure) -> None:
        """Ends the connection with ``closure``; nothing is delivered any more."""
        if not self._closed:
            if closure.announced and not self.behind:
                self.write(closing_frame(closure))
            self._wire.close(closure)
            self.let_go()

    def discard(self) -> None:
        """The client is gone: lets go of everything."""
        self.let_go()
        self._wire.release()

    def let_go(self) -> None:
        """Nothing is delivered any more."""
        self._closed = True
        self.descriptor = -1
        self._set_behind()  # so that no pass writes to it
        self._notes.clear()
        self._parked.clear()
        self._counts.clear()
        self._rated.clear()
        self._settle()

    def _set_behind(self) -> None:
        if not self.behind:
            self.behind = True
            if self._owner is not None:
                self._owner.fell_behind(self)

    def _fall_behind(self) -> None:
        if self._closed:
            return
        self._set_behind()
        self._deadline = asyncio.get_running_loop().call_later(self._patience, self.close, SLOW_CONSUMER)
        self._wire.pause_reading()

    def drained(self) -> None:
        """The wire has sent all it was given."""
        if self._closed:
            return
        self.behind = False
        if self._owner is not None:
            self._owner.came_back(self)
        self._settle()
        self._wire.resume_reading()
        if self._parked or self._notes:
            self.write(self._take_parked())

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._waiting is not None:
            self._waiting.set_result(None)
            self._waiting = None

    def _take_parked(self) -> bytes:
        frames = b"".join([*self._notes, *self._receipts(list(self._parked)), *self._parked.values()])
        self._notes.clear()
        self._parked.clear()
        return frames

    def _receipts(self, symbols: list[str]) -> list[bytes]:
        """Receipts for what was skipped before the newest of ``symbols``, which then is settled."""
        rated = {symbol: self._rated.pop(symbol) for symbol in symbols if symbol in self._rated}
        slow = {symbol: count - 1 for symbol in symbols if (count := self._counts.pop(symbol)) > 1}
        self.skipped += sum(slow.values())
        return [conflated_frame(reason, skipped) for reason, skipped in (("rate", rated), ("slow", slow)) if skipped]


def write_each(outboxes: Sequence[Outbox], messages: Sequence[bytes], ring: Ring | None) -> None:
    """Writes to each client, none of which is behind, what is its own."""
    if ring is None or len(outboxes) < ring.worth:
        for outbox, frames in zip(outboxes, messages, strict=True):
            outbox.write(frames)
        return
    if min(outbox.descriptor for outbox in outboxes) < 0 or max(map(len, messages)) > ROOM:
        # One that has more than a ring can carry is worth a call of its own.
        alone = [outbox.descriptor < 0 or len(frames) > ROOM for outbox, frames in zip(outboxes, messages, strict=True)]
        write_each(list(compress(outboxes, alone)), list(compress(messages, alone)), None)
        outboxes = list(compress(outboxes, map(not_, alone)))
        messages = list(compress(messages, map(not_, alone)))
    descriptors = array("I", [outbox.descriptor for outbox in outboxes])
    for index, sent in ring.send_each(descriptors, messages):
        outboxes[index].took(messages[index], sent)
