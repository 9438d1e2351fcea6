"""A bus of several hosts, one of which is away: what the others are asked, and what is said of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from bus.contract import BusUnavailable, Idempotency, LimitReached, Packet, Reason, Since
from bus.layers import RedisLayer
from bus.redis.bus import RedisBus
from tests.servers import RedisServer
from ticks.publish import _placed
from ticks.tick import Tick, group_name

MESSAGE = {"type": "tick"}


class Tap:
    """Notes the groups of what arrives, and which hosts are away."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.away: set[int] = set()

    def arrived(self, packets: Sequence[Packet]) -> None:
        self.groups += [packet.group for packet in packets]

    def bus_lost(self, host: int) -> None:
        self.away.add(host)

    def bus_restored(self, host: int) -> None:
        self.away.discard(host)


class Halves:
    """A bus of two hosts, with a tap, and ten groups of each."""

    def __init__(self, layer: Any, other: RedisServer) -> None:
        self.bus: RedisBus = layer.bus
        self.other = other
        self.tap = Tap()
        self.bus.tap(self.tap)
        groups = [f"ticks.S{number}" for number in range(60)]
        self.here = [group for group in groups if self.bus.host_of(group) == 0][:10]
        self.gone = [group for group in groups if self.bus.host_of(group) == 1][:10]

    async def lose(self) -> None:
        self.other.kill()
        await until(lambda: self.bus.away == {1})

    async def find(self) -> None:
        self.other.start()
        await until(lambda: not self.bus.away)

    async def publish(self, *groups: str, key: str = "", digest: str = "d") -> Any:
        idempotency = Idempotency(key, digest, 60) if key else None
        return await self.bus.publish({group: [MESSAGE] for group in groups}, idempotency)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the bus tells no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def halves(redis_url: str, redis_server: RedisServer) -> AsyncIterator[Halves]:
    layer: Any = RedisLayer(hosts=[redis_url, redis_server.url])
    halves = Halves(layer, redis_server)
    await until(lambda: not halves.bus.away)
    yield halves
    await layer.flush()


async def test_publishing_over_hosts_serves_those_that_are_there(halves: Halves) -> None:
    await halves.lose()
    for number in range(20):
        assert await halves.publish(halves.here[0], key=str(number))
    with pytest.raises(BusUnavailable) as refused:
        await halves.publish(*halves.here, *halves.gone, key="both")
    assert list(refused.value.groups) == halves.gone
    assert set(refused.value.places) == set(halves.here)
    assert refused.value.places[halves.here[1]].seq == 1
    await halves.find()
    done = await halves.publish(*halves.here, *halves.gone, key="both")
    assert set(done) == set(halves.gone)
    assert await halves.publish(*halves.here, *halves.gone, key="both") is None


def test_a_retry_that_completes_a_batch_places_what_it_published() -> None:
    ticks = [Tick(symbol, price, "2026-05-12T15:04:05Z") for symbol, price in (("A", "1"), ("B", "2"), ("B", "3"))]
    batch = {group_name("A"): ticks[:1], group_name("B"): ticks[1:]}
    placed = list(_placed(ticks, batch, {group_name("B"): Since("e", 8)}))
    assert [(one.tick.price, one.seq) for one in placed] == [("2", 7), ("3", 8)]


async def test_a_limit_of_one_host_names_what_it_refused(redis_url: str, redis_server: RedisServer) -> None:
    layer: Any = RedisLayer(hosts=[redis_url, redis_server.url], limits={"streams": 5})
    halves = Halves(layer, redis_server)
    try:
        await halves.publish(*halves.gone[:5])
        with pytest.raises(LimitReached) as refused:
            await halves.publish(halves.here[0], halves.gone[5])
        assert (refused.value.groups, set(refused.value.places)) == ([halves.gone[5]], {halves.here[0]})
    finally:
        await layer.flush()


async def test_reading_leaves_out_what_is_away(halves: Halves) -> None:
    await halves.publish(*halves.here, *halves.gone)
    await halves.lose()
    assert list(await halves.bus.positions([*halves.gone, *halves.here])) == halves.here
    assert sorted(await halves.bus.names()) == sorted(halves.here)
    assert await halves.bus.page(0, 100) == (10, sorted(halves.here))
    epoch = (await halves.bus.positions(halves.here[:1]))[halves.here[0]].epoch
    history = await halves.bus.history({halves.here[0]: Since(epoch, 0), halves.gone[0]: Since(epoch, 0)})
    assert history[halves.gone[0]] is None
    assert history[halves.here[0]] is not None
    with pytest.raises(BusUnavailable) as refused:
        await halves.bus.positions(halves.gone[:2])
    assert list(refused.value.groups) == halves.gone[:2]


async def test_what_is_joined_while_its_host_is_away_arrives_when_it_is_back(halves: Halves) -> None:
    await halves.lose()
    async with asyncio.timeout(2):  # nobody waits for it
        await halves.bus.join([halves.here[0], halves.gone[0]])
        await halves.bus.join(["ticks.S*"])
        await halves.bus.leave(["ticks.S*"])
    await halves.publish(halves.here[0])
    await until(lambda: halves.tap.groups == [halves.here[0]])
    await halves.find()
    await halves.publish(halves.gone[0])
    await until(lambda: halves.tap.groups == [halves.here[0], halves.gone[0]])
    assert halves.tap.away == set()


async def test_a_pattern_takes_in_a_host_when_it_is_back(halves: Halves) -> None:
    await halves.lose()
    await halves.bus.join(["ticks.*"])
    await halves.find()
    await halves.publish(*halves.here, *halves.gone)
    await until(lambda: sorted(halves.tap.groups) == sorted([*halves.here, *halves.gone]))


async def test_a_ping_tells_why_not_all_hosts_can_be_used(halves: Halves) -> None:
    assert await halves.bus.ping() is None
    await halves.lose()
    assert await halves.bus.ping() is Reason.AWAY
    assert len(await halves.bus.check()) == 1


async def test_batches_reach_each_host_in_the_order_of_their_calls(halves: Halves) -> None:
    """Whether they are of one host or of several, and with a key or without."""
    shared = halves.here[0]
    await halves.bus.join([shared])
    batches = [[shared], [shared, *halves.gone], [halves.gone[0], shared]] * 40
    prices: list[Any] = []
    halves.tap.arrived = lambda packets: prices.extend(  # type: ignore[method-assign]
        message["price"] for packet in packets for message in packet.messages
    )

    async def publish(number: int, groups: list[str]) -> None:
        idempotency = Idempotency(f"k{number}", "d", 60) if number % 2 else None
        await halves.bus.publish({group: [{"type": "tick", "price": number}] for group in groups}, idempotency)

    await asyncio.gather(*(publish(number, groups) for number, groups in enumerate(batches)))
    await until(lambda: len(prices) == len(batches))
    assert prices == sorted(prices)
