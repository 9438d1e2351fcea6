"""Batches of one turn of the loop share a script call, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from bus.contract import BusUnavailable, Idempotency, IdempotencyConflict, LimitReached, Reason, Since
from bus.layers import RedisLayer

MESSAGE = {"type": "tick"}


@pytest.fixture
async def layer(redis_url: str) -> AsyncIterator[Any]:
    """One that keeps four streams, with a connection."""
    layer = RedisLayer(hosts=[redis_url], limits={"streams": 4, "keys": 100})
    await layer.bus.publish({"ticks.A": [MESSAGE]})
    yield layer
    await layer.flush()


async def together(layer: Any, *batches: tuple[dict[str, int], Idempotency | None]) -> Sequence[Any]:
    """What became of batches of one turn: how many messages of each group, and the key."""
    return await asyncio.gather(
        *(layer.bus.publish({group: [MESSAGE] * n for group, n in groups.items()}, key) for groups, key in batches),
        return_exceptions=True,
    )


async def calls(redis_url: str) -> int:
    async with Redis.from_url(redis_url) as redis:
        return int((await redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))


async def test_batches_of_one_turn_are_one_call_and_keep_their_order(layer: Any, redis_url: str) -> None:
    before = await calls(redis_url)
    outcomes = await together(layer, *[({"ticks.A": 1}, None)] * 40)
    assert [outcome["ticks.A"].seq for outcome in outcomes] == list(range(2, 42))
    assert (
        await calls(redis_url) - before <= 4
    )  # the first went at once; and whatever else a gateway asks for meanwhile


async def test_a_call_has_a_bounded_number_of_messages(layer: Any, redis_url: str) -> None:
    before = await calls(redis_url)
    outcomes = await together(layer, *[({"ticks.A": 100}, None)] * 9)
    assert [outcome["ticks.A"].seq for outcome in outcomes] == [1 + 100 * number for number in range(1, 10)]
    assert await calls(redis_url) - before >= 5


async def test_each_batch_has_its_own_key_answer_and_refusal(layer: Any) -> None:
    one, other = Idempotency("k", "one", 60), Idempotency("k", "other", 60)
    outcomes = await together(
        layer,
        ({"ticks.B": 1}, None),
        ({"ticks.A": 2, "ticks.B": 1}, one),
        ({"ticks.A": 2, "ticks.B": 1}, one),
        ({"ticks.A": 1}, other),
        ({"ticks.C": 1, "ticks.D": 1, "ticks.E": 1}, None),
        ({"ticks.C": 3, "ticks.B": 1}, None),
        ({}, Idempotency("of nothing", "", 60)),
        ({"ticks.B": 2}, None),
    )
    epoch = outcomes[0]["ticks.B"].epoch
    assert outcomes[1] == {"ticks.A": Since(epoch, 3), "ticks.B": Since(epoch, 2)}
    assert outcomes[2] is None
    assert isinstance(outcomes[3], IdempotencyConflict)
    assert isinstance(outcomes[4], LimitReached)
    assert outcomes[5] == {"ticks.C": Since(epoch, 3), "ticks.B": Since(epoch, 3)}
    assert outcomes[6] == {}
    assert outcomes[7] == {"ticks.B": Since(epoch, 5)}
    positions = await layer.bus.positions(["ticks.A", "ticks.B", "ticks.C", "ticks.D"])
    assert [position.seq for position in positions.values()] == [3, 5, 3, 0]
    [missed] = (await layer.bus.history({"ticks.B": Since(epoch, 0)})).values()
    assert [(packet.seq, len(packet.messages)) for packet in missed] == [(1, 1), (2, 1), (3, 1), (4, 2)]


async def test_a_tick_alone_leaves_what_one_in_company_does(layer: Any, redis_url: str) -> None:
    """The script has a way of its own for it, where the stream has begun."""
    note = b"a note"
    for _ in range(2):
        await layer.bus.publish({"ticks.B": [MESSAGE], "ticks.C": [MESSAGE]}, None, note)
    alone = await layer.bus.publish({"ticks.B": [MESSAGE]}, None, note)
    company = await layer.bus.publish({"ticks.C": [MESSAGE], "ticks.D": [MESSAGE]}, None, note)
    assert alone["ticks.B"] == company["ticks.C"] == Since(alone["ticks.B"].epoch, 3)
    since = Since(alone["ticks.B"].epoch, 1)
    one, other = (await layer.bus.history({"ticks.B": since, "ticks.C": since})).values()
    assert [packet._replace(group="", at=0) for packet in one] == [packet._replace(group="", at=0) for packet in other]
    assert [packet.note for packet in one] == [note] * 2
    async with Redis.from_url(redis_url) as redis:
        lives = [await redis.pttl(f"marketmux.0:{{0}}:history:{since.epoch}:{group}") for group in alone | company]
    assert min(lives) > 0


async def test_a_stream_of_an_older_epoch_stays_in_it_when_its_tick_comes_alone(layer: Any, redis_url: str) -> None:
    own = (await layer.bus.publish({"ticks.A": [MESSAGE]}))["ticks.A"]
    async with Redis.from_url(redis_url) as redis:
        streams = "marketmux.0:{0}:streams"
        begun = await redis.hget(streams, "")
        assert isinstance(begun, bytes)
        await redis.hset(streams, "", b"f" * 13 + begun[13:])  # as after others were dropped
    assert await layer.bus.publish({"ticks.A": [MESSAGE]}) == {"ticks.A": Since(own.epoch, own.seq + 1)}
    assert await layer.bus.publish({"ticks.B": [MESSAGE]}) == {"ticks.B": Since("f" * 13, 1)}


async def test_what_redis_cannot_do_of_one_batch_it_does_of_the_others(layer: Any, redis_url: str) -> None:
    epoch = (await layer.bus.publish({"ticks.A": [MESSAGE]}))["ticks.A"].epoch
    async with Redis.from_url(redis_url) as redis:
        [history] = [key async for key in redis.scan_iter(f"*:history:{epoch}:ticks.A")]
        await redis.set(history, "no list")
        outcomes = await together(
            layer, ({"ticks.B": 1}, None), ({"ticks.B": 1}, None), ({"ticks.A": 1}, None), ({"ticks.B": 1}, None)
        )
        await redis.delete(history)
    assert [outcome["ticks.B"].seq for outcome in (outcomes[0], outcomes[1], outcomes[3])] == [1, 2, 3]
    assert isinstance(outcomes[2], BusUnavailable)
    assert outcomes[2].reason is Reason.REFUSED


async def test_who_leaves_takes_nobody_along(layer: Any) -> None:
    waiting = [asyncio.ensure_future(layer.bus.publish({"ticks.A": [MESSAGE]})) for _ in range(6)]
    waiting[3].cancel()  # before the call is made
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[3], asyncio.CancelledError)
    assert [outcome["ticks.A"].seq for outcome in outcomes if isinstance(outcome, dict)] == [2, 3, 4, 5, 6]
