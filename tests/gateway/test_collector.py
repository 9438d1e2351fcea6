"""The heap is walked only when enough clients have left."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

from gateway import collector
from gateway.collector import Collector


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_DELAY_SECONDS", 0.01)


async def leave(one: Collector, count: int, remaining: int) -> None:
    for _ in range(count):
        one.departed(remaining)
    await asyncio.sleep(0.03)


async def test_a_few_departures_are_not_worth_it() -> None:
    collect = mock.Mock()
    await leave(Collector(collect), 499, remaining=0)
    collect.assert_not_called()


async def test_some_hundred_are() -> None:
    collect = mock.Mock()
    one = Collector(collect)
    await leave(one, 600, remaining=0)
    await leave(one, 499, remaining=0)
    assert collect.call_count == one.collections == 1


async def test_among_many_clients_as_many_must_have_left() -> None:
    collect = mock.Mock()
    one = Collector(collect)
    await leave(one, 4_999, remaining=5_000)
    collect.assert_not_called()
    await leave(one, 1, remaining=5_000)
    collect.assert_called_once()
