"""The group memberships of this process: joined for the first local subscriber of a symbol, left after the last.

Theory of operation. ``_holds`` says how many subscribers want a symbol, ``_joined`` which groups the process is a
member of. Whatever changes the first only wakes one reconciling task, which makes the second follow: it joins what is
held and not joined, leaves what nobody has held for the delay, and ends when there is nothing left to do. One task
makes all changes, so a join and a leave of the same symbol never overlap, and everything that was asked for while the
bus was busy goes to it in one batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias

logger = logging.getLogger(__name__)

__all__ = ["Memberships", "Turn"]

Change: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]
Turn: TypeAlias = Callable[[], Awaitable[None]]


class Memberships:
    """Counts who wants which symbol and keeps the process a member of exactly those groups.

    ``join`` and ``leave`` change the memberships of a batch of symbols; ``delay`` is how long a symbol without holders
    keeps its membership, in seconds, so that a client that reconnects or flips a page costs the bus nothing. Those who
    waited for a join, maybe all of a crowd, go on one after the other, as ``turn`` lets them.
    """

    def __init__(self, join: Change, leave: Change, delay: float, turn: Turn | None = None) -> None:
        self._join = join
        self._turn = turn
        self._leave = leave
        self._delay = delay
        self._holds: dict[str, int] = {}
        self._joined: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._expiring: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def joined(self) -> Collection[str]:
        """The symbols whose groups this process is a member of."""
        return self._joined

    async def acquire(self, symbols: Collection[str]) -> None:
        """Holds every symbol once more; when it returns their groups are joined.

        If the bus refuses, the error is raised and nothing is held.
        """
        for symbol in symbols:
            self._holds[symbol] = self._holds.get(symbol, 0) + 1
            self._expiring.pop(symbol, None)
        missing = [symbol for symbol in symbols if symbol not in self._joined]
        if not missing:
            return
        try:
            await asyncio.gather(*(asyncio.shield(self._promise(symbol)) for symbol in missing))
            if self._turn is not None:
                await self._turn()
        except BaseException:
            self.release(symbols)
            raise

    def release(self, symbols: Collection[str]) -> None:
        """Gives back one hold of every symbol; a group nobody holds is left after the delay."""
        deadline = asyncio.get_running_loop().time() + self._delay
        for symbol in symbols:
            self._holds[symbol] -= 1
            if not self._holds[symbol]:
                del self._holds[symbol]
                self._expiring[symbol] = deadline
        self._schedule_leave()

    def _promise(self, symbol: str) -> asyncio.Future[None]:
        """The future that is done when the group of ``symbol`` is joined."""
        future = self._waiting.get(symbol)
        if future is None:
            future = self._waiting[symbol] = asyncio.get_running_loop().create_future()
            self._wake()
        return future

    def _wake(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._reconcile())

    async def _reconcile(self) -> None:
        try:
            while await self._join_wanted() or await self._leave_expired():
                pass
        finally:
            self._task = None
            self._schedule_leave()

    async def _join_wanted(self) -> bool:
        wanted = list(self._waiting)
        if not wanted:
            return False
        try:
            await self._join(wanted)
        except Exception as error:  # whatever the bus raised belongs to those who wait for it
            self._settle(wanted, error)
        else:
            self._joined.update(wanted)
            self._settle(wanted, None)
        return True

    def _settle(self, symbols: Sequence[str], error: Exception | None) -> None:
        for symbol in symbols:
            future = self._waiting.pop(symbol)
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # marks it as seen: everybody who waited may have left

    async def _leave_expired(self) -> bool:
        now = asyncio.get_running_loop().time()
        expired = [symbol for symbol, deadline in self._expiring.items() if deadline <= now]
        for symbol in expired:
            del self._expiring[symbol]
        leaving = [symbol for symbol in expired if symbol in self._joined]
        if not leaving:
            return False
        # From here on an acquire waits for a new join, which this task makes after the leave.
        self._joined.difference_update(leaving)
        try:
            await self._leave(leaving)
        except Exception:
            logger.exception("Leaving %d groups failed; their ticks are ignored.", len(leaving))
        return True

    def _schedule_leave(self) -> None:
        if self._expiring and self._timer is None and self._task is None:
            # The delay is the same for all, so the first in is the first to expire.
            deadline = next(iter(self._expiring.values()))
            self._timer = asyncio.get_running_loop().call_at(deadline, self._on_expiry)

    def _on_expiry(self) -> None:
        self._timer = None
        self._wake()
