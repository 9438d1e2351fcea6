"""The prices that a run publishes."""

from __future__ import annotations

import itertools

from gateway.loadtest.publisher import PriceWalk


def test_prices_walk_in_small_steps_and_stay_positive() -> None:
    walk = PriceWalk(["AAPL"])
    prices = [float(walk.next("AAPL")) for _ in range(1_000)]
    assert max(abs(after - before) for before, after in itertools.pairwise(prices)) < 0.06
    assert min(prices) >= 1
    assert len(set(prices)) > 10
