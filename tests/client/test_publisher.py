"""The publisher against the gateway itself: by either way, with and without trouble, its account adds up."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketmux_client import (
    Account,
    Backoff,
    Client,
    ClientError,
    Disconnected,
    Event,
    Gap,
    Publisher,
    QueueFull,
    Refused,
    RefusedTick,
    Tick,
)
from marketmux_client.outgoing import outgoing
from marketmux_client.waiting import Waiting
from tests.client.fake import TIMEOUT, eventually
from tests.servers import GatewayProcess, RedisServer

WAYS = ["websocket", "http"]

Address = Callable[[GatewayProcess], str]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer) -> Iterator[RedisServer]:
    """One that may be frozen and killed. ``shared_redis`` says where there is none."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, redis: RedisServer
) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("gateway"), workers=2, redis_url=redis.url, database=migrated_database
    )
    gateway.start()
    gateway.wait_for_output("ready at")
    yield gateway
    gateway.stop()


@pytest.fixture(params=WAYS)
def address(request: pytest.FixtureRequest) -> Address:
    return websocket if request.param == "websocket" else http


def websocket(gateway: GatewayProcess) -> str:
    return f"{gateway.ws}/publish"


def http(gateway: GatewayProcess) -> str:
    return gateway.http


def publisher(url: str, **options: Any) -> Publisher:
    """One that a test need not wait for."""
    options.setdefault("backoff", Backoff(base=0.02, cap=0.2))
    options.setdefault("linger", 0.001)
    options.setdefault("close_timeout", TIMEOUT)
    return Publisher(url, **options)


def key(gateway: GatewayProcess, name: str, *arguments: str) -> str:
    return next(word for word in gateway.manage("create_key", name, *arguments).split() if word.startswith("mmx_"))


def ticks(symbol: str, count: int, start: int = 1) -> list[dict[str, Any]]:
    return [{"symbol": symbol, "price": number} for number in range(start, start + count)]


def assert_adds_up(account: Account) -> None:
    parts = account.accepted + account.refused + account.unknown + account.unsent + account.dropped + account.waiting
    assert account.offered == parts
    assert account.refused == sum(account.reasons.values())


async def last(gateway: GatewayProcess, symbol: str) -> dict[str, Any]:
    """The last tick of the symbol that the gateway has; ``seq`` counts them."""
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        answer = await client.get(f"{gateway.http}/api/v1/ticks/{symbol}")
    found: dict[str, Any] = answer.json()
    return found


@asynccontextmanager
async def prices(gateway: GatewayProcess, symbol: str) -> AsyncIterator[list[Event]]:
    """What a subscriber is told."""
    events: list[Event] = []

    async def read(client: Client) -> None:
        async for event in client:
            events.append(event)  # noqa: PERF401 - they are looked at as they come

    async with Client(gateway.ws, backoff=Backoff(base=0.02, cap=0.2), max_age=None, max_queue=1_000_000) as client:
        await client.subscribe(symbol)
        reading = asyncio.create_task(read(client))
        yield events
        await client.close()
        await reading


def numbers(events: list[Event]) -> list[int]:
    return [int(event.price) for event in events if isinstance(event, Tick)]


async def test_ticks_arrive_in_their_order_with_their_digits(gateway: GatewayProcess, address: Address) -> None:
    symbol = f"ORDER-{address.__name__}"
    async with prices(gateway, symbol) as events, publisher(address(gateway), max_batch=7) as feed:
        await feed.publish({"symbol": symbol, "price": Decimal("150.250"), "size": "3.0", "extra": {"late": False}})
        for tick in ticks(symbol, 99, 2):
            await feed.publish(tick)
        account = await feed.flush()
        await eventually(lambda: len(numbers(events)) == 100)
    first = next(event for event in events if isinstance(event, Tick))
    assert (str(first.price), str(first.size), first.extra) == ("150.250", "3.0", {"late": False})
    assert numbers(events)[1:] == list(range(2, 101))
    assert (account.offered, account.accepted, account.waiting) == (100, 100, 0)
    assert_adds_up(account)


async def test_a_bad_tick_is_refused_alone_and_its_reason_is_kept(gateway: GatewayProcess, address: Address) -> None:
    symbol = f"BAD-{address.__name__}"
    told: list[RefusedTick] = []
    async with publisher(address(gateway), on_refused=told.append) as feed:
        good = ticks(symbol, 150)
        bad: list[dict[str, Any]] = [
            {"symbol": symbol, "price": "12,5"},
            {"symbol": "no way", "price": 1, "colour": "red"},
        ]
        # More than the fifty mistakes that an answer names.
        await feed.publish(*good[:70], *bad, *good[70:], *[{"symbol": symbol, "price": "1_0"}] * 60)
        account = await feed.flush()
    assert (account.accepted, account.refused) == (150, 62)
    assert_adds_up(account)
    assert feed.refused == tuple(told)
    first = feed.refused[0]
    assert (first.symbol, first.field, first.json) == (symbol, "price", f'{{"symbol":"{symbol}","price":"12,5"}}')
    assert "Not a number" in first.message
    assert feed.refused[1].symbol == "no way"
    assert (await last(gateway, symbol))["seq"] == 150


async def test_what_a_key_may_not_publish_is_refused_and_the_rest_is_not(
    gateway: GatewayProcess, address: Address
) -> None:
    secret = key(gateway, f"some {address.__name__}", "--publish", "MINE-*")
    mine = f"MINE-{address.__name__}"
    async with publisher(address(gateway), key=secret) as feed:
        await feed.publish(*ticks(mine, 3), *ticks("YOURS", 2), *ticks(mine, 3, 4))
        account = await feed.flush()
    assert (account.accepted, account.reasons) == (6, {"access_denied": 2})
    assert (await last(gateway, mine))["price"] == 6
    assert_adds_up(account)


async def test_a_symbol_too_many_costs_the_others_nothing(gateway: GatewayProcess, address: Address) -> None:
    """The gateway does not say which symbol it was: the batch is taken apart."""
    secret = key(gateway, f"few {address.__name__}", "--new-symbols", "2")
    names = [f"NEW{number}-{address.__name__}" for number in range(5)]
    async with publisher(address(gateway), key=secret) as feed:
        await feed.publish(*[tick for name in names for tick in ticks(name, 2)])
        account = await feed.flush()
    assert (account.accepted, account.reasons) == (4, {"too_many_new_symbols": 6})
    assert_adds_up(account)


async def test_a_publisher_over_its_rate_waits_and_loses_nothing(gateway: GatewayProcess, address: Address) -> None:
    secret = key(gateway, f"slow {address.__name__}", "--ticks-per-second", "200")
    symbol = f"RATE-{address.__name__}"
    async with publisher(address(gateway), key=secret, max_batch=100) as feed:
        await feed.publish(*ticks(symbol, 500))
        account = await feed.flush()
    assert account.accepted == 500
    assert (await last(gateway, symbol))["seq"] == 500


async def test_a_revoked_key_ends_it_and_what_was_never_sent_is_counted(
    gateway: GatewayProcess, address: Address
) -> None:
    name = f"fired {address.__name__}"
    secret = key(gateway, name)
    feed = publisher(address(gateway), key=secret, refused_for=0)
    async with feed:
        await feed.publish(*ticks(f"FIRED-{address.__name__}", 10))
        await feed.flush()
        await asyncio.to_thread(gateway.manage, "revoke_key", name)

        async def until_refused() -> None:
            while True:
                await feed.publish(*ticks(f"FIRED-{address.__name__}", 1))
                await asyncio.sleep(0.01)

        with pytest.raises(ClientError):
            await asyncio.wait_for(until_refused(), TIMEOUT)
    assert feed.account.accepted >= 10
    assert feed.account.unsent + feed.account.unknown + feed.account.refused >= 1
    assert feed.account.waiting == 0
    assert_adds_up(feed.account)


async def test_a_key_that_never_was_is_said_by_the_first_flush(gateway: GatewayProcess, address: Address) -> None:
    async with publisher(address(gateway), key="mmx_no") as feed:
        await feed.publish(*ticks("NEVER", 3))
        with pytest.raises(Refused):
            await feed.flush()
        with pytest.raises(Refused):
            await feed.publish(*ticks("NEVER", 1))
    assert feed.account.unsent == 3
    assert_adds_up(feed.account)


@contextmanager
def frozen(redis: RedisServer) -> Iterator[None]:
    redis.pause()
    try:
        yield
    finally:
        redis.resume()


async def test_while_redis_is_away_batches_wait_and_none_is_published_twice(
    gateway: GatewayProcess, redis: RedisServer, address: Address
) -> None:
    symbol = f"AWAY-{address.__name__}"
    async with publisher(address(gateway), max_batch=50) as feed:
        await feed.publish(*ticks(symbol, 100))
        await feed.flush()
        with frozen(redis):
            await feed.publish(*ticks(symbol, 200, 101))
            await asyncio.sleep(2)
            assert feed.account.waiting == 200
        account = await feed.flush()
    assert account.accepted == 300
    newest = await last(gateway, symbol)
    assert (newest["seq"], newest["price"]) == (300, 300)
    assert_adds_up(account)


@pytest.mark.soak
async def test_workers_that_are_killed_in_the_middle_of_a_batch_cost_nothing(
    gateway: GatewayProcess, address: Address
) -> None:
    symbol = f"KILL-{address.__name__}"
    total = 0
    async with prices(gateway, symbol) as events, publisher(address(gateway), max_batch=20) as feed:
        for _ in range(2):
            workers = list(gateway.pids)
            for pid in workers:
                await feed.publish(*ticks(symbol, 300, total + 1))
                total += 300
                before = feed.account.accepted
                await eventually(lambda before=before: feed.account.accepted > before)  # type: ignore[misc]
                os.kill(pid, signal.SIGKILL)
            await eventually(lambda: len(gateway.pids) == 2 and not set(workers) & set(gateway.pids))  # noqa: B023
        account = await feed.flush()
        await eventually(lambda: numbers(events)[-1:] == [total])
    assert (account.accepted, account.unknown, account.unsent) == (total, 0, 0)
    assert (await last(gateway, symbol))["seq"] == total  # each once
    assert numbers(events) == list(range(1, total + 1))
    assert not [event for event in events if isinstance(event, Gap)]
    assert [event for event in events if isinstance(event, Disconnected)]


async def test_what_no_answer_came_for_is_unknown(gateway: GatewayProcess, redis: RedisServer) -> None:
    async with publisher(gateway.http, retry_for=0.1, max_batch=10) as feed:
        with frozen(redis):
            await feed.publish(*ticks("UNKNOWN", 10))
            account = await feed.flush()
        assert account.unknown == 10
        await feed.publish(*ticks("UNKNOWN", 1, 11))
        assert (await feed.flush()).offered == 11
    assert_adds_up(feed.account)


async def test_where_nobody_answers_nothing_was_sent() -> None:
    async with publisher("http://127.0.0.1:1", retry_for=0.05) as feed:
        await feed.publish(*ticks("NOBODY", 3))
        account = await feed.flush()
    assert (account.unsent, account.unknown) == (3, 0)
    assert_adds_up(account)


async def test_a_full_queue_raises_waits_or_drops(gateway: GatewayProcess) -> None:
    async with publisher("http://127.0.0.1:1", max_queue=5, when_full="raise", close_timeout=0.1) as feed:
        with pytest.raises(QueueFull):
            await feed.publish(*ticks("FULL", 1000))
        await feed.close()
    assert_adds_up(feed.account)

    async with publisher(gateway.http, max_queue=5) as feed:
        for tick in ticks("FULL-WAIT", 1000):
            await feed.publish(tick)
            assert feed.account.waiting <= 505
        assert (await feed.flush()).accepted == 1000


def test_of_a_full_queue_the_oldest_of_the_same_symbol_is_left_out() -> None:
    waiting = Waiting(4, "drop_oldest", lambda: None)
    for price, symbol in enumerate("ABABACD"):
        waiting.put(outgoing({"symbol": symbol, "price": price}))
    # The first A for the third; for C, of which none waits, the older B, and for D the older A: each has a newer one.
    assert [tick.json for tick in waiting.take(9, 9_999)] == [
        '{"symbol":"B","price":3}',
        '{"symbol":"A","price":4}',
        '{"symbol":"C","price":5}',
        '{"symbol":"D","price":6}',
    ]
    assert (waiting.offered, waiting.dropped) == (7, 3)


class Float(float):
    """As numpy has them: ``repr`` is no number."""

    def __repr__(self) -> str:
        return "Float(1.5)"


def test_a_tick_keeps_the_digits_it_was_given() -> None:
    at = datetime(2026, 5, 12, 15, 4, 5, 250_000, tzinfo=timezone(timedelta(hours=2)))
    tick = {"symbol": "Ä", "price": Decimal("150.250"), "bid": "1.0850", "ask": Float(1.5), "timestamp": at}
    assert outgoing(tick | {"size": None, "extra": {"n": 1, "late": None}}).json == (
        '{"symbol":"\\u00c4","price":150.250,"bid":"1.0850","ask":1.5,'
        '"timestamp":"2026-05-12T15:04:05.250000+02:00","extra":{"n":1,"late":null}}'
    )
    came = Tick("AAPL", Decimal("1.50"), "2026-05-12T15:04:05Z", 7)
    assert outgoing(came).json == '{"symbol":"AAPL","price":1.50,"timestamp":"2026-05-12T15:04:05Z"}'


@pytest.mark.parametrize(
    "tick",
    [
        {"symbol": 1, "price": 1},
        {"price": 1},
        {"symbol": "A", "price": float("nan")},
        {"symbol": "A", "price": Decimal("Infinity")},
        {"symbol": "A", "price": object()},
        {"symbol": "A", "price": 1, "timestamp": datetime(2026, 5, 12)},
        {"symbol": "A", "price": 1, "extra": {"n": "x" * 70_000}},
        "AAPL",
    ],
)
def test_what_is_no_tick_is_an_error_of_the_call(tick: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        outgoing(tick)


async def test_it_drinks_a_source_to_its_end(gateway: GatewayProcess) -> None:
    closed = False

    async def source() -> AsyncIterator[dict[str, Any]]:
        nonlocal closed
        try:
            for tick in ticks("SOURCE", 50):
                yield tick
                await asyncio.sleep(0)
        finally:
            closed = True

    async with publisher(websocket(gateway)) as feed:
        account = await feed.drink(source())
    assert account.accepted == 50
    assert closed


async def test_what_a_source_raises_is_raised_after_a_flush(gateway: GatewayProcess) -> None:
    async def source() -> AsyncIterator[dict[str, Any]]:
        for tick in ticks("BROKEN", 5):
            yield tick
        raise ConnectionError("upstream went away")

    async with publisher(websocket(gateway)) as feed:
        with pytest.raises(ConnectionError, match="upstream"):
            await feed.drink(source())
        assert feed.account.accepted == 5
