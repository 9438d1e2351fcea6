"""Headers that only a proxy of ours may send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.conf import settings

from ticks.address import is_trusted

__all__ = ["OnlyFromProxies"]

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

_PREFIX: Final = b"x-forwarded-"


class OnlyFromProxies:
    """ASGI middleware: drops the ``X-Forwarded-`` headers of whoever is not one of ``MARKETMUX_TRUSTED_PROXIES``.

    So whatever reads them further in, Django included, need not ask who sent them. Without named proxies they stay.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if settings.MARKETMUX_TRUSTED_PROXIES and "headers" in scope and not is_trusted(scope):
            scope["headers"] = [header for header in scope["headers"] if not header[0].startswith(_PREFIX)]
        await self._application(scope, receive, send)
