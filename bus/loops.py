"""One of something for each event loop, made when it is first asked for there. A server has one loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

__all__ = ["once_a_loop"]

T = TypeVar("T")


def once_a_loop(make: Callable[[], T]) -> Callable[[], T]:
    """``make`` is called once for each event loop; other calls on that loop get what it returned."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    @functools.wraps(make)
    def get() -> T:
        loop = asyncio.get_running_loop()
        found = made.get(loop)
        if found is None:
            found = made[loop] = make()
        return found

    return get
