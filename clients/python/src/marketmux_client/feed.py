"""The subscribing side without asyncio: for scripts, cron and notebooks.

with connect("ws://127.0.0.1:8000/ws", "AAPL", "MSFT") as feed:
    for tick in feed:
        print(tick.symbol, tick.price)
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeVar

from .arguments import Number, not_negative
from .books import Counts
from .client import Client, Latest
from .errors import ClientClosed
from .events import Event, Quote, Snapshot, Tick
from .portal import Portal
from .timeouts import timeout as within

__all__ = ["Feed", "connect"]

FeedT = TypeVar("FeedT", bound="Feed")


def connect(
    url: str,
    *symbols: str,
    max_rate: Number | None = None,
    snapshot: bool = True,
    timeout: Number | None = None,
    **options: Any,
) -> Feed:
    """A feed of these symbols, connected and subscribed. ``options``: as for a Client.

    Args:
        timeout: how many seconds the gateway has to answer, and the longest that the feed waits for a tick.

    Raises TimeoutError, Refused, CommandRefused, and what a Client does.
    """
    feed = Feed(url, timeout=timeout, **options)
    try:
        feed.open()
        if symbols:
            feed.subscribe(*symbols, max_rate=max_rate, snapshot=snapshot)
    except BaseException:
        feed.close()
        raise
    return feed


class Feed:
    """A Client in a thread of its own. Every call may be made from any thread; one of them iterates.

    Iterating over it gives prices, which are ticks and snapshots; ``events()`` gives all that a Client says.
    """

    def __init__(self, url: str, *, timeout: Number | None = None, **options: Any) -> None:
        self._timeout = None if timeout is None else not_negative("timeout", timeout)
        self._client = Client(url, **options)
        self._portal = Portal(f"marketmux feed of {url}")

    def open(self) -> None:
        self._call(self._client.open())

    def close(self) -> None:
        """Ends the connection, and the iteration in whatever thread."""
        try:
            self._portal.call(self._client.close())
        except ClientClosed:
            pass
        finally:
            self._portal.close()

    def subscribe(self, *symbols: str, max_rate: Number | None = None, snapshot: bool = True) -> float | None:
        """As a Client's."""
        rate: float | None = self._call(self._client.subscribe(*symbols, max_rate=max_rate, snapshot=snapshot))
        return rate

    def unsubscribe(self, *symbols: str) -> None:
        self._call(self._client.unsubscribe(*symbols))

    def get(self, timeout: Number | None = None) -> Quote:
        """The next tick or snapshot. Raises TimeoutError if none comes in ``timeout`` seconds, the feed's by default,
        and ClientClosed when the feed was closed.
        """
        return self._portal.call(self._price(self._timeout if timeout is None else not_negative("timeout", timeout)))

    def latest(self, symbol: str) -> Latest | None:
        """The last price of ``symbol``, and whether it may be stale; None if there was none."""
        return self._portal.call(self._latest(symbol))

    def events(self) -> Iterator[Event]:
        """All that happens: prices, gaps, receipts, and how it is with the connection."""
        try:
            while True:
                yield self._call(self._next())
        except ClientClosed:
            return

    def __iter__(self) -> Iterator[Quote]:
        try:
            while True:
                yield self.get()
        except ClientClosed:
            return

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._client.symbols

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    @property
    def counts(self) -> Counts:
        """What has happened so far: gaps, missed and skipped ticks."""
        return self._client.counts

    def __enter__(self: FeedT) -> FeedT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, coroutine: Any) -> Any:
        return self._portal.call(_within(self._timeout, coroutine))

    async def _next(self) -> Event:
        try:
            return await self._client.__anext__()
        except StopAsyncIteration:
            raise ClientClosed from None

    async def _price(self, seconds: float | None) -> Quote:
        async with within(seconds):
            while not isinstance(event := await self._next(), Tick | Snapshot):
                pass
            return event

    async def _latest(self, symbol: str) -> Latest | None:
        return self._client.latest(symbol)


async def _within(seconds: float | None, coroutine: Any) -> Any:
    async with within(seconds):
        return await coroutine
