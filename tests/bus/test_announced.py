"""What each worker says of itself is kept for a time, for all to read."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from bus.layers import RedisLayer
from tests.servers import RedisServer

Layer = Any


async def test_the_last_word_of_each_worker_counts(layer: Layer) -> None:
    assert await layer.bus.announced() == {}
    for worker, record in (("one", b"1"), ("two", b"\xff\x00"), ("one", b"3")):
        await layer.bus.announce(worker, record, 30)
    assert await layer.bus.announced() == {"one": b"3", "two": b"\xff\x00"}


async def test_who_says_nothing_any_more_is_forgotten(layer: Layer) -> None:
    await layer.bus.announce("one", b"1", 0.2)
    await layer.bus.announce("two", b"2", 30)
    await asyncio.sleep(0.3)
    assert await layer.bus.announced() == {"two": b"2"}


async def test_nothing_of_it_stays_in_redis(redis_url: str) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url])
    await layer.bus.announce("one", b"1", 0.1)
    await asyncio.sleep(0.2)
    async with Redis.from_url(redis_url) as redis:
        assert [key for key in await redis.keys("*") if b"announced" in key or b"record" in key] == []
    await layer.flush()


async def test_each_of_several_hosts_has_all_records(redis_url: str, redis_server: RedisServer) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url, redis_server.url])
    for worker in ("one", "two", "three"):
        await layer.bus.announce(worker, worker.encode(), 30)
    assert len(await layer.bus.announced()) == 3
    for url in (redis_url, redis_server.url):
        async with Redis.from_url(url) as redis:
            assert len([key for key in await redis.keys("*") if b":record:" in key]) == 3
    await layer.flush()
