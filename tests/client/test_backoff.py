"""Pauses between attempts, and commands within what is allowed."""

from __future__ import annotations

import pytest

from marketmux_client import Backoff
from marketmux_client.budget import Budget


def upper(_: float, bound: float) -> float:
    return bound


def test_the_bound_doubles_up_to_the_cap() -> None:
    backoff = Backoff(uniform=upper)
    assert [backoff.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_the_pause_is_anything_below_the_bound() -> None:
    backoff = Backoff()
    pauses = [backoff.next() for _ in range(100)]
    assert all(0 <= pause <= 30 for pause in pauses)
    assert len(set(pauses)) > 90


def test_only_a_connection_that_lasted_starts_it_over() -> None:
    backoff = Backoff(uniform=upper)
    backoff.next()
    backoff.ended(after=9.9)
    assert backoff.next() == 1
    backoff.ended(after=10)
    assert backoff.next() == 0.5


def test_commands_are_spread_over_time() -> None:
    now = 0.0
    budget = Budget(100, lambda: now)
    assert [budget.spend() for _ in range(80)] == [0] * 80
    assert budget.spend() == pytest.approx(1 / 80)
    assert budget.spend() == pytest.approx(2 / 80)
    now = 10.0
    assert budget.spend() == 0
