"""A Redis that is alone, or behind Sentinel: one node with one bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bus.contract import Reason
from bus.redis import entry
from bus.redis.connection import address
from bus.redis.listener import Listener, RawMessage
from bus.redis.node import Node
from bus.redis.refusals import Refusals
from bus.redis.scripts import scripts

__all__ = ["Single"]


class Single:
    """The only home of its bucket. ``deliver``, ``lost`` and ``restored`` are the listener's."""

    publish_command = "PUBLISH"
    convoy = None

    def __init__(
        self,
        host: Mapping[str, Any],
        refused: Counter[Reason],
        deliver: Callable[[list[RawMessage]], None],
        lost: Callable[[], None],
        restored: Callable[[], None],
    ) -> None:
        self.scripts = scripts()

        def all_lost() -> None:
            self.node.renew_pipes()
            lost()

        self.node: Node[Listener] = Node(host, self.scripts, lambda pool: Listener(pool, deliver, all_lost, restored))
        self.publishing, self.asking, self.sending = self.node.publishing, self.node.asking, self.node.sending
        self.listener = self.node.listener
        self.refusals = Refusals(lambda: address(self.node.pool()), refused)

    def start(self) -> None:
        self.listener.start()
        self.node.pool()

    async def check(self, prefix: str, patterns: Sequence[str]) -> list[str]:
        """Holds the conversation of bus/redis/entry.py."""
        return await entry.check(self.node.pool(), prefix, patterns, self.scripts)

    async def close(self) -> None:
        await self.node.close()
