"""How far a client has read: pings among its ticks, and the pongs that answer them in order.

What a socket took may lie for minutes in the client's system, acknowledged and unread, where no count of bytes sees it.
A ping is answered when the client has read what stands before it. TCP keeps the order, and so do WebSocket libraries.
"""

from __future__ import annotations

import math

from gateway.protocol.frames import ping_frame

__all__ = ["Window"]


class Window:
    """What was written to one client up to a ping that it has not answered.

    While a client keeps up that only says since when it owes an answer. For one that is behind it bounds what may be
    under way, as TCP's window does: more while pings come back promptly, less when they do not.
    """

    __slots__ = ("_asked", "_limit", "_settled", "_size", "_taken", "_under_way", "answers")

    def __init__(self) -> None:
        self._asked = 0
        self._under_way: list[tuple[int, float, int]] = []
        """The number of each ping that was not answered, when it was written, and how many bytes with it."""
        self._size = 0
        self._taken = 0
        """Bytes that the last answer told of."""
        self._limit = 1
        self._settled = 0
        """The last ping that was under way when the limit was set: no answer up to it tells of the new one."""
        self.answers = 0
        """How many pings were answered. All must be; while none was, silence says nothing."""

    @property
    def since(self) -> float:
        """When the oldest ping was written that was not answered."""
        return self._under_way[0][1] if self._under_way else math.inf

    @property
    def is_idle(self) -> bool:
        """Whether every ping was answered."""
        return not self._under_way

    @property
    def room(self) -> int:
        """Bytes that may be written to a client that is behind: none if 0 or less; if more, one message at least."""
        return self._limit - self._size

    def ask(self, now: float, size: int = 1) -> bytes:
        """The ping behind the next ``size`` bytes; without any it counts as one, and so is waited for."""
        self._asked += 1
        self._under_way.append((self._asked, now, size))
        self._size += size
        return ping_frame(self._asked)

    def answered(self, number: int, now: float) -> float | None:
        """The client has read up to the ping of that number; returns how long it took. None: nobody asked for that."""
        latency = None
        before = self._size
        while self._under_way and self._under_way[0][0] <= number <= self._asked:
            _, then, size = self._under_way.pop(0)
            self._size -= size
            latency = now - then
            self.answers += 1
        self._taken = before - self._size
        return latency

    def close(self) -> None:
        """The client has fallen behind: begins with one message at a time."""
        self._limit, self._settled = 1, self._asked

    def adapt(self, number: int, latency: float, target: float, is_full: bool) -> None:
        """Sets the limit by an answer, at most once in a round trip. ``is_full``: more would have been written."""
        if number <= self._settled:
            return
        if latency <= target and is_full:
            self._limit = 2 * max(self._limit, self._taken)
        elif latency > 2 * target:
            self._limit = max(1, min(self._limit, self._size + self._taken) // 2)
        else:
            return
        self._settled = self._asked
