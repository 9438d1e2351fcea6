"""Streams that have had no message for a time are dropped, and one that begins again is another."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from bus.contract import LimitReached, Packet, Since
from bus.layers import MemoryLayer, RedisLayer
from bus.redis import shard
from tests.servers import RedisServer

DAY: Final = 86_400
KEEP: Final = 7 * DAY
STREAMS: Final = "marketmux.0:{0}:streams"
STATE: Final = "marketmux.0:{0}:retention"
AT: Final = slice(15, 23)
"""When a packet was published, in its header (bus/redis/packing.py)."""


class Kept:
    """A bus, in memory or in Redis, of which the test makes streams old and has slices looked at."""

    def __init__(self, layer: Any, redis: Redis | None) -> None:
        self.bus = layer.bus
        self._redis = redis

    async def publish(self, *groups: str) -> dict[str, Since]:
        places: dict[str, Since] = await self.bus.publish({group: [{"type": "tick"}] for group in groups})
        return places

    async def age(self, days: float, *groups: str) -> None:
        """Makes the last message of each group so old."""
        if self._redis is None:
            for group in groups:
                self.bus._streams[group].at -= days * DAY
            return
        packets: list[Any] = await self._redis.hmget(STREAMS, list(groups))
        (now,) = struct.unpack(">Q", packets[0][AT])
        old = struct.pack(">Q", now - int(days * DAY * 1_000))
        aged: dict[Any, Any] = {group: raw[:15] + old + raw[23:] for group, raw in zip(groups, packets, strict=True)}
        await self._redis.hset(STREAMS, mapping=aged)

    async def look(self) -> int:
        """Has a slice looked at."""
        if self._redis is None:
            return int(self.bus.retain())
        return int(await self.bus.shards[0].retain())


MakeKept = Callable[..., Kept]


@pytest.fixture(params=["memory", "redis"])
async def make_kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeKept]:
    monkeypatch.setattr(shard, "_SLICE_SECONDS", 0.0)
    layers: list[Any] = []
    redis = None if request.param == "memory" else Redis.from_url(request.getfixturevalue("redis_url"))

    def make(**limits: Any) -> Kept:
        if redis is None:
            layers.append(MemoryLayer(limits=limits))
        else:
            layers.append(RedisLayer(hosts=[request.getfixturevalue("redis_url")], limits=limits))
        return Kept(layers[-1], redis)

    yield make
    for layer in layers:
        await layer.flush()
    if redis is not None:
        await redis.aclose()


@pytest.fixture
async def kept(make_kept: MakeKept) -> Kept:
    return make_kept()


class Tap:
    def __init__(self) -> None:
        self.packets: list[Packet] = []

    def arrived(self, packets: Sequence[Packet]) -> None:
        self.packets += packets

    def bus_lost(self, host: int) -> None: ...

    def bus_restored(self, host: int) -> None: ...


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the bus tells no event
            await asyncio.sleep(0.01)


async def test_what_has_had_no_message_for_long_goes(kept: Kept) -> None:
    before = await kept.publish("ticks.A", "ticks.B", "ticks.C")
    await kept.age(7.1, "ticks.A", "ticks.C")
    await kept.age(6.9, "ticks.B")
    assert await kept.look() == 2
    assert await kept.bus.names() == ["ticks.B"]
    assert await kept.bus.page(0, 10) == (1, ["ticks.B"])
    positions = await kept.bus.positions(["ticks.A", "ticks.B"])
    assert (positions["ticks.A"].seq, positions["ticks.A"].message) == (0, None)
    assert (positions["ticks.B"].epoch, positions["ticks.B"].seq) == before["ticks.B"]
    assert (await kept.bus.history({"ticks.A": before["ticks.A"]}))["ticks.A"] is None
    assert (await kept.bus.held(600)).streams == 1
    assert await kept.look() == 0


async def test_a_stream_that_begins_again_is_another(kept: Kept) -> None:
    old = await kept.publish("ticks.A", "ticks.B")
    await kept.age(8, "ticks.A")
    await kept.look()
    places = await kept.publish("ticks.B", "ticks.A", "ticks.NEW")
    assert places["ticks.B"] == Since(old["ticks.B"].epoch, 2)
    assert places["ticks.A"].seq == 1
    assert places["ticks.A"].epoch == places["ticks.NEW"].epoch != old["ticks.A"].epoch
    positions = await kept.bus.positions(["ticks.A", "ticks.B"])
    assert [(at.epoch, at.seq) for at in positions.values()] == [places["ticks.A"], places["ticks.B"]]
    since = {"ticks.A": Since(old["ticks.A"].epoch, 0), "ticks.B": Since(old["ticks.B"].epoch, 1)}
    history = await kept.bus.history(since)
    assert history["ticks.A"] is None
    assert [(packet.epoch, packet.seq) for packet in history["ticks.B"]] == [places["ticks.B"]]
    new = await kept.bus.history({"ticks.A": Since(places["ticks.A"].epoch, 0)})
    assert [packet.epoch for packet in new["ticks.A"]] == [places["ticks.A"].epoch]


async def test_who_follows_it_is_told(kept: Kept) -> None:
    tap = Tap()
    kept.bus.tap(tap)
    await kept.bus.join(["ticks.A"])
    old = await kept.publish("ticks.A")
    await until(lambda: tap.packets)
    await kept.age(8, "ticks.A")
    await kept.look()  # unless the bus has just done so
    await until(lambda: len(tap.packets) == 2)
    new = await kept.publish("ticks.A")
    await until(lambda: len(tap.packets) == 3)
    assert [(packet.seq, len(packet.messages)) for packet in tap.packets] == [(1, 1), (0, 0), (1, 1)]
    assert tap.packets[1].epoch == tap.packets[2].epoch == new["ticks.A"].epoch != old["ticks.A"].epoch


async def test_a_tick_that_races_is_kept(kept: Kept) -> None:
    await kept.publish("ticks.A")
    for _ in range(30):
        await kept.age(8, "ticks.A")
        places, _ = await asyncio.gather(kept.publish("ticks.A"), kept.look())
        position = (await kept.bus.positions(["ticks.A"]))["ticks.A"]
        assert (position.epoch, position.seq) == places["ticks.A"]
        assert await kept.bus.page(0, 10) == (1, ["ticks.A"])


async def test_it_goes_in_slices_and_comes_round(kept: Kept) -> None:
    groups = [f"ticks.{number:04}" for number in range(450)]
    await kept.publish(*groups)
    await kept.age(8, *groups[::2])
    assert [await kept.look() for _ in range(5)] == [50, 50, 50, 50, 25]
    assert await kept.bus.page(0, 1_000) == (225, groups[1::2])
    await kept.age(8, *groups[1::2])
    assert [await kept.look() for _ in range(3)] == [100, 100, 25]


async def test_what_was_dropped_counts_no_more(make_kept: MakeKept) -> None:
    kept = make_kept(streams=2)
    await kept.publish("ticks.A", "ticks.B")
    with pytest.raises(LimitReached):
        await kept.publish("ticks.C")
    await kept.age(8, "ticks.A")
    await kept.look()
    assert (await kept.publish("ticks.C"))["ticks.C"].seq == 1


async def test_zero_keeps_all(make_kept: MakeKept) -> None:
    kept = make_kept(seconds=0)
    kept.bus.tap(Tap())
    await kept.publish("ticks.A")
    await kept.age(800, "ticks.A")
    await asyncio.sleep(0.05)
    assert await kept.bus.names() == ["ticks.A"]


async def test_what_is_held_is_known(kept: Kept) -> None:
    assert await kept.bus.held(600) == (0, 0, 0) or (await kept.bus.held(600)).bytes > 0
    for _ in range(20):
        await kept.publish(*(f"ticks.{number}" for number in range(100)))
    held = await kept.bus.held(600)
    assert held.streams == 100
    assert 30_000 < held.bytes < 3_000_000


async def test_one_gateway_looks_for_all(redis_url: str, redis_server: RedisServer) -> None:
    layers: list[Any] = [RedisLayer(hosts=[redis_server.url]) for _ in range(2)]
    try:
        await layers[0].bus.publish({"ticks.A": [{"type": "tick"}]})
        assert [await layer.bus.shards[0].retain() for layer in layers] == [0, -1]
    finally:
        for layer in layers:
            await layer.flush()


async def test_after_a_jump_of_the_clock_nothing_is_dropped_for_a_while(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "_SLICE_SECONDS", 0.0)
    layer: Any = RedisLayer(hosts=[redis_url])
    async with Redis.from_url(redis_url) as redis:
        kept = Kept(layer, redis)
        await kept.publish("ticks.A")
        await kept.age(8, "ticks.A")
        for jump in (-4 * DAY, DAY):  # forwards, as all gateways being away for so long looks; and back
            await redis.hset(STATE, mapping={"last": int((time.time() + jump) * 1_000), "hold": 0})
            assert await kept.look() == 0
            assert await kept.look() == 0
        await redis.hset(STATE, "hold", int(time.time() * 1_000))
        assert await kept.look() == 1
    await layer.flush()


async def test_a_redis_that_is_out_of_memory_gets_rid_of_them(redis_server: RedisServer) -> None:
    layer: Any = RedisLayer(hosts=[redis_server.url])
    async with Redis.from_url(redis_server.url) as redis:
        kept = Kept(layer, redis)
        await kept.publish("ticks.A", "ticks.B")
        await kept.age(8, "ticks.B")
        redis_server.call("CONFIG SET maxmemory 1")
        assert await kept.look() == 1
        assert await redis.hget(STATE, "after") == b""
    await layer.flush()
