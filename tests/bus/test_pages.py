"""The names of streams, page by page: a page costs what it holds, and not what there is."""

from __future__ import annotations

from statistics import median
from typing import Any

from redis.asyncio import Redis

from bus.layers import RedisLayer

Layer = Any


async def fill(layer: Layer, *names: str) -> None:
    await layer.bus.publish({name: [{"type": "tick"}] for name in names})


async def test_pages_are_in_the_order_of_names(layer: Layer) -> None:
    await fill(layer, "ticks.C", "ticks.A")
    await fill(layer, "ticks.B", "ticks.C", "ticks.D")
    assert await layer.bus.page(0, 2) == (4, ["ticks.A", "ticks.B"])
    assert await layer.bus.page(2, 10) == (4, ["ticks.C", "ticks.D"])
    assert await layer.bus.page(4, 2) == (4, [])
    assert await layer.bus.page(0, 0) == (4, [])


async def test_a_page_begins_behind_a_name_whether_it_is_there_or_not(layer: Layer) -> None:
    await fill(layer, "ticks.A", "ticks.B", "ticks.D")
    assert await layer.bus.page(0, 1, "ticks.A") == (3, ["ticks.B"])
    assert await layer.bus.page(0, 5, "ticks.C") == (3, ["ticks.D"])
    assert await layer.bus.page(0, 5, "ticks.D") == (3, [])


async def test_an_epoch_begins_with_no_names(redis_url: str) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url])
    await fill(layer, "ticks.A", "ticks.B")
    async with Redis.from_url(redis_url) as redis:
        await redis.delete("marketmux.0:{0}:streams")
    await fill(layer, "ticks.C")
    assert await layer.bus.page(0, 5) == (1, ["ticks.C"])
    await layer.flush()


async def test_several_hosts_have_their_pages_in_common(redis_url: str) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url, redis_url.removesuffix("0") + "1"], prefix="both")
    names = [f"ticks.{number:02d}" for number in range(40)]
    await fill(layer, *names)
    assert await layer.bus.page(10, 10) == (40, names[10:20])
    assert await layer.bus.page(0, 10, names[29]) == (40, names[30:])
    await layer.flush()


async def test_a_page_costs_redis_the_same_among_a_hundred_times_as_many(redis_url: str) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url], history_ticks=0)
    async with Redis.from_url(redis_url) as redis:
        costs = []
        for start, end in ((0, 1_000), (1_000, 100_000)):
            for first in range(start, end, 1_000):
                await fill(layer, *(f"ticks.{number:06d}" for number in range(first, first + 1_000)))
            costs.append(await cost_of_pages(layer, redis, end))
    assert costs[1] < 3 * costs[0]
    await layer.flush()


async def cost_of_pages(layer: Layer, redis: Redis, total: int) -> float:
    """Microseconds of Redis that a page of 100 takes, with the ticks on it."""
    before: Any = await redis.config_get("slowlog-*")
    await redis.config_set("slowlog-log-slower-than", 0)
    await redis.config_set("slowlog-max-len", 1_000)
    await redis.slowlog_reset()
    for index in range(100):
        place = index * (total // 100 - 1)
        _, page = await layer.bus.page(min(place, total - 100), 100)
        assert len(page) == 100
        _, page = await layer.bus.page(0, 100, page[0])
        await layer.bus.positions(page)
    for name, value in before.items():
        await redis.config_set(name, value)
    calls: Any = await redis.slowlog_get(1_000)
    # The median, since a busy machine makes some of them longer.
    return float(median(call["duration"] for call in calls if call["command"].startswith(b"EVALSHA")))
