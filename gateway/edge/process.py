"""The node of this process, made of the settings.

There is one node an event loop, made when it is first asked for; a server has one loop. It begins to connect to the bus
then, which a server does before it calls itself ready.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from bus.contract import BusUnavailable
from bus.layers import get_bus
from bus.loops import once_a_loop
from gateway.fanout.node import Node
from gateway.fanout.recent import Room
from gateway.server.collector import Collector
from gateway.server.turns import Turns
from gateway.wires.io_uring import Ring
from ticks import direct
from ticks.conf import conf
from ticks.tick import GROUP_PREFIX

__all__ = ["bus_usable", "get_node"]

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.25


@once_a_loop
def get_node() -> Node:
    """The node of the running event loop, which is the one that the project's own code publishes on."""
    direct.use_this_loop()
    return Node(
        get_bus(),
        conf.MARKETMUX_LEAVE_DELAY_SECONDS,
        conf.MARKETMUX_SLOW_CLIENT_SECONDS,
        conf.MARKETMUX_LINGER_MS / 1_000,
        conf.MARKETMUX_HEARTBEAT_SECONDS,
        staleness=conf.MARKETMUX_MAX_STALENESS_MS / 1_000,
        ring=_open_ring() if conf.MARKETMUX_IO_URING else None,
        collector=Collector(),
        turn=Turns().take,
        room=Room(
            conf.MARKETMUX_HISTORY_TICKS,
            conf.MARKETMUX_HISTORY_SECONDS,
            conf.MARKETMUX_OWN_HISTORY_BYTES,
        ),
    )


async def bus_usable() -> None:
    """Returns once the bus can be used; says what it waits for, once for each reason."""
    get_node()
    said = ""
    while True:
        try:
            for oddity in await get_bus().check([f"{GROUP_PREFIX}*"]):
                logger.warning(oddity)
            break
        except BusUnavailable as error:
            if str(error) != said:
                said = str(error)
                logger.warning("Not ready, waiting for the bus. %s", said)
            await asyncio.sleep(_RETRY_SECONDS)
    if said:
        logger.info("The bus can be used")


def _open_ring() -> Ring | None:
    try:
        return Ring()
    except OSError as error:
        logger.info("Every tick is a system call a client, since there is no io_uring: %s", error)
        return None
