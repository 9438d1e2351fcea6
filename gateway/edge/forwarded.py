"""Headers that only a proxy of ours may send."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ticks.address import client_address, is_trusted
from ticks.conf import conf

__all__ = ["OnlyFromProxies"]

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

logger = logging.getLogger(__name__)

_PREFIX: Final = b"x-forwarded-"
_FOR: Final = b"x-forwarded-for"
_UNNAMED: Final = (
    "X-Forwarded-For came from %s and is not believed. If that is a proxy of yours, name it in "
    "MARKETMUX_TRUSTED_PROXIES: all its clients count as one until then"
)


class OnlyFromProxies:
    """ASGI middleware: drops the ``X-Forwarded-`` headers of clients that are not one of ``MARKETMUX_TRUSTED_PROXIES``.

    So whatever reads them further in, Django included, need not ask who sent them. Without named proxies they stay, and
    the log says once that somebody sends them: behind a proxy that is not named all clients have one address, and share
    what is for one.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._has_warned = False

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if "headers" in scope:
            self.sift(scope)
        await self._application(scope, receive, send)

    def sift(self, scope: dict[str, Any]) -> None:
        """Drops them from a scope."""
        if conf.MARKETMUX_TRUSTED_PROXIES:
            if not is_trusted(scope):
                scope["headers"] = [header for header in scope["headers"] if not header[0].startswith(_PREFIX)]
        elif not self._has_warned and any(name == _FOR for name, _ in scope["headers"]):
            self._has_warned = True
            logger.warning(_UNNAMED, client_address(scope))
