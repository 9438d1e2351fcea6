"""A way to one Redis: a link that is made in the background, kept alive, and made again whenever it is lost.

Who has a command while there is no link waits for one, in line, up to the pipe's timeout; the attempt to connect goes
on if a caller leaves. What a command may take counts from the link that it goes over: connecting takes several round
trips.

When a caller has waited too long its link takes no new commands: what waits in a stopped Redis's buffers may still be
executed, and nothing may overtake it. If Redis answers after all the link goes on, and each late reply is still known
for what it is; otherwise the link is given up as soon as no caller waits for it. If it is lost with scripts that Redis
may still execute, the next link to the same Redis takes nothing until it is too late for them.

Every few seconds the link is asked whether it still leads to a primary. That keeps it alive where a NAT or a firewall
forgets what is silent, and finds out in time if it is dead, or if the primary has been demoted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bus.histogram import SECONDS, Histogram
from bus.redis.connection import connect
from bus.redis.link import Link, Script

__all__ = ["Pipe", "Way", "round_trips"]

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = (0.05, 0.5)
"""First and longest pause between attempts to reach Redis."""
_STEADY_SECONDS: Final = 1.0
"""After so long a link's loss is no failure of the attempt that made it."""
KEEP_SECONDS: Final = 10.0
"""How often a link is asked whether it still leads to a primary."""
_ANSWER_SECONDS: Final = 2.0
"""How long it has to answer."""
_CLOCK_SECONDS: Final = 0.002
"""What Redis's clock, which it shows in whole ms, may be behind what we know of it."""

T = TypeVar("T")

round_trips: Final = Histogram(SECONDS)
"""From a command to its reply, of all pipes of this process; without those that were not answered."""


class Way(Protocol):
    """What takes commands to where they belong: a :class:`Pipe`, or one of several."""

    @property
    def is_lost(self) -> bool: ...

    async def call(self, *command: Any) -> Any: ...

    async def perform(self, operation: Callable[[Link, float], Awaitable[T]]) -> T: ...

    def begin(self, operation: Callable[[Link, float], asyncio.Future[T]]) -> asyncio.Future[T] | None: ...


class Pipe:
    """``timeout`` bounds, in seconds, how long a caller waits for the connection, and then for the reply.

    ``scripts``: what is left with Redis as soon as there is a connection. ``opened`` is told of each link, and
    ``misplaced`` when one turned out to lead to the wrong Redis, and by which error.
    """

    def __init__(
        self,
        pool: Callable[[], ConnectionPool],
        timeout: float,
        scripts: Sequence[Script] = (),
        *,
        opened: Callable[[Link], None] = lambda _: None,
        misplaced: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._timeout = timeout
        self._scripts = scripts
        self._opened = opened
        self._misplaced = misplaced
        self._link: Link | None = None
        self._waiting: deque[asyncio.Future[Link]] = deque()
        self._keeping: asyncio.Task[None] | None = None
        self._last_run_id = ""
        self._problem: Exception | None = None
        self._closed_until = 0.0

    def start(self) -> None:
        """Connects in the background, if nothing has made it do so before."""
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    @property
    def is_lost(self) -> bool:
        """Whether there has been a connection, and is none that takes commands."""
        return bool(self._last_run_id) and (self._link is None or self._link.is_overdue)

    async def call(self, *command: Any) -> Any:
        """The reply to the command.

        Raises ``redis.exceptions.ConnectionError`` or ``TimeoutError`` if there was none, ``ResponseError`` if Redis
        refused the command.
        """
        return await self.perform(partial(self._call, command))

    async def perform(self, operation: Callable[[Link, float], Awaitable[T]], give_up: float | None = None) -> T:
        """What ``operation`` makes of the link, and of the time on the loop's clock at which it is given up.

        That is the pipe's timeout from the moment at which there is a link, or ``give_up`` where it began elsewhere.
        Raises what :meth:`call` raises. Operations send in the order in which they were started.
        """
        link = self._link
        if link is None or self._waiting:
            link = await self._connected()
        if link.is_overdue:
            link.overdue()  # the last caller that waited may have gone without aborting it
            raise RedisTimeoutError("Redis does not answer.")
        clock = asyncio.get_running_loop().time
        began = clock()
        if give_up is None:
            give_up = began + self._timeout
        elif give_up <= began:
            raise RedisTimeoutError(f"There was no connection to Redis within {self._timeout} s.")
        try:
            async with asyncio.timeout_at(give_up):
                reply = await operation(link, give_up)
        except TimeoutError:
            link.overdue()
            raise RedisTimeoutError(f"Redis did not answer within {self._timeout} s.") from None
        round_trips.add(clock() - began)
        return reply

    def begin(self, operation: Callable[[Link, float], asyncio.Future[T]]) -> asyncio.Future[T] | None:
        """Like :meth:`perform`, for who does not await; None, and nothing is done, if that is to be waited for."""
        link = self._link
        if link is None or self._waiting or not link.takes_at_once:
            return None
        loop = asyncio.get_running_loop()
        began = loop.time()
        reply = operation(link, began + self._timeout)
        timer = loop.call_at(began + self._timeout, self._give_up, link, reply)

        def ended(reply: asyncio.Future[T]) -> None:
            timer.cancel()
            if not reply.cancelled() and reply.exception() is None:
                round_trips.add(loop.time() - began)

        reply.add_done_callback(ended)
        return reply

    def _give_up(self, link: Link, reply: asyncio.Future[Any]) -> None:
        if not reply.done():
            reply.set_exception(RedisTimeoutError(f"Redis did not answer within {self._timeout} s."))
            link.overdue()

    def renew(self) -> None:
        """The connection is as good as dead: it takes no new commands, and goes as soon as no caller waits for it."""
        if self._link is not None:
            self._link.overdue()

    def replace(self, reason: Exception) -> None:
        """The connection leads to the wrong Redis: it ends at once, and another one is made."""
        if self._link is not None:
            self._problem = reason
            self._link.abort(reason)

    async def close(self) -> None:
        """Ends the connection; commands that wait for a reply fail, and so do those that wait for a connection."""
        keeping, self._keeping = self._keeping, None
        tasks = [] if keeping is None else [keeping]
        if keeping is not None:
            keeping.cancel()
        if self._link is not None:
            self._link.abort()
            tasks.append(self._link.task)
        if tasks:
            await asyncio.wait(tasks)
        self._admit(RedisConnectionError("The connection was closed."))

    async def _call(self, command: Sequence[Any], link: Link, _: float) -> Any:
        return await link.call(*command)

    async def _connected(self) -> Link:
        """The link, once there is one. Who asks first gets it first, or commands would overtake each other."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Link] = loop.create_future()
        self._waiting.append(waiter)
        self.start()
        if self._link is not None:
            loop.call_soon(self._admit)  # behind those that have been told and not come to it yet
        try:
            async with asyncio.timeout(self._timeout):
                return await waiter
        except TimeoutError:
            if self._problem is not None:  # an attempt may take longer than a caller waits, and does not change why
                raise self._problem.with_traceback(None) from None
            raise RedisTimeoutError(f"There was no connection to Redis within {self._timeout} s.") from None
        finally:
            self._waiting.remove(waiter)

    def _admit(self, error: Exception | None = None) -> None:
        """Gives the link to all who wait for it, or tells them that there is none."""
        for waiter in self._waiting:
            if waiter.done():
                continue
            if self._link is not None:
                waiter.set_result(self._link)
            elif error is not None:
                waiter.set_exception(error)

    # The connection, again and again

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause, longest = _RETRY_SECONDS
        while True:
            began = loop.time()
            try:
                await self._hold(await self._open())
            except (RedisError, OSError) as error:
                self._problem = error
                self._admit(error)
            except Exception as error:
                logger.exception("Connecting to Redis failed, trying again.")
                self._admit(RedisConnectionError(str(error)))
            if loop.time() - began > _STEADY_SECONDS:
                pause = _RETRY_SECONDS[0]
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _open(self) -> Link:
        link = await Link.open(await connect(self._pool()), self._scripts, self._lost)
        try:
            if link.run_id == self._last_run_id:
                await asyncio.sleep(self._closed_until - asyncio.get_running_loop().time())
        except BaseException:
            link.abort()
            raise
        self._last_run_id = link.run_id
        return link

    async def _hold(self, link: Link) -> None:
        """Lets everybody have the link and looks after it; returns when it is lost."""
        if link.task.done():
            return
        self._link = link
        self._problem = None
        self._admit()
        self._opened(link)
        while not (await asyncio.wait([link.task], timeout=KEEP_SECONDS))[0]:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await link.check()
            except TimeoutError:
                link.abort()
            except RedisError as error:
                logger.info("A connection to Redis is made again: %s", error)

    def _lost(self, link: Link) -> None:
        if self._link is link:
            self._link = None
            if until := link.executes_until:
                self._closed_until = until + _CLOCK_SECONDS
            if link.is_misplaced:
                self._problem = link.reason
                self._misplaced(link.reason)
