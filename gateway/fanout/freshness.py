"""Finds the clients that read what is no longer new.

A socket takes megabytes before it is full, most of them in the client's own system: at 25 ticks a second that is an
hour. So what waits is measured in time. Every half second of the staleness that is allowed a client is sent a ping
behind its ticks (gateway/fanout/window.py); one that has not answered when that time is over is behind.

A ping goes out behind the ticks of a pass, so a client that is sent nothing is asked nothing. Ping and pong cost
several times what a delivery does, so of many clients a part is asked at a time: two hundred a second, or one for two
hundred ticks.

A client at the end of a line that carries less than its ticks is found sooner, before seconds of them are on their way:
while it owes an answer, what waits in our own system is compared with what the line has taken since.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Final

from gateway.fanout.outbox import Outbox

__all__ = ["Freshness"]

_TURNS: Final = 16
"""Turns in the time that is allowed. In each of them a stream asks at most once."""
_FEW: Final = 8
"""Clients that are asked in one turn in any case."""
_DELIVERIES: Final = 1_000
"""Ticks delivered for each client that is asked, where that is more."""
_PATIENCE: Final = 10
"""How long a client's line is looked at that has never answered, in times of what is allowed."""
_NEW: Final = 4
"""Answers that a new client has given when it is not new any more."""
_LITTLE: Final = 8_192
"""Bytes on their way that are no sign of a slow line."""


class Freshness:
    """Asks the clients of one process how far they have read."""

    def __init__(self, staleness: float) -> None:
        """``staleness``: in seconds; 0 asks nobody."""
        self.staleness = staleness
        self.turn = 0
        """Counts up; who writes to clients asks some of them once in a turn."""
        self.asked = 0
        self.stale = 0
        """Clients that fell behind because of what they had not read."""
        self._now = 0.0
        self._room = 0
        self._delivered = 0
        self._rest: asyncio.Future[None] | None = None
        """Ends with the next who asks: no turns pass while nothing is sent and nobody owes an answer."""
        self._owing: dict[Outbox, tuple[float, int] | None] = {}
        """Who owes an answer; when its line was looked at, and what it had taken by then."""

    def ask(self, outboxes: Iterable[Outbox]) -> None:
        """Asks those of ``outboxes`` whose turn it is whether they have read what was just written to them."""
        if (rest := self._rest) is not None:
            rest.set_result(None)
            self._rest, self._now = None, rest.get_loop().time()
        now, room = self._now, self._room
        if room <= 0:
            return
        due = [outbox for outbox in outboxes if outbox.due <= now and not outbox.behind]
        if len(due) > room:
            due = heapq.nsmallest(room, due, key=attrgetter("due"))
        self._room -= len(due)
        self.asked += len(due)
        for outbox in due:
            self._owing[outbox] = None
            outbox.write(outbox.ask())

    def next_turn(self, now: float, delivered: int) -> None:
        """``delivered``: ticks, since the start."""
        # What a stall of this process kept from being read is no fault of the clients.
        is_on_time = now - self._now < 2 * self.staleness / _TURNS
        self.turn += 1
        self._now = now
        self._room = max(_FEW, (delivered - self._delivered) // _DELIVERIES)
        self._delivered = delivered
        if is_on_time:
            for outbox in list(self._owing):
                self._look_at(outbox)

    async def run(self, delivered: Callable[[], int]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before, count = self._delivered, delivered()
            self.next_turn(loop.time(), count)
            if count == before and not self._owing:
                self._rest = loop.create_future()
                try:
                    await self._rest
                finally:
                    self._rest = None
            else:
                await asyncio.sleep(self.staleness / _TURNS)

    def _look_at(self, outbox: Outbox) -> None:
        owing = self._now - outbox.since
        if outbox.behind and not outbox.answers:
            self._wait_for_the_line(outbox)
        elif owing < 0 or outbox.behind:
            del self._owing[outbox]
        elif (owing > self.staleness and outbox.answers) or self._is_line_slow(outbox):
            if outbox.answers:
                del self._owing[outbox]
            self.stale += 1
            outbox.lag()
        elif not outbox.answers:
            if owing > _PATIENCE * self.staleness:
                del self._owing[outbox]
        elif owing > self.staleness / 4:
            outbox.write(outbox.ask())  # the answers will tell that it reads, if not what is new

    def _wait_for_the_line(self, outbox: Outbox) -> None:
        """Of a client that answers no pings the system is asked what it has taken."""
        queue = outbox.queue
        if outbox.stuffed or queue is None or not queue.waiting:
            del self._owing[outbox]
            if not outbox.stuffed:
                outbox.drained()

    def _is_line_slow(self, outbox: Outbox) -> bool:
        queue = outbox.queue
        if queue is None or queue.waiting < _LITTLE:
            self._owing[outbox] = None
            return False
        before = self._owing[outbox]
        if before is None:
            self._owing[outbox] = self._now, queue.acknowledged
            return False
        seconds = self._now - before[0]
        taken = queue.acknowledged - before[1]
        if seconds < max(2 * queue.round_trip, self.staleness * _watched(outbox.answers, taken)):
            return False
        self._owing[outbox] = self._now, queue.acknowledged
        return queue.waiting * seconds > taken * self.staleness


def _watched(answers: int, taken: int) -> float:
    """How long a line is watched before it is judged, in times of what is allowed.

    One that takes nothing may just have a reader that pauses. On a new one every moment brings what it has to carry
    later, and a client that is wrongly held to be behind is back after a round trip.
    """
    if answers < _NEW:
        return 1 / (2 * _TURNS)  # the next turn
    return 1 / 4 if taken else 1 / 2
