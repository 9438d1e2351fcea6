"""The connection that listens, against a real Redis: what it brings, and what it does when Redis goes away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from bus.redis import connection, probe
from bus.redis.listener import Listener, RawMessage
from bus.redis.topics import Topics
from tests.servers import RedisServer


class Ear:
    """A listener and what it has heard."""

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        pool = ConnectionPool.from_url(url, socket_timeout=None)
        self.listener = Listener(lambda: pool, self._deliver, self._lost, self._restored, timeout)
        self.heard: list[RawMessage] = []
        self.news: list[str] = []
        self._changed = asyncio.Event()

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload, _ in self.heard]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _deliver(self, arrived: list[RawMessage]) -> None:
        self.heard += arrived
        self._changed.set()
        if b"raise" in self.payloads[-1:]:
            raise ValueError("of the test")

    def _lost(self) -> None:
        self.news.append("lost")
        self._changed.set()

    def _restored(self) -> None:
        self.news.append("restored")
        self._changed.set()


class Proxy:
    """Forwards TCP connections to Redis, or holds back what they say, in both directions, until it goes on."""

    def __init__(self, target: RedisServer) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._accepted = asyncio.Condition()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    async def reached(self, count: int) -> None:
        """Returns when so many connections have been made."""
        async with asyncio.timeout(20), self._accepted:
            await self._accepted.wait_for(lambda: self._connections >= count)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._accepted:
            self._connections += 1
            self._accepted.notify_all()
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target.port)
        for source, sink in ((reader, ours), (theirs, writer)):
            self._tasks.add(asyncio.create_task(self._forward(source, sink)))

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._flows.wait()
                sink.write(data)
        except OSError:
            pass
        finally:
            sink.close()


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> float:
    """The step of the probe, in seconds, which is half of what it is, as the test is to wait for many."""
    step = probe._STEP / 2
    monkeypatch.setattr(probe, "_STEP", step)
    return step


@pytest.fixture
async def make_ear() -> AsyncIterator[Callable[..., Ear]]:
    made: list[Ear] = []

    def make(url: str, **options: Any) -> Ear:
        made.append(Ear(url, **options))
        return made[-1]

    yield make
    for ear in made:
        await ear.listener.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


async def test_channels_and_patterns_bring_their_messages(
    make_ear: Callable[..., Ear], redis: Redis, redis_url: str
) -> None:
    ear = make_ear(redis_url)
    await ear.listener.add(["a", "b"], ["p*"])
    for channel in ("a", "p1", "x", "b"):
        await redis.publish(channel, channel)
    await ear.until(lambda: len(ear.heard) == 3)
    assert ear.heard == [("a", b"a", None), ("p1", b"p1", "p*"), ("b", b"b", None)]
    ear.listener.remove(["a"], ["p*"])
    await ear.listener.add(["c"])
    for channel in ("a", "p1", "c"):
        await redis.publish(channel, channel)
    await ear.until(lambda: len(ear.heard) > 3)
    assert ear.heard[3:] == [("c", b"c", None)]


async def test_where_a_pattern_begins_and_ends_is_exact(
    make_ear: Callable[..., Ear], redis: Redis, redis_url: str
) -> None:
    ear = make_ear(redis_url)
    await ear.listener.add(["p1"])
    in_force: list[bool] = []
    deliver = ear.listener._deliver

    def note(arrived: list[RawMessage]) -> None:
        # A message comes under its channel's name and again under a pattern, or under the name alone.
        in_force.extend(bool(ear.listener.patterns) for _ in arrived)
        deliver(arrived)

    ear.listener._deliver = note
    is_over = False

    async def publish() -> None:
        while not is_over:
            await redis.publish("p1", "x")

    publishing = asyncio.create_task(publish())
    for _ in range(20):
        await ear.listener.add(patterns=["p*"])
        await asyncio.sleep(0.005)
        ear.listener.remove(patterns=["p*"])
        await asyncio.sleep(0.005)
    is_over = True
    await publishing
    await ear.until(lambda: len(ear.heard) == len(in_force))
    taken = [
        pattern is not None if force else pattern is None
        for force, (_, _, pattern) in zip(in_force, ear.heard, strict=True)
    ]
    published = sum(pattern is None for _, _, pattern in ear.heard)
    assert sum(taken) == published


async def test_a_delivery_that_fails_costs_nobody_the_next(
    make_ear: Callable[..., Ear], redis: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    ear = make_ear(redis_url)
    await ear.listener.add(["a"])
    await redis.publish("a", "raise")
    await ear.until(lambda: ear.payloads == [b"raise"])
    await redis.publish("a", "next")
    await ear.until(lambda: ear.payloads == [b"raise", b"next"])
    assert ear.news == []
    assert "failed" in caplog.text


async def test_who_waits_for_a_channel_gets_it_though_another_stops_waiting(
    make_ear: Callable[..., Ear], redis_server: RedisServer
) -> None:
    ear = make_ear(redis_server.url)
    await ear.listener.add(["a"])
    redis_server.pause()
    impatient = asyncio.create_task(ear.listener.add(["b"]))
    patient = asyncio.create_task(ear.listener.add(["b"]))
    await asyncio.sleep(0.05)
    impatient.cancel()
    redis_server.resume()
    await patient
    assert redis_server.call("PUBLISH b x") == ":1"
    await ear.until(lambda: ear.payloads == [b"x"])


async def test_left_and_joined_again_it_is_joined_only_after_the_last_confirmation(
    make_ear: Callable[..., Ear], redis_server: RedisServer
) -> None:
    ear = make_ear(redis_server.url)
    await ear.listener.add(["a"])
    redis_server.pause()
    waiting = asyncio.create_task(ear.listener.add(["b"]))
    for _ in range(5):
        await asyncio.sleep(0)
        ear.listener.remove(["b"])
        waiting.cancel()
        waiting = asyncio.create_task(ear.listener.add(["b"]))
    await asyncio.sleep(0)
    redis_server.resume()
    await waiting
    assert not ear.listener._channels._asked
    assert redis_server.call("PUBLISH b x") == ":1"


async def test_of_several_confirmations_under_way_only_the_last_counts() -> None:
    topics = Topics("SUBSCRIBE", "UNSUBSCRIBE")
    topics.want(["a"], is_asked=True)
    topics.forget(["a"])
    topics.want(["a"], is_asked=True)
    (joined,) = topics.unconfirmed(["a"])
    assert not topics.confirm("a")  # the UNSUBSCRIBE comes after this one
    assert (topics.is_pending, joined.done()) == (True, False)
    assert topics.confirm("a")
    assert (topics.is_pending, joined.done()) == (False, True)


async def test_a_redis_that_stops_is_noticed_and_missed_and_found_again(
    make_ear: Callable[..., Ear], redis_server: RedisServer
) -> None:
    ear = make_ear(redis_server.url)
    await ear.listener.add(["a"], ["p*"])
    redis_server.pause()
    await ear.until(lambda: ear.news == ["lost"])
    redis_server.resume()
    await ear.until(lambda: ear.news == ["lost", "restored"])
    assert redis_server.call("PUBLISH a 1") == ":1"
    assert redis_server.call("PUBLISH p1 2") == ":1"
    await ear.until(lambda: ear.payloads == [b"1", b"2"])


async def test_restored_is_said_when_everything_is_confirmed(
    make_ear: Callable[..., Ear], redis_server: RedisServer
) -> None:
    ear = make_ear(redis_server.url)
    channels = [f"c{number}" for number in range(5_000)]
    await ear.listener.add(channels, ["p*"])
    subscribed: list[str] = []
    restored = ear.listener._restored

    def count() -> None:
        subscribed.extend([redis_server.call("PUBLISH c4999 x"), redis_server.call("PUBSUB NUMPAT")])
        restored()

    ear.listener._restored = count
    redis_server.kill()
    await ear.until(lambda: ear.news == ["lost"])
    redis_server.start()
    await ear.until(lambda: ear.news == ["lost", "restored"])
    assert subscribed == [":1", ":1"]


async def test_what_a_dead_connection_still_holds_is_never_delivered(
    make_ear: Callable[..., Ear], redis: Redis, redis_url: str, shared_redis: RedisServer
) -> None:
    async with Proxy(shared_redis) as proxy:
        ear = make_ear(proxy.url)
        await ear.listener.add(["a"])
        proxy.hold()
        await redis.publish("a", "late")
        await ear.until(lambda: ear.news == ["lost"])
        proxy.go_on()
        await ear.until(lambda: ear.news == ["lost", "restored"])
        await redis.publish("a", "fresh")
        await ear.until(lambda: bool(ear.heard))
        assert ear.payloads == [b"fresh"]


async def test_attempts_to_connect_are_bounded_and_few(
    make_ear: Callable[..., Ear], shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ATTEMPT_SECONDS", 0.5)
    async with Proxy(shared_redis) as proxy:
        proxy.hold()
        ear = make_ear(proxy.url, timeout=0.1)
        with pytest.raises(RedisConnectionError):
            await ear.listener.add(["a"])
        started = time.monotonic()
        await proxy.reached(3)
        assert time.monotonic() - started > 0.5
        proxy.go_on()
        await ear.listener.close()


async def test_redis_is_not_lost_because_this_process_was_held_up(
    make_ear: Callable[..., Ear], redis: Redis, redis_url: str, quick_probe: float
) -> None:
    ear = make_ear(redis_url)
    await ear.listener.add(["a"])
    for _ in range(3):
        time.sleep(5 * quick_probe)  # noqa: ASYNC251 - the loop is what is held up
        await asyncio.sleep(0.01)
    time.sleep(16 * quick_probe)  # noqa: ASYNC251
    await redis.publish("a", "x")
    await ear.until(lambda: ear.payloads == [b"x"])
    assert ear.news == []


async def test_what_piled_up_while_this_process_stood_still_is_dropped_and_the_bus_counts_as_lost(
    make_ear: Callable[..., Ear], redis: Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "STALL_SECONDS", 1.0)
    ear = make_ear(redis_server.url)
    await ear.listener.add(["a"])
    for _ in range(2):
        assert redis_server.call("PUBLISH a old") == ":1"
        time.sleep(1.2)  # noqa: ASYNC251 - as a process that is stopped
        assert redis_server.call("PUBLISH a recent") == ":1"  # who knows which of the two it is
        await ear.until(lambda: ear.news[-1:] == ["restored"])
        assert redis_server.call("PUBLISH a new") == ":1"
        await ear.until(lambda: ear.payloads == [b"new"])
        assert ear.news == ["lost", "restored"]
        ear.heard.clear()
        ear.news.clear()


async def test_a_stall_while_subscriptions_are_being_confirmed_brings_nothing_old(
    make_ear: Callable[..., Ear], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "STALL_SECONDS", 1.0)
    ear = make_ear(redis_server.url)
    adding = asyncio.create_task(ear.listener.add(["a"]))
    async with asyncio.timeout(20):
        while redis_server.call("PUBLISH a old") == ":0":  # noqa: ASYNC110
            await asyncio.sleep(0)
    time.sleep(1.2)  # noqa: ASYNC251
    await adding
    assert redis_server.call("PUBLISH a new") == ":1"
    await ear.until(lambda: b"new" in ear.payloads)
    assert ear.payloads in ([b"new"], [b"old", b"new"])  # the first if the confirmation had not been read yet


async def test_what_comes_later_and_later_because_this_process_does_not_keep_up_is_dropped(
    make_ear: Callable[..., Ear], redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "STALL_SECONDS", 0.8)
    ear = make_ear(redis_url)
    await ear.listener.add(["a"])
    deliver = ear.listener._deliver

    def deliver_slowly(arrived: list[RawMessage]) -> None:
        time.sleep(0.2)
        deliver(arrived)

    ear.listener._deliver = deliver_slowly
    await asyncio.to_thread(_publish_at_once, redis_url, 40, bytes(262_144))
    await ear.until(lambda: ear.news == ["lost", "restored"])
    assert len(ear.heard) < 40
    ear.heard.clear()
    await redis.publish("a", "new")
    await ear.until(lambda: ear.payloads == [b"new"])


def _publish_at_once(url: str, count: int, payload: bytes) -> None:
    with SyncRedis.from_url(url) as redis:
        for _ in range(count):
            redis.publish("a", payload)


async def test_a_quiet_connection_is_kept(
    make_ear: Callable[..., Ear], redis: Redis, redis_url: str, quick_probe: float
) -> None:
    ear = make_ear(redis_url)
    await ear.listener.add(["a"])
    ear.listener.remove(["a"])
    connection = ear.listener._connection
    await asyncio.sleep(14 * quick_probe)
    assert ear.listener._connection is connection
    assert ear.news == []


async def test_a_channel_that_may_not_be_had_costs_the_others_nothing(
    make_ear: Callable[..., Ear], redis_server: RedisServer
) -> None:
    assert redis_server.call("ACL SETUSER default resetchannels &a*") == "+OK"
    ear = make_ear(redis_server.url, timeout=0.5)
    await ear.listener.add(["a1"])
    with pytest.raises(ResponseError, match="NOPERM"):
        await ear.listener.add(["b1"])
    ear.listener.remove(["b1"])
    await ear.listener.add(["a2"])
    assert redis_server.call("PUBLISH a1 x") == ":1"
    await ear.until(lambda: ear.payloads == [b"x"])
    assert ear.news == []


async def test_the_log_says_what_is_listened_to(
    make_ear: Callable[..., Ear], redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bus")
    ear = make_ear(redis_server.url)
    await ear.listener.add(patterns=["p*"])
    for said in ("listening to 1 pattern.", "listening to 2 channels and 1 pattern."):
        redis_server.kill()
        await ear.until(lambda: ear.news[-1:] == ["lost"])
        redis_server.start()
        await ear.until(lambda: ear.news[-1:] == ["restored"])
        assert said in caplog.text
        await ear.listener.add(["a", "b"])


async def test_it_can_be_closed_at_any_moment_of_connecting(
    make_ear: Callable[..., Ear], shared_redis: RedisServer
) -> None:
    async with Proxy(shared_redis) as proxy:
        for steps in range(40):
            ear = make_ear(proxy.url)
            waiting = asyncio.create_task(ear.listener.add(["a"]))
            for _ in range(steps):
                await asyncio.sleep(0)
            async with asyncio.timeout(30):
                await ear.listener.close()
            waiting.cancel()
