"""Percentiles of durations."""

from __future__ import annotations

from gateway.loadtest.histogram import Histogram

MILLISECOND = 1_000_000


def test_percentiles_are_the_upper_edge_of_the_nearest_rank() -> None:
    histogram = Histogram()
    for milliseconds in range(1, 101):
        histogram.add(milliseconds * MILLISECOND)
    shares = {0.5: 50.01, 0.9: 90.01, 0.99: 99.01, 0.999: 100.01, 1.0: 100.01}
    assert {share: histogram.percentile(share) for share in shares} == shares


def test_one_duration_is_every_percentile() -> None:
    histogram = Histogram()
    histogram.add(3_600_000 * MILLISECOND)
    assert histogram.percentile(0.0) == histogram.percentile(0.5) == histogram.percentile(1.0) == 3_600_000.01


def test_without_durations_there_is_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None
