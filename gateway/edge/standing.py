"""Tells the server whose HTTP connections have shown a good credential: they keep their place (server/visitors.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.server.visitors import STANDING, Standing, stand

__all__ = ["WithStanding"]

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class WithStanding:
    """ASGI middleware around what finds out who is asking, and notes it as ``grant`` in the scope."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if STANDING not in scope.get("extensions", ()):
            await self._application(scope, receive, send)
            return

        async def answer(event: dict[str, Any]) -> None:
            grant = scope.get("grant")
            if event["type"] == "http.response.start" and grant is not None and grant.stands_on:
                await stand(scope, send, Standing.KNOWN)
            await send(event)

        await self._application(scope, receive, answer)
