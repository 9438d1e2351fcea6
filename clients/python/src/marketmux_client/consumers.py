"""Who iterates over a client: one task at a time."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable

from .events import Event

__all__ = ["Consumers"]


class Iteration:
    """What one ``async for`` goes over. It is gone as soon as that is left, however it was left."""

    def __init__(self, take: Callable[[], Awaitable[Event]], task: asyncio.Task[object] | None) -> None:
        self._take = take
        self.task = task

    def __aiter__(self) -> Iteration:
        return self

    async def __anext__(self) -> Event:
        return await self._take()


class Consumers:
    """Knows the iteration that is under way."""

    def __init__(self) -> None:
        self._last: Callable[[], Iteration | None] = lambda: None

    def begin(self, take: Callable[[], Awaitable[Event]]) -> Iteration:
        """Raises RuntimeError while another task iterates. A loop within the loop of the same task takes turns."""
        task = asyncio.current_task()
        last = self._last()
        if last is not None and last.task is not None and last.task is not task and not last.task.done():
            raise RuntimeError(f"{last.task.get_name()} iterates over this client already: a client has one consumer")
        iteration = Iteration(take, task)
        self._last = weakref.ref(iteration)
        return iteration
