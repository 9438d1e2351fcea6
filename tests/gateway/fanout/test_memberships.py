"""The process joins a group for its first subscriber and leaves it after the last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.fanout.memberships import Memberships

DELAY = 0.02


class Bus:
    """Notes what it is asked to join and leave; can be slow, and can fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def join(self, symbols: Sequence[str]) -> None:
        await self._call("join", symbols)

    async def leave(self, symbols: Sequence[str]) -> None:
        await self._call("leave", symbols)

    async def _call(self, name: str, symbols: Sequence[str]) -> None:
        self.calls.append((name, sorted(symbols)))
        await self.gate.wait()
        if self.error:
            raise self.error


@pytest.fixture
async def bus() -> Bus:
    return Bus()


@pytest.fixture
async def memberships(bus: Bus) -> Memberships:
    return Memberships(bus.join, bus.leave, DELAY)


async def settle() -> None:
    await asyncio.sleep(3 * DELAY)


async def test_only_the_first_holder_joins_and_only_the_last_leaves(bus: Bus, memberships: Memberships) -> None:
    await memberships.acquire(["A"])
    await memberships.acquire(["A"])
    memberships.release(["A"])
    await settle()
    assert bus.calls == [("join", ["A"])]
    memberships.release(["A"])
    await settle()
    assert bus.calls == [("join", ["A"]), ("leave", ["A"])]
    assert not memberships.joined


async def test_a_group_taken_up_again_within_the_delay_is_not_left(bus: Bus, memberships: Memberships) -> None:
    await memberships.acquire(["A"])
    memberships.release(["A"])
    await memberships.acquire(["A"])
    await settle()
    assert bus.calls == [("join", ["A"])]


async def test_many_symbols_are_one_call(bus: Bus, memberships: Memberships) -> None:
    await memberships.acquire([f"S{n}" for n in range(100)])
    assert len(bus.calls) == 1


async def test_who_comes_while_the_bus_is_busy_shares_the_next_call(bus: Bus, memberships: Memberships) -> None:
    bus.gate.clear()
    tasks = [asyncio.create_task(memberships.acquire([symbol])) for symbol in ("A", "B", "C", "A")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(memberships.acquire(["D"])), asyncio.create_task(memberships.acquire(["E"]))]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    bus.gate.set()
    await asyncio.gather(*tasks)
    assert [call for call, _ in bus.calls] == ["join"] * len(bus.calls)
    assert len(bus.calls) <= 2
    assert set(memberships.joined) == set("ABCDE")


async def test_who_waited_for_the_same_join_goes_on_in_turn(bus: Bus) -> None:
    turn = asyncio.Semaphore(3)
    memberships = Memberships(bus.join, bus.leave, DELAY, turn.acquire)  # type: ignore[arg-type] # true is no matter
    tasks = [asyncio.create_task(memberships.acquire(["A"])) for _ in range(10)]
    await asyncio.wait(tasks, timeout=DELAY)
    assert sum(task.done() for task in tasks) == 3
    tasks[-1].cancel()
    for _ in range(7):
        turn.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    memberships.release(["A"] * 9)
    await settle()
    assert not memberships.joined


async def test_a_join_that_fails_is_told_to_everybody_who_waits_and_holds_nothing(
    bus: Bus, memberships: Memberships
) -> None:
    bus.error = ConnectionError("away")
    results = await asyncio.gather(memberships.acquire(["A"]), memberships.acquire(["A", "B"]), return_exceptions=True)
    assert [str(result) for result in results] == ["away", "away"]
    await settle()
    assert not memberships.joined
    bus.error = None
    await memberships.acquire(["A"])
    assert set(memberships.joined) == {"A"}


async def test_a_client_that_gives_up_while_joining_leaves_no_membership(bus: Bus, memberships: Memberships) -> None:
    bus.gate.clear()
    task = asyncio.create_task(memberships.acquire(["A"]))
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    bus.gate.set()
    await settle()
    assert bus.calls == [("join", ["A"]), ("leave", ["A"])]
    assert not memberships.joined


async def test_a_join_during_a_leave_comes_after_it(bus: Bus, memberships: Memberships) -> None:
    await memberships.acquire(["A"])
    memberships.release(["A"])
    bus.gate.clear()
    await settle()
    again = asyncio.create_task(memberships.acquire(["A"]))
    await asyncio.sleep(0)
    assert not again.done()
    bus.gate.set()
    await again
    assert [call for call, _ in bus.calls] == ["join", "leave", "join"]
    assert set(memberships.joined) == {"A"}


async def test_nothing_runs_when_nothing_is_held(bus: Bus, memberships: Memberships) -> None:
    await memberships.acquire(["A"])
    memberships.release(["A"])
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
