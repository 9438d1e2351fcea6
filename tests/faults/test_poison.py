"""Whoever can reach Redis can publish anything into a group: it is counted and dropped, and nobody is disconnected."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
import pytest
import websockets
from redis import Redis

from tests.clients import metrics
from tests.conftest import StartGateway
from tests.faults.figures import errors_logged, figure
from tests.faults.plain import PLAIN_PATH
from tests.faults.watch import (
    Publisher,
    eventually,
    reconcile,
    until_all_hold,
    until_all_tick,
    watching,
)
from tests.servers import GatewayProcess, RedisServer

CHANNEL: Final = b"marketmux.0:{0}__group__ticks.A"
SETTINGS: Final = "tests.faults.plain_settings"
HEADER: Final = struct.Struct(">BB13sQQIHB")
"""Of a packet (bus/redis/packing.py): magic, version, epoch, time, seq, count, microseconds,
the size of the note."""

TICK: Final = {"type": "tick", "symbol": "A", "price": "1", "timestamp": "2026-05-12T15:04:05Z"}

FORGED: Final = 123_456_789
"""A price that nobody published on the bus."""

BYTES: Final = (
    b"",
    b"garbage",
    bytes(64),
    b"\xc1" * 1_000_000,
    b"\x91" * 5_000,  # msgpack nested without end
    b"\xdd\xff\xff\xff\xff",  # an array of four billion
    json.dumps(TICK).encode(),
)
"""Not msgpack, in which messages travel."""

MESSAGES: Final[tuple[Any, ...]] = (
    {"type": "no.such.type", "symbol": "A"},
    {"type": "__init__"},
    {"type": "websocket.disconnect", "code": 1000},
    {"type": "websocket.receive", "text": "{}"},
    {"type": 7},
    {"symbol": "A", "price": "1"},
    {},
    [1, 2, 3],
    7,
    None,
    TICK | {"price": "NaN"},
    TICK | {"price": []},
    TICK | {"price": '1,"x":1'},
    TICK | {"symbol": "B"},
    TICK | {"symbol": "A\n"},
    TICK | {"timestamp": "yesterday"},
    {"type": "tick", "symbol": "A", "timestamp": TICK["timestamp"]},
    TICK,  # nothing is wrong with it, but that it has no place in the sequence
)
"""Messages as ``group_send`` would make them, that are no ticks of A."""

CHANNELS: Final = (
    b"marketmux.0:{0}__group__ticks.",
    b"marketmux.0:{0}__group__ticks._x",
    b"marketmux.0:{0}__group__ticks.\xff\xfe",
    b"marketmux.0:{0}__group__ticks.A,B",
)
"""What ``ticks.*`` brings too, and no symbol has."""  # fmt: skip


@pytest.mark.parametrize("batch", [2, 8], ids=["packets of one tick", "packets of several"])
async def test_garbage_in_a_group_is_counted_and_disconnects_nobody(
    start_gateway: StartGateway, redis_server: RedisServer, batch: int
) -> None:
    gateway = start_gateway(redis_server.url, DJANGO_SETTINGS_MODULE=SETTINGS)
    publisher = Publisher(gateway.http, ["A", "B"], rate=200, batch=batch)
    async with (
        watching(gateway.http, 20, ["A", "B"], 2) as named,
        watching(gateway.http, 5, ["*"], 1) as everything,
        _plain_clients(gateway, 5) as plain,
    ):
        watchers = [*named, *everything]
        async with publisher.publishing():
            await until_all_tick(watchers, time.monotonic())
            published = await asyncio.to_thread(_litter, redis_server)
            await until_all_tick(watchers, time.monotonic())
        await until_all_hold(watchers, publisher.ledger.last)
        last = publisher.ledger.last["A"]
        await eventually(lambda: all(client and client[-1] == last for client in plain), 10, "plain clients are behind")
        counted = metrics(gateway)["malformed_total"]
    found = reconcile(watchers, publisher.ledger)
    lines = [line for line in gateway.output().splitlines() if "gnored" in line]
    figure(
        f"{published} pieces of garbage between packets of {batch // 2}: malformed_total {counted:.0f}, {len(lines)} "
        f"lines in the log, nobody disconnected; {found}"
    )
    assert not found.problems
    assert not found.counts["gap"]
    assert not any(watcher.ends or watcher.bus for watcher in watchers)
    assert counted >= published
    assert len(lines) <= 2  # one of bytes that are no message, one of messages that are no tick
    assert not errors_logged(gateway)


async def test_packets_that_are_not_the_buss_silence_no_symbol(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url)
    publisher = Publisher(gateway.http, ["A", "B"], rate=200, batch=4)
    async with watching(gateway.http, 10, ["A", "B"], 2) as named, watching(gateway.http, 3, ["*"], 1) as everything:
        watchers = [*named, *everything]
        async with publisher.publishing():
            await until_all_tick(watchers, time.monotonic())
            forged = await asyncio.to_thread(_forge, redis_server)
            back = await until_all_tick(watchers, time.monotonic())
        await until_all_hold(watchers, publisher.ledger.last)
        refuted = metrics(gateway)["refuted_total"]
    found = reconcile(watchers, publisher.ledger)
    shown = sum(note.price == FORGED for watcher in watchers for _, note in watcher.notes("tick"))
    figure(
        f"{forged} forged packets: {refuted:.0f} refuted by the bus, {shown} shown; ticks after {back:.2f} s; {found}"
    )
    assert not found.problems
    assert not found.counts["gap"]
    assert not shown
    assert refuted == forged
    assert not errors_logged(gateway)


def _forge(server: RedisServer) -> int:
    """Publishes packets that are well made and say what is not so; how many."""
    with Redis(port=server.port) as redis:
        magic, version, epoch, at, seq, *_ = HEADER.unpack_from(_next_packet(redis))
        message = msgspec.msgpack.encode(TICK | {"price": str(FORGED)})
        places = [(epoch, seq + ahead) for ahead in (100, 100_000, 2**40, 2**63)]
        places += [(b"0123456789abc", place) for place in (1, seq, 2**40)]
        for other, place in places:
            assert redis.publish(CHANNEL, HEADER.pack(magic, version, other, at, place, 1, 0, 0) + message)
    return len(places)


def _litter(server: RedisServer) -> int:
    """Publishes all the garbage there is; how many pieces."""
    with Redis(port=server.port) as redis:
        packet = _next_packet(redis)
        pieces = [(CHANNEL, payload) for payload in (*BYTES, *map(msgspec.msgpack.encode, MESSAGES), *_broken(packet))]
        pieces += [
            (channel, payload) for channel in CHANNELS for payload in (b"garbage", msgspec.msgpack.encode(TICK), packet)
        ]
        for channel, payload in pieces:
            assert redis.publish(channel, payload)
        for _ in range(3):
            redis.publish(CHANNEL, packet)  # once more, whole: everybody has its ticks
    return len(pieces)


def _next_packet(redis: Redis) -> bytes:
    """The next packet of A that the gateway publishes."""
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe(CHANNEL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            message = pubsub.get_message(timeout=1.0)
            if message is not None:
                return bytes(message["data"])
    raise AssertionError("no packet of A within 10 s")


def _broken(packet: bytes) -> Iterator[bytes]:
    """Packets that were cut short, or that say what is not so."""
    yield from (packet[:size] for size in range(1, len(packet)))
    yield packet + b"\x00"
    magic, version, epoch, at, seq, count, micros, size = HEADER.unpack_from(packet)
    body = packet[HEADER.size + size :]
    assert (magic, version) == (0xC1, 2)
    yield HEADER.pack(magic, 3, epoch, at, seq, count, 0, 0) + body
    yield HEADER.pack(magic, version, epoch, at, seq, count, micros, 255) + body
    yield HEADER.pack(magic, version, b"\xff" * 13, at, seq, count, 0, 0) + body[:-1]
    for wrong in {0, 1, count - 1, count + 1, 2 * count, 2**31, 2**32 - 1} - {count}:
        yield HEADER.pack(magic, version, epoch, at, seq, wrong, 0, 0) + body
    for message in MESSAGES[:-1]:  # the form is right, the content is not
        yield HEADER.pack(magic, version, epoch, at, seq, 1, 0, 0) + msgspec.msgpack.encode(message)


@asynccontextmanager
async def _plain_clients(gateway: GatewayProcess, count: int) -> AsyncIterator[list[list[int]]]:
    """Clients of the ordinary consumer, and the prices of A that each of them gets; they have to stay connected."""
    prices: list[list[int]] = [[] for _ in range(count)]

    async def read(connection: websockets.ClientConnection, into: list[int]) -> None:
        async for text in connection:
            message = json.loads(text)
            # It sends on whatever is called a tick: what a consumer checks is its own business.
            if "seq" in message and str(message.get("price")).isdigit():
                into.append(int(message["price"]))

    async with AsyncExitStack() as stack:
        tasks = []
        for each in prices:
            url = f"ws://{gateway.host}:{gateway.port}{PLAIN_PATH}"
            connection = await stack.enter_async_context(websockets.connect(url, compression=None))
            assert json.loads(await connection.recv())["type"] == "welcome"
            tasks.append(asyncio.create_task(read(connection, each)))
        yield prices
        assert not any(task.done() for task in tasks), "an ordinary consumer was disconnected"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
