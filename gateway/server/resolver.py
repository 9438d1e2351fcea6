"""asyncio's event loop, which looks names up on threads of its own.

A name server that does not answer holds a thread for up to a minute. asyncio uses the loop's default pool for it, and
Django needs that too, even to log a 404. A few attempts to reach a Redis by its name would then stop every such answer.
Here all who ask for the same name share one thread, so there are no more than names in the settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

__all__ = ["ResolvingLoop"]


class ResolvingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a ``getaddrinfo`` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._looked_up: dict[tuple[Any, ...], asyncio.Future[Any]] = {}

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        question = (host, port, *sorted(hints.items()))
        answer = self._looked_up.get(question)
        if answer is None:
            answer = self._looked_up[question] = self.create_future()
            answer.add_done_callback(lambda answer: self._forget(question, answer))
            # A daemon: the process need not wait for it to end.
            thread = threading.Thread(
                target=self._look_up, args=(answer, host, port, hints), name="resolver", daemon=True
            )
            thread.start()
        return await asyncio.shield(answer)

    def _forget(self, question: tuple[Any, ...], answer: asyncio.Future[Any]) -> None:
        del self._looked_up[question]
        if not answer.cancelled():
            answer.exception()  # the caller may be gone

    def _look_up(self, answer: asyncio.Future[Any], host: Any, port: Any, hints: dict[str, Any]) -> None:
        try:
            settle, found = answer.set_result, socket.getaddrinfo(host, port, **hints)
        except Exception as error:
            settle, found = answer.set_exception, error  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.call_soon_threadsafe(settle, found)
