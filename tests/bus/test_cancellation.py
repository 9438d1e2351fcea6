"""What is cancelled on the bus has not happened, wherever it was: it is cancelled after every turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from bus.layers import RedisLayer

MOST = 500


@pytest.fixture
async def layer(redis_url: str) -> AsyncIterator[RedisLayer]:
    layer = RedisLayer(hosts=[redis_url])
    yield layer
    await layer.flush()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


async def at_every_turn(step: Callable[[], Awaitable[None]], undone: Callable[[bool], Awaitable[None]]) -> None:
    """Takes a step and cancels it after one turn more each time, until it comes to its end."""
    for count in range(MOST):
        task = asyncio.ensure_future(step())
        for _ in range(count):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await undone(task.cancelled())
        if not task.cancelled():
            task.result()
            return
    raise AssertionError("it never came to its end")


async def listened_to(redis: Redis) -> int:
    """Channels and patterns that somebody listens to in Redis."""
    return len(await redis.pubsub_channels()) + await redis.pubsub_numpat()


@pytest.mark.parametrize("groups", [["ticks.A"], ["ticks.A", "ticks.B"], ["ticks.*"], ["ticks.*", "ticks.A"]], ids=str)
async def test_a_join_that_is_cancelled_leaves_no_subscription(
    layer: RedisLayer, redis: Redis, groups: list[str]
) -> None:
    bus = layer.bus

    async def undone(was_cancelled: bool) -> None:
        if not was_cancelled:
            await bus.leave(groups)
        async with asyncio.timeout(30):
            while await listened_to(redis):  # noqa: ASYNC110 - Redis does not tell
                await asyncio.sleep(0.001)

    await at_every_turn(lambda: bus.join(groups), undone)


async def test_a_consumer_whose_group_add_is_cancelled_is_no_member(layer: RedisLayer, redis: Redis) -> None:
    channel = await layer.new_channel()
    receiving = asyncio.create_task(layer.receive(channel))
    async with asyncio.timeout(30):
        while not (before := await listened_to(redis)):  # noqa: ASYNC110 - Redis does not tell
            await asyncio.sleep(0.001)

    async def undone(was_cancelled: bool) -> None:
        if not was_cancelled:
            await layer.group_discard("chat", channel)
        async with asyncio.timeout(30):
            while await listened_to(redis) != before:  # noqa: ASYNC110 - Redis does not tell
                await asyncio.sleep(0.001)

    await at_every_turn(lambda: layer.group_add("chat", channel), undone)
    receiving.cancel()
