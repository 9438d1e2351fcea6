"""How far a client has read, by the pings that it answers."""

from __future__ import annotations

import math

import pytest

from gateway.fanout.window import Window
from gateway.protocol.frames import ping_frame


@pytest.fixture
def window() -> Window:
    return Window()


def test_pings_are_numbered(window: Window) -> None:
    assert [window.ask(0), window.ask(0)] == [ping_frame(1), ping_frame(2)]


def test_it_knows_since_when_an_answer_is_owed(window: Window) -> None:
    assert window.is_idle
    assert window.since == math.inf
    window.ask(5)
    window.ask(6)
    assert not window.is_idle
    assert window.since == 5
    assert window.answered(1, 7) == 2
    assert window.since == 6
    assert window.answered(2, 7) == 1
    assert window.is_idle


def test_an_answer_stands_for_those_before_it(window: Window) -> None:
    for now in range(3):
        window.ask(now)
    assert window.answered(3, 10) == 8
    assert window.is_idle


@pytest.mark.parametrize("number", [0, 1, 4, 2**32 - 1])
def test_what_nobody_asked_for_is_no_answer(window: Window, number: int) -> None:
    window.ask(0)
    window.answered(1, 1)
    window.ask(2)
    window.ask(3)
    assert window.answered(number, 4) is None
    assert window.since == 2
    assert window.answers == 1


def test_who_falls_behind_is_sent_one_message_at_a_time(window: Window) -> None:
    window.ask(0)
    window.close()
    assert window.room <= 0, "it has not read what it was sent before"
    window.answered(1, 1)
    assert window.room > 0
    window.ask(1, 500)
    assert window.room <= 0


def test_the_room_doubles_while_answers_are_prompt_and_shrinks_when_they_are_late(window: Window) -> None:
    rooms: list[int] = []
    for latency in (0.1, 0.1, 0.1, 0.5, 0.9):
        window.ask(0, 100)
        number = len(rooms) + 1
        window.answered(number, latency)
        window.adapt(number, latency, target=0.3, is_full=True)
        rooms.append(window.room)
    assert rooms == [200, 400, 800, 800, 50]


def test_the_room_does_not_grow_beyond_what_is_used(window: Window) -> None:
    window.ask(0, 100)
    window.answered(1, 0.1)
    window.adapt(1, 0.1, target=0.3, is_full=False)
    assert window.room == 1


def test_the_room_changes_once_in_a_round_trip(window: Window) -> None:
    for _ in range(3):
        window.ask(0, 100)
    for number in (1, 2, 3):
        window.answered(number, 0.1)
        window.adapt(number, 0.1, target=0.3, is_full=True)
    assert window.room == 200, "the second and third were under way when it was doubled"
