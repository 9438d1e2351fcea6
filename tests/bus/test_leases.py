"""What has a limit for all workers is leased to each, and what may be spent in a time is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from bus.contract import Wish
from bus.layers import RedisLayer

Layer = Any


@pytest.fixture
async def redis_layer(redis_url: str) -> AsyncIterator[Layer]:
    layer: Layer = RedisLayer(hosts=[redis_url])
    yield layer
    await layer.flush()


async def test_a_lone_worker_may_have_all(layer: Layer) -> None:
    wishes = [Wish("ticks", 100, 7), Wish("sockets", 5, 3, spare=False), Wish("sockets2", 5, 8, spare=False)]
    assert await layer.bus.lease("one", wishes, 2.0) == (1, [100, 3, 5])


async def test_leases_are_together_never_more_than_the_limit(redis_layer: Layer) -> None:
    async def lease(worker: str, amount: int) -> int:
        _, [lease] = await redis_layer.bus.lease(worker, [Wish("ticks", 100, amount)], 2.0)
        return int(lease)

    assert await lease("one", 100) == 100
    assert await lease("two", 100) == 0  # until the first has heard of it
    assert await lease("one", 100) == 50
    assert await lease("two", 100) == 50
    assert await lease("three", 10) == 0
    assert [await lease("one", 100), await lease("two", 100), await lease("three", 10)] == [45, 45, 10]
    # Those who want nothing leave it to who does.
    for worker in ("two", "three"):
        await lease(worker, 0)
    assert await lease("one", 100) == 100


async def test_what_is_to_spare_is_shared_out(redis_layer: Layer) -> None:
    for _ in range(3):
        leases = [
            (await redis_layer.bus.lease(worker, [Wish("ticks", 100, amount)], 2.0))
            for worker, amount in (("one", 20), ("two", 40))
        ]
    assert leases == [(2, [40]), (2, [60])]


async def test_what_is_held_is_given_to_who_comes_first(redis_layer: Layer) -> None:
    async def lease(worker: str, amount: int) -> int:
        _, [lease] = await redis_layer.bus.lease(worker, [Wish("sockets", 3, amount, spare=False)], 2.0)
        return int(lease)

    assert [await lease("one", 2), await lease("two", 1), await lease("two", 2), await lease("one", 3)] == [2, 1, 1, 2]
    assert [await lease("one", 0), await lease("two", 3)] == [0, 3]


async def test_a_lease_that_is_not_renewed_goes_back(redis_layer: Layer, redis_url: str) -> None:
    assert await redis_layer.bus.lease("one", [Wish("ticks", 100, 100)], 0.1) == (1, [100])
    await asyncio.sleep(0.15)
    assert await redis_layer.bus.lease("two", [Wish("ticks", 100, 100)], 0.1) == (1, [100])
    await asyncio.sleep(0.15)
    async with Redis.from_url(redis_url) as redis:
        assert [key for key in await redis.keys("*") if b"lease" in key or b"workers" in key] == []


async def test_no_more_is_spent_than_may_be_until_the_time_is_over(layer: Layer) -> None:
    spend = layer.bus.spend
    assert [await spend("a", 2, 3, 0.3), await spend("a", 1, 3, 0.3), await spend("b", 3, 3, 0.3)] == [0, 0, 0]
    assert 0 < await spend("a", 1, 3, 0.3) <= 0.3
    assert await spend("c", 4, 3, 0.3) == pytest.approx(0.3)
    await asyncio.sleep(0.35)
    assert await spend("a", 3, 3, 0.3) == 0
