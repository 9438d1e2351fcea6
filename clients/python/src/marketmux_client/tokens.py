"""Where tokens come from: a string, or a function that is asked for one before each connection and before one ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any, Final, TypeAlias

from .arguments import header_fields, text
from .errors import CommandRefused
from .target import Target
from .timeouts import timeout

__all__ = ["Token", "TokenUnavailable", "Tokens"]

logger = logging.getLogger(__name__)

Token: TypeAlias = str | Callable[[], Awaitable[str]]

_PATIENCE: Final = 10.0
_EARLY: Final = 0.75
"""After this part of its time a token is replaced."""
_LEAST: Final = 1.0
"""Seconds between attempts to replace it."""


class TokenUnavailable(OSError):
    """The function gave no token. It is asked again."""


class Tokens:
    """The tokens of one client."""

    def __init__(self, token: Any) -> None:
        if token is not None and not callable(token):
            _header(text("token", token))
        self._token = token

    @property
    def is_asked_for(self) -> bool:
        """Whether there is always another one to be had."""
        return callable(self._token)

    async def show(self, target: Target) -> Target:
        """The target with a token in its headers, if there are any. Raises TokenUnavailable."""
        if self._token is None:
            return target
        return target._replace(headers={**target.headers, **_header(await self._next())})

    async def keep_fresh(self, expires_at: str | None, show: Callable[[str], Awaitable[str | None]]) -> None:
        """Replaces the token of a connection before it ends; ``show`` sends one, and gives when that one ends."""
        while expires_at is not None:
            await asyncio.sleep(max(_LEAST, _seconds_until(expires_at) * _EARLY))
            try:
                expires_at = await show(await self._next())
            except (TokenUnavailable, CommandRefused) as error:
                logger.warning("The token was not replaced: %s", error)

    async def _next(self) -> str:
        if not callable(self._token):
            return str(self._token)
        try:
            async with timeout(_PATIENCE):
                token = await self._token()
        except Exception as error:
            raise TokenUnavailable(f"no token: {str(error) or type(error).__name__}") from error
        _header(text("a token", token))
        return str(token)


def _seconds_until(moment: str) -> float:
    at = datetime.fromisoformat(moment.replace("Z", "+00:00"))  # Python 3.10 knows no Z
    return (at - datetime.now(timezone.utc)).total_seconds()


def _header(token: str) -> dict[str, str]:
    return header_fields({"Authorization": f"Bearer {token}"})
