"""Who is looked at in which round."""

from __future__ import annotations

from gateway.server.housekeeping import Schedule
from gateway.server.timeouts import Timeouts


def test_a_half_open_connection_is_found_within_30_seconds() -> None:
    timeouts = Timeouts()
    assert timeouts.ping + timeouts.pong + 2 * timeouts.round < 30


def turns(schedule: Schedule[str], count: int) -> list[list[str]]:
    return [list(schedule.turn()) for _ in range(count)]


def test_everybody_has_a_turn_when_the_time_has_passed_and_not_before() -> None:
    schedule: Schedule[str] = Schedule(2.0)
    schedule.put("late", 4.1)
    schedule.put("early", 3.9)
    schedule.put("at once", 0)
    assert turns(schedule, 4) == [["at once"], ["early"], ["late"], []]


def test_a_turn_comes_once() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    assert turns(schedule, 3) == [["one"], [], []]


def test_the_time_may_change_and_the_last_word_counts() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    schedule.put("one", 3)
    schedule.put("two", 3)
    schedule.put("two", 2)
    assert turns(schedule, 3) == [[], ["two"], ["one"]]


def test_who_has_left_has_no_turn_and_leaves_nothing_behind() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    schedule.put("two", 1)
    schedule.remove("one")
    schedule.remove("one")
    schedule.remove("a stranger")
    assert len(schedule) == 1
    assert turns(schedule, 2) == [["two"], []]
    assert len(schedule) == 0


def test_who_has_had_a_turn_may_have_another() -> None:
    schedule: Schedule[str] = Schedule(1.0)
    schedule.put("one", 1)
    for _ in range(3):
        assert list(schedule.turn()) == ["one"]
        schedule.put("one", 1)
