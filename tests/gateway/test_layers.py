"""One contract for both channel layers: what Channels code expects, and what the gateway asks for beyond it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.layers import MemoryLayer, RedisLayer
from tests.servers import RedisServer

Layer = Any


@pytest.fixture(params=["memory", "redis"])
async def layer(request: pytest.FixtureRequest) -> AsyncIterator[Layer]:
    if request.param == "memory":
        layer: Layer = MemoryLayer()
    else:
        layer = RedisLayer(hosts=[request.getfixturevalue("redis_url")])
    yield layer
    await layer.flush()


class Tap:
    """Notes what a layer hands over."""

    def __init__(self, layer: Layer) -> None:
        self.passes: list[list[tuple[str, Any]]] = []
        self._news = asyncio.Event()
        layer.tap(self._on_messages)

    def _on_messages(self, messages: Any) -> None:
        self.passes.append(list(messages))
        self._news.set()

    @property
    def messages(self) -> list[tuple[str, Any]]:
        return [message for some in self.passes for message in some]

    async def wait_for(self, count: int) -> list[tuple[str, Any]]:
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                self._news.clear()
                await self._news.wait()
        return self.messages


def tick(number: int) -> dict[str, Any]:
    return {"type": "tick", "symbol": "A", "price": str(number)}


async def receive(layer: Layer, channel: str) -> Any:
    async with asyncio.timeout(5):
        return await layer.receive(channel)


async def test_a_channel_gets_what_is_sent_to_it(layer: Layer) -> None:
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "hello"})
    assert await receive(layer, channel) == {"type": "hello"}


async def test_a_group_sends_to_its_members_only(layer: Layer) -> None:
    one, other = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("ticks.A", one)
    await layer.group_add("ticks.A", other)
    await layer.group_discard("ticks.A", other)
    await layer.group_send("ticks.A", tick(1))
    assert await receive(layer, one) == tick(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await layer.receive(other)


async def test_members_of_a_group_get_a_batch_message_by_message(layer: Layer) -> None:
    channel = await layer.new_channel()
    await layer.group_add("ticks.A", channel)
    await layer.group_send_batch([("ticks.A", tick(1)), ("ticks.B", tick(2)), ("ticks.A", tick(3))])
    assert [await receive(layer, channel), await receive(layer, channel)] == [tick(1), tick(3)]


async def test_the_tap_gets_the_groups_that_were_joined(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.join(["ticks.A", "ticks.B"])
    await layer.group_send_batch([("ticks.A", tick(1)), ("ticks.C", tick(2)), ("ticks.B", tick(3))])
    assert await tap.wait_for(2) == [("ticks.A", tick(1)), ("ticks.B", tick(3))]


async def test_a_batch_reaches_the_tap_in_few_passes(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.join(["ticks.A"])
    await layer.group_send_batch([("ticks.A", tick(number)) for number in range(500)])
    assert [message["price"] for _, message in await tap.wait_for(500)] == [str(number) for number in range(500)]
    assert len(tap.passes) < 50


async def test_the_tap_hears_ordinary_group_sends(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.join(["ticks.A"])
    await layer.group_send("ticks.A", tick(1))
    assert await tap.wait_for(1) == [("ticks.A", tick(1))]


async def test_after_leaving_the_tap_hears_nothing(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.join(["ticks.A", "ticks.B"])
    await layer.leave(["ticks.A"])
    await layer.group_send_batch([("ticks.A", tick(1)), ("ticks.B", tick(2))])
    assert await tap.wait_for(1) == [("ticks.B", tick(2))]


async def test_a_group_can_be_left_and_joined_again_at_once(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.join(["ticks.A"])
    for number in range(20):
        await layer.leave(["ticks.A"])
        await layer.join(["ticks.A"])
        await layer.group_send("ticks.A", tick(number))
        await tap.wait_for(number + 1)
    assert len(tap.messages) == 20


async def test_tap_and_members_share_a_group_and_leave_it_apart(layer: Layer) -> None:
    tap = Tap(layer)
    channel = await layer.new_channel()
    await layer.join(["ticks.A"])
    await layer.group_add("ticks.A", channel)
    await layer.leave(["ticks.A"])
    await layer.group_send("ticks.A", tick(1))
    assert await receive(layer, channel) == tick(1)
    await layer.join(["ticks.A"])
    await layer.group_discard("ticks.A", channel)
    await layer.group_send("ticks.A", tick(2))
    assert await tap.wait_for(1) == [("ticks.A", tick(2))]


async def test_the_last_message_of_each_group_is_retained(layer: Layer) -> None:
    await layer.group_send_batch([("ticks.A", tick(1)), ("ticks.B", tick(2)), ("ticks.A", tick(3))])
    await layer.group_send("ticks.C", {"type": "hello"})
    assert await layer.retained(["ticks.A", "ticks.C", "ticks.B"]) == {"ticks.A": tick(3), "ticks.B": tick(2)}
    assert sorted(await layer.retained_groups()) == ["ticks.A", "ticks.B"]


async def test_the_bus_answers_a_ping(layer: Layer) -> None:
    await layer.ping()


async def test_a_message_from_another_thread_reaches_the_tap(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.join(["ticks.A"])
    await asyncio.to_thread(lambda: asyncio.run(layer.group_send_batch([("ticks.A", tick(1))])))
    assert await tap.wait_for(1) == [("ticks.A", tick(1))]


# Only Redis


async def test_one_subscription_a_process_and_group(shared_redis: RedisServer, redis_url: str) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url])
    await layer.join(["ticks.A", "ticks.B"])
    await layer.join(["ticks.A"])
    redis = layer._shards[0].redis
    assert dict(await redis.pubsub_numsub("asgi__group__ticks.A", "asgi__group__ticks.B")) == {
        b"asgi__group__ticks.A": 1,
        b"asgi__group__ticks.B": 1,
    }
    await layer.leave(["ticks.A", "ticks.B"])
    await asyncio.sleep(0.1)
    assert await redis.pubsub_channels() == []
    await layer.flush()


async def test_two_processes_share_the_bus_and_what_is_retained(redis_url: str) -> None:
    one: Layer = RedisLayer(hosts=[redis_url])
    other: Layer = RedisLayer(hosts=[redis_url])
    tap = Tap(one)
    await one.join(["ticks.A"])
    await other.group_send_batch([("ticks.A", tick(1))])
    assert await tap.wait_for(1) == [("ticks.A", tick(1))]
    assert await one.retained(["ticks.A"]) == {"ticks.A": tick(1)}
    await one.flush()
    await other.flush()


async def test_groups_are_spread_over_several_redis(redis_url: str, redis_server: RedisServer) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url, redis_server.url])
    tap = Tap(layer)
    groups = [f"ticks.S{number}" for number in range(40)]
    await layer.join(groups)
    await layer.group_send_batch([(group, tick(1)) for group in groups])
    assert sorted(await tap.wait_for(40)) == [(group, tick(1)) for group in sorted(groups)]
    assert set(await layer.retained(groups)) == set(await layer.retained_groups()) == set(groups)
    assert min([len(await shard.retained_groups()) for shard in layer._shards]) > 5
    await layer.flush()


async def test_bytes_that_are_no_message_are_counted_and_skipped(redis_url: str) -> None:
    layer: Layer = RedisLayer(hosts=[redis_url])
    tap = Tap(layer)
    await layer.join(["ticks.A"])
    await layer._shards[0].publish("asgi__group__ticks.A", b"\xc1 garbage")
    await layer.group_send("ticks.A", tick(1))
    assert await tap.wait_for(1) == [("ticks.A", tick(1))]
    assert layer.malformed == 1
    await layer.flush()


async def test_groups_are_joined_again_when_redis_comes_back(redis_server: RedisServer) -> None:
    layer: Layer = RedisLayer(hosts=[redis_server.url])
    tap = Tap(layer)
    await layer.join(["ticks.A"])
    redis_server.kill()
    redis_server.start()
    async with asyncio.timeout(5):
        while not tap.messages:
            await layer.group_send("ticks.A", tick(1))
            await asyncio.sleep(0.05)
    await layer.flush()


async def test_without_redis_joining_and_sending_say_so(redis_server: RedisServer) -> None:
    layer: Layer = RedisLayer(hosts=[{"address": redis_server.url, "socket_connect_timeout": 0.2}])
    layer._shards[0]._listener._timeout = 0.3
    redis_server.stop()
    with pytest.raises((RedisConnectionError, OSError)):
        await layer.join(["ticks.A"])
    with pytest.raises((RedisConnectionError, OSError)):
        await layer.group_send_batch([("ticks.A", tick(1))])
    with pytest.raises((RedisConnectionError, OSError)):
        await layer.ping()
    assert not layer._joined
    await layer.flush()
