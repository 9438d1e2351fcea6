"""Who is looked at in which round."""

from __future__ import annotations

from gateway.server.timeouts import Rota, Timeouts


def test_a_half_open_connection_is_found_within_30_seconds() -> None:
    timeouts = Timeouts()
    assert timeouts.ping + timeouts.pong + 2 * timeouts.round < 30


def turns(rota: Rota[str], count: int) -> list[list[str]]:
    return [rota.turn() for _ in range(count)]


def test_everybody_has_a_turn_when_the_time_has_passed_and_not_before() -> None:
    rota: Rota[str] = Rota(2.0)
    rota.put("late", 4.1)
    rota.put("early", 3.9)
    rota.put("at once", 0)
    assert turns(rota, 4) == [["at once"], ["early"], ["late"], []]


def test_a_turn_comes_once() -> None:
    rota: Rota[str] = Rota(1.0)
    rota.put("one", 1)
    assert turns(rota, 3) == [["one"], [], []]


def test_the_time_may_change_and_the_last_word_counts() -> None:
    rota: Rota[str] = Rota(1.0)
    rota.put("one", 1)
    rota.put("one", 3)
    rota.put("two", 3)
    rota.put("two", 2)
    assert turns(rota, 3) == [[], ["two"], ["one"]]


def test_who_has_left_has_no_turn_and_leaves_nothing_behind() -> None:
    rota: Rota[str] = Rota(1.0)
    rota.put("one", 1)
    rota.put("two", 1)
    rota.remove("one")
    rota.remove("one")
    rota.remove("a stranger")
    assert len(rota) == 1
    assert turns(rota, 2) == [["two"], []]
    assert len(rota) == 0


def test_who_has_had_a_turn_may_have_another() -> None:
    rota: Rota[str] = Rota(1.0)
    rota.put("one", 1)
    for _ in range(3):
        assert rota.turn() == ["one"]
        rota.put("one", 1)
