"""A mock price feed: believable walks for a couple of dozen instruments, and for any other symbol.

``Walk`` makes the ticks of one instrument and knows neither clock nor network; ``Market`` picks whose turn it is;
``Pacer`` says how many are due; ``run`` ties them to a publisher.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Final

from django.db import DatabaseError

from bus.contract import BusUnavailable, LimitReached
from ticks import lookups
from ticks.grammar import now
from ticks.tick import MAX_BATCH, Tick

__all__ = ["LISTINGS", "Listing", "Market", "Pacer", "Publish", "Walk", "listing_of", "run"]

logger = logging.getLogger(__name__)

Publish = Callable[[Sequence[Tick]], Awaitable[object]]

_WAKE_UPS_PER_SECOND: Final = 20
_MAX_BURST_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_RELOAD_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Listing:
    """An instrument of the mock market.

    ``increment`` is the price grid and, by its digits, the number of decimals; ``volatility`` is the standard deviation
    of one trade's relative price change; ``lot`` is the unit of size, None for what is computed rather than traded;
    ``weight`` is how often it ticks, relative to the others.
    """

    symbol: str
    name: str
    price: str
    increment: str = "0.01"
    volatility: float = 2e-4
    lot: str | None = "1"
    weight: float = 1.0


LISTINGS: Final = (
    Listing("AAPL", "Apple Inc.", "232.40", weight=3),
    Listing("MSFT", "Microsoft Corporation", "468.15", weight=2),
    Listing("NVDA", "NVIDIA Corporation", "141.85", volatility=4e-4, weight=4),
    Listing("AMZN", "Amazon.com, Inc.", "219.30", weight=2),
    Listing("GOOGL", "Alphabet Inc. Class A", "186.70", weight=2),
    Listing("META", "Meta Platforms, Inc.", "612.50", volatility=3e-4),
    Listing("TSLA", "Tesla, Inc.", "338.20", volatility=5e-4, weight=3),
    Listing("BRK.B", "Berkshire Hathaway Inc. Class B", "486.90", volatility=1e-4, weight=0.5),
    Listing("JPM", "JPMorgan Chase & Co.", "252.60"),
    Listing("V", "Visa Inc. Class A", "318.45"),
    Listing("XOM", "Exxon Mobil Corporation", "112.35"),
    Listing("SPY", "SPDR S&P 500 ETF Trust", "598.70", volatility=1e-4, weight=3),
    Listing("^GSPC", "S&P 500 Index", "5987.40", volatility=1e-4, lot=None),
    Listing("^VIX", "CBOE Volatility Index", "15.80", volatility=1e-3, lot=None, weight=0.5),
    Listing("ES=F", "E-mini S&P 500 Future", "6002.25", "0.25", volatility=1e-4, weight=3),
    Listing("CL=F", "Crude Oil WTI Future", "69.45", volatility=3e-4),
    Listing("GC=F", "Gold Future", "2648.50", "0.10", volatility=1.5e-4),
    Listing("ZN=F", "10-Year T-Note Future", "110.015625", "0.015625", volatility=4e-5),
    Listing("EUR/USD", "Euro / US Dollar", "1.08425", "0.00001", 4e-5, "100000", 2),
    Listing("GBP/USD", "British Pound / US Dollar", "1.26780", "0.00001", 4e-5, "100000"),
    Listing("USD/JPY", "US Dollar / Japanese Yen", "151.425", "0.001", 5e-5, "100000", 2),
    Listing("BTC-USD", "Bitcoin / US Dollar", "97250.50", "0.01", 3e-4, "0.0001", 4),
    Listing("ETH-USD", "Ether / US Dollar", "3425.60", "0.01", 4e-4, "0.001", 2),
    Listing("SOL-USD", "Solana / US Dollar", "212.35", "0.01", 6e-4, "0.01"),
)

_BY_SYMBOL: Final = {listing.symbol: listing for listing in LISTINGS}


def listing_of(symbol: str) -> Listing:
    """The listing of ``symbol``; for one that is not listed, a made-up one that is the same every time."""
    if symbol in _BY_SYMBOL:
        return _BY_SYMBOL[symbol]
    cents = 1_000 + zlib.crc32(symbol.encode()) % 49_000
    return Listing(symbol, symbol, f"{cents // 100}.{cents % 100:02}")


class Walk:
    """The trades of one instrument: a geometric random walk that changes between calm and lively phases.

    The price is pulled to a fair value that wanders itself, and that one, much weaker, to the start: it moves all day
    and stays in a believable range.
    """

    _PHASES = (0.4, 0.7, 1.0, 1.0, 1.5, 2.5)
    _PHASE_CHANGE = 1 / 150
    _PULL_TO_FAIR = 0.01
    _PULL_TO_START = 1e-5

    def __init__(self, listing: Listing, random: Random) -> None:
        self._random = random
        self._symbol = listing.symbol
        self._volatility = listing.volatility
        self._grid = Grid(listing.increment)
        self._lots = Grid(listing.lot) if listing.lot is not None else None
        self._start = float(Decimal(listing.price) / Decimal(listing.increment))
        # Both are logarithms relative to the start.
        self._fair = 0.0
        self._value = 0.0
        self._phase = 1.0

    def trade(self, timestamp: str) -> Tick:
        """The next trade, at the bid or at the ask."""
        self._move()
        middle = max(2, round(self._start * math.exp(self._value)))
        if self._lots is None:
            return Tick(self._symbol, self._grid.digits(middle), timestamp)
        spread = self._random.choice((1, 1, 1, 2, 3))
        bid = middle - spread // 2
        ask = bid + spread
        return Tick(
            self._symbol,
            self._grid.digits(self._random.choice((bid, ask))),
            timestamp,
            self._grid.digits(bid),
            self._grid.digits(ask),
            self._lots.digits(self._size()),
        )

    def _move(self) -> None:
        if self._random.random() < self._PHASE_CHANGE:
            self._phase = self._random.choice(self._PHASES)
        step = self._volatility * self._phase
        self._fair += self._random.gauss(0, step / 2) - self._PULL_TO_START * self._fair
        self._value += self._random.gauss(0, step) + self._PULL_TO_FAIR * (self._fair - self._value)

    def _size(self) -> int:
        """Lots traded: mostly few, now and then many."""
        return max(1, round(self._random.lognormvariate(3, 1.2)))


class Grid:
    """Multiples of ``increment``, written with its number of decimals and without a float."""

    def __init__(self, increment: str) -> None:
        self._decimals = len(increment.partition(".")[2])
        self._scale = 10**self._decimals
        self._unit = int(Decimal(increment) * self._scale)

    def digits(self, count: int) -> str:
        """``count`` increments; ``count`` is not negative."""
        whole, fraction = divmod(count * self._unit, self._scale)
        return f"{whole}.{fraction:0{self._decimals}}" if self._decimals else str(whole)


class Market:
    """Walks for any number of symbols, and whose turn it is."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._walks: dict[str, Walk] = {}
        self._symbols: list[str] | None = None
        self._weights: list[float] = []
        self._opening: list[str] = []

    @property
    def symbols(self) -> Sequence[str] | None:
        """The symbols that trade; None before any were listed."""
        return self._symbols

    def relist(self, symbols: Iterable[str]) -> None:
        """Makes ``symbols`` the ones that trade; one that traded before goes on from its last price."""
        self._symbols = list(dict.fromkeys(symbols))
        self._weights = [listing_of(symbol).weight for symbol in self._symbols]
        self._opening = [symbol for symbol in self._symbols if symbol not in self._walks]

    def trades(self, count: int) -> list[Tick]:
        """The next ``count`` trades; none if nothing is listed.

        What has not traded yet trades now, even if more than ``count`` do: a page that has just been opened has prices.
        """
        if not self._symbols:
            return []
        opening, self._opening = self._opening, []
        others = self._random.choices(self._symbols, self._weights, k=max(0, count - len(opening)))
        return [self._walk(symbol).trade(now()) for symbol in opening + others]

    def _walk(self, symbol: str) -> Walk:
        walk = self._walks.get(symbol)
        if walk is None:
            walk = self._walks[symbol] = Walk(listing_of(symbol), self._random)
        return walk


class Pacer:
    """Counts what is due at ``rate`` a second.

    After a stall no more than a second's worth is due at once; the rest of what was missed is given up.
    """

    def __init__(self, rate: float, start: float) -> None:
        self._rate = rate
        self._counted_to = start
        self._longest = max(_MAX_BURST_SECONDS, 1 / rate)
        self.pause = min(max(1 / _WAKE_UPS_PER_SECOND, 1 / rate), _MAX_PAUSE_SECONDS)

    def due(self, now: float) -> int:
        """How many have fallen due since the last call; ``now`` is in seconds, on the clock of ``start``."""
        self._counted_to = max(self._counted_to, now - self._longest)
        count = int((now - self._counted_to) * self._rate + 1e-6)
        self._counted_to += count / self._rate
        return count


async def run(symbols: Sequence[str] | None, rate: float, publish: Publish, *, random: Random | None = None) -> None:
    """Publishes ``rate`` ticks a second, all symbols together, until it is cancelled.

    Without ``symbols`` the active instruments trade; what changes in the database shows within seconds.
    """
    market = Market(random or Random())  # noqa: S311 - prices, not secrets
    pacer = Pacer(rate, time.monotonic())
    outlet = Outlet(publish)
    reload_at = -math.inf
    if symbols is not None:
        market.relist(symbols)
        reload_at = math.inf
    while True:
        if time.monotonic() >= reload_at:
            await _reload(market)
            reload_at = time.monotonic() + _RELOAD_SECONDS
        ticks = market.trades(pacer.due(time.monotonic()))
        for start in range(0, len(ticks), MAX_BATCH):
            await outlet.publish(ticks[start : start + MAX_BATCH])
        await asyncio.sleep(pacer.pause)


class Outlet:
    """Publishes to a bus that may be away: says so once, drops what it could not publish, and goes on with the next."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._away = False

    async def publish(self, ticks: Sequence[Tick]) -> None:
        try:
            await self._publish(ticks)
        except (BusUnavailable, LimitReached) as error:
            if not self._away:
                self._away = True
                logger.warning("The feed cannot publish and goes on trying: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            if self._away:
                self._away = False
                logger.warning("The feed publishes again")


async def _reload(market: Market) -> None:
    try:
        symbols = await lookups.ask(_active_symbols)
    except (DatabaseError, lookups.DatabaseUnavailable) as error:
        logger.warning("The feed could not read the instruments: %s", error)
        return
    if symbols == market.symbols:
        return
    if not symbols:
        logger.warning("The feed has nothing to publish: no instrument is active (seed_instruments adds some)")
    market.relist(symbols)


def _active_symbols() -> list[str]:
    from ticks.models import Instrument  # noqa: PLC0415 - not before Django has loaded its models

    return list(Instrument.objects.filter(active=True).values_list("symbol", flat=True))
