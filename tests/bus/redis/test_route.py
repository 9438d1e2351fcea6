"""The way to the node that has a bucket: what is refused is sent again in its place, or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from bus.redis.route import Route, is_elsewhere

MOVED = ResponseError("MOVED 5 127.0.0.1:7002")


class Node:
    """Stands for a node's pipe: notes what it is sent, and answers when the test lets it."""

    is_lost = False

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.answers: dict[str, asyncio.Future[Any]] = {}

    async def perform(self, operation: Callable[[Any, float], Awaitable[Any]], give_up: float) -> Any:
        return await operation(self, give_up)

    async def take(self, name: str) -> Any:
        self.sent.append(name)
        self.answers[name] = asyncio.get_running_loop().create_future()
        return await self.answers[name]


class Away(Node):
    """One to which there is no connection."""

    is_lost = True

    async def perform(self, operation: Callable[[Any, float], Awaitable[Any]], give_up: float) -> Any:
        raise RedisConnectionError("It is away.")


class Town:
    """A bucket that is at one node after the other."""

    def __init__(self, timeout: float = 20.0) -> None:
        self.node: Any = Node()
        self._news: list[asyncio.Future[None]] = []
        self.route = Route(timeout, lambda: self.node, self._wait)

    async def _wait(self) -> None:
        self._news.append(asyncio.get_running_loop().create_future())
        await self._news[-1]

    async def tell(self, node: Any) -> None:
        """The cluster was asked, and has the bucket at that node."""
        self.node = node
        news, self._news = self._news, []
        for waiter in news:
            waiter.set_result(None)
        await settled()

    def send(self, name: str) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.route.perform(lambda _, __: self.node.take(name)))


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_was_refused_goes_to_the_new_node_before_what_came_later() -> None:
    town = Town()
    old, new = town.node, Node()
    calls = [town.send(name) for name in "abc"]
    await settled()
    old.answers["b"].set_exception(MOVED)
    await settled()
    calls.append(town.send("d"))
    await settled()
    assert (old.sent, new.sent) == (["a", "b", "c"], [])
    old.answers["a"].set_result("A")
    old.answers["c"].set_exception(MOVED)
    await settled()
    await town.tell(new)
    assert new.sent == ["b", "c", "d"]
    for name in "bcd":
        new.answers[name].set_result(name.upper())
    assert await asyncio.gather(*calls) == ["A", "B", "C", "D"]
    assert old.sent == ["a", "b", "c"]


async def test_what_a_later_one_has_overtaken_fails() -> None:
    town = Town()
    old = town.node
    first, second = town.send("a"), town.send("b")
    await settled()
    old.answers["a"].set_exception(MOVED)
    old.answers["b"].set_result("B")
    await settled()
    await town.tell(old)
    assert await second == "B"
    with pytest.raises(RedisConnectionError, match="overtaken"):
        await first
    assert old.sent == ["a", "b"]


async def test_the_first_calls_wait_for_the_cluster_in_their_order() -> None:
    town = Town()
    town.node = None
    calls = [town.send("a"), town.send("b")]
    await settled()
    node = Node()
    await town.tell(None)
    await town.tell(node)
    calls.append(town.send("c"))
    await settled()
    assert node.sent == ["a", "b", "c"]
    for name in "abc":
        node.answers[name].set_result(name)
    assert await asyncio.gather(*calls) == ["a", "b", "c"]


async def test_what_no_node_can_have_got_is_sent_again() -> None:
    town = Town()
    town.node = Away()
    call = town.send("a")
    await settled()
    assert town.route.is_lost
    node = Node()
    await town.tell(node)
    node.answers["a"].set_result("A")
    assert await call == "A"


@pytest.mark.parametrize("error", [RedisConnectionError("It broke."), ResponseError("OOM command not allowed")])
async def test_what_a_node_may_have_done_or_will_not_do_is_not_sent_again(error: RedisError) -> None:
    town = Town()
    call = town.send("a")
    await settled()
    town.node.answers["a"].set_exception(error)
    with pytest.raises(type(error), match=str(error)):
        await call
    assert town.node.sent == ["a"]


async def test_nobody_waits_longer_than_the_timeout_and_all_are_told_why() -> None:
    town = Town(timeout=0.1)
    call = town.send("a")
    await settled()
    town.node.answers["a"].set_exception(ResponseError("CLUSTERDOWN The cluster is down"))
    with pytest.raises(RedisError, match=r"not served now .*CLUSTERDOWN"):
        await call
    await town.tell(town.node)
    later = town.send("b")  # the line is free again
    await settled()
    town.node.answers["b"].set_result("B")
    assert await later == "B"


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("MOVED 3999 127.0.0.1:6381", True),
        ("ASK 3999 127.0.0.1:6381", True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", True),
        ("CLUSTERDOWN Hash slot not served", True),
        ("READONLY You can't write against a read only replica.", False),
        ("ERR value MOVED is not an integer", False),
    ],
)
def test_only_some_errors_say_that_the_bucket_is_elsewhere(text: str, is_so: bool) -> None:
    assert is_elsewhere(ResponseError(text)) is is_so
