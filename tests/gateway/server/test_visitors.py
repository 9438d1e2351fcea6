"""Who goes when there is no room for another connection."""

from __future__ import annotations

import random

import pytest

from gateway.server.visitors import Crowd, Visitors, turned_away


class House:
    """Visitors whose connections are numbers, and which of them were ended."""

    def __init__(self, room: int = 16, most_idle: int = 1_000) -> None:
        self.ended: list[tuple[int, bool]] = []
        self.visitors = Visitors(
            most_idle, lambda connection, in_good_order: self.ended.append((connection, in_good_order))
        )
        self.visitors.room = room
        self.number = 0

    def come(self, address: str) -> int:
        assert self.visitors.arrived()
        self.number += 1
        self.visitors.rests(self.number, address)
        return self.number

    def come_known(self) -> int:
        number = self.come("known")
        self.visitors.forget(number)
        return number

    def come_as_guest(self, address: str) -> int:
        number = self.come(address)
        self.visitors.welcome(number, address)
        return number

    def end(self) -> list[int]:
        """Those that were ended, and have now left."""
        ended = list(dict.fromkeys(number for number, _ in self.ended))
        for number in ended:
            self.visitors.left(number)
        self.ended.clear()
        return ended


def test_idle_connections_leave_a_part_of_the_room_to_others() -> None:
    house = House(room=16)
    for _ in range(14):
        house.come("a")
    assert house.ended == []
    house.come("a")
    assert house.ended == [(1, True)]  # there is still room: it is told


def test_idle_connections_have_a_budget() -> None:
    house = House(room=1_000, most_idle=3)
    numbers = [house.come(address) for address in "abca"]
    assert house.ended == [(numbers[0], True)]


def test_a_newcomer_takes_the_place_of_the_oldest_of_the_address_that_has_most() -> None:
    house = House(room=16)
    other = house.come("b")
    for _ in range(100):
        house.come("a")
        assert other not in house.end()
    assert len(house.visitors.idle) == 14
    assert house.visitors.idle.count("b") == 1


def test_when_there_is_no_room_at_all_it_goes_at_once() -> None:
    house = House(room=16)
    for _ in range(15):
        house.come_known()
    idle = house.come("a")
    before = turned_away["idle"]
    house.come("b")
    assert house.ended == [(idle, False)]
    assert turned_away["idle"] == before + 1


def test_who_was_told_to_go_and_does_not_goes_first_when_there_is_no_room() -> None:
    house = House(room=16)
    first, *_ = [house.come("a") for _ in range(15)]
    assert house.ended == [(first, True)]
    house.visitors.welcome(first, "a")  # too late
    for _ in range(2):
        house.come("b")
    assert house.ended[-1] == (first, False)


def test_nobody_takes_the_place_of_who_is_known() -> None:
    house = House(room=16)
    for _ in range(16):
        house.come_known()
    before = turned_away["no_room"]
    assert not house.visitors.arrived()
    assert house.ended == []
    assert turned_away["no_room"] == before + 1


def test_guests_never_get_the_last_part_of_the_room() -> None:
    house = House(room=16)
    for _ in range(14):
        house.come_as_guest("a")
    assert house.ended == []
    guest = house.come_as_guest("a")
    assert house.end() == [guest]
    house.come_known()
    house.come_known()
    assert house.ended == []


def test_an_address_with_most_guests_makes_room_for_another() -> None:
    house = House(room=16)
    first, *_, last = [house.come_as_guest("a") for _ in range(14)]
    house.come_as_guest("b")
    assert first != last
    assert house.end() == [last]
    assert house.visitors.guests.count("b") == 1


def test_where_all_have_as_much_the_newcomer_goes() -> None:
    house = House(room=16)
    for _ in range(7):
        house.come_as_guest("a")
        house.come_as_guest("b")
    newcomer = house.come_as_guest("b")
    assert house.end() == [newcomer]


def test_a_connection_that_was_served_is_the_youngest_again() -> None:
    house = House(room=16)
    first, second, *_ = [house.come("a") for _ in range(14)]
    house.visitors.forget(first)
    house.visitors.rests(first, "a")
    house.come("a")
    assert house.end() == [second]


@pytest.mark.parametrize("seed", range(20))
def test_a_crowd_always_knows_its_largest_address(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    crowd = Crowd()
    model: dict[int, str] = {}
    for step in range(400):
        if model and chance.random() < 0.45:
            member = chance.choice(list(model))
            crowd.remove(member)
            del model[member]
        else:
            model[step] = chance.choice("abcde")
            crowd.add(step, model[step])
        assert len(crowd) == len(model)
        counts = {address: list(model.values()).count(address) for address in "abcde"}
        assert crowd.most == max(counts.values())
        if model:
            address = model[crowd.oldest()]
            assert counts[address] == crowd.most
            members = [member for member in model if model[member] == address]
            assert (crowd.oldest(), model[crowd.youngest()]) == (members[0], address)


def test_what_has_left_is_forgotten() -> None:
    house = House()
    for address in map(str, range(10)):
        house.visitors.left(house.come_as_guest(address))
        house.visitors.left(house.come(address))
    crowds = (house.visitors.idle, house.visitors.guests)
    assert [(len(crowd), crowd.most, crowd._members, crowd._sizes) for crowd in crowds] == [(0, 0, {}, {})] * 2
    assert house.visitors.open == 0
