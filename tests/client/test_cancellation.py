"""A call that is cancelled has not happened, wherever it was: it is cancelled after every turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from marketmux_client import Client, Event, Tick
from tests.client.memory import MemoryGateway

SETTLED = 60
"""Turns of the loop in which everything here has come to its end."""


@pytest.fixture(params=range(4), ids="answered after {} turns".format)
def delay(request: pytest.FixtureRequest) -> int:
    turns: int = request.param
    return turns


@asynccontextmanager
async def connected(monkeypatch: pytest.MonkeyPatch, gateway: MemoryGateway) -> AsyncIterator[Client]:
    monkeypatch.setattr("marketmux_client.session.connect", gateway.connect)
    async with Client("ws://127.0.0.1:1/ws") as client:
        await anext(client)  # Connected
        yield client


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def cancelled_after(count: int, call: Awaitable[object]) -> bool:
    """Whether the call was cancelled; it had so many turns of the loop."""
    task = asyncio.ensure_future(call)
    await turns(count)
    task.cancel()
    await asyncio.wait({task})
    return task.cancelled()


async def at_every_turn(step: Callable[[int], Awaitable[bool]]) -> None:
    """Takes steps until one is not cancelled."""
    for count in range(SETTLED):
        if not await step(count):
            assert count > 2
            return
    raise AssertionError("it never came to its end")


async def events_of(client: Client, gateway: MemoryGateway, seq: int) -> list[Event]:
    """What comes when the gateway sends a tick of each symbol it takes for subscribed."""
    gateway.tick(seq)
    await turns(10)
    events = []
    while True:
        try:
            async with asyncio.timeout(0):
                events.append(await anext(client))
        except TimeoutError:
            return events


async def test_a_cancelled_subscription_has_not_happened(monkeypatch: pytest.MonkeyPatch, delay: int) -> None:
    async def step(count: int) -> bool:
        gateway = MemoryGateway(delay)
        async with connected(monkeypatch, gateway) as client:
            was_cancelled = await cancelled_after(count, client.subscribe("AAPL", "MSFT"))
            if was_cancelled:
                assert await events_of(client, gateway, 1) == []
            await turns(SETTLED)
            assert set(client.symbols) == set(gateway.subscribed) == (set() if was_cancelled else {"AAPL", "MSFT"})
            events = await events_of(client, gateway, 2)
            assert any(isinstance(event, Tick) for event in events) is not was_cancelled
            # What follows is none the worse.
            await client.subscribe("AAPL")
            assert "AAPL" in gateway.subscribed
        return was_cancelled

    await at_every_turn(step)


async def test_a_cancelled_change_of_a_rate_has_not_happened(monkeypatch: pytest.MonkeyPatch, delay: int) -> None:
    async def step(count: int) -> bool:
        gateway = MemoryGateway(delay)
        async with connected(monkeypatch, gateway) as client:
            await client.subscribe("AAPL", max_rate=5)
            was_cancelled = await cancelled_after(count, client.subscribe("AAPL", "MSFT", max_rate=1))
            await turns(SETTLED)
            assert gateway.subscribed == ({"AAPL": 5} if was_cancelled else {"AAPL": 1, "MSFT": 1})
            assert set(client.symbols) == set(gateway.subscribed)
        return was_cancelled

    await at_every_turn(step)


@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_cancelled_subscription_takes_nothing_from_another_of_the_same_symbol(
    monkeypatch: pytest.MonkeyPatch, delay: int, is_refused: bool
) -> None:
    async def step(count: int) -> bool:
        gateway = MemoryGateway(delay)
        async with connected(monkeypatch, gateway) as client:
            first = asyncio.create_task(client.subscribe("AAPL"))
            await turns(1)
            other = asyncio.create_task(client.subscribe("AAPL", "MSFT", max_rate=5))
            await turns(count)
            if is_refused and not first.done():
                gateway.refusals.extend(["too_many_symbols"] if gateway.commands > 1 or gateway.subscribed else [])
            was_refused = bool(gateway.refusals)
            first.cancel()
            await asyncio.wait({first, other})
            await turns(SETTLED)
            if other.exception() is None:
                assert gateway.subscribed == {"AAPL": 5, "MSFT": 5}
            else:
                assert was_refused
                assert gateway.subscribed == ({} if first.cancelled() else {"AAPL": None})
            assert set(client.symbols) == set(gateway.subscribed)
        return first.cancelled()

    await at_every_turn(step)


async def test_a_cancelled_subscription_of_several_messages_has_not_happened(
    monkeypatch: pytest.MonkeyPatch, delay: int
) -> None:
    names = [f"SYMBOL-{number}" for number in range(6)]

    async def step(count: int) -> bool:
        gateway = MemoryGateway(delay, message_bytes=100)
        async with connected(monkeypatch, gateway) as client:
            was_cancelled = await cancelled_after(count, client.subscribe(*names))
            await turns(2 * SETTLED)
            assert set(client.symbols) == set(gateway.subscribed) == (set() if was_cancelled else set(names))
        return was_cancelled

    await at_every_turn(step)


async def test_a_cancelled_subscription_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketmux_client.subscriptions._RETRY", 0.001)
    gateway = MemoryGateway(1)
    gateway.refusals.extend(["bus_unavailable"] * 1_000_000)
    async with connected(monkeypatch, gateway) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.subscribe("AAPL")
        await asyncio.sleep(0.05)
        before = gateway.commands
        await asyncio.sleep(0.05)
        assert gateway.commands == before
        gateway.refusals.clear()
        await client.subscribe("MSFT")
        assert set(gateway.subscribed) == {"MSFT"}


async def test_opening_that_is_cancelled_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def step(count: int) -> bool:
        gateway = MemoryGateway(0)
        monkeypatch.setattr("marketmux_client.session.connect", gateway.connect)
        client = Client("ws://127.0.0.1:1/ws")
        was_cancelled = await cancelled_after(count, client.open())
        if was_cancelled:
            await turns(SETTLED)
            assert not client.is_connected
            assert gateway.closed == gateway.opened
        await client.close()
        assert gateway.closed == gateway.opened
        return was_cancelled

    await at_every_turn(step)


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
async def test_an_unsubscription_that_is_cancelled_leaves_both_sides_of_one_mind(
    monkeypatch: pytest.MonkeyPatch, delay: int, kind: str
) -> None:
    async def step(count: int) -> bool:
        gateway = MemoryGateway(delay)
        async with connected(monkeypatch, gateway) as client:
            await client.subscribe("AAPL", "MSFT")
            was_cancelled = await cancelled_after(count, client.unsubscribe("AAPL"))
            if kind == "subscribe":
                await client.subscribe("AAPL")
            await turns(SETTLED)
            assert set(client.symbols) == set(gateway.subscribed)
            assert was_cancelled or (kind == "subscribe") is ("AAPL" in gateway.subscribed)
        return was_cancelled

    await at_every_turn(step)
