"""The node of this process, made of the settings.

There is one node an event loop, made when it is first asked for; a server has one loop.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakKeyDictionary

from django.conf import settings

from bus.layers import get_bus
from gateway.fanout.node import Node
from gateway.server.collector import Collector
from gateway.wires.io_uring import Ring

__all__ = ["get_node"]

logger = logging.getLogger(__name__)

_nodes: WeakKeyDictionary[asyncio.AbstractEventLoop, Node] = WeakKeyDictionary()


def get_node() -> Node:
    """The node of the running event loop."""
    loop = asyncio.get_running_loop()
    node = _nodes.get(loop)
    if node is None:
        node = _nodes[loop] = Node(
            get_bus(),
            settings.MARKETMUX_LEAVE_DELAY_SECONDS,
            settings.MARKETMUX_SLOW_CLIENT_SECONDS,
            settings.MARKETMUX_LINGER_MS / 1_000,
            settings.MARKETMUX_HEARTBEAT_SECONDS,
            ring=_open_ring() if settings.MARKETMUX_IO_URING else None,
            collector=Collector(),
        )
    return node


def _open_ring() -> Ring | None:
    try:
        return Ring()
    except OSError as error:
        logger.info("Every tick is a system call a client, since there is no io_uring: %s", error)
        return None
