"""Each of many clients gets what is its own, by a ring or by calls."""

from __future__ import annotations

import pytest

from gateway.fanout.outbox import Outbox
from gateway.fanout.writer import Writer
from gateway.protocol.frames import text_frame
from gateway.wires.io_uring import ROOM
from tests.gateway.fakes import FakeRing, FakeWire


def frame(text: str) -> bytes:
    return text_frame(text.encode())


def contents(wires: list[FakeWire]) -> list[list[str]]:
    return [wire.texts for wire in wires]


@pytest.mark.parametrize("ring", [None, FakeRing()], ids=["calls", "ring"])
async def test_each_of_many_gets_its_own(ring: FakeRing | None) -> None:
    wires = [FakeWire(ring) for _ in range(3)]
    outboxes = [Outbox(wire, patience=60) for wire in wires]
    wires[1].full = True
    Writer(ring).write_each(outboxes, [frame("a"), frame("b"), frame("c")])
    assert contents(wires) == [["a"], ["b"], ["c"]]
    assert [outbox.behind for outbox in outboxes] == [False, True, False]


async def test_those_without_a_bare_socket_and_long_messages_go_apart() -> None:
    ring = FakeRing()
    wires = [FakeWire(ring), FakeWire(), FakeWire(ring), FakeWire(ring)]
    outboxes = [Outbox(wire, patience=60) for wire in wires]
    long = "x" * ROOM
    Writer(ring).write_each(outboxes, [frame("a"), frame("b"), frame(long), frame("d")])
    assert contents(wires) == [["a"], ["b"], [long], ["d"]]
    assert ring.writes == 2


async def test_a_few_are_called_each() -> None:
    ring = FakeRing()
    ring.worth = 3
    wires = [FakeWire(ring) for _ in range(2)]
    Writer(ring).write_each([Outbox(wire, patience=60) for wire in wires], [frame("a"), frame("b")])
    assert contents(wires) == [["a"], ["b"]]
    assert ring.writes == 0
