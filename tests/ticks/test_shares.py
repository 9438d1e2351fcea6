"""What an owner's limits leave in one process: leases from the bus, and what counts without it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from pytest_django.fixtures import Settings

from bus.contract import BusUnavailable, Wish
from bus.memory import MemoryBus
from ticks import shares
from ticks.access.grant import NOBODY, Limits
from ticks.access.shares import OverShare
from ticks.shares import LEASE_SECONDS, Shares, most


class Bus(MemoryBus):
    """A bus of four workers, of which this one gets what the test says; it may be away."""

    is_away = False
    part = 1.0
    asked = 0

    async def lease(self, worker: str, wishes: Sequence[Wish], seconds: float) -> tuple[int, list[int]]:
        self.asked += 1
        if self.is_away:
            raise BusUnavailable("away")
        _, leases = await super().lease(worker, wishes, seconds)
        return 4, [int(lease * self.part) for lease in leases]


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    bus = Bus()
    monkeypatch.setattr(shares, "get_bus", lambda: bus)
    return bus


def left(mine: Shares, limit: int = 100) -> int:
    return mine.take("a", limit, 0).left()


async def leased(bus: Bus) -> None:
    asked = bus.asked
    async with asyncio.timeout(30):
        while bus.asked == asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_worker_has_its_lease_and_asks_for_no_tick(bus: Bus) -> None:
    mine = Shares()
    bus.part = 0.5
    mine.take("a", 100, 10)
    assert bus.asked == 0
    await leased(bus)
    assert mine.flows["a"].rate == 50
    asked = bus.asked
    for _ in range(1_000):
        mine.take("a", 100, 0)
    assert bus.asked == asked


async def test_while_the_bus_is_away_a_worker_has_an_equal_part(bus: Bus) -> None:
    mine = Shares()
    mine.take("a", 100, 1)
    await leased(bus)
    assert (mine.workers, mine.flows["a"].rate) == (4, 100)
    bus.is_away = True
    await leased(bus)
    await asyncio.sleep(0)
    assert mine.flows["a"].rate == 25
    assert mine.take("new", 100, 1).rate == 25
    for _ in range(3):
        await mine.hold("a", 10, "connections", 1)  # 10 / 4, rounded up
    with pytest.raises(OverShare):
        await mine.hold("a", 10, "connections", 1)


async def test_what_is_given_back_can_be_had_again(bus: Bus) -> None:
    mine = Shares()
    await mine.hold("a", 2, "symbols", 2)
    with pytest.raises(OverShare) as over:
        await mine.hold("a", 2, "symbols", 1)
    assert (over.value.what, over.value.limit, over.value.wait) == ("symbols", 2, 1.0)
    mine.let_go("a", "symbols", 1)
    await mine.hold("a", 2, "symbols", 1)
    mine.let_go("a", "symbols", 2)
    async with asyncio.timeout(30):
        while mine.held:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_many_who_come_at_once_get_no_more(bus: Bus) -> None:
    mine = Shares()
    results = await asyncio.gather(*(mine.hold("a", 5, "connections", 1) for _ in range(20)), return_exceptions=True)
    assert sum(result is None for result in results) == 5


async def test_an_idle_owner_is_forgotten(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_IDLE_SECONDS", 0.0)
    mine = Shares()
    mine.take("a", 100, 1)
    async with asyncio.timeout(30):
        while mine.flows:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(2 * LEASE_SECONDS)
    asked = bus.asked
    await asyncio.sleep(2 * LEASE_SECONDS)
    assert bus.asked == asked


async def test_a_new_symbol_counts_once_and_is_asked_for_once(bus: Bus) -> None:
    mine = Shares()
    await mine.check_new("a", 2, ["A", "B"])
    await mine.check_new("a", 2, ["A", "B"])
    with pytest.raises(OverShare):
        await mine.check_new("a", 2, ["A", "C"])
    await bus.publish({"ticks.C": [{"type": "tick"}]})
    await mine.check_new("a", 2, ["C"])


def test_a_keys_limit_comes_before_that_of_all(settings: Settings) -> None:
    limited = replace(NOBODY, limits=Limits(ticks_per_second=5))
    assert (most(NOBODY, "ticks_per_second"), most(limited, "ticks_per_second")) == (None, 5)
    settings.MARKETMUX_MAX_TICKS_PER_SECOND = 7
    assert (most(NOBODY, "ticks_per_second"), most(limited, "ticks_per_second")) == (7, 5)
