"""Counts in buckets."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from bus.histogram import COUNTS, FINE_SECONDS, SECONDS, Histogram, geometric


def test_a_value_is_counted_where_it_is_not_more_than_the_bound() -> None:
    histogram = Histogram((1, 2))
    for value in (-1, 0.5, 1, 1.5, 2, 2.5):
        histogram.add(value)
    assert histogram.counts == [3, 2, 1]
    assert histogram.total == 7.5


def test_a_value_may_be_counted_several_times_at_once() -> None:
    histogram = Histogram((1, 2))
    histogram.add(1.5, 100)
    assert (histogram.counts, histogram.total) == ([0, 100, 0], 150)


@pytest.mark.parametrize("bounds", [SECONDS, FINE_SECONDS, COUNTS])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_between_a_millisecond_and_seconds_a_bucket_is_a_tenth_wide_at_most() -> None:
    fine = [bound for bound in FINE_SECONDS if 0.001 <= bound <= 4]
    assert max(upper / lower for lower, upper in pairwise(fine)) < 1.1


def test_steps_to_a_doubling() -> None:
    assert geometric(1, 4) == (1, 2, 4)
    assert list(geometric(1, 2, 2)) == pytest.approx([1, math.sqrt(2), 2], rel=1e-5)
