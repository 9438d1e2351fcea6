"""How long our own server waits for whom, and whom it looks at when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Rota", "Timeouts"]

T = TypeVar("T")


@dataclass(frozen=True)
class Timeouts:
    """All in seconds, of a clock that nobody sets."""

    ping: float = 18.0
    """Silence of a WebSocket client after which it is pinged."""

    pong: float = 7.0
    """Silence after the ping, after which the client is taken for gone. Both are looked at in whole rounds, so a
    half-open connection is found at the latest after ``ping + pong + 2 * round``: 27 seconds.
    """

    handshake: float = 20.0
    """For a WebSocket's handshake. 5,000 clients that come at once run into Autobahn's own limit of 5."""

    closing: float = 3.0
    """For the answer to a close frame; what the client has not read by then is lost to it."""

    head: float = 10.0
    """For the line and headers of a request, from its first byte, and for the first byte of a new connection."""

    body: float = 30.0
    """For a request's body, from the end of its headers."""

    answer: float = 60.0
    """For the application's response to a request that is complete."""

    idle: float = 60.0
    """Between a response and the next request on its connection."""

    round: float = 1.0
    """Between two rounds of the server's housekeeping."""


class Rota(Generic[T]):
    """Who is looked at in which round: nobody before it is due, as a look at each of thousands is not free."""

    def __init__(self, round_seconds: float) -> None:
        self._round_seconds = round_seconds
        self._now = 0
        self._rounds: dict[int, dict[T, None]] = {}
        self._round_of: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._round_of)

    def put(self, whom: T, seconds: float) -> None:
        """Has it looked at in the first round that is so many seconds away, and in the next one if that is now."""
        self.remove(whom)
        due = self._now + max(1, math.ceil(seconds / self._round_seconds))
        self._round_of[whom] = due
        self._rounds.setdefault(due, {})[whom] = None

    def remove(self, whom: T) -> None:
        due = self._round_of.pop(whom, None)
        if due is not None:
            del self._rounds[due][whom]

    def turn(self) -> list[T]:
        """Goes on to the next round: those who are due, who are no longer on the rota."""
        self._now += 1
        due = list(self._rounds.pop(self._now, ()))
        for whom in due:
            del self._round_of[whom]
        return due
