"""An oracle of order: whatever happens to Redis and its connections, the seqs of a group follow the calls of publish()."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis

from bus.contract import BusUnavailable, Packet, Since
from bus.layers import RedisLayer
from bus.redis.link import Link, Script
from bus.redis.pipe import Pipe
from bus.redis.scripts import scripts
from tests.servers import RedisServer

GROUPS = [f"ticks.S{number}" for number in range(4)]
CALLS = 1_200


class Way:
    """A TCP proxy to Redis that delays what goes up, and cuts connections while that is still on its way."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: list[asyncio.StreamWriter] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.delay = 0.0

    async def __aenter__(self) -> Way:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Resets all connections on the client's side; what was on its way to Redis still gets there, after the delay."""
        clients, self._clients = self._clients, []
        for client in clients:
            client.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers += (writer, ours)
        for task in (self._up(reader, ours), self._down(theirs, writer)):
            self._tasks.add(asyncio.create_task(task))

    async def _up(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await asyncio.sleep(self.delay)
                if not sink.is_closing():
                    sink.write(data)
        except OSError:
            pass
        await asyncio.sleep(1)
        sink.close()

    async def _down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if not sink.is_closing():
                sink.write(data)
        sink.close()


class Witness:
    """Hears everything, on a connection of its own that nothing happens to."""

    def __init__(self) -> None:
        self.prices: dict[str, list[tuple[int, int]]] = {group: [] for group in GROUPS}
        self._changed = asyncio.Event()

    async def until(self, counts: dict[str, int]) -> None:
        async with asyncio.timeout(20):
            while any(len(self.prices[group]) < count for group, count in counts.items()):
                self._changed.clear()
                await self._changed.wait()

    def arrived(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            for seq, message in enumerate(packet.messages, packet.seq):
                self.prices[packet.group].append((seq, message["price"]))
        self._changed.set()

    def bus_lost(self, _: int) -> None:
        raise AssertionError("the witness was not to be disturbed")

    bus_restored = bus_lost


@asynccontextmanager
async def open_layer(url: str) -> AsyncIterator[Any]:
    layer: Any = RedisLayer(hosts=[url])
    try:
        yield layer
    finally:
        await layer.flush()


class Publisher:
    """Calls publish() without waiting for what became of the calls before; the price is the number of the call."""

    def __init__(self, layer: Any, chance: random.Random) -> None:
        self._bus = layer.bus
        self._chance = chance
        self._calls = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.confirmed: list[tuple[str, int, int]] = []
        """Group, seq and price of what publish() said it had published, the last one of each group and batch."""
        self.refused = 0

    async def publish_many(self, count: int) -> None:
        for _ in range(count):
            self._tasks.append(asyncio.create_task(self._publish()))
            if self._chance.random() < 0.5:
                await asyncio.sleep(self._chance.choice([0, 0, 0.001, 0.003]))

    async def done(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _publish(self) -> None:
        self._calls += 1
        batch = {
            group: [{"type": "tick", "price": self._calls}] * self._chance.choice([1, 1, 2])
            for group in self._chance.sample(GROUPS, self._chance.randint(1, 3))
        }
        price = self._calls
        try:
            places: dict[str, Since] = await self._bus.publish(batch)
        except BusUnavailable:
            self.refused += 1
        else:
            self.confirmed += [(group, place.seq, price) for group, place in places.items()]


class Trouble:
    def __init__(self, way: Way, layer: Any, server: RedisServer, redis: Redis, chance: random.Random) -> None:
        self._way, self._layer, self._server, self._redis, self._chance = way, layer, server, redis, chance
        self._pipe: Pipe = layer.bus.shards[0].home.publishing
        self._kinds = [
            self.flush,
            self.flush,
            self.flush_and_load,
            self.cut,
            self.kill,
            self.stop,
            self.jump,
            self.slow,
        ]

    async def happen(self) -> None:
        await self._chance.choice(self._kinds)()

    async def flush(self) -> None:
        await self._redis.script_flush()

    async def flush_and_load(self) -> None:
        """Another gateway gives Redis the script back while batches that met none are still being answered."""
        before, self._way.delay = self._way.delay, 0.01
        await asyncio.sleep(0.01)
        await self._redis.script_flush()
        await asyncio.sleep(self._chance.random() * 0.02)
        await self._redis.script_load(scripts().publish.source)
        await asyncio.sleep(0.01)
        self._way.delay = before

    async def cut(self) -> None:
        self._way.delay = self._chance.choice([0.02, 0.5])
        await asyncio.sleep(0.01)
        self._way.cut()
        self._way.delay = 0.0

    async def kill(self) -> None:
        await self._redis.client_kill_filter(_type="normal", skipme=True)

    async def stop(self) -> None:
        self._server.pause()
        await asyncio.sleep(self._chance.choice([0.05, 0.3, 0.9]))
        self._server.resume()

    async def jump(self) -> None:
        """As if Redis's clock had jumped ahead: what is sent now comes too late for it."""
        if self._pipe._link is not None:
            self._pipe._link.clock._lead -= self._chance.choice([0.61, 10.0])

    async def slow(self) -> None:
        self._way.delay = self._chance.choice([0.0, 0.002, 0.02])


@pytest.mark.parametrize("seed", range(6))
async def test_seqs_follow_the_calls_of_publish_whatever_happens(redis_server: RedisServer, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    witness = Witness()
    async with (
        Way(redis_server.port) as way,
        open_layer(way.url) as layer,
        open_layer(redis_server.url) as listening,
        Redis.from_url(redis_server.url) as redis,
    ):
        listening.bus.tap(witness)
        await listening.bus.join(GROUPS)
        publisher = Publisher(layer, chance)
        trouble = Trouble(way, layer, redis_server, redis, chance)
        await publisher.publish_many(1)
        for _ in range(CALLS // 40):
            under_way = asyncio.create_task(publisher.publish_many(40))
            await asyncio.sleep(chance.random() * 0.02)
            await trouble.happen()
            await under_way
        await publisher.done()
        positions = await listening.bus.positions(GROUPS)
        await witness.until({group: place.seq for group, place in positions.items()})
    check(witness, publisher)


def check(witness: Witness, publisher: Publisher) -> None:
    for group, heard in witness.prices.items():
        assert [seq for seq, _ in heard] == list(range(1, len(heard) + 1))
        overtaken = [(one, other) for (_, one), (_, other) in pairwise(heard) if other < one]
        assert not overtaken, f"{group}: the second was called first"
    for group, seq, price in publisher.confirmed:
        assert witness.prices[group][seq - 1] == (seq, price)
    assert len(publisher.confirmed) > CALLS // 20


async def test_what_a_lost_connection_still_brings_is_not_overtaken(redis_server: RedisServer) -> None:
    async with Way(redis_server.port) as way, open_layer(way.url) as layer, open_layer(redis_server.url) as other:

        async def publish(price: int) -> int | None:
            try:
                return int((await layer.bus.publish({GROUPS[0]: [{"price": price}]}))[GROUPS[0]].seq)
            except BusUnavailable:
                return None

        assert await publish(1) == 1
        way.delay = 0.4
        lost = asyncio.create_task(publish(2))
        await asyncio.sleep(0.05)
        way.delay = 0.0
        way.cut()
        assert await lost is None
        assert await publish(3) == 3
        assert (await other.bus.positions(GROUPS[:1]))[GROUPS[0]].message["price"] == 3


# What a link does to keep the order, step by step

NUMBER = Script("redis.call('RPUSH', 'numbers', ARGV[1]) return tonumber(ARGV[1])")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


@asynccontextmanager
async def open_pipe(layer_url: str) -> AsyncIterator[Pipe]:
    async with open_layer(layer_url) as layer:
        pipe = Pipe(layer.bus.shards[0].home.node.pool, 10.0, [NUMBER])
        try:
            yield pipe
        finally:
            await pipe.close()


async def evaluate(number: int, link: Link, _: float) -> Any:
    return await link.evaluate(NUMBER, lambda: [number])


async def numbers(redis: Redis) -> list[int]:
    return [int(number) for number in await redis.lrange("numbers", 0, -1)]


async def test_what_met_no_script_goes_before_what_came_later(redis: Redis, redis_url: str) -> None:
    async with open_pipe(redis_url) as pipe:
        await pipe.call("PING")
        await redis.script_flush()

        async def send(number: int) -> int:
            result: int = await pipe.perform(lambda link, give_up: evaluate(number, link, give_up))
            return result

        calls = []
        for number in range(200):
            calls.append(asyncio.create_task(send(number)))
            await asyncio.sleep(0)
        assert await asyncio.gather(*calls) == list(range(200))
    assert await numbers(redis) == list(range(200))
