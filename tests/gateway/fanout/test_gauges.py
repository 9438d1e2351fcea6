"""What passes are measured by: each delivery is in the histogram of ages, and few ticks are looked at for that."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

from gateway.fanout import gauges as module
from tests.gateway.fakes import FakeBus


@pytest.fixture
async def bus() -> FakeBus:
    return FakeBus()


async def test_each_delivery_is_counted_with_the_age_of_its_tick(bus: FakeBus) -> None:
    for _ in range(3):
        await bus.subscriber("A", "B")
    await bus.subscriber("B")
    bus.publish("A", "B", "A")
    ages = bus.hub.gauges.send_age
    assert sum(ages.counts) == bus.hub.counts()["delivered_total"] == 10
    assert ages.total > 0


async def test_a_pass_is_counted_with_its_ticks(bus: FakeBus) -> None:
    await bus.subscriber("A", "B")
    bus.publish("A", "B", "A")
    gauges = bus.hub.gauges
    assert (sum(gauges.pass_ticks.counts), gauges.pass_ticks.total) == (1, 3)
    assert sum(gauges.pass_seconds.counts) == 1
    assert gauges.pass_seconds.total > 0


async def test_of_many_ticks_a_few_are_looked_at_and_stand_for_all(bus: FakeBus) -> None:
    for _ in range(5):
        await bus.subscriber("A")
    gauges = bus.hub.gauges
    with mock.patch.object(gauges, "_seconds", mock.Mock(wraps=gauges._seconds)) as seconds:
        for _ in range(200):
            bus.publish("A")
        bus.publish(*["A"] * 100)
        looked = seconds.of_frame.call_count
        await asyncio.sleep(0.3)
        bus.publish("A")
    assert looked <= 200 + module._LOOKS
    assert sum(gauges.send_age.counts) == 5 * 301
