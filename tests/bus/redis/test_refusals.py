"""What Redis refuses, and why: told to who asked, said once in the log, counted, and over when it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions

from bus.contract import BusUnavailable, Reason
from bus.layers import RedisLayer
from bus.redis.entry import rights
from bus.redis.refusals import reason_of
from tests.servers import ROOT, RedisServer, free_port

MakeBus = Callable[..., Any]
RIGHTS = rights(path.read_text() for path in (ROOT / "bus/redis/lua").glob("*.lua"))
SUFFICES = f"~marketmux.0:* &marketmux.0:* &marketmux.0:{{0}}__group__ticks.* {RIGHTS}"
BATCH = {"ticks.A": [{"type": "tick", "symbol": "A"}]}


@pytest.fixture
async def make_bus(redis_server: RedisServer) -> AsyncIterator[MakeBus]:
    """Makes buses on the test's own Redis, as whatever user."""
    made: list[Any] = []

    def make(user: str = "") -> Any:
        made.append(RedisLayer(hosts=[redis_server.url.replace("//", f"//{user}@") if user else redis_server.url]))
        return made[-1].bus

    yield make
    for layer in made:
        await layer.flush()


@pytest.fixture
async def bus(make_bus: MakeBus) -> Any:
    return make_bus()


Trouble = Callable[[RedisServer, Path], Iterator[None]]


def out_of_memory(redis: RedisServer, _: Path) -> Iterator[None]:
    redis.call("CONFIG SET maxmemory 1")
    yield
    redis.call("CONFIG SET maxmemory 0")


def too_few_replicas(redis: RedisServer, _: Path) -> Iterator[None]:
    redis.call("CONFIG SET min-replicas-to-write 1")
    yield
    redis.call("CONFIG SET min-replicas-to-write 0")


def read_only(redis: RedisServer, _: Path) -> Iterator[None]:
    redis.call(f"REPLICAOF 127.0.0.1 {free_port()}")
    yield
    redis.call("REPLICAOF NO ONE")


def primary_down(redis: RedisServer, _: Path) -> Iterator[None]:
    redis.call("CONFIG SET replica-serve-stale-data no")
    redis.call(f"REPLICAOF 127.0.0.1 {free_port()}")
    yield
    redis.call("REPLICAOF NO ONE")


def disk_failed(redis: RedisServer, directory: Path) -> Iterator[None]:
    # A rename onto a directory fails for root too, whom no rights stop.
    (directory / "dump.rdb").mkdir()
    redis.call('CONFIG SET save "1000 1"')
    redis.call("SET x 1")
    redis.call("BGSAVE")
    yield
    redis.call("CONFIG SET stop-writes-on-bgsave-error no")
    redis.call('CONFIG SET save ""')  # or it would not let itself be stopped


def forbidden(redis: RedisServer, _: Path) -> Iterator[None]:
    redis.call("ACL SETUSER default -publish")
    yield
    redis.call("ACL SETUSER default +publish")


def busy(redis: RedisServer, _: Path) -> Iterator[None]:
    redis.call("CONFIG SET busy-reply-threshold 1")
    with contextlib.suppress(TimeoutError):
        redis.call('EVAL "while true do end" 0', timeout=0.2)
    yield
    redis.call("SCRIPT KILL")


TROUBLES: dict[Reason, Trouble] = {
    Reason.OUT_OF_MEMORY: out_of_memory,
    Reason.TOO_FEW_REPLICAS: too_few_replicas,
    Reason.READ_ONLY: read_only,
    Reason.PRIMARY_DOWN: primary_down,
    Reason.DISK_FAILED: disk_failed,
    Reason.FORBIDDEN: forbidden,
    Reason.BUSY: busy,
}


async def reason_for(attempt: Callable[[], Any]) -> Reason | None:
    try:
        await attempt()
    except BusUnavailable as error:
        return error.reason
    return None


async def until_it_is(attempt: Callable[[], Any], reason: Reason | None) -> None:
    for _ in range(400):
        if await reason_for(attempt) is reason:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {reason}")


@pytest.mark.parametrize("reason", TROUBLES, ids=lambda reason: reason.name)
async def test_a_refusal_has_its_reason(
    reason: Reason, bus: Any, redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bus")
    await bus.publish(BATCH)
    await bus.ping()
    trouble = TROUBLES[reason](redis_server, tmp_path)
    next(trouble)
    await until_it_is(lambda: bus.publish(BATCH), reason)
    for _ in range(3):
        assert await reason_for(lambda: bus.publish(BATCH)) is reason
    assert await reason_for(bus.ping) is reason
    assert await reason_for(bus.check) is reason
    assert bus.refused[reason] >= 5
    said = [record.message for record in caplog.records if reason.sentence in record.message]
    assert len(said) == 1, said
    assert f"Redis at 127.0.0.1:{redis_server.port} cannot be used" in said[0]
    next(trouble, None)
    await until_it_is(bus.ping, None)
    await until_it_is(lambda: bus.publish(BATCH), None)
    await asyncio.sleep(1.1)
    await bus.publish(BATCH)
    assert "can be published on again" in caplog.text


async def test_a_password_that_was_changed_is_a_reason(make_bus: MakeBus, redis_server: RedisServer) -> None:
    bus = make_bus("default:old")
    assert redis_server.call("ACL SETUSER admin on nopass ~* &* +@all") == "+OK"
    await bus.publish(BATCH)
    redis_server.call("ACL SETUSER default resetpass >new")
    redis_server.call("CLIENT KILL TYPE normal SKIPME yes", user="admin")
    await until_it_is(lambda: bus.publish(BATCH), Reason.UNAUTHORIZED)
    assert await reason_for(bus.check) is Reason.UNAUTHORIZED


async def test_what_is_asked_and_subscribed_has_its_reason_too(make_bus: MakeBus, redis_server: RedisServer) -> None:
    redis_server.call(f"ACL SETUSER few on >secret ~marketmux.0:* resetchannels {RIGHTS}")
    bus = make_bus("few:secret")
    bus.shards[0].listener._timeout = 0.5
    assert await reason_for(lambda: bus.join(["ticks.A"])) is Reason.FORBIDDEN
    redis_server.call("ACL SETUSER few resetkeys")
    assert await reason_for(lambda: bus.positions(["ticks.A"])) is Reason.FORBIDDEN
    assert await reason_for(bus.names) is Reason.FORBIDDEN


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.ConnectionError("Error 111 connecting"), Reason.AWAY),
        (exceptions.TimeoutError("Redis did not answer"), Reason.AWAY),
        (OSError("no route"), Reason.AWAY),
        (exceptions.AuthenticationError("invalid username-password pair or user is disabled."), Reason.UNAUTHORIZED),
        (exceptions.ResponseError("NOAUTH Authentication required."), Reason.UNAUTHORIZED),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Reason.LOADING),
        (exceptions.ResponseError("LOADING Redis is loading the dataset in memory"), Reason.LOADING),
        (exceptions.ResponseError("CROSSSLOT Keys in request don't hash to the same slot"), Reason.CLUSTER),
        (exceptions.ResponseError("MOVED 3999 127.0.0.1:6381"), Reason.CLUSTER),
        (exceptions.ResponseError("ERR Script attempted to access a non local key in a cluster node"), Reason.CLUSTER),
        (exceptions.ConnectionError("max number of clients reached"), Reason.FULL),
        (
            exceptions.ResponseError(
                "ERR Error running script (call to f_0): @user_script:9: @user_script: 9: "
                "-READONLY You can't write against a read only replica."
            ),
            Reason.READ_ONLY,  # Redis 6
        ),
        (
            exceptions.ResponseError("ERR The user executing the script can't publish to the channel mentioned"),
            Reason.FORBIDDEN,
        ),
        (exceptions.ResponseError("ERR something else: it was not OOM"), Reason.REFUSED),
    ],
)
def test_a_reason_is_read_from_what_redis_says(error: Exception, reason: Reason) -> None:
    assert reason_of(error) is reason


# The conversation before the start


async def test_a_sound_redis_is_let_in_without_a_word(bus: Any) -> None:
    assert list(await bus.check()) == []


async def test_the_rights_that_are_named_suffice_for_all(make_bus: MakeBus, redis_server: RedisServer) -> None:
    redis_server.call(f"ACL SETUSER gateway on >secret {SUFFICES}")
    bus = make_bus("gateway:secret")
    assert list(await bus.check(["ticks.*"])) == []
    await bus.join(["ticks.A", "ticks.*"])
    places = await bus.publish(BATCH)
    assert await bus.history({"ticks.A": places["ticks.A"]._replace(seq=0)})
    assert await bus.names() == ["ticks.A"]
    assert (await bus.positions(["ticks.A"]))["ticks.A"].seq == 1
    await bus.leave(["ticks.A", "ticks.*"])


@pytest.mark.parametrize(
    ("right", "named"),
    [
        ("-info", "INFO"),
        ("-time", "TIME"),
        ("-hset", "HSET"),
        ("-rpush", "RPUSH"),
        ("-evalsha", "EVALSHA"),
        ("-script", "SCRIPT LOAD"),
        ("-publish", "PUBLISH"),
        ("-subscribe", "SUBSCRIBE"),
        ("-psubscribe", "PSUBSCRIBE"),
        ("resetchannels", "PUBLISH"),
        ("resetchannels &marketmux.0:*", "PSUBSCRIBE"),
    ],
)
async def test_a_right_that_is_missing_is_named_with_what_suffices(
    right: str, named: str, make_bus: MakeBus, redis_server: RedisServer
) -> None:
    redis_server.call(f"ACL SETUSER gateway on >secret {SUFFICES} {right}")
    with pytest.raises(BusUnavailable) as refused:
        await make_bus("gateway:secret").check(["ticks.*"])
    assert refused.value.reason is Reason.FORBIDDEN
    assert f"does not grant {named}" in str(refused.value)
    assert f"ACL SETUSER <user> {SUFFICES}" in str(refused.value)


async def test_a_wrong_password_is_refused_with_what_to_do(make_bus: MakeBus) -> None:
    with pytest.raises(BusUnavailable, match="Correct the user and password in REDIS_URL") as refused:
        await make_bus("nobody:wrong").check()
    assert refused.value.reason is Reason.UNAUTHORIZED


async def test_a_cluster_is_named_as_one(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path, options=("--cluster-enabled", "yes", "--cluster-port", str(free_port())))
    redis.start()
    layer = RedisLayer(hosts=[redis.url])
    try:
        with pytest.raises(BusUnavailable, match=r"named as if it were one Redis.*redis\+cluster://") as refused:
            await layer.bus.check()
        assert refused.value.reason is Reason.CLUSTER
        assert await reason_for(layer.bus.ping) is Reason.CLUSTER
    finally:
        await layer.flush()
        redis.stop()


async def test_a_redis_that_may_forget_the_latest_ticks_is_worth_a_warning(bus: Any, redis_server: RedisServer) -> None:
    redis_server.call("CONFIG SET maxmemory 1gb")
    redis_server.call("CONFIG SET maxmemory-policy allkeys-lru")
    [oddity] = await bus.check()
    assert "allkeys-lru" in oddity
