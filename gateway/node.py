"""What one process of the gateway consists of: its hub, its memberships in the channel layer's groups, its counts.

There is one node an event loop, made when it is first asked for; a server has one loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.conf import settings

from gateway.collector import Collector
from gateway.hub import Hub
from gateway.memberships import Memberships
from gateway.outbox import Outbox, Wire
from gateway.protocol import tick_frame
from ticks.tick import Tick, group_name

__all__ = ["Node", "TappedLayer", "get_node"]

logger = logging.getLogger(__name__)


class TappedLayer(Protocol):
    """What the gateway asks of a channel layer beyond the standard: groups joined by the process, not by a channel."""

    def tap(self, listener: Any) -> None:
        """Hands ``listener`` the ``(group, message)`` pairs of joined groups, all that arrived at once in one call."""

    async def join(self, groups: Sequence[str]) -> None: ...

    async def leave(self, groups: Sequence[str]) -> None: ...


class Node:
    """Connects a hub to a channel layer."""

    def __init__(self, layer: TappedLayer, leave_delay: float, patience: float, linger: float = 0.0) -> None:
        """All in seconds: how long a group without subscribers is kept, how long a client may be behind, and how long a
        pass waits for more ticks.
        """
        self._layer = layer
        self._linger = linger
        self._lingering: list[tuple[str, Any]] = []
        self._patience = patience
        self.memberships = Memberships(self._join, self._leave, leave_delay)
        self.hub = Hub(self.memberships)
        self._collector = Collector()
        self.malformed = 0
        layer.tap(self._on_messages)

    def open(self, wire: Wire) -> Outbox:
        """Takes in a client that is reached through ``wire``."""
        outbox = Outbox(wire, self._patience)
        self.hub.add(outbox)
        return outbox

    def close(self, outbox: Outbox) -> None:
        """Lets go of a client that is gone."""
        self.hub.remove(outbox)
        self._collector.departed(self.hub.connections)

    async def _join(self, symbols: Sequence[str]) -> None:
        await self._layer.join([group_name(symbol) for symbol in symbols])

    async def _leave(self, symbols: Sequence[str]) -> None:
        await self._layer.leave([group_name(symbol) for symbol in symbols])

    def _on_messages(self, messages: Iterable[tuple[str, Any]]) -> None:
        if not self._linger:
            self.hub.deliver(self._framed(messages))
            return
        if not self._lingering:
            asyncio.get_running_loop().call_later(self._linger, self._deliver_lingering)
        self._lingering.extend(messages)

    def _deliver_lingering(self) -> None:
        messages, self._lingering = self._lingering, []
        self.hub.deliver(self._framed(messages))

    def _framed(self, messages: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, bytes]]:
        for group, message in messages:
            try:
                tick = Tick.from_message(message)
                if group_name(tick.symbol) != group:
                    raise ValueError(f"a tick of {tick.symbol} on {group}")
            except ValueError as error:
                self._refuse(group, error)
            else:
                yield tick.symbol, tick_frame(tick)

    def _refuse(self, group: str, error: ValueError) -> None:
        """Counts what is no tick; whoever sends such messages sends many, so only the first is logged."""
        self.malformed += 1
        if self.malformed == 1:
            logger.warning("Ignored a message on %s, and will ignore others like it: %s", group, error)

    def counts(self) -> dict[str, int]:
        return {
            **self.hub.counts(),
            "malformed_total": self.malformed + getattr(self._layer, "malformed", 0),
            "full_collections_total": self._collector.collections,
        }


_nodes: WeakKeyDictionary[asyncio.AbstractEventLoop, Node] = WeakKeyDictionary()


def get_node() -> Node:
    """The node of the running event loop."""
    loop = asyncio.get_running_loop()
    node = _nodes.get(loop)
    if node is None:
        node = _nodes[loop] = Node(
            cast(TappedLayer, get_channel_layer()),
            settings.MARKETMUX_LEAVE_DELAY_SECONDS,
            settings.MARKETMUX_SLOW_CLIENT_SECONDS,
            settings.MARKETMUX_LINGER_MS / 1_000,
        )
    return node
