"""The end of a server that its clients hardly notice.

1. It is *draining*: /readyz says so, answers say ``Connection: close``, and it goes on accepting for ``Drain.delay``
   seconds, in which load balancers notice.
2. It accepts no more. Requests that have begun are answered.
3. The clients of WebSockets and streams are told to go one after the other, evenly, over ``Drain.spread`` seconds at
   most. Each is told to wait for as long as it took until its turn came: so they come back evenly too, at half of that
   rate. To accept a client costs several times what it costs to close one.
4. What is not done ``DRAIN_SECONDS`` later is cut.

A server whose place another has taken already, on the same socket, needs no delay.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gateway.protocol.codes import Closure
from gateway.server.housekeeping import SLICE, cut
from gateway.server.request import GatewayRequest
from gateway.server.websocket import GatewayProtocol

__all__ = ["DRAIN_SECONDS", "LEAST_PER_SECOND", "Drain", "drain"]

logger = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 4.0
"""For requests in flight and closing handshakes. It leaves time for what follows (tasks end, ticks are recorded): the
supervisor kills a worker after ten seconds more than the drain may take.
"""

GRACE_SECONDS: Final = 0.3
"""How long a drain leaves idle HTTP connections open, for requests that are on their way already."""

LEAST_PER_SECOND: Final = 100
"""Fewer clients than this are no crowd: they are told at this rate, and not spread over all the time there is."""

_STEP: Final = 0.02

Client: TypeAlias = GatewayProtocol | GatewayRequest


@dataclass(frozen=True)
class Drain:
    """How a server ends; all in seconds."""

    delay: float = 0.0
    """From when it is unready until it takes no more connections."""

    spread: float = 0.0
    """Over how long its clients are told, at most."""


async def drain(server: Any, closure: Closure, spread: float) -> None:
    """Ends what a ``GatewayServer`` has begun, and cuts what is not done in time. Its clients get ``closure``."""
    for connection in list(server.housekeeping.http_connections):
        connection.drain()
    grace_until = asyncio.get_running_loop().time() + GRACE_SECONDS
    last = await _tell(server, closure, spread)
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await _finish(server, last, grace_until)
    except TimeoutError:
        logger.warning("%d connections were not done within %g s: cutting them", server.visitors.open, DRAIN_SECONDS)


async def _finish(server: Any, closure: Closure, grace_until: float) -> None:
    """Returns when all is done."""
    while _is_serving(server):
        for late in _clients(server):  # a handshake was under way
            _close(late, closure)
        if asyncio.get_running_loop().time() >= grace_until:
            for connection in list(server.housekeeping.http_connections):
                connection.leave()
        await asyncio.sleep(_STEP)


async def _tell(server: Any, closure: Closure, spread: float) -> Closure:
    """Tells the clients one after the other; returns what the last one was told."""
    clients = list(_clients(server))
    gap = min(spread / max(1, len(clients)), 1 / LEAST_PER_SECOND)
    loop = asyncio.get_running_loop()
    began = loop.time()
    last = closure
    for number, client in enumerate(clients):
        turn = number * gap
        if began + turn > loop.time():
            await asyncio.sleep(_STEP)
        elif number % SLICE == 0:
            await asyncio.sleep(0)
        last = dataclasses.replace(closure, wait=round(closure.wait + turn, 2))
        if client.is_live:
            _close(client, last)
    return last


def _clients(server: Any) -> Iterator[Client]:
    """Those of WebSockets, and of responses that go on."""
    return (protocol for protocol in list(server.connections) if protocol.is_live)


def _close(protocol: Client, closure: Closure) -> None:
    try:
        protocol.close_with(closure)
    except Exception:
        logger.exception("Could not close %r", protocol)
        cut(protocol)


def _is_serving(server: Any) -> bool:
    """Whether a connection is open, or the application of one not done."""
    return server.visitors.open > 0 or any("application_instance" in each for each in server.connections.values())
