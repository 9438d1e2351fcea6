"""The way to the node of a cluster that has a bucket: a pipe that is looked up anew for each operation.

A node that does not have the bucket (MOVED), or has a part of it (ASK, TRYAGAIN), or whose cluster is down, refuses an
operation as a whole. It is then sent again, once it is known where the bucket is, in the order of the calls: while one
waits for that, those that came after it wait behind it. What a later one has overtaken all the same fails.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from bisect import insort
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, Generic, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bus.redis.link import Link
from bus.redis.pipe import Pipe
from bus.redis.traffic import Traffic

__all__ = ["Route", "is_elsewhere"]

_ELSEWHERE: Final = re.compile(r"^(?:MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b|non local key|cluster is down")
_REST: Final = 0.75
"""The part of the timeout in which an operation may be sent again: what is left is for it to be carried out."""

T = TypeVar("T")


def is_elsewhere(error: object) -> bool:
    """Whether a node says that it does not serve a bucket now; nothing was carried out."""
    return _ELSEWHERE.search(str(error)) is not None


class Route:
    """Does what a ``Pipe`` does. ``find`` has the bucket's pipe, if it is known where the bucket is, and ``news``
    returns when the cluster has been asked for it. ``traffic`` is that of its node, of which operations are a part.
    ``is_ordered``: an operation fails that a later one has overtaken.
    """

    def __init__(
        self,
        timeout: float,
        find: Callable[[], Pipe | None],
        news: Callable[[], Awaitable[None]],
        traffic: Callable[[], Traffic | None] = lambda: None,
        *,
        is_ordered: bool = True,
    ) -> None:
        self._timeout = timeout
        self._find = find
        self._news = news
        self._traffic = traffic
        self._is_ordered = is_ordered
        self._numbers = itertools.count()
        self._done = -1
        """The last call of those that were carried out."""
        self._under_way = 0
        self._line: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits to be sent, by the numbers of their calls."""
        self._starting = 0
        """Those of them that may go, and have not yet."""
        self._waking: asyncio.Task[None] | None = None

    @property
    def is_lost(self) -> bool:
        pipe = self._find()
        return pipe is None or pipe.is_lost

    @property
    def is_busy(self) -> bool:
        """Whether operations, of any bucket of its node, are under way."""
        traffic = self._traffic()
        return traffic is not None and traffic.is_busy

    def join(self, go: Callable[[], None]) -> None:
        """Calls ``go`` when none are, together with all others of the node that wait for it."""
        traffic = self._traffic()
        if traffic is None:
            asyncio.get_running_loop().call_soon(go)
        else:
            traffic.join(go)

    async def call(self, *command: Any) -> Any:
        return await self.perform(partial(_call, command))

    async def perform(self, operation: Callable[[Link, float], Awaitable[T]]) -> T:
        """As ``Pipe.perform``; operations are carried out in the order in which they were started."""
        number = next(self._numbers)
        clock = asyncio.get_running_loop().time
        why: Exception = RedisConnectionError("No node is known to have it.")
        until = clock() + self._timeout
        is_next = False
        while self._find() is None:  # as a pipe waits for its connection
            await self._turn(number, until, why)
            is_next = True
        give_up = clock() + self._timeout
        is_refused = False
        while True:
            if is_refused or (not is_next and (self._line or self._starting)):
                await self._turn(number, give_up - (1 - _REST) * self._timeout, why)
            if self._is_ordered and self._done > number:
                raise RedisConnectionError("It was overtaken while its part of the cluster moved.")
            is_refused = True
            pipe = self._find()
            if pipe is None:
                continue
            attempt = _Attempt(operation)
            self._under_way += 1
            try:
                with self._traffic() or nullcontext():
                    answer = await pipe.perform(attempt, give_up)
            except ResponseError as error:
                if not is_elsewhere(error):
                    raise
                why = error
            except (RedisError, OSError) as error:
                if attempt.is_made:
                    raise
                why = error
            else:
                self._done = max(self._done, number)
                return answer
            finally:
                self._under_way -= 1
                self._check()

    async def _turn(self, number: int, until: float, why: Exception) -> None:
        """Waits until it may be sent (again)."""
        place = number, asyncio.get_running_loop().create_future()
        insort(self._line, place, key=lambda other: other[0])
        self._check()
        try:
            async with asyncio.timeout_at(until):
                await place[1]
        except TimeoutError:
            raise RedisTimeoutError(f"This part of the cluster is not served now ({why}).") from None
        finally:
            if place in self._line:
                self._line.remove(place)
            else:
                self._starting -= 1
            self._check()

    def begin(self, operation: Callable[[Link, float], asyncio.Future[T]]) -> None:
        """As ``Pipe.begin``: what may have to be sent again is always to be waited for."""

    def _check(self) -> None:
        """Lets those who wait go when nothing is under way any more, and the cluster has been asked."""
        if self._line and not self._under_way and not self._starting and self._waking is None:
            self._waking = asyncio.get_running_loop().create_task(self._wake())

    async def _wake(self) -> None:
        try:
            await self._news()
            line, self._line = self._line, []
            self._starting += len(line)
            for _, waiter in line:
                if not waiter.done():
                    waiter.set_result(None)
        finally:
            self._waking = None


class _Attempt(Generic[T]):
    """An operation, and whether it came so far that a node may have got it."""

    def __init__(self, operation: Callable[[Link, float], Awaitable[T]]) -> None:
        self._operation = operation
        self.is_made = False

    def __call__(self, link: Link, give_up: float) -> Awaitable[T]:
        self.is_made = True
        return self._operation(link, give_up)


async def _call(command: tuple[Any, ...], link: Link, _: float) -> Any:
    return await link.call(*command)
