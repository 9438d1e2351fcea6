"""What stays is frozen, and everything is collected only when enough clients have left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from unittest import mock

import pytest

from gateway.server import collector
from gateway.server.collector import Collector, Watch


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_DELAY_SECONDS", 0.0)


@pytest.fixture
def thawed() -> Iterator[None]:
    """Nothing stays frozen behind a test that freezes."""
    yield
    gc.unfreeze()


async def come(one: Collector, count: int) -> None:
    for _ in range(count):
        one.arrived()
    await asyncio.sleep(0)


async def leave(one: Collector, count: int, remaining: int, is_tidy: bool = True) -> None:
    for _ in range(count):
        one.departed(remaining, is_tidy)
    for _ in range(3):  # turns of the loop, in which a timer that is due is called
        await asyncio.sleep(0)


async def test_those_who_come_are_kept_out_of_sight_some_at_a_time() -> None:
    keep = mock.Mock()
    one = Collector(keep=keep)
    await come(one, 39)
    keep.assert_not_called()
    await come(one, 1)
    keep.assert_called_once()
    await come(one, 100)
    assert keep.call_count == 3


async def test_what_is_kept_is_not_looked_at_and_what_is_garbage_is_not_kept(thawed: None) -> None:
    class Node:
        pass

    gc.collect()
    before = gc.get_freeze_count()
    alive = [Node() for _ in range(1_000)]
    for _ in range(1_000):
        garbage = Node()
        garbage.itself = garbage  # type: ignore[attr-defined]
    await come(Collector(), 40)
    assert gc.get_freeze_count() - before >= 1_000
    assert not [found for found in gc.get_objects() if type(found) is Node]
    gc.unfreeze()
    assert len([found for found in gc.get_objects() if type(found) is Node]) == len(alive) + 1  # `garbage` itself


async def test_a_few_departures_are_not_worth_it() -> None:
    collect = mock.Mock()
    await leave(Collector(collect=collect), 9_999, remaining=0)
    collect.assert_not_called()


async def test_many_are() -> None:
    collect = mock.Mock()
    one = Collector(collect=collect)
    await leave(one, 10_100, remaining=0)
    await leave(one, 9_999, remaining=0)
    assert collect.call_count == one.collections == 1


async def test_among_many_clients_twice_as_many_must_have_left() -> None:
    collect = mock.Mock()
    one = Collector(collect=collect)
    await leave(one, 19_999, remaining=10_000)
    collect.assert_not_called()
    await leave(one, 1, remaining=10_000)
    collect.assert_called_once()


async def test_of_those_who_leave_themselves_behind_some_hundred_are() -> None:
    collect = mock.Mock()
    one = Collector(collect=collect)
    await leave(one, 499, remaining=5_000, is_tidy=False)
    collect.assert_not_called()
    await leave(one, 1, remaining=5_000, is_tidy=False)
    collect.assert_called_once()


async def test_the_whole_heap_is_looked_at_again_then(thawed: None) -> None:
    class Node:
        pass

    lost = Node()
    lost.itself = lost  # type: ignore[attr-defined]
    gc.freeze()
    del lost
    gc.collect()
    gc.unfreeze()
    assert [found for found in gc.get_objects() if type(found) is Node], "it was not frozen"
    gc.freeze()
    await leave(Collector(), 10_000, remaining=0)
    gc.unfreeze()
    assert not [found for found in gc.get_objects() if type(found) is Node]


@pytest.mark.parametrize(("seconds", "generation", "is_kept"), [(0.0, 2, False), (0.02, 2, True), (0.02, 1, False)])
def test_what_makes_a_full_collection_long_is_not_looked_at_again(
    seconds: float, generation: int, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "time", mock.Mock(**{"perf_counter.side_effect": [100.0, 100.0 + seconds]}))
    keep = mock.Mock()
    watch = Watch(keep)
    watch("start", {"generation": generation})
    watch("stop", {"generation": generation})
    assert keep.called is is_kept
