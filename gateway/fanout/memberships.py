"""The group memberships of this process: joined for the first local subscriber of a symbol, left after the last.

Theory of operation. ``_holds`` says how many subscribers want a symbol, ``_joined`` which groups the process is a
member of. Whatever changes the first only wakes one reconciling task, which makes the second follow: it joins what is
held and not joined, leaves what nobody has held for the delay, and ends when there is nothing left to do. One task
makes all changes, so a join and a leave of the same symbol never overlap, and everything that was asked for while the
bus was busy goes to it in one batch.

Where the bus has several hosts each has a lane with a task of its own, so that nobody waits for another's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Sequence
from typing import TypeAlias

logger = logging.getLogger(__name__)

__all__ = ["Memberships", "Turn"]

Change: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]
Turn: TypeAlias = Callable[[], Awaitable[None]]


class Memberships:
    """Counts who wants which symbol and keeps the process a member of exactly those groups.

    ``join`` and ``leave`` change the memberships of a batch of symbols; ``delay`` is how long a symbol without holders
    keeps its membership, in seconds, so that a client that reconnects or flips a page costs the bus nothing. Those who
    waited for a join, maybe all of a crowd, go on one after the other, as ``turn`` lets them. ``lane``: a symbol's.
    """

    def __init__(
        self,
        join: Change,
        leave: Change,
        delay: float,
        turn: Turn | None = None,
        lane: Callable[[str], Hashable] = lambda _: None,
    ) -> None:
        self._join = join
        self._turn = turn
        self._leave = leave
        self._delay = delay
        self._lane = lane
        self._holds: dict[str, int] = {}
        self._joined: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._expiring: dict[str, float] = {}
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def joined(self) -> Collection[str]:
        """The symbols whose groups this process is a member of."""
        return self._joined

    def is_wanted(self, symbol: str) -> bool:
        """Whether this process is a member of the group, or about to be."""
        return symbol in self._joined or symbol in self._waiting

    async def acquire(self, symbols: Collection[str]) -> None:
        """Holds every symbol once more; when it returns their groups are joined.

        If the bus refuses, the error is raised and nothing is held.
        """
        if self.acquire_at_once(symbols):
            return
        self._hold(symbols)
        missing = [symbol for symbol in symbols if symbol not in self._joined]
        try:
            await asyncio.gather(*(asyncio.shield(self._promise(symbol)) for symbol in missing))
            if self._turn is not None:
                await self._turn()
        except BaseException:
            self.release(symbols)
            raise

    def acquire_at_once(self, symbols: Collection[str]) -> bool:
        """The same if their groups are joined; False, and nothing is held, if they are not."""
        if not self._joined.issuperset(symbols):
            return False
        self._hold(symbols)
        return True

    def _hold(self, symbols: Collection[str]) -> None:
        for symbol in symbols:
            self._holds[symbol] = self._holds.get(symbol, 0) + 1
            self._expiring.pop(symbol, None)

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
            self._wake(self._lane(symbol))
        return future

    def _wake(self, lane: Hashable) -> None:
        if lane not in self._tasks:
            self._tasks[lane] = asyncio.get_running_loop().create_task(self._reconcile(lane))

    async def _reconcile(self, lane: Hashable) -> None:
        try:
            while await self._join_wanted(lane) or await self._leave_expired(lane):
                pass
        finally:
            del self._tasks[lane]
            self._schedule_leave()

    def _of(self, lane: Hashable, symbols: Iterable[str]) -> list[str]:
        return [symbol for symbol in symbols if self._lane(symbol) == lane]

    async def _join_wanted(self, lane: Hashable) -> bool:
        wanted = self._of(lane, self._waiting)
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

    async def _leave_expired(self, lane: Hashable) -> bool:
        expired = self._of(lane, self._expired())
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

    def _expired(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        return [symbol for symbol, deadline in self._expiring.items() if deadline <= now]

    def _schedule_leave(self) -> None:
        if not self._expiring or self._timer is not None:
            return
        # The delay is the same for all, so the first in is the first to expire. A task looks for itself.
        idle = (deadline for symbol, deadline in self._expiring.items() if self._lane(symbol) not in self._tasks)
        deadline = next(idle, None)
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._on_expiry)

    def _on_expiry(self) -> None:
        self._timer = None
        for lane in set(map(self._lane, self._expired())):
            self._wake(lane)
        self._schedule_leave()
