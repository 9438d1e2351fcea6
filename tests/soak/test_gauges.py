"""What counts as growth; the soak itself is `make soak`."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping

import pytest

from tests.servers import wait_until
from tests.soak.gauges import MB, MEMORY, Gauge, Sampler, judge


def gauge(before: float, first: float, last: float, after: float, name: str = "tasks") -> Gauge:
    """Of a run whose samples are ``first`` for a third of it, and ``last`` for the last third."""
    during = [{name: value} for value in [first] * 5 + [(first + last) / 2] * 5 + [last] * 5]
    (found,) = judge({name: before, "passes_total": 1}, during, {name: after, "passes_total": 99})
    return found


def test_a_gauge_that_goes_up_and_down_again_is_fine() -> None:
    found = gauge(10, 300, 305, 11)
    assert (found.grew, found.stayed) == (False, False)


@pytest.mark.parametrize(
    ("name", "first", "last", "grew"),
    [
        ("tasks", 300, 400, True),
        ("tasks", 0, 11, True),
        ("behind", 20, 18, False),
        (MEMORY, 100 * MB, 108 * MB, False),
        (MEMORY, 100 * MB, 112 * MB, True),
    ],
)
def test_growth_from_the_first_to_the_last_third_is_found(name: str, first: float, last: float, grew: bool) -> None:
    assert gauge(0, first, last, 0, name).grew is grew


@pytest.mark.parametrize(
    ("name", "before", "after", "stayed"),
    [
        ("connections", 0, 1, True),
        ("tasks", 10, 15, False),
        ("tasks", 10, 16, True),
        (MEMORY, 80 * MB, 110 * MB, False),
        (MEMORY, 80 * MB, 130 * MB, True),
    ],
)
def test_what_is_left_behind_is_found(name: str, before: float, after: float, stayed: bool) -> None:
    assert gauge(before, 0, 0, after, name).stayed is stayed


def test_one_sample_that_sticks_out_is_no_growth() -> None:
    during: list[Mapping[str, float]] = [*[{"behind": 0.0}] * 14, {"behind": 500.0}]
    (found,) = judge({"behind": 0}, during, {"behind": 0})
    assert not found.grew


def test_a_sample_that_is_not_to_be_had_is_left_out() -> None:
    numbers = itertools.count()

    def take() -> Mapping[str, float]:
        if next(numbers) % 2:
            raise ConnectionRefusedError
        return {"thread": threading.get_ident()}

    with Sampler(take, interval=0.001) as sampler:
        wait_until(lambda: sampler.missed > 3)
    assert len(sampler.samples) >= sampler.missed
    assert sampler.samples[0]["thread"] != threading.get_ident()
