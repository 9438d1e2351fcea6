"""Responses that are files made while they are sent: written no faster than their clients read.

Daphne writes whatever an application sends to a buffer without an end. Of a file that takes no memory where it is made
the whole would be there, for a client that reads slowly. So who sends a part of one waits until there is room for the
next. A page need not wait: it is in memory anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Download", "is_download"]


def is_download(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a response with these headers is a file."""
    return any(name.lower() == b"content-disposition" and value.startswith(b"attachment") for name, value in headers)


class Download:
    """A push producer of Twisted's, which is told when its buffer is full, and when it is empty again.

    ``took`` is called then.
    """

    def __init__(self, request: Any, took: Callable[[], None]) -> None:
        self._request = request
        self._took = took
        self._room = asyncio.Event()
        self._room.set()
        request.registerProducer(self, True)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._room.clear()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._took()
        self._room.set()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost: nobody need wait any more."""
        self._room.set()

    async def room(self) -> None:
        """Returns when there is room for more."""
        await self._room.wait()

    def end(self) -> None:
        """All is written."""
        self._room.set()
        self._request.unregisterProducer()
