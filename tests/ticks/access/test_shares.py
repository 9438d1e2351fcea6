"""How fast, and how much: the rules for each owner."""

from __future__ import annotations

import random

import pytest

from ticks.access.shares import Buckets, Flow, OverShare, limited


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_depth_at_once_and_then_its_rate() -> None:
    clock = Clock()
    buckets = Buckets(10, 20, clock=clock)
    assert [buckets.take("a") for _ in range(20)] == [0.0] * 20
    assert buckets.take("a") == pytest.approx(0.1)
    clock.now += 0.1
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0
    assert buckets.take("b") == 0.0


def test_buckets_are_forgotten_when_full_and_never_more_than_so_many() -> None:
    clock = Clock()
    buckets = Buckets(10, 1, most=100, clock=clock)
    for number in range(1_000):
        buckets.take(str(number))
    assert len(buckets) == 100
    clock.now += 1
    for _ in range(100):
        buckets.take("last")
        clock.now += 0.2
    assert len(buckets) == 1


def test_ticks_are_a_second_of_them_at_once_and_then_the_rate_exactly() -> None:
    flow = Flow(100, 100, 0.0)
    assert [flow.take(50, 0.0) for _ in range(2)] == [0.0, 0.0]
    assert flow.take(1, 0.0) == pytest.approx(0.01)
    assert flow.take(60, 0.5) == pytest.approx(0.1)
    assert flow.take(50, 0.5) == 0.0
    assert (flow.left(), flow.take(1, 0.5) > 0) == (0, True)


def test_a_batch_that_does_not_fit_costs_nothing() -> None:
    flow = Flow(100, 100, 0.0)
    assert flow.take(60, 0.0) == 0.0
    assert flow.take(60, 0.0) > 0
    assert flow.left() == 40


def test_a_batch_of_more_than_a_second_is_taken_once_a_second_was_quiet_and_is_then_paid_for() -> None:
    flow = Flow(100, 100, 0.0)
    assert flow.take(1_000, 0.0) == 0.0
    assert flow.take(1, 0.0) == pytest.approx(9.01)
    assert flow.take(1_000, 9.9) == pytest.approx(0.1)
    assert flow.take(1_000, 10.0) == 0.0


@pytest.mark.parametrize("seed", range(10))
def test_whoever_comes_back_when_told_is_taken_and_nobody_gets_more_than_the_rate(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    flow, now, taken = Flow(100, 100, 0.0), 0.0, 0
    for _ in range(500):
        count = chance.randint(1, 250)
        wait = flow.take(count, now)
        if wait:
            now += wait
            assert flow.take(count, now) == 0.0
        taken += count
        assert taken <= 100 * now + 100 + 250
        now += chance.random() * chance.choice([0, 0.1, 3])


def test_a_smaller_lease_counts_at_once_and_a_larger_one_from_then_on() -> None:
    flow = Flow(100, 100, 0.0)
    flow.lease(10, 0.0)
    assert flow.left() == 10
    assert flow.take(10, 0.0) == 0.0
    flow.lease(100, 0.5)
    assert flow.left() == 5
    assert flow.take(10, 0.55) == 0.0


def test_nothing_is_taken_from_a_lease_of_nothing() -> None:
    flow = Flow(100, 100, 0.0)
    flow.lease(0, 0.0)
    assert flow.take(1, 10.0) == 1.0


def test_what_was_asked_for_is_wished_for_and_forgotten_little_by_little() -> None:
    flow = Flow(100, 100, 0.0)
    for _ in range(3):
        flow.take(10, 0.0)
    assert [flow.wish(0.5), flow.wish(0.5), flow.wish(0.5)] == [60, 42, 30]
    flow.take(10_000, 0.0)
    assert flow.wish(0.01) == 100  # not more than all


def test_what_is_refused_is_counted_by_the_limit() -> None:
    before = limited["ticks"]
    OverShare("ticks", 1, "", 1.0)
    assert limited["ticks"] == before + 1
