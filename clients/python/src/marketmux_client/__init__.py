"""A client of the gateway's ``/ws`` for asyncio: ticks as exact numbers, and every loss said.

    async with Client("ws://127.0.0.1:8000/ws", key="mmx_...") as client:
        await client.subscribe("AAPL", "MSFT", max_rate=5)
        async for event in client:
            ...

It needs the standard library and websockets, nothing else of the project. docs/reference/client.md is its manual.
"""

from .backoff import Backoff
from .books import Counts
from .client import Client, Latest
from .errors import BadMessage, ClientClosed, ClientError, ClosedForGood, CommandRefused, Refused
from .events import (
    AccessChanged,
    BusState,
    Conflated,
    Connected,
    Delayed,
    Disconnected,
    Event,
    Extra,
    Gap,
    GapReason,
    Quote,
    Snapshot,
    Tick,
    Trace,
)

__all__ = [
    "AccessChanged",
    "Backoff",
    "BadMessage",
    "BusState",
    "Client",
    "ClientClosed",
    "ClientError",
    "ClosedForGood",
    "CommandRefused",
    "Conflated",
    "Connected",
    "Counts",
    "Delayed",
    "Disconnected",
    "Event",
    "Extra",
    "Gap",
    "GapReason",
    "Latest",
    "Quote",
    "Refused",
    "Snapshot",
    "Tick",
    "Trace",
]
