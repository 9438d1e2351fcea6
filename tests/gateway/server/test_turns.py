"""Turns of the loop: a few at once, the others in line, and the loop's sockets looked at in between."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable

import pytest

from gateway.server.turns import SHORT_SECONDS, Turns


async def per_turn(count: Callable[[], int], total: int) -> list[int]:
    """How much is added in each turn of the loop until there are ``total``."""
    counts = [count()]
    async with asyncio.timeout(30):
        while counts[-1] < total:
            await asyncio.sleep(0)
            counts.append(count())
    return [after - before for before, after in itertools.pairwise(counts)]


def busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_a_few_have_their_turn_at_once() -> None:
    turns = Turns()
    assert turns.at_once()
    assert turns.at_once()


async def test_no_more_than_a_few_have_it_in_the_same_turn() -> None:
    turns = Turns()
    assert 0 < sum(turns.at_once() for _ in range(100)) < 20
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns.at_once()


async def test_what_waits_comes_a_few_a_turn_and_in_order() -> None:
    turns, done = Turns(), list[int]()
    for number in range(200):
        turns.add(lambda number=number: done.append(number))  # type: ignore[misc] # it takes nothing
    assert max(await per_turn(lambda: len(done), 200)) < 20
    assert done == list(range(200))


async def test_nobody_passes_those_who_wait() -> None:
    turns = Turns()
    turns.add(lambda: None)
    assert not turns.at_once()
    await asyncio.sleep(0)
    assert turns.at_once()


async def test_what_takes_long_comes_alone() -> None:
    turns, done = Turns(), list[int]()

    def work() -> None:
        done.append(len(done))
        busy(SHORT_SECONDS)

    for _ in range(10):
        turns.add(work)
    assert max(await per_turn(lambda: len(done), 10)) == 1


async def test_what_turns_out_to_take_long_afterwards_soon_comes_alone_too() -> None:
    turns, done = Turns(), list[int]()

    async def obey(number: int) -> None:
        await turns.take()
        busy(2 * SHORT_SECONDS)
        done.append(number)

    tasks = [asyncio.create_task(obey(number)) for number in range(60)]
    counts = await per_turn(lambda: len(done), 60)
    await asyncio.gather(*tasks)
    assert sorted(counts[10:])[-3] <= 2


async def test_whoever_gives_up_waiting_holds_up_nobody() -> None:
    turns = Turns()
    tasks = [asyncio.create_task(turns.take()) for _ in range(50)]
    await asyncio.sleep(0)
    tasks[30].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await tasks[30]
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks[:30], *tasks[31:])
    assert len(turns) == 0


async def test_an_error_is_logged_and_the_next_has_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    turns, done = Turns(), asyncio.Event()
    turns.add(lambda: 1 // 0)
    turns.add(done.set)
    with caplog.at_level(logging.ERROR):
        await asyncio.wait_for(done.wait(), 30)
    assert "ZeroDivisionError" in caplog.text


async def test_with_nothing_to_do_the_loop_sleeps() -> None:
    turns = Turns()
    await turns.take()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    before = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - before < 0.1
