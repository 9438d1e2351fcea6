"""Shares the turns of the event loop, so that what clients ask for is done little by little, with ticks in between.

A turn of asyncio's loop does all that has become ready, however much that is: a thousand sockets that became readable,
or a thousand commands that arrived, come before the next tick is even read from the bus's socket. So whatever a client
can cause takes a turn here. A few turns are given at once, which costs next to nothing. The others wait in line, first
come first served, and the loop looks at its sockets, the bus's among them, between one few and the next.

How many are a few follows from how long the loop's turns take, since what a turn given here costs in the end cannot be
told in advance: a command is one, whether it names one symbol or a thousand.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

__all__ = ["SHORT_SECONDS", "Turns"]

logger = logging.getLogger(__name__)

SHORT_SECONDS: Final = 0.002
"""How long a turn of the loop may take, in processor time. After a longer one fewer are given; where it was the machine
that was busy, that would help nobody.
"""
_MOST: Final = 8
"""How many are given in a turn of the loop while all goes quickly."""


class Turns:
    """Gives turns on the running loop, one line for all who ask this object."""

    __slots__ = ("_began", "_is_running", "_left", "_most", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._most = _MOST
        self._left = 0
        self._began = 0.0
        self._is_running = False
        """Whether ``_run`` is due in the next turn of the loop."""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def at_once(self) -> bool:
        """Whether the caller may do its work now. If not, it has to wait in line."""
        if not self._is_running:
            self._begin(time.thread_time())
        if self._left <= 0 or self._waiting:
            return False
        self._left -= 1
        return True

    def add(self, work: Callable[[], object]) -> None:
        """Has ``work`` done when its turn has come."""
        self._waiting.append(work)
        if not self._is_running:
            self._begin(time.thread_time())

    async def take(self) -> None:
        """Returns when it is the caller's turn."""
        if not self.at_once():
            turn = asyncio.get_running_loop().create_future()
            self.add(partial(_give, turn))
            await turn

    def _begin(self, now: float) -> None:
        self._began = now
        self._left = self._most
        self._is_running = True
        asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        """Once a turn of the loop, as long as there is something to do."""
        now = time.thread_time()
        if now - self._began > SHORT_SECONDS:
            self._most = max(1, self._most // 2)
        else:
            self._most = min(_MOST, self._most + 1)
        if not self._waiting:
            self._is_running = False
            return
        self._begin(now)
        while self._waiting and self._left > 0:
            self._left -= 1
            try:
                self._waiting.popleft()()
            except Exception:
                logger.exception("What a client asked for failed in its turn")
            if time.thread_time() - now > SHORT_SECONDS / 2:
                self._left = 0


def _give(turn: asyncio.Future[None]) -> None:
    if not turn.done():  # the caller may have given up
        turn.set_result(None)
