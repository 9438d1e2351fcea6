"""What both channel layers know of ordinary Channels consumers: what they can handle, and when they are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ticks.tick import GROUP_PREFIX

__all__ = ["is_fit", "when_owner_ends"]


def is_fit(group: str, message: Any) -> bool:
    """Whether a consumer finds a handler for a message; one that does not raises, and its client is closed."""
    kind = message.get("type") if isinstance(message, dict) else None
    return kind == "tick" if group.startswith(GROUP_PREFIX) else isinstance(kind, str)


def when_owner_ends(end: Callable[[], None], begin: Callable[[], None] = lambda: None) -> None:
    """Calls ``end`` when the task that runs now ends, and ``begin`` once that is sure to happen.

    A task that ends at once did nothing but make a channel for somebody else (``asyncio.wait_for``, ``async_to_sync``):
    it is no owner.
    """
    task = asyncio.current_task()

    def watch() -> None:
        if task is not None and not task.done():
            begin()
            task.add_done_callback(lambda _: end())

    asyncio.get_running_loop().call_soon(watch)
