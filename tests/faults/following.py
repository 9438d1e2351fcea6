"""The project's own client while things fail: what it tells, and what in that does not add up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal

from marketmux_client import Client, ClientClosed, Conflated, Event, Gap, Snapshot, Tick

__all__ = ["following", "gaps", "prices", "unexplained"]


@asynccontextmanager
async def following(url: str, count: int, symbols: Sequence[str]) -> AsyncIterator[list[list[Event]]]:
    """What so many clients are told; each has all of the symbols."""
    told: list[list[Event]] = [[] for _ in range(count)]

    async def follow(client: Client, note: Callable[[Event], None]) -> None:
        with suppress(ClientClosed):
            async for event in client:
                note(event)

    async with AsyncExitStack() as stack:
        tasks = []
        for events in told:
            client = await stack.enter_async_context(Client(url, max_age=None, max_queue=1_000_000))
            await client.subscribe(*symbols)
            tasks.append(asyncio.create_task(follow(client, events.append)))
        yield told
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def prices(events: Sequence[Event]) -> dict[str, Decimal]:
    return {event.symbol: event.price for event in events if isinstance(event, Tick | Snapshot)}


def gaps(events: Sequence[Event]) -> list[Gap]:
    return [event for event in events if isinstance(event, Gap)]


def unexplained(events: Sequence[Event]) -> Iterator[str]:
    """What is missing without a word: of a symbol, and what the client found missing itself."""
    last: dict[str, int] = {}
    explained: Counter[str] = Counter()
    for event in events:
        match event:
            case Gap(reason="unexplained"):
                yield str(event)
            case Gap(symbol, None):
                last.pop(symbol, None)
            case Gap(symbol, int(count)) | Conflated(symbol, count, _):
                explained[symbol] += count
            case Tick() | Snapshot():
                due = last.get(event.symbol, event.seq - 1) + explained[event.symbol] + 1
                is_restated = isinstance(event, Snapshot) and event.seq == due - 1
                if event.symbol in last and event.seq != due and not is_restated:
                    yield f"{event} after {last[event.symbol]}, {explained[event.symbol]} explained"
                last[event.symbol] = event.seq
                explained[event.symbol] = 0
