"""The pipelined connection, against a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bus.layers import RedisLayer
from bus.redis import pipe as pipe_module
from bus.redis.connection import is_misplaced
from bus.redis.link import Clock, Link, Script
from bus.redis.pipe import Pipe
from tests.faults.network import StallingProxy
from tests.servers import RedisServer, free_port, wait_until

ECHO = Script("return ARGV[1]")


class Pipes:
    """Makes pipes to one address and closes them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[Pipe] = []

    def make(self, timeout: float = 10.0) -> Pipe:
        pool = ConnectionPool.from_url(self._url, socket_timeout=None)
        self._made.append(Pipe(lambda: pool, timeout, [ECHO]))
        return self._made[-1]

    async def close(self) -> None:
        for pipe in self._made:
            await pipe.close()


@pytest.fixture
async def pipes(redis_url: str) -> AsyncIterator[Pipes]:
    pipes = Pipes(redis_url)
    yield pipes
    await pipes.close()


@pytest.fixture
async def own_pipes(redis_server: RedisServer) -> AsyncIterator[Pipes]:
    """To a Redis that may be stopped and frozen."""
    pipes = Pipes(redis_server.url)
    yield pipes
    await pipes.close()


async def echo(pipe: Pipe, text: str) -> str:
    async def evaluate(link: Link, _: float) -> Any:
        return await link.evaluate(ECHO, lambda: [text])

    reply: bytes = await pipe.perform(evaluate)
    return reply.decode()


async def test_every_caller_gets_its_own_reply(pipes: Pipes) -> None:
    pipe = pipes.make()
    replies = await asyncio.gather(*(pipe.call("ECHO", str(number)) for number in range(500)))
    assert replies == [str(number).encode() for number in range(500)]


async def test_commands_keep_their_order_while_the_connection_is_made(pipes: Pipes) -> None:
    pipe = pipes.make()
    calls = []
    for number in range(200):
        calls.append(asyncio.create_task(pipe.call("RPUSH", "numbers", number)))
        await asyncio.sleep(0)
    await asyncio.gather(*calls)
    assert await pipe.call("LRANGE", "numbers", 0, -1) == [str(number).encode() for number in range(200)]


async def test_a_caller_that_leaves_takes_nobody_s_reply_along(pipes: Pipes) -> None:
    pipe = pipes.make()
    await pipe.call("PING")
    calls = [asyncio.create_task(pipe.call("ECHO", str(number))) for number in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    assert await asyncio.gather(*calls[1::2]) == [b"1", b"3", b"5", b"7", b"9"]
    assert await pipe.call("ECHO", "next") == b"next"


async def test_what_redis_refuses_is_that_callers_error(pipes: Pipes) -> None:
    pipe = pipes.make()
    results = await asyncio.gather(pipe.call("NONSENSE"), pipe.call("ECHO", "1"), return_exceptions=True)
    assert isinstance(results[0], ResponseError)
    assert results[1] == b"1"


async def test_a_connection_that_was_lost_fails_its_callers_and_is_made_again(pipes: Pipes, redis_url: str) -> None:
    pipe = pipes.make()
    await pipe.call("PING")
    waiting = asyncio.create_task(pipe.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    async with Redis.from_url(redis_url) as redis:
        await redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(RedisConnectionError):
        await waiting
    assert await pipe.call("ECHO", "again") == b"again"


async def test_scripts_that_were_flushed_are_sent_again(pipes: Pipes) -> None:
    pipe = pipes.make()
    assert await echo(pipe, "1") == "1"
    await pipe.call("SCRIPT", "FLUSH")
    assert await echo(pipe, "2") == "2"


async def test_a_closed_pipe_can_be_used_again(pipes: Pipes) -> None:
    pipe = pipes.make()
    await pipe.call("PING")
    await pipe.close()
    assert await pipe.call("ECHO", "again") == b"again"


async def test_nobody_waits_longer_than_the_timeout_for_a_stopped_redis(
    own_pipes: Pipes, redis_server: RedisServer
) -> None:
    connected, unconnected = own_pipes.make(0.3), own_pipes.make(0.3)
    await connected.call("PING")
    redis_server.pause()
    for pipe in (connected, connected, unconnected):
        async with asyncio.timeout(5):
            with pytest.raises(RedisTimeoutError):
                await pipe.call("PING")
    redis_server.resume()
    assert await connected.call("ECHO", "1") == b"1"
    assert await unconnected.call("ECHO", "2") == b"2"


async def test_a_late_reply_is_not_taken_for_the_next_one(own_pipes: Pipes, redis_server: RedisServer) -> None:
    patient = own_pipes.make()
    await patient.call("PING")
    redis_server.pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await patient.call("ECHO", "late")
    waiting = asyncio.create_task(patient.call("ECHO", "waiting"))
    await asyncio.sleep(0)
    redis_server.resume()
    assert await waiting == b"waiting"


async def test_what_was_sent_before_somebody_lost_patience_gets_its_reply(
    own_pipes: Pipes, redis_server: RedisServer
) -> None:
    pipe = own_pipes.make(1.0)
    await pipe.call("PING")
    link = pipe._link
    redis_server.pause()
    first = asyncio.create_task(pipe.call("ECHO", "first"))
    await asyncio.sleep(0.5)
    second = asyncio.create_task(pipe.call("ECHO", "second"))
    with pytest.raises(RedisTimeoutError):
        await first
    # Nothing may overtake what is under way.
    with pytest.raises(RedisTimeoutError, match="does not answer"):
        await pipe.call("ECHO", "third")
    redis_server.resume()
    results = await asyncio.gather(second, return_exceptions=True)
    assert results[0] == b"second" or isinstance(results[0], RedisTimeoutError)  # on a machine that is very busy
    if results[0] == b"second":
        assert await pipe.call("ECHO", "fourth") == b"fourth"
        assert pipe._link is link


async def test_a_link_learns_who_and_when_redis_is(pipes: Pipes, redis_url: str) -> None:
    pipe = pipes.make()
    loop = asyncio.get_running_loop()
    async with Redis.from_url(redis_url) as redis:
        info = await redis.info("server")
        earlier = (await redis.time())[0]

        async def look(link: Link, _: float) -> tuple[str, float]:
            return link.run_id, link.clock.at(loop.time())

        run_id, now = await pipe.perform(look)
        later = (await redis.time())[0] + 1
    assert run_id == info["run_id"]
    assert earlier - 1 <= now <= later


# The clock


def test_the_clock_keeps_the_best_lower_bound() -> None:
    clock = Clock()
    clock.learn(10.0, 12.0, 1_000.0)  # somewhere between ahead by 988 and 990
    assert clock.at(0.0) == 988.0
    clock.learn(20.0, 20.5, 1_009.9)
    assert clock.at(0.0) == pytest.approx(989.4)
    clock.learn(30.0, 35.0, 1_020.0)
    assert clock.at(0.0) == pytest.approx(989.4)


@pytest.mark.parametrize("jump", [-3_600.0, 3_600.0])
def test_a_clock_that_jumps_is_learned_anew(jump: float) -> None:
    clock = Clock()
    clock.learn(10.0, 10.1, 1_000.0)
    clock.learn(20.0, 20.1, 1_010.0 + jump)
    assert clock.at(20.1) == pytest.approx(1_010.0 + jump)


@pytest.mark.parametrize("error", [-3_600.0, 3_600.0])
async def test_a_batch_is_published_though_redis_s_clock_has_jumped(redis_url: str, error: float) -> None:
    layer: Any = RedisLayer(hosts=[redis_url])
    try:
        await layer.bus.publish({"ticks.A": [{"type": "tick"}]})
        link = layer.bus.shards[0].home.publishing._link
        known = link.clock.at(0.0)
        link.clock._lead += error
        assert await layer.bus.publish({"ticks.A": [{"type": "tick"}]}) is not None
        assert link.clock.at(0.0) == pytest.approx(known, abs=1.0)
    finally:
        await layer.flush()


# Far away, forgotten, misplaced


async def test_an_attempt_to_connect_outlives_those_who_wait_for_it(shared_redis: RedisServer) -> None:
    with StallingProxy(shared_redis.port, delay=0.3) as proxy:
        pipes = Pipes(proxy.url)
        try:
            pipe = pipes.make(0.8)
            with pytest.raises(RedisTimeoutError):  # a connection takes four round trips
                await pipe.call("PING")
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert await pipe.call("PING") == b"PONG"
                        break
                    except RedisTimeoutError:
                        pass
            assert proxy.accepted == 1
        finally:
            await pipes.close()


async def test_a_connection_that_was_forgotten_is_replaced_before_it_is_needed(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe_module, "KEEP_SECONDS", 0.1)
    monkeypatch.setattr(pipe_module, "_ANSWER_SECONDS", 0.2)
    with StallingProxy(shared_redis.port) as proxy:
        pipes = Pipes(proxy.url)
        try:
            pipe = pipes.make(0.8)
            await pipe.call("PING")
            proxy.forget()
            await asyncio.to_thread(wait_until, lambda: proxy.accepted == 2)
            assert await pipe.call("PING") == b"PONG"
        finally:
            await pipes.close()


async def test_a_replica_is_no_place_to_publish(
    own_pipes: Pipes, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe_module, "KEEP_SECONDS", 0.1)
    pipe = own_pipes.make(0.8)
    await pipe.call("PING")
    redis_server.call(f"REPLICAOF 127.0.0.1 {free_port()}")
    await asyncio.to_thread(wait_until, lambda: pipe._link is None)
    with pytest.raises(ResponseError, match="READONLY"):
        await pipe.call("PING")
    redis_server.call("REPLICAOF NO ONE")
    async with asyncio.timeout(20):
        while True:
            try:
                assert await pipe.call("PING") == b"PONG"
                break
            except ResponseError:
                pass


async def test_who_waits_too_long_for_a_connection_hears_why_there_is_none(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe_module, "_RETRY_SECONDS", (60.0, 60.0))
    told: list[Exception] = []
    pool = ConnectionPool.from_url(redis_server.url, socket_timeout=None)
    pipe = Pipe(lambda: pool, 0.2, misplaced=told.append)
    try:
        await pipe.call("PING")
        redis_server.call(f"REPLICAOF 127.0.0.1 {free_port()}")
        for _ in range(3):  # the first is refused, the others come to no connection
            with pytest.raises(ResponseError, match="READONLY"):
                await pipe.call("SET", "a", "1")
            await asyncio.to_thread(wait_until, lambda: pipe._link is None)
        assert [str(error).split()[0] for error in told] == ["READONLY"]
    finally:
        await pipe.close()


async def test_a_connection_that_is_replaced_ends_with_the_reason(own_pipes: Pipes) -> None:
    pipe = own_pipes.make()
    await pipe.call("PING")
    waiting = asyncio.create_task(pipe.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    pipe.replace(ResponseError("READONLY"))
    with pytest.raises(ResponseError, match="READONLY"):
        await waiting
    assert await pipe.call("PING") == b"PONG"


async def test_a_replica_that_lost_its_primary_says_so(own_pipes: Pipes, redis_server: RedisServer) -> None:
    redis_server.call("CONFIG SET replica-serve-stale-data no")
    redis_server.call(f"REPLICAOF 127.0.0.1 {free_port()}")
    with pytest.raises(ResponseError, match="MASTERDOWN"):
        await own_pipes.make().call("PING")


@pytest.mark.parametrize(
    "error",
    [
        "READONLY You can't write against a read only replica.",
        "READONLY You can't write against a read only replica. script: 1f, on @user_script:5.",
        "ERR Error running script (call to f_1f): @user_script:5: @user_script: 5: -READONLY You can't write",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
    ],
)
def test_errors_that_say_that_a_connection_is_the_wrong_one(error: str) -> None:
    assert is_misplaced(error)


@pytest.mark.parametrize(
    "error", ["OOM command not allowed", "NOPERM no", "ERR the READONLY flag", "MISCONF", "NOREPLICAS", "BUSY"]
)
def test_errors_that_another_connection_would_have_as_well(error: str) -> None:
    assert not is_misplaced(error)
