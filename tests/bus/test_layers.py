"""One contract for both channel layers: what Channels code expects, and what the gateway asks for beyond it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.testing import WebsocketCommunicator
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bus.contract import Bus, BusUnavailable, Idempotency, IdempotencyConflict, Packet, Position, Since
from bus.layers import MemoryLayer, RedisLayer
from bus.memory import MemoryBus
from bus.redis import cluster, names, node, publications
from tests.servers import RedisServer

Layer = Any
MakeLayer = Callable[..., Layer]


@pytest.fixture(params=["memory", "redis", "valkey", "cluster", "valkey_cluster"])
async def make_layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeLayer]:
    """Makes layers, which share the bus only if it is Redis. A busy machine does not make Redis unavailable."""
    made: list[Layer] = []
    for module, name, seconds in (
        (node, "PUBLISH_SECONDS", 20.0),
        (node, "ASK_SECONDS", 20.0),
        (cluster, "PUBLISH_SECONDS", 20.0),
        (cluster, "ASK_SECONDS", 20.0),
        (publications, "PUBLISH_SECONDS", 20.0),
        (publications, "EXECUTE_SECONDS", 19.0),
    ):
        monkeypatch.setattr(module, name, seconds)

    def make(**options: Any) -> Layer:
        if request.param == "memory":
            made.append(MemoryLayer(**options))
        else:
            made.append(RedisLayer(hosts=[request.getfixturevalue(f"{request.param}_url")], **options))
            for shard in made[-1].bus.shards:
                shard.listener._timeout = 20.0
        return made[-1]

    yield make
    for layer in made:
        await layer.flush()


@pytest.fixture
async def layer(make_layer: MakeLayer) -> Layer:
    return make_layer()


@pytest.fixture
async def make_redis_layer(redis_url: str) -> AsyncIterator[MakeLayer]:
    """Makes layers that share a Redis."""
    made: list[Layer] = []

    def make(*urls: str, **options: Any) -> Layer:
        made.append(RedisLayer(hosts=[*urls] or [redis_url], **options))
        return made[-1]

    yield make
    for layer in made:
        await layer.flush()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A plain client of the Redis that the layers share."""
    async with Redis.from_url(redis_url) as redis:
        yield redis


def untimed(packets: Iterable[Packet] | None) -> list[Packet]:
    """The same without when they got their places."""
    return [packet._replace(at=0, note=b"") for packet in packets or ()]


class Tap:
    """Notes what a layer hands over."""

    def __init__(self, layer: Layer) -> None:
        self.passes: list[list[Packet]] = []
        self.news: list[str] = []
        self._changed = asyncio.Event()
        layer.bus.tap(self)

    def arrived(self, packets: Sequence[Packet]) -> None:
        self.passes.append(list(packets))
        self._changed.set()

    def bus_lost(self, host: int) -> None:
        self.news.append("lost" if not host else f"lost {host}")
        self._changed.set()

    def bus_restored(self, host: int) -> None:
        self.news.append("restored" if not host else f"restored {host}")
        self._changed.set()

    @property
    def packets(self) -> list[Packet]:
        return untimed(packet for some in self.passes for packet in some)

    @property
    def messages(self) -> list[tuple[str, Any]]:
        return [(packet.group, message) for packet in self.packets for message in packet.messages]

    @property
    def places(self) -> list[tuple[str, int]]:
        """Group and seq of each message."""
        return [(packet.group, packet.seq + index) for packet in self.packets for index in range(len(packet.messages))]

    async def wait_for(self, count: int) -> list[tuple[str, Any]]:
        await self.until(lambda: len(self.messages) >= count)
        return self.messages

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def tick(number: int) -> dict[str, Any]:
    return {"type": "tick", "symbol": "A", "price": str(number)}


def ticks(group: str, *numbers: int) -> list[tuple[str, Any]]:
    return [(group, tick(number)) for number in numbers]


async def send_batch(bus: Bus, batch: Sequence[tuple[str, Any]], idempotency: Idempotency | None = None) -> bool:
    """Publishes messages, each for a group; whether they were published."""
    groups: dict[str, list[Any]] = {}
    for group, message in batch:
        groups.setdefault(group, []).append(message)
    return await bus.publish(groups, idempotency) is not None


def placed(number: int, seq: int, epoch: str) -> dict[str, Any]:
    """The tick as an ordinary consumer gets it."""
    return {**tick(number), "seq": seq, "epoch": epoch}


async def receive(layer: Layer, channel: str) -> Any:
    async with asyncio.timeout(30):
        return await layer.receive(channel)


async def epoch_of(layer: Layer, group: str = "ticks.A") -> str:
    epoch: str = (await layer.bus.positions([group]))[group].epoch
    return epoch


async def until(condition: Callable[[], Any]) -> None:
    """Returns once ``condition()`` is true, or what it returns can be awaited and is."""
    async with asyncio.timeout(30):
        while True:
            result = condition()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.02)


# What Channels expects


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
    await send_batch(layer.bus, [("ticks.A", tick(1)), ("ticks.B", tick(2)), ("ticks.A", tick(3))])
    epoch = await epoch_of(layer)
    assert [await receive(layer, channel), await receive(layer, channel)] == [placed(1, 1, epoch), placed(3, 2, epoch)]


async def test_the_bus_answers_a_ping(layer: Layer) -> None:
    await layer.bus.ping()


# Taps


async def test_the_tap_gets_the_groups_that_were_joined(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A", "ticks.B"])
    await send_batch(layer.bus, [("ticks.A", tick(1)), ("ticks.C", tick(2)), ("ticks.B", tick(3))])
    assert sorted(await tap.wait_for(2)) == [("ticks.A", tick(1)), ("ticks.B", tick(3))]


async def test_a_batch_reaches_the_tap_in_few_packets(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A", "ticks.B"])
    await send_batch(
        layer.bus, [item for number in range(250) for group in "AB" for item in ticks(f"ticks.{group}", number)]
    )
    await tap.wait_for(500)
    assert sorted(tap.packets) == [
        Packet(group, await epoch_of(layer, group), 1, list(map(tick, range(250)))) for group in ("ticks.A", "ticks.B")
    ]


async def test_the_tap_hears_ordinary_group_sends_which_have_no_place(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    await layer.group_send("ticks.A", tick(1))
    await tap.wait_for(1)
    assert tap.packets == [Packet("ticks.A", "", 0, [tick(1)])]


async def test_after_leaving_the_tap_hears_nothing(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A", "ticks.B"])
    await layer.bus.leave(["ticks.A"])
    await send_batch(layer.bus, [("ticks.A", tick(1)), ("ticks.B", tick(2))])
    assert await tap.wait_for(1) == [("ticks.B", tick(2))]


async def test_a_group_can_be_left_and_joined_again_at_once(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    for number in range(20):
        await layer.bus.leave(["ticks.A"])
        await layer.bus.join(["ticks.A"])
        await send_batch(layer.bus, ticks("ticks.A", number))
        await tap.wait_for(number + 1)
    assert tap.places == [("ticks.A", seq) for seq in range(1, 21)]


async def test_tap_and_members_share_a_group_and_leave_it_apart(layer: Layer) -> None:
    tap = Tap(layer)
    channel = await layer.new_channel()
    await layer.bus.join(["ticks.A"])
    await layer.group_add("ticks.A", channel)
    await layer.bus.leave(["ticks.A"])
    await layer.group_send("ticks.A", tick(1))
    assert await receive(layer, channel) == tick(1)
    await layer.bus.join(["ticks.A"])
    await layer.group_discard("ticks.A", channel)
    await layer.group_send("ticks.A", tick(2))
    assert await tap.wait_for(1) == [("ticks.A", tick(2))]


async def test_a_message_from_another_thread_reaches_the_tap(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])

    async def publish() -> None:
        await send_batch(layer.bus, [("ticks.A", tick(1))])

    await asyncio.to_thread(lambda: asyncio.run(publish()))
    assert await tap.wait_for(1) == [("ticks.A", tick(1))]


async def test_what_other_threads_sent_while_the_loop_stood_still_is_told_as_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bus.memory.STALL_SECONDS", 0.1)
    bus = MemoryBus()
    news: list[Any] = []

    class Tap:
        def arrived(self, packets: Sequence[Packet]) -> None:
            news.extend(packet.seq for packet in packets)

        def bus_lost(self, _: int) -> None:
            news.append("lost")

        def bus_restored(self, _: int) -> None:
            news.append("restored")

    bus.tap(Tap())
    await bus.join(["ticks.A"])
    thread = Thread(target=lambda: asyncio.run(bus.publish({"ticks.A": [tick(1)]})))
    thread.start()
    thread.join()  # which holds the loop up, as what follows does
    time.sleep(0.2)  # noqa: ASYNC251
    await bus.publish({"ticks.A": [tick(2)]})
    assert news == ["lost", "restored"]
    await bus.publish({"ticks.A": [tick(3)]})
    assert news == ["lost", "restored", 3]


async def test_batches_from_several_threads_arrive_in_the_order_of_their_seq(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])

    async def publish(base: int) -> None:
        for number in range(base, base + 20):
            await send_batch(layer.bus, ticks("ticks.A", number))

    def run(base: int) -> None:
        asyncio.run(publish(base))

    threads = [asyncio.to_thread(run, base) for base in (100, 200)]
    await asyncio.gather(publish(0), *threads)
    await tap.wait_for(60)
    assert tap.places == [("ticks.A", seq) for seq in range(1, 61)]


async def test_a_pattern_is_all_groups_that_begin_so(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.*"])
    await send_batch(layer.bus, [("ticks.A", tick(1)), ("other.A", tick(2)), ("ticks.NEW", tick(3))])
    assert sorted(await tap.wait_for(2)) == sorted([("ticks.A", tick(1)), ("ticks.NEW", tick(3))])
    await layer.bus.leave(["ticks.*"])
    await layer.bus.join(["ticks.B"])
    await send_batch(layer.bus, [("ticks.A", tick(4)), ("ticks.B", tick(5))])
    assert (await tap.wait_for(3))[2:] == [("ticks.B", tick(5))]


async def test_groups_under_a_pattern_arrive_once_and_outlast_it(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    await layer.bus.join(["ticks.*"])
    await layer.bus.join(["ticks.B"])
    await send_batch(layer.bus, [*ticks("ticks.A", 1), *ticks("ticks.B", 1), *ticks("ticks.C", 1)])
    await tap.wait_for(3)  # what arrives after the process has left is not for it
    await layer.bus.leave(["ticks.*"])
    await send_batch(layer.bus, [*ticks("ticks.C", 2), *ticks("ticks.A", 2), *ticks("ticks.B", 2)])
    await tap.wait_for(5)
    await layer.bus.leave(["ticks.A"])
    await send_batch(layer.bus, [*ticks("ticks.A", 3), *ticks("ticks.B", 3)])
    await tap.wait_for(6)
    assert sorted(tap.places) == [("ticks.A", 1), ("ticks.A", 2), ("ticks.B", 1), ("ticks.B", 2), ("ticks.B", 3), ("ticks.C", 1)]  # fmt: skip


async def test_nothing_is_missed_while_patterns_come_and_go(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    is_over = False

    async def publish() -> int:
        number = 0
        while not is_over:
            number += 1
            await send_batch(layer.bus, ticks("ticks.A", number))
            await asyncio.sleep(0)
        return number

    publishing = asyncio.create_task(publish())
    for _ in range(30):
        await layer.bus.join(["ticks.*"])
        await asyncio.sleep(0.001)
        await layer.bus.leave(["ticks.*"])
    is_over = True
    count = await publishing
    await tap.until(lambda: tap.places[-1:] == [("ticks.A", count)])
    assert [seq for _, seq in dict.fromkeys(tap.places)] == list(range(1, count + 1))


async def test_members_get_a_message_once_while_the_tap_has_a_pattern(layer: Layer) -> None:
    tap = Tap(layer)
    channel = await layer.new_channel()
    await layer.group_add("ticks.A", channel)
    await layer.bus.join(["ticks.*", "ticks.A"])
    await send_batch(layer.bus, ticks("ticks.A", 1))
    await send_batch(layer.bus, ticks("ticks.A", 2))
    assert [(await receive(layer, channel))["price"] for _ in range(2)] == ["1", "2"]
    await tap.wait_for(2)
    assert tap.places == [("ticks.A", 1), ("ticks.A", 2)]


# Streams


async def test_seq_counts_from_one_for_each_group_and_over_batches(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A", "ticks.B"])
    await send_batch(layer.bus, [*ticks("ticks.A", 1), *ticks("ticks.B", 2), *ticks("ticks.A", 3)])
    await send_batch(layer.bus, ticks("ticks.A", 4))
    await send_batch(layer.bus, ticks("ticks.B", 5, 6))
    await tap.wait_for(6)
    # Groups may change places: within a batch, and on a cluster between batches.
    for group, packets in (
        ("ticks.A", [(1, [tick(1), tick(3)]), (3, [tick(4)])]),
        ("ticks.B", [(1, [tick(2)]), (2, [tick(5), tick(6)])]),
    ):
        epoch = await epoch_of(layer, group)
        assert [packet for packet in tap.packets if packet.group == group] == [
            Packet(group, epoch, seq, messages) for seq, messages in packets
        ]


async def test_a_packet_says_when_it_got_its_place_and_what_came_with_it(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A", "ticks.B"])
    before = time.time_ns() // 1_000
    await layer.bus.publish({"ticks.A": [tick(1)], "ticks.B": [tick(2), tick(3)]}, None, b"n" * 255)
    await layer.bus.publish({"ticks.A": [tick(4)]})
    await tap.wait_for(4)
    found = [packet for some in tap.passes for packet in some]
    assert sorted((packet.group, packet.seq, packet.note) for packet in found) == [
        ("ticks.A", 1, b"n" * 255),
        ("ticks.A", 2, b""),
        ("ticks.B", 1, b"n" * 255),
    ]
    assert all(before <= packet.at <= time.time_ns() // 1_000 for packet in found)
    notes = {(packet.group, packet.at) for packet in found if packet.note}
    assert len(notes) == 2
    assert len({at for _, at in notes}) == 1 or layer.bus.hosts > 1, "one step, but on a cluster"


async def test_a_position_is_the_last_seq_and_message(layer: Layer) -> None:
    await send_batch(layer.bus, [*ticks("ticks.A", 1), *ticks("ticks.B", 2), *ticks("ticks.A", 3, 4)])
    await layer.group_send("ticks.C", {"type": "hello"})
    positions = await layer.bus.positions(["ticks.A", "ticks.C", "ticks.B"])
    assert {group: (position.seq, position.message) for group, position in positions.items()} == {
        "ticks.A": (3, tick(4)),
        "ticks.C": (0, None),
        "ticks.B": (1, tick(2)),
    }
    for epoch in (position.epoch for position in positions.values()):
        assert 8 <= len(epoch) <= 20
        assert set(epoch) <= set("0123456789abcdef")
    assert sorted(await layer.bus.names()) == ["ticks.A", "ticks.B"]


async def test_there_is_an_epoch_before_anything_was_published(layer: Layer) -> None:
    epoch = await epoch_of(layer)
    await send_batch(layer.bus, ticks("ticks.A", 1))
    assert await layer.bus.positions(["ticks.A"]) == {"ticks.A": Position(epoch, 1, tick(1))}


async def test_positions_and_history_of_very_many_groups(layer: Layer) -> None:
    groups = [f"ticks.S{number}" for number in range(9_500)]
    await send_batch(layer.bus, [(group, tick(number)) for number, group in enumerate(groups)])
    positions = await layer.bus.positions(groups)
    assert [position.message["price"] for position in positions.values()] == [str(number) for number in range(9_500)]
    since = {group: Since(positions[group].epoch, 0) for group in groups}
    histories = await layer.bus.history(since)
    assert all(
        untimed(histories[group]) == [Packet(group, since[group].epoch, 1, [tick(number)])]
        for number, group in enumerate(groups)
    )
    assert await layer.bus.positions([]) == {}
    assert await layer.bus.history({}) == {}


def numbers_of(packets: Sequence[Packet]) -> list[tuple[int, str]]:
    return [(seq, message["price"]) for packet in packets for seq, message in enumerate(packet.messages, packet.seq)]


async def test_history_is_all_that_was_missed(layer: Layer) -> None:
    for start in range(0, 30, 3):
        await send_batch(layer.bus, ticks("ticks.A", start + 1, start + 2, start + 3))
    await send_batch(layer.bus, ticks("ticks.B", 7))
    epoch, other = await epoch_of(layer), await epoch_of(layer, "ticks.B")
    for seq in range(31):
        answer = await layer.bus.history({"ticks.A": Since(epoch, seq), "ticks.B": Since(other, 0)})
        assert numbers_of(answer["ticks.A"]) == [(number, str(number)) for number in range(seq + 1, 31)]
        assert numbers_of(answer["ticks.B"]) == [(1, "7")]
    assert (await layer.bus.history({"ticks.A": Since(epoch, 30)}))["ticks.A"] == []


async def test_history_that_cannot_be_whole_is_none(layer: Layer) -> None:
    await send_batch(layer.bus, ticks("ticks.A", 1, 2))
    epoch, others = await epoch_of(layer), await layer.bus.positions(["ticks.B", "ticks.C"])
    since = {"ticks.A": Since("0123456789abc", 1), "ticks.B": Since(others["ticks.B"].epoch, 1)}
    assert await layer.bus.history(since) == {"ticks.A": None, "ticks.B": None}
    assert await layer.bus.history({"ticks.A": Since(epoch, 3)}) == {"ticks.A": None}
    assert await layer.bus.history({"ticks.A": Since(epoch, 2**70)}) == {"ticks.A": None}
    assert await layer.bus.history({"ticks.C": Since(others["ticks.C"].epoch, 0)}) == {"ticks.C": []}


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_history_keeps_at_least_its_count_and_not_much_more(make_layer: MakeLayer, size: int) -> None:
    layer = make_layer(history_ticks=40)
    last = 0
    while last < 1_000:
        await send_batch(layer.bus, ticks("ticks.A", *range(last + 1, last + size + 1)))
        last += size
        epoch = await epoch_of(layer)
        if last >= 40:
            answer = await layer.bus.history({"ticks.A": Since(epoch, last - 40)})
            assert numbers_of(answer["ticks.A"]) == [(number, str(number)) for number in range(last - 39, last + 1)]
    assert await layer.bus.history({"ticks.A": Since(epoch, last - 40 - 40 - size)}) == {"ticks.A": None}


async def test_history_is_given_for_its_time_only(make_layer: MakeLayer) -> None:
    layer = make_layer(history_seconds=0.5)
    await send_batch(layer.bus, ticks("ticks.A", 1))
    epoch = await epoch_of(layer)

    async def is_too_old() -> bool:
        await send_batch(layer.bus, ticks("ticks.A", 2))  # which keeps the list from expiring
        return (await layer.bus.history({"ticks.A": Since(epoch, 0)}))["ticks.A"] is None

    await until(is_too_old)
    seq = (await layer.bus.positions(["ticks.A"]))["ticks.A"].seq
    assert numbers_of((await layer.bus.history({"ticks.A": Since(epoch, seq - 1)}))["ticks.A"]) == [(seq, "2")]


@pytest.mark.parametrize("options", [{"history_ticks": 0}, {"history_seconds": 0.0}])
async def test_history_can_be_turned_off(make_layer: MakeLayer, options: Any) -> None:
    layer = make_layer(**options)
    await send_batch(layer.bus, ticks("ticks.A", 1, 2))
    epoch = await epoch_of(layer)
    answer = await layer.bus.history({"ticks.A": Since(epoch, 1)})
    assert answer == {"ticks.A": None}
    assert await layer.bus.history({"ticks.A": Since(epoch, 2)}) == {"ticks.A": []}


# Idempotency


async def test_a_batch_with_a_known_key_is_not_published_again(layer: Layer) -> None:
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    key = Idempotency("anonymous:1", "digest", 60)
    assert await send_batch(layer.bus, ticks("ticks.A", 1, 2), key) is True
    assert await send_batch(layer.bus, ticks("ticks.A", 1, 2), key) is False
    with pytest.raises(IdempotencyConflict):
        await send_batch(layer.bus, ticks("ticks.A", 3), Idempotency("anonymous:1", "other", 60))
    assert await send_batch(layer.bus, ticks("ticks.A", 4), Idempotency("anonymous:2", "digest", 60)) is True
    await tap.wait_for(3)
    assert [(seq, message["price"]) for (_, seq), (_, message) in zip(tap.places, tap.messages, strict=True)] == [(1, "1"), (2, "2"), (3, "4")]  # fmt: skip


async def test_a_key_is_forgotten_after_its_time(layer: Layer) -> None:
    key = Idempotency("anonymous:1", "digest", 0.05)
    assert await send_batch(layer.bus, ticks("ticks.A", 1), key) is True

    async def is_published_again() -> bool:
        published: bool = await send_batch(layer.bus, ticks("ticks.A", 1), key)
        return published

    await until(is_published_again)


# Ordinary consumers


class Watcher(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # channels has no types
    """What a Channels tutorial would write; it does not leave its group at its end."""

    async def connect(self) -> None:
        await self.accept()
        await self.channel_layer.group_add("ticks.A", self.channel_name)
        await self.send_json({"type": "ready"})

    async def tick(self, event: dict[str, Any]) -> None:
        await self.send_json(event)


@pytest.fixture
def installed(layer: Layer, monkeypatch: pytest.MonkeyPatch, db: None) -> Layer:
    """The layer, as the project's own. The database: Channels looks after its connections before every handler."""
    monkeypatch.setattr("channels.consumer.get_channel_layer", lambda _alias: layer)
    return layer


@asynccontextmanager
async def watcher() -> AsyncIterator[WebsocketCommunicator]:
    client = WebsocketCommunicator(Watcher.as_asgi(), "/")
    await client.connect()
    assert await client.receive_json_from(timeout=30) == {"type": "ready"}
    yield client
    await client.disconnect(timeout=30)


async def test_a_consumer_gets_ticks_with_their_place(installed: Layer) -> None:
    async with watcher() as client:
        await send_batch(installed.bus, ticks("ticks.A", 1, 2))
        epoch = await epoch_of(installed)
        assert [await client.receive_json_from(timeout=30) for _ in range(2)] == [
            placed(1, 1, epoch),
            placed(2, 2, epoch),
        ]


async def test_consumers_leave_nothing_behind_whatever_comes_when_they_go(installed: Layer) -> None:
    is_over = False

    async def publish() -> None:
        while not is_over:
            await send_batch(installed.bus, ticks("ticks.A", 1))
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish())
    for _ in range(30):
        async with watcher() as client:
            await client.receive_json_from(timeout=30)
    is_over = True
    await publishing
    await until(lambda: not installed.channels and not installed.groups)


async def test_what_no_consumer_could_handle_disconnects_none(installed: Layer) -> None:
    async with watcher() as client:
        await installed.group_send("ticks.A", {"type": "tock"})
        await send_batch(installed.bus, [("ticks.A", {"type": "tock"}), *ticks("ticks.A", 2)])
        epoch = await epoch_of(installed)
        assert await client.receive_json_from(timeout=30) == placed(2, 2, epoch)
    assert installed.bus.losses.malformed == 2


async def test_a_queue_holds_as_much_as_the_capacity_and_drops_the_newest(make_layer: MakeLayer) -> None:
    layer = make_layer(capacity=5)
    full, reading = await layer.new_channel(), await layer.new_channel()
    for channel in (full, reading):
        await layer.group_add("ticks.A", channel)
    for number in range(8):
        await send_batch(layer.bus, ticks("ticks.A", number))
        assert (await receive(layer, reading))["price"] == str(number)
    await until(lambda: layer.bus.losses.overflowed == 3)
    assert [(await receive(layer, full))["price"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
    await send_batch(layer.bus, ticks("ticks.A", 9))
    assert (await receive(layer, full))["price"] == "9"


async def test_a_channel_outlives_the_task_that_only_made_it(layer: Layer) -> None:
    channel = await asyncio.create_task(layer.new_channel())
    await layer.group_add("ticks.A", channel)
    for _ in range(3):
        await asyncio.sleep(0)
    await layer.group_send("ticks.A", tick(1))
    assert await receive(layer, channel) == tick(1)


async def test_a_channel_ends_with_the_task_that_made_it(layer: Layer) -> None:
    async def live() -> None:
        channel = await layer.new_channel()
        await layer.group_add("ticks.A", channel)
        await layer.group_send("ticks.A", tick(1))
        await receive(layer, channel)

    await asyncio.create_task(live())
    await until(lambda: not layer.channels and not layer.groups)


# Epochs


async def test_flushing_the_memory_layer_begins_an_epoch() -> None:
    layer: Layer = MemoryLayer()
    await send_batch(layer.bus, ticks("ticks.A", 1))
    old = await epoch_of(layer)
    await layer.flush()
    assert await layer.bus.names() == []
    await send_batch(layer.bus, ticks("ticks.A", 2))
    (position,) = (await layer.bus.positions(["ticks.A"])).values()
    assert (position.seq, position.epoch != old) == (1, True)
    assert await layer.bus.history({"ticks.A": Since(old, 0)}) == {"ticks.A": None}


async def test_a_redis_that_forgot_everything_begins_an_epoch(
    make_redis_layer: MakeLayer, shared_redis: RedisServer
) -> None:
    layer = make_redis_layer()
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    await send_batch(layer.bus, ticks("ticks.A", 1, 2))
    old = await epoch_of(layer)
    shared_redis.flush()
    assert await layer.bus.positions(["ticks.A"]) == {"ticks.A": Position(await epoch_of(layer), 0, None)}
    assert await layer.bus.names() == []
    await send_batch(layer.bus, ticks("ticks.A", 3))
    await tap.wait_for(3)
    new = await epoch_of(layer)
    assert new != old
    assert tap.packets == [Packet("ticks.A", old, 1, [tick(1), tick(2)]), Packet("ticks.A", new, 1, [tick(3)])]
    assert await layer.bus.history({"ticks.A": Since(old, 1)}) == {"ticks.A": None}


async def test_a_redis_that_was_restarted_from_a_file_begins_an_epoch(
    make_redis_layer: MakeLayer, redis_server: RedisServer
) -> None:
    layer = make_redis_layer(redis_server.url)
    await send_batch(layer.bus, ticks("ticks.A", 1))
    old = await epoch_of(layer)
    assert redis_server.call("SAVE") == "+OK"
    await send_batch(layer.bus, ticks("ticks.A", 2))  # which the file has not
    redis_server.kill()
    redis_server.start()
    other = make_redis_layer(redis_server.url)
    assert redis_server.call("EXISTS marketmux.0:{0}:streams") == ":1"
    assert await other.bus.names() == []
    await send_batch(other.bus, ticks("ticks.A", 3))
    (position,) = (await other.bus.positions(["ticks.A"])).values()
    assert (position.seq, position.message, position.epoch != old) == (1, tick(3), True)
    await until(lambda: is_published(layer, 4))
    assert (await layer.bus.positions(["ticks.A"]))["ticks.A"].seq == 2


async def is_published(layer: Layer, number: int) -> bool:
    try:
        return bool(await send_batch(layer.bus, ticks("ticks.A", number)))
    except BusUnavailable:
        return False


async def test_an_epoch_outlives_gateways_and_lost_connections(make_redis_layer: MakeLayer, redis: Redis) -> None:
    one = make_redis_layer()
    await send_batch(one.bus, ticks("ticks.A", 1))
    epoch = await epoch_of(one)
    await one.flush()
    await redis.client_kill_filter(_type="normal", skipme=True)
    other = make_redis_layer()
    await send_batch(other.bus, ticks("ticks.A", 2))
    assert await other.bus.positions(["ticks.A"]) == {"ticks.A": Position(epoch, 2, tick(2))}


# Only Redis: several processes


async def test_two_processes_count_and_keep_together(make_redis_layer: MakeLayer) -> None:
    one, other = make_redis_layer(), make_redis_layer()
    taps = [Tap(one), Tap(other)]
    for layer in (one, other):
        await layer.bus.join(["ticks.A"])

    async def publish(layer: Layer, base: int) -> None:
        for number in range(base, base + 50):
            await send_batch(layer.bus, ticks("ticks.A", number, number))

    await asyncio.gather(publish(one, 100), publish(other, 200))
    for tap in taps:
        await tap.wait_for(200)
        assert tap.places == [("ticks.A", seq) for seq in range(1, 201)]
    assert taps[0].messages == taps[1].messages
    epoch = await epoch_of(one)
    for layer in (one, other):
        (missed,) = (await layer.bus.history({"ticks.A": Since(epoch, 77)})).values()
        assert [message for _, message in taps[0].messages[77:]] == [
            message for packet in missed for message in packet.messages
        ]


async def test_a_gateway_without_history_makes_no_hole_that_passes_for_whole(make_redis_layer: MakeLayer) -> None:
    keeper, other = make_redis_layer(), make_redis_layer(history_ticks=0)
    for layer in (keeper, other, keeper):
        await send_batch(layer.bus, ticks("ticks.A", 1))
    epoch = await epoch_of(keeper)
    answers = [(await keeper.bus.history({"ticks.A": Since(epoch, seq)}))["ticks.A"] for seq in range(4)]
    assert [answer is None for answer in answers] == [True, True, False, False]


async def test_encrypted_messages_take_the_same_way(make_redis_layer: MakeLayer, redis: Redis) -> None:
    pytest.importorskip("cryptography")
    layer = make_redis_layer(symmetric_encryption_keys=["key"])
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    await send_batch(layer.bus, ticks("ticks.A", 1, 2))
    assert await tap.wait_for(2) == [("ticks.A", tick(1)), ("ticks.A", tick(2))]
    assert (await layer.bus.positions(["ticks.A"]))["ticks.A"].message == tick(2)
    (payload,) = await redis.hmget("marketmux.0:{0}:streams", ["ticks.A"])
    assert isinstance(payload, bytes)
    assert b"price" not in payload


async def test_groups_are_spread_over_several_redis(
    make_redis_layer: MakeLayer, redis_url: str, redis_server: RedisServer
) -> None:
    layer = make_redis_layer(redis_url, redis_server.url)
    tap = Tap(layer)
    groups = [f"ticks.S{number}" for number in range(40)]
    await layer.bus.join(groups)
    await send_batch(layer.bus, [(group, tick(1)) for group in groups])
    assert sorted(await tap.wait_for(40)) == [(group, tick(1)) for group in sorted(groups)]
    positions = await layer.bus.positions(groups)
    assert set(positions) == set(await layer.bus.names()) == set(groups)
    assert len({position.epoch for position in positions.values()}) == 2
    assert min([len(await shard.names()) for shard in layer.bus.shards]) > 5
    histories = await layer.bus.history({group: Since(positions[group].epoch, 0) for group in groups})
    assert all(untimed(histories[group]) == [Packet(group, positions[group].epoch, 1, [tick(1)])] for group in groups)
    await layer.bus.leave(groups)
    await layer.bus.join(["ticks.*"])
    await send_batch(layer.bus, [(group, tick(2)) for group in groups])
    await tap.wait_for(80)
    assert sorted(tap.places) == sorted((group, seq) for group in groups for seq in (1, 2))


async def test_a_key_is_known_on_each_redis_that_its_batch_was_on(
    make_redis_layer: MakeLayer, redis_url: str, redis_server: RedisServer
) -> None:
    layer = make_redis_layer(redis_url, redis_server.url)
    batch = [(f"ticks.S{number}", tick(1)) for number in range(20)]
    for name in range(10):
        key = Idempotency(str(name), "digest", 60)
        assert await send_batch(layer.bus, batch, key) is True
        assert await send_batch(layer.bus, batch, key) is False
        with pytest.raises(IdempotencyConflict) as refused:
            await send_batch(layer.bus, batch[name : name + 7], Idempotency(str(name), "other", 60))
        assert (sorted(refused.value.groups), refused.value.places) == (sorted(dict(batch[name : name + 7])), {})
    positions = await layer.bus.positions([group for group, _ in batch])
    assert [position.seq for position in positions.values()] == [10] * 20


async def test_one_subscription_a_process_and_group(make_redis_layer: MakeLayer, redis: Redis) -> None:
    layer = make_redis_layer()
    await layer.bus.join(["ticks.A", "ticks.B"])
    await layer.bus.join(["ticks.A"])
    assert await subscribers(redis, "A", "B") == [1, 1]
    await layer.bus.leave(["ticks.A", "ticks.B"])
    await until(lambda: has_subscribers(redis, [0, 0], "A", "B"))
    assert await redis.pubsub_channels() == []


async def subscribers(redis: Redis, *symbols: str) -> list[int]:
    counts = await redis.pubsub_numsub(*(f"marketmux.0:{{0}}__group__ticks.{symbol}" for symbol in symbols))
    return [count for _, count in counts]


async def has_subscribers(redis: Redis, counts: list[int], *symbols: str) -> bool:
    return await subscribers(redis, *symbols) == counts


async def test_a_pattern_takes_the_place_of_the_groups_it_covers(make_redis_layer: MakeLayer, redis: Redis) -> None:
    layer = make_redis_layer()
    tap = Tap(layer)
    channel = await layer.new_channel()
    await layer.group_add("ticks.USED", channel)
    await layer.bus.join(["ticks.A", "ticks.B", "ticks.USED"])
    await layer.bus.join(["ticks.*"])
    await layer.bus.join(["ticks.C", "ticks.A"])
    await until(lambda: has_subscribers(redis, [0, 0, 0, 1], "A", "B", "C", "USED"))
    assert await redis.pubsub_numpat() == 1
    # So Redis sends this process each message once, and not once more for its name.
    assert await redis.publish("marketmux.0:{0}__group__ticks.A", b"") == 1
    assert await redis.publish("marketmux.0:{0}__group__ticks.NEW", b"") == 1
    await layer.bus.leave(["ticks.*"])
    assert await subscribers(redis, "A", "B", "C", "USED") == [1, 1, 1, 1]

    async def is_pattern_gone() -> bool:
        return await redis.pubsub_numpat() == 0

    await until(is_pattern_gone)
    await layer.bus.leave(["ticks.A", "ticks.B", "ticks.C", "ticks.USED"])
    await until(lambda: has_subscribers(redis, [0, 0, 0, 1], "A", "B", "C", "USED"))
    assert tap.packets == []


async def test_a_prefix_may_hold_what_is_special_in_patterns(make_redis_layer: MakeLayer) -> None:
    layer = make_redis_layer(prefix="a[s]*g?\\i")
    other = make_redis_layer(prefix="asXg1\\i")
    tap = Tap(layer)
    await layer.bus.join(["ticks.*"])
    await send_batch(other.bus, ticks("ticks.A", 1))
    await send_batch(layer.bus, ticks("ticks.A", 2))
    assert await tap.wait_for(1) == [("ticks.A", tick(2))]


async def test_databases_of_one_redis_are_two_buses(make_redis_layer: MakeLayer, redis_url: str) -> None:
    # Redis's own channels know no database numbers.
    production, staging = make_redis_layer(redis_url), make_redis_layer(redis_url.removesuffix("/0") + "/1")
    taps = [Tap(layer) for layer in (production, staging)]
    channel = await production.new_channel()
    await production.group_add("board", channel)
    await production.bus.join(["ticks.A"])
    await staging.bus.join(["ticks.*"])
    await send_batch(staging.bus, ticks("ticks.A", 1), Idempotency("key", "digest", 60))
    await staging.group_send("board", {"type": "staging"})
    assert await send_batch(production.bus, ticks("ticks.A", 2), Idempotency("key", "digest", 60))
    await production.group_send("board", {"type": "production"})
    assert [await tap.wait_for(1) for tap in taps] == [[("ticks.A", tick(2))], [("ticks.A", tick(1))]]
    assert await receive(production, channel) == {"type": "production"}
    assert [packet.seq for tap in taps for packet in tap.packets] == [1, 1]


async def test_general_channels_of_two_namespaces_are_two(make_redis_layer: MakeLayer) -> None:
    one, other = make_redis_layer(prefix="one"), make_redis_layer(prefix="other")
    waiting = [asyncio.create_task(receive(layer, "worker")) for layer in (one, other)]
    await until(lambda: _all_listen(one, other))
    for layer in (other, one):
        await layer.send("worker", {"type": layer.prefix})
    assert [message["type"] for message in await asyncio.gather(*waiting)] == ["one:{0}", "other:{0}"]


async def _all_listen(*layers: Layer) -> bool:
    return all(layer.channels and not layer.bus.shards[0].listener._channels.is_pending for layer in layers)


async def test_layers_of_one_namespace_share_a_bus(make_redis_layer: MakeLayer, redis: Redis) -> None:
    one = make_redis_layer(prefix="desk")
    tap = Tap(one)
    await one.bus.join(["ticks.A"])
    await send_batch(make_redis_layer(prefix="desk").bus, ticks("ticks.A", 1), Idempotency("key", "digest", 60))
    assert await tap.wait_for(1) == ticks("ticks.A", 1)
    named: list[Any] = [*await redis.keys(), *await redis.pubsub_channels()]
    assert [name for name in named if not name.startswith(b"desk:{0}")] == []
    assert len(named) == 6  # streams and their names, history, a key for idempotency and their count, and a group


@pytest.mark.parametrize("namespace", ["a{1}", "}", ""])
def test_braces_are_the_buckets(namespace: str) -> None:
    with pytest.raises(ValueError, match="braces"):
        names.prefix_of(namespace)


@pytest.mark.parametrize(
    ("host", "namespace"),
    [
        ({"address": "redis://localhost"}, "marketmux.0"),
        ({"address": "redis://localhost/3"}, "marketmux.3"),
        ({"address": "unix:///tmp/redis?db=4"}, "marketmux.4"),
        ({"host": "localhost", "port": 6379, "db": 5}, "marketmux.5"),
        ({"sentinels": [("localhost", 26379)], "master_name": "m", "db": 6}, "marketmux.6"),
    ],
)
def test_a_namespace_is_made_of_the_number_of_the_database(host: dict[str, Any], namespace: str) -> None:
    assert names.default_namespace(host) == namespace


async def test_an_ordinary_consumers_message_waits_for_redis(
    make_redis_layer: MakeLayer, redis_server: RedisServer
) -> None:
    layer = make_redis_layer(redis_server.url)
    channel = await layer.new_channel()
    await layer.group_add("board", channel)
    await layer.group_send("board", {"type": "x"})
    redis_server.pause()
    sending = [
        asyncio.create_task(layer.send(channel, {"type": "y"})),
        asyncio.create_task(layer.group_send("board", {"type": "z"})),
    ]
    await asyncio.sleep(1.5)  # longer than a publisher waits
    redis_server.resume()
    await asyncio.gather(*sending)
    assert [(await receive(layer, channel))["type"] for _ in range(3)] == ["x", "y", "z"]


async def test_what_is_no_message_is_counted_and_skipped(
    make_redis_layer: MakeLayer, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make_redis_layer()
    tap = Tap(layer)
    channel = await layer.new_channel()
    await layer.group_add("ticks.A", channel)
    await layer.bus.join(["ticks.A"])
    garbage = [
        b"",
        b"\xc1",
        b"\xc1 garbage",
        b"\xc1\x02" + bytes(40),
        b"\xc1\x01" + b"0" * 13 + bytes(20),
        b"\xc1\x01" + b"0" * 13 + bytes(16) + (2).to_bytes(4) + (9).to_bytes(4),
        b"\xff\xff",
    ]
    for payload in garbage:
        await redis.publish("marketmux.0:{0}__group__ticks.A", payload)
    await redis.publish(channel, b"\xff\xff")
    await redis.publish(channel, b"\x01")
    await layer.send(channel, {"no": "type"})
    await send_batch(layer.bus, ticks("ticks.A", 1))
    await tap.wait_for(1)
    assert tap.messages == [("ticks.A", tick(1))]
    assert (await receive(layer, channel))["price"] == "1"
    assert layer.bus.losses.malformed == len(garbage) + 3
    assert len([record for record in caplog.records if "will ignore others" in record.message]) == 1


async def test_one_message_of_a_packet_that_cannot_be_read_keeps_its_place(
    make_redis_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, layer = make_redis_layer(), make_redis_layer()
    tap = Tap(layer)
    await layer.bus.join(["ticks.A"])
    monkeypatch.setattr(sender._serializer, "serialize", lambda message: message)
    await send_batch(
        sender.bus,
        [("ticks.A", layer.serialize(tick(1))), ("ticks.A", b"\xff\xff"), ("ticks.A", layer.serialize(tick(3)))],
    )
    await tap.wait_for(3)
    assert [message for _, message in tap.messages] == [tick(1), None, tick(3)]
    assert layer.bus.losses.malformed == 1


# Only Redis: faults


async def test_without_redis_everything_says_so(make_redis_layer: MakeLayer, redis_server: RedisServer) -> None:
    layer = make_redis_layer(redis_server.url)
    layer.bus.shards[0].listener._timeout = 0.3
    redis_server.stop()
    actions: list[Callable[[], Any]] = [
        lambda: layer.bus.join(["ticks.A", "ticks.*"]),
        lambda: layer.bus.join(["ticks.*"]),
        lambda: send_batch(layer.bus, ticks("ticks.A", 1)),
        lambda: layer.bus.positions(["ticks.A"]),
        lambda: layer.bus.history({"ticks.A": Since("e", 1)}),
        layer.bus.names,
        layer.new_channel,
        layer.bus.ping,
    ]
    for action in actions:
        with pytest.raises((BusUnavailable, RedisError)):
            await action()
    (members,) = layer.bus._members.values()
    assert not members.joined
    assert not members.wanted
    assert not layer.channels
    assert not layer.bus.shards[0].listener._channels.wanted
    assert not layer.bus.shards[0].listener._patterns.wanted


async def test_groups_and_patterns_are_joined_again_and_the_tap_is_told(
    make_redis_layer: MakeLayer, redis_server: RedisServer
) -> None:
    layer = make_redis_layer(redis_server.url)
    tap = Tap(layer)
    channel = await layer.new_channel()
    await layer.group_add("ticks.A", channel)
    await layer.bus.join(["ticks.A", "other.*"])
    tap.news.clear()
    for outage in range(1, 3):
        redis_server.kill()
        await tap.until(lambda: tap.news[-1:] == ["lost"])
        redis_server.start()
        await tap.until(lambda: tap.news[-1:] == ["restored"])
        assert tap.news == ["lost", "restored"] * outage
        assert redis_server.call("PUBSUB NUMPAT") == ":1"
        await until(lambda: is_published(layer, 1))
        await send_batch(layer.bus, ticks("other.B", 2))
        await tap.until(lambda: ("other.B", 1) in tap.places and ("ticks.A", 1) in tap.places)
        assert (await receive(layer, channel))["price"] == "1"
        tap.passes.clear()


async def test_a_bus_that_was_never_there_is_not_connected(
    make_redis_layer: MakeLayer, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()
    layer = make_redis_layer(redis_server.url)
    tap = Tap(layer)
    assert layer.bus.away
    await until(lambda: "No connection to Redis" in caplog.text)
    assert tap.news == []
    redis_server.start()
    await tap.until(lambda: tap.news == ["restored"])
    assert not layer.bus.away
    redis_server.kill()
    await tap.until(lambda: tap.news == ["restored", "lost"])
    assert layer.bus.away


async def test_a_bus_whose_password_is_wrong_is_not_connected(
    make_redis_layer: MakeLayer, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.call("ACL SETUSER default >right -@dangerous ~* &* +@all resetpass >right")
    layer = make_redis_layer(redis_server.url.replace("//", "//:wrong@"))
    tap = Tap(layer)
    await until(lambda: "invalid username-password pair" in caplog.text)
    assert (layer.bus.away, tap.news) == ({0}, [])


async def test_the_tap_is_told_which_redis_is_away(
    make_redis_layer: MakeLayer, redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = RedisServer(tmp_path / "other")
    other.start()
    try:
        layer = make_redis_layer(redis_server.url, other.url)
        tap = Tap(layer)
        await layer.bus.join(["ticks.*"])
        await tap.until(lambda: sorted(tap.news) == ["restored", "restored 1"])
        tap.news.clear()
        redis_server.kill()
        await tap.until(lambda: tap.news == ["lost"])
        assert layer.bus.away == {0}
        other.kill()
        await tap.until(lambda: tap.news == ["lost", "lost 1"])
        redis_server.start()
        await tap.until(lambda: tap.news == ["lost", "lost 1", "restored"])
        assert layer.bus.away == {1}
        other.start()
        await tap.until(lambda: tap.news == ["lost", "lost 1", "restored", "restored 1"])
    finally:
        other.stop()


async def test_what_waits_in_a_stopped_redis_is_refused_in_time_and_not_published_later(
    make_redis_layer: MakeLayer, redis_server: RedisServer
) -> None:
    layer, witness = make_redis_layer(redis_server.url), make_redis_layer(redis_server.url)
    tap = Tap(witness)
    await witness.bus.join(["ticks.A"])
    await send_batch(layer.bus, ticks("ticks.A", 1))
    await tap.wait_for(1)
    redis_server.pause()
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def publish(delay: float) -> float:
        await asyncio.sleep(delay)
        asked = loop.time()
        with pytest.raises(BusUnavailable):
            await send_batch(layer.bus, ticks("ticks.A", 2))
        return loop.time() - asked

    # Some wait for a reply when the first loses patience, some come when it has.
    waits = await asyncio.gather(*(publish(0.2 * number) for number in range(10)))
    assert loop.time() - started >= 0.8
    assert max(waits) < 2  # 0.8, and a busy machine
    redis_server.resume()
    count = 1

    async def is_heard() -> bool:
        nonlocal count
        count += await is_published(layer, 3)
        return tap.messages[-1:] == [("ticks.A", tick(3))]

    await until(is_heard)
    assert {message["price"] for _, message in tap.messages} == {"1", "3"}
    assert (await witness.bus.positions(["ticks.A"]))["ticks.A"].seq == count
