"""``marketmux.publish`` and its siblings: ticks from a Django project's own code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from channels.layers import channel_layers

import marketmux
from bus.contract import BusUnavailable, IdempotencyConflict
from bus.layers import MemoryLayer, RedisLayer
from tests.servers import RedisServer
from ticks import direct, publish
from ticks.direct import Published
from ticks.errors import InvalidTicks


@pytest.fixture(autouse=True)
def home() -> Iterator[None]:
    """No loop of other tests, and an in-memory layer."""
    direct._home.forget()
    channel_layers.set("default", MemoryLayer())
    yield
    if loop := direct._home.current():
        loop.call_soon_threadsafe(loop.stop)
    direct._home.forget()
    channel_layers.backends.clear()


async def test_values_of_python_are_published_digit_for_digit() -> None:
    moment = datetime(2026, 5, 12, 15, 4, 5, tzinfo=UTC)
    done = await marketmux.apublish(
        [{"symbol": "A", "price": Decimal("150.250"), "timestamp": moment}, {"symbol": "A", "price": "7"}]
    )
    assert (done.accepted, done.repeated, done.positions["A"].seq) == (2, False, 2)
    assert (await publish.latest_of(["A"]))["A"].tick.price == "7"


async def test_mistakes_are_named_and_nothing_is_published() -> None:
    with pytest.raises(InvalidTicks) as refused:
        await marketmux.apublish([{"symbol": "A", "price": 1}, {"symbol": "A", "price": "x"}])
    assert [(error["index"], error["field"]) for error in refused.value.errors] == [(1, "price")]
    assert await publish.latest_of(["A"]) == {}


async def test_under_a_key_ticks_are_published_once() -> None:
    first, again = [await marketmux.apublish({"symbol": "A", "price": 1}, key="order-17") for _ in range(2)]
    assert (first.repeated, again) == (False, Published(1, True, {}))
    with pytest.raises(IdempotencyConflict):
        await marketmux.apublish({"symbol": "A", "price": 2}, key="order-17")


async def test_where_a_loop_runs_publish_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match="apublish"):
        marketmux.publish({"symbol": "A", "price": 1})


async def test_threads_publish_on_the_loop_of_the_gateway() -> None:
    direct.use_this_loop()
    done = await asyncio.to_thread(marketmux.publish, {"symbol": "A", "price": 1})
    assert done.positions["A"].seq == 1
    assert list(await publish.latest_of(["A"])) == ["A"]  # a bus belongs to its loop


def test_many_threads_share_one_set_of_connections(redis_server: RedisServer) -> None:
    channel_layers.set("default", RedisLayer(hosts=[redis_server.url]))
    ticks = [{"symbol": "A", "price": number} for number in range(1, 201)]
    marketmux.publish({"symbol": "A", "price": 1})
    before = len(redis_server.lines("CLIENT LIST"))
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(marketmux.publish, ticks))
    assert sorted(one.positions["A"].seq for one in done) == list(range(2, 202))
    assert [asyncio.run(marketmux.apublish(ticks[0])).positions["A"].seq for _ in range(5)] == [*range(202, 207)]
    assert len(redis_server.lines("CLIENT LIST")) <= before + 1  # pipes may connect in the background meanwhile


def test_a_bus_that_is_away_is_an_error(redis_server: RedisServer) -> None:
    channel_layers.set("default", RedisLayer(hosts=[redis_server.url]))
    marketmux.publish({"symbol": "A", "price": 1})
    redis_server.stop()
    with pytest.raises(BusUnavailable):
        marketmux.publish({"symbol": "A", "price": 1})


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_was_forked_publishes_too(redis_server: RedisServer) -> None:
    channel_layers.set("default", RedisLayer(hosts=[redis_server.url]))
    marketmux.publish({"symbol": "A", "price": 1})
    child = os.fork()
    if child == 0:  # as a worker of Celery
        os._exit(marketmux.publish({"symbol": "A", "price": 2}).positions["A"].seq)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert marketmux.publish({"symbol": "A", "price": 3}).positions["A"].seq == 3


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_it_is_published_at_once() -> None:
    marketmux.publish_on_commit({"symbol": "A", "price": 1})
    assert marketmux.publish({"symbol": "A", "price": 2}).positions["A"].seq == 2
    with pytest.raises(InvalidTicks):
        marketmux.publish_on_commit({"symbol": "A"})
