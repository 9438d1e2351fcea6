from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from django.db import DatabaseError

from bus.contract import BusUnavailable, LimitReached
from ticks import feed
from ticks.feed import LISTINGS, Grid, Listing, Market, Pacer, Walk, listing_of
from ticks.grammar import check_symbol, number, size, timestamp
from ticks.models import Instrument
from ticks.tick import MAX_BATCH, Tick

NOON = "2026-05-12T12:00:00Z"


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - prices, not secrets


def trades(symbol: str, count: int, seed: int = 1) -> list[Tick]:
    walk = Walk(listing_of(symbol), seeded(seed))
    return [walk.trade(NOON) for _ in range(count)]


# Listings


def test_there_are_a_couple_of_dozen_listings() -> None:
    assert len({listing.symbol for listing in LISTINGS}) == len(LISTINGS) == 24


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.symbol)
def test_a_listing_has_a_symbol_a_name_and_a_price_on_its_grid(listing: Listing) -> None:
    assert check_symbol(listing.symbol)
    assert listing.name
    assert Decimal(listing.price) % Decimal(listing.increment) == 0


def test_an_unknown_symbol_starts_at_the_same_plausible_price_each_time() -> None:
    assert listing_of("ACME") == listing_of("ACME") != listing_of("EMCA")
    assert 10 <= float(listing_of("ACME").price) < 500


# Walks


@pytest.mark.parametrize("listing", [*LISTINGS, listing_of("ACME")], ids=lambda listing: listing.symbol)
def test_every_trade_is_a_valid_tick(listing: Listing) -> None:
    for tick in trades(listing.symbol, 200):
        assert tick.symbol == listing.symbol
        assert number(tick.price) == tick.price
        assert timestamp(tick.timestamp) == tick.timestamp
        if tick.size is not None:
            assert size(tick.size) == tick.size


@pytest.mark.parametrize(
    ("symbol", "decimals"), [("AAPL", 2), ("ES=F", 2), ("EUR/USD", 5), ("ZN=F", 6), ("USD/JPY", 3), ("ACME", 2)]
)
def test_prices_have_the_decimals_of_their_grid(symbol: str, decimals: int) -> None:
    for tick in trades(symbol, 200):
        assert len(tick.price.partition(".")[2]) == decimals
        assert Decimal(tick.price) % Decimal(listing_of(symbol).increment) == 0


def test_a_trade_is_at_the_bid_or_at_the_ask() -> None:
    for tick in trades("AAPL", 500):
        assert tick.bid is not None
        assert tick.ask is not None
        assert tick.price in (tick.bid, tick.ask)
        assert 0 < Decimal(tick.ask) - Decimal(tick.bid) <= Decimal("0.03")


def test_an_index_has_no_quote_and_no_size() -> None:
    [tick] = trades("^GSPC", 1)
    assert (tick.bid, tick.ask, tick.size) == (None, None, None)


def test_prices_move() -> None:
    assert len({tick.price for tick in trades("AAPL", 500)}) > 20


def test_the_first_trade_is_near_the_start() -> None:
    [tick] = trades("AAPL", 1)
    assert abs(float(tick.price) / 232.40 - 1) < 0.01


def test_from_one_trade_to_the_next_a_price_does_not_jump() -> None:
    prices = [float(tick.price) for tick in trades("AAPL", 2_000)]
    assert max(abs(after / before - 1) for before, after in pairwise(prices)) < 0.005


def test_however_long_it_walks_a_price_stays_plausible() -> None:
    prices = [float(tick.price) for tick in trades("AAPL", 50_000)]
    assert 232.40 / 1.5 < min(prices) < max(prices) < 232.40 * 1.5


def test_the_same_seed_makes_the_same_walk() -> None:
    assert trades("AAPL", 100, seed=5) == trades("AAPL", 100, seed=5) != trades("AAPL", 100, seed=6)


@pytest.mark.parametrize(
    ("increment", "count", "digits"),
    [
        ("0.01", 15025, "150.25"),
        ("0.25", 24001, "6000.25"),
        ("1", 7, "7"),
        ("100000", 3, "300000"),
        ("0.0001", 5, "0.0005"),
        ("0.015625", 64, "1.000000"),
    ],
)
def test_counts_of_increments_are_written_exactly(increment: str, count: int, digits: str) -> None:
    assert Grid(increment).digits(count) == digits


# The market


@pytest.mark.parametrize("count", [0, 1, 3])
def test_however_slow_the_market_each_symbol_has_a_price_at_once(count: int) -> None:
    market = Market(seeded(1))
    market.relist(["AAPL", "^VIX", "BRK.B"])
    assert [tick.symbol for tick in market.trades(count)] == ["AAPL", "^VIX", "BRK.B"]
    assert len(market.trades(2)) == 2
    market.relist(["AAPL", "MSFT"])
    assert market.trades(count)[0].symbol == "MSFT"


def test_popular_symbols_trade_more() -> None:
    market = Market(seeded(1))
    market.relist(["NVDA", "BRK.B"])
    symbols = [tick.symbol for tick in market.trades(1_000)]
    assert symbols.count("NVDA") > 3 * symbols.count("BRK.B") > 0


def test_an_empty_market_has_no_trades() -> None:
    market = Market(seeded(1))
    market.relist([])
    assert market.trades(10) == []


def test_a_symbol_that_is_listed_again_goes_on_from_its_price() -> None:
    market = Market(seeded(1))
    market.relist(["AAPL"])
    before = market.trades(5_000)[-1]
    market.relist(["MSFT"])
    market.relist(["AAPL"])
    [after] = market.trades(1)
    assert abs(float(after.price) - float(before.price)) < 1.0


def test_trades_are_stamped_with_the_present() -> None:
    market = Market(seeded(1))
    market.relist(["AAPL"])
    [tick] = market.trades(1)
    assert timestamp(tick.timestamp) == tick.timestamp
    assert tick.timestamp.endswith("Z")


# The pace


@pytest.mark.parametrize("rate", [0.5, 1, 7, 50, 1_000, 20_000])
def test_over_time_the_rate_is_kept(rate: float) -> None:
    pacer = Pacer(rate, 0.0)
    due = sum(pacer.due(step * pacer.pause) for step in range(1, int(60 / pacer.pause) + 1))
    assert due == pytest.approx(60 * rate, abs=1)


def test_after_a_stall_no_more_than_a_second_is_caught_up() -> None:
    pacer = Pacer(100, 0.0)
    assert pacer.due(0.5) == 50
    assert pacer.due(30.0) == 100
    assert pacer.due(30.5) == 50


@pytest.mark.parametrize("rate", [0.1, 1, 20, 1_000, 100_000])
def test_it_wakes_up_at_most_twenty_times_a_second_and_at_least_once(rate: float) -> None:
    assert 0.05 <= Pacer(rate, 0.0).pause <= 1.0


# The run


class Sink:
    """A publisher that keeps what it is given, and can be away."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Tick]] = []
        self.attempts = 0
        self.away = False
        self.error: Exception = BusUnavailable("not there")

    async def publish(self, ticks: Sequence[Tick]) -> None:
        self.attempts += 1
        if self.away:
            raise self.error
        self.batches.append(ticks)

    @property
    def ticks(self) -> list[Tick]:
        return [tick for batch in self.batches for tick in batch]

    @property
    def symbols(self) -> set[str]:
        return {tick.symbol for tick in self.ticks}


@contextlib.asynccontextmanager
async def running(symbols: Sequence[str] | None, rate: float, sink: Sink) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run(symbols, rate, sink.publish, random=seeded(1)))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, in tests
            await asyncio.sleep(0.01)


async def test_it_publishes_the_symbols_it_was_given() -> None:
    sink = Sink()
    async with running(["AAPL", "EUR/USD"], 200, sink):
        await until(lambda: sink.symbols == {"AAPL", "EUR/USD"})


async def test_it_publishes_about_as_many_as_asked_for() -> None:
    sink = Sink()
    async with running(["AAPL"], 1_000, sink):
        started = time.monotonic()
        await until(lambda: len(sink.ticks) >= 500)
        assert time.monotonic() - started > 0.4


async def test_a_batch_is_never_larger_than_a_gateway_takes() -> None:
    sink = Sink()
    async with running(["AAPL"], 50_000, sink):
        await until(lambda: len(sink.ticks) >= 5_000)
    assert max(len(batch) for batch in sink.batches) == MAX_BATCH


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BusUnavailable("not there"), "not there"),
        (LimitReached("streams"), "there are as many streams as there may be"),
    ],
)
async def test_while_the_bus_takes_nothing_it_goes_on_trying_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(feed, "_RETRY_SECONDS", 0.01)
    sink = Sink()
    sink.away, sink.error = True, error
    async with running(["AAPL"], 1_000, sink):
        await until(lambda: sink.attempts >= 3)
        sink.away = False
        await until(lambda: bool(sink.ticks))
        await until(lambda: len(warnings(caplog)) == 2)
    assert warnings(caplog) == [
        f"The feed cannot publish and goes on trying: {reason}",
        "The feed publishes again",
    ]


@pytest.mark.django_db(transaction=True)
async def test_without_symbols_the_active_instruments_trade() -> None:
    await Instrument.objects.acreate(symbol="AAPL")
    await Instrument.objects.acreate(symbol="ACME")
    await Instrument.objects.acreate(symbol="MSFT", active=False)
    sink = Sink()
    async with running(None, 1_000, sink):
        await until(lambda: len(sink.ticks) > 50)
    assert sink.symbols == {"AAPL", "ACME"}


@pytest.mark.django_db(transaction=True)
async def test_an_instrument_that_becomes_active_trades_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_RELOAD_SECONDS", 0.05)
    await Instrument.objects.acreate(symbol="AAPL")
    sink = Sink()
    async with running(None, 1_000, sink):
        await until(lambda: sink.symbols == {"AAPL"})
        await Instrument.objects.acreate(symbol="MSFT")
        await until(lambda: "MSFT" in sink.symbols)


@pytest.mark.django_db(transaction=True)
async def test_with_no_active_instrument_it_says_so_and_waits(caplog: pytest.LogCaptureFixture) -> None:
    async with running(None, 1_000, Sink()):
        await until(lambda: bool(warnings(caplog)))
    assert warnings(caplog) == ["The feed has nothing to publish: no instrument is active (seed_instruments adds some)"]


@pytest.mark.django_db(transaction=True)
async def test_while_the_database_is_away_it_publishes_what_it_knows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Callable[[], list[str]]] = [_fail, lambda: ["AAPL"]]
    monkeypatch.setattr(feed, "_RELOAD_SECONDS", 0.05)
    monkeypatch.setattr(feed, "_active_symbols", lambda: answers.pop()() if answers else _fail())
    sink = Sink()
    async with running(None, 1_000, sink):
        await until(lambda: bool(warnings(caplog)))
        count = len(sink.ticks)
        await until(lambda: len(sink.ticks) > count)
    assert warnings(caplog)[0] == "The feed could not read the instruments: locked"


def _fail() -> list[str]:
    raise DatabaseError("locked")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
