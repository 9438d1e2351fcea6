"""How many commands a client may send, and how long they may be."""

from __future__ import annotations

from gateway.protocol.budget import TOKEN_BYTES, Budget


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(budget: Budget) -> int:
    """How many there are to be had now."""
    count = 0
    while budget.spend():
        count += 1
    return count


def test_a_seconds_worth_is_there_at_once_and_comes_back_within_a_second() -> None:
    budget = Budget(5, clock := Clock())
    assert taken(budget) == 5
    clock.now += 0.4
    assert taken(budget) == 2
    clock.now += 100
    assert taken(budget) == 5


def test_more_may_be_there_at_once() -> None:
    budget = Budget(5, clock := Clock(), 20)
    assert taken(budget) == 20
    clock.now += 1
    assert taken(budget) == 5


def test_what_is_long_counts_as_several() -> None:
    budget = Budget(10, Clock())
    budget.charge(TOKEN_BYTES - 1)
    budget.charge(3 * TOKEN_BYTES + 100)
    assert taken(budget) == 7


def test_whatever_is_owed_a_second_later_there_is_one_again() -> None:
    budget = Budget(10, clock := Clock())
    budget.charge(10_000 * TOKEN_BYTES)
    assert taken(budget) == 0
    clock.now += 1
    assert taken(budget) == 1


def test_whoever_does_not_heed_refusals_has_had_enough() -> None:
    budget = Budget(5, Clock())
    taken(budget)
    for _ in range(3):
        budget.spend()
    assert not budget.exhausted
    budget.spend()
    assert budget.exhausted
