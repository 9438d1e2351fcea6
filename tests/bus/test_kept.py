"""What the bus keeps is bounded: streams, and idempotency keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from bus.contract import Idempotency, LimitReached
from bus.layers import MemoryLayer, RedisLayer

Layer = Any
MESSAGE = {"type": "tick"}


@pytest.fixture(params=["memory", "redis"])
async def layer(request: pytest.FixtureRequest) -> AsyncIterator[Layer]:
    """One that keeps three streams, and takes two keys in their time."""
    options: dict[str, Any] = {"limits": {"streams": 3, "keys": 2}}
    if request.param == "redis":
        options["hosts"] = [request.getfixturevalue("redis_url")]
    layer: Layer = RedisLayer(**options) if request.param == "redis" else MemoryLayer(**options)
    yield layer
    await layer.flush()


async def fill(layer: Layer, *names: str, key: str | None = None, digest: str = "digest") -> bool:
    idempotency = None if key is None else Idempotency(key, digest, 60)
    return await layer.bus.publish({name: [MESSAGE] for name in names}, idempotency) is not None


async def test_of_a_batch_with_a_stream_too_many_nothing_is_published(layer: Layer) -> None:
    await fill(layer, "ticks.A", "ticks.B")
    with pytest.raises(LimitReached, match="streams"):
        await fill(layer, "ticks.A", "ticks.C", "ticks.D", key="1")
    positions = await layer.bus.positions(["ticks.A", "ticks.C"])
    assert [position.seq for position in positions.values()] == [1, 0]
    assert await fill(layer, "ticks.A", "ticks.C", key="1")  # the key was left unused
    assert await fill(layer, "ticks.A", "ticks.B", "ticks.C")
    with pytest.raises(LimitReached, match="streams"):
        await fill(layer, "ticks.E")
    assert (await layer.bus.page(0, 5))[1] == ["ticks.A", "ticks.B", "ticks.C"]


async def test_the_probe_takes_no_room_and_is_not_listed(layer: Layer) -> None:
    await layer.bus.ping()
    await fill(layer, "ticks.A", "ticks.B", "ticks.C")
    await layer.bus.ping()  # nor does it need any
    assert await layer.bus.page(0, 5) == (3, ["ticks.A", "ticks.B", "ticks.C"])
    assert sorted(await layer.bus.names()) == ["ticks.A", "ticks.B", "ticks.C"]


async def test_a_key_too_many_is_refused_and_those_that_are_known_are_not(layer: Layer) -> None:
    assert await fill(layer, "ticks.A", key="1")
    assert await fill(layer, "ticks.A", key="2")
    with pytest.raises(LimitReached, match="keys"):
        await fill(layer, "ticks.A", key="3")
    assert not await fill(layer, "ticks.A", key="1")
    assert await fill(layer, "ticks.A")
    assert (await layer.bus.positions(["ticks.A"]))["ticks.A"].seq == 3


async def test_what_counts_keys_expires_with_them(redis_url: str) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url], history_ticks=0)
    await fill(layer, "ticks.A", key="1")
    async with Redis.from_url(redis_url) as redis:
        names = [name for name in await redis.keys() if b":keys:" in name or b":idempotency:" in name]
        assert len(names) == 2
        for name in names:
            assert 0 < await redis.pttl(name) <= 60_000
    await layer.flush()
