"""Live market data from a gateway, and to it: ticks as exact numbers, and every loss said.

    async with Client("ws://127.0.0.1:8000/ws", key="mmx_...") as client:
        await client.subscribe("AAPL", "MSFT", max_rate=5)
        async for event in client:
            ...

    async with Publisher("ws://127.0.0.1:8000/ws/publish", key="mmx_...") as publisher:
        await publisher.publish({"symbol": "AAPL", "price": "150.250"})

Without asyncio: :func:`connect` and :class:`SyncPublisher`. docs/reference/client.md is the manual.
"""

from .account import Account, RefusedTick
from .backoff import Backoff
from .books import Counts
from .client import Client, Latest
from .errors import BadMessage, ClientClosed, ClientError, ClosedForGood, CommandRefused, QueueFull, Refused
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
from .feed import Feed, connect
from .outgoing import TickLike
from .publisher import Publisher
from .sync_publisher import SyncPublisher
from .tables import to_pandas, to_polars

__all__ = [
    "AccessChanged",
    "Account",
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
    "Feed",
    "Gap",
    "GapReason",
    "Latest",
    "Publisher",
    "QueueFull",
    "Quote",
    "Refused",
    "RefusedTick",
    "Snapshot",
    "SyncPublisher",
    "Tick",
    "TickLike",
    "Trace",
    "connect",
    "to_pandas",
    "to_polars",
]
