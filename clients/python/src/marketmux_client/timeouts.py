"""A time-out for a block of code: asyncio's own, and one for Python 3.10, which has none."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType

__all__ = ["Timeout", "timeout"]

if sys.version_info >= (3, 11):
    from asyncio import Timeout, timeout
else:

    class Timeout:
        """Cancels the task that entered it after ``seconds``, and turns that cancellation into a TimeoutError."""

        def __init__(self, seconds: float | None) -> None:
            self._seconds = seconds
            self._timer: asyncio.TimerHandle | None = None
            self._task: asyncio.Task[object] | None = None
            self._has_fired = False

        async def __aenter__(self) -> Timeout:
            self._task = asyncio.current_task()
            if self._seconds is not None:
                self._timer = asyncio.get_running_loop().call_later(self._seconds, self._fire)
            return self

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            if self._timer is not None:
                self._timer.cancel()
            if self._has_fired and kind is asyncio.CancelledError:
                raise TimeoutError from error

        def _fire(self) -> None:
            self._has_fired = True
            if self._task is not None:
                self._task.cancel()

    timeout = Timeout
