"""Questions through the supervisor: who answers, who is not waited for, and what stays of those that ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.server.exchange import FIGURES, Exchange, Line, Place
from tests.gateway.server.memory import until


class Gateway:
    """Lines of workers on one loop. What a worker answers is ``said``, or nothing while it ``hangs``."""

    def __init__(self, count: int) -> None:
        self.exchange = Exchange(count, lambda past, last: past + b"+" + last)
        self.said: dict[Line, bytes] = {}
        self.hangs: set[Line] = set()
        self.joined: dict[Line, asyncio.Task[None]] = {}

    async def start(self, number: int, said: bytes) -> Line:
        ours, theirs = socket.socketpair()

        async def answer(question: bytes) -> bytes:
            await until(lambda: line not in self.hangs)
            return self.said[line] + question

        line = Line(theirs, number, {FIGURES: answer, "other": answer})
        self.said[line] = said
        self.joined[line] = asyncio.create_task(self.exchange.join(number, ours))
        line.start()
        await until(lambda: any(process.listens and process.number == number for process in self.exchange._processes))
        await asyncio.sleep(0.05)
        return line

    async def end(self, line: Line) -> None:
        """As the kernel does for a process that is killed."""
        line.close()
        await self.joined[line]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway(2)
    yield gateway
    for line in gateway.joined:
        await gateway.end(line)


async def figures(line: Line, seconds: float = 5.0) -> list[Place]:
    return await line.ask(FIGURES, seconds=seconds)


async def test_any_worker_that_asks_has_the_answers_of_all(gateway: Gateway) -> None:
    lines = [await gateway.start(0, b"a"), await gateway.start(1, b"b")]
    for line in lines:
        assert await figures(line) == [Place(0, [b"a"], []), Place(1, [b"b"], [])]


async def test_one_worker_can_be_asked(gateway: Gateway) -> None:
    line = await gateway.start(0, b"a")
    await gateway.start(1, b"b")
    places = await line.ask("other", b"?", seconds=5, worker=1)
    assert places == [Place(0, [], []), Place(1, [b"b?"], [])]


async def test_a_worker_that_hangs_is_not_waited_for_and_its_last_figures_stay(gateway: Gateway) -> None:
    line, hung = await gateway.start(0, b"a"), await gateway.start(1, b"b")
    await figures(line)
    gateway.hangs.add(hung)
    assert await figures(line, seconds=0.1) == [Place(0, [b"a"], []), Place(1, [], [b"b"])]
    gateway.hangs.clear()
    gateway.said[hung] = b"c"
    assert (await figures(line))[1] == Place(1, [b"c"], [])


async def test_of_processes_that_were_killed_the_last_figures_that_were_seen_stay(gateway: Gateway) -> None:
    line = await gateway.start(0, b"a")
    for said in (b"b", b"c"):
        killed = await gateway.start(1, said)
        await figures(line)
        gateway.said[killed] = b"more"
        await gateway.end(killed)
    assert (await figures(line))[1] == Place(1, [], [b"b+c"])
    await gateway.start(1, b"d")
    assert (await figures(line))[1] == Place(1, [b"d"], [b"b+c"])


async def test_a_process_that_ends_in_order_says_its_figures_once_more(gateway: Gateway) -> None:
    line, ending = await gateway.start(0, b"a"), await gateway.start(1, b"b")
    await figures(line)
    gateway.said[ending] = b"more"
    await ending.part()
    await until(lambda: not all(process.listens for process in gateway.exchange._processes))
    assert (await figures(line))[1] == Place(1, [], [b"more"])
    await gateway.end(ending)
    assert (await figures(line))[1] == Place(1, [], [b"more"])


async def test_a_process_that_ends_while_it_is_asked_is_not_waited_for(gateway: Gateway) -> None:
    line, dying = await gateway.start(0, b"a"), await gateway.start(1, b"b")
    gateway.hangs.add(dying)
    asking = asyncio.create_task(figures(line, seconds=60))
    await until(lambda: any(process.asked for process in gateway.exchange._processes if process.number == 1))
    await gateway.end(dying)
    assert await asyncio.wait_for(asking, 10) == [Place(0, [b"a"], []), Place(1, [], [])]
    gateway.hangs.clear()


async def test_a_supervisor_that_says_nothing_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        line = Line(theirs, 0, {})
        line.start()
        await until(lambda: line._peer is not None)
        with pytest.raises(TimeoutError):
            await figures(line, seconds=0.01)
        line.close()


async def test_figures_that_cannot_be_merged_lose_no_older_ones(gateway: Gateway) -> None:
    line = await gateway.start(0, b"a")
    gateway.exchange._merge = lambda past, last: past + bytes([last[0] // (last[0] - ord("c"))])
    for said in (b"b", b"c"):
        killed = await gateway.start(1, said)
        await figures(line)
        await gateway.end(killed)
    assert (await figures(line))[1].past == [b"b"]
