"""What waits for a client that is behind: the newest of each symbol, or all of it within a bound."""

from __future__ import annotations

import json
import weakref

import pytest

from gateway.fanout.conflation import Conflation, KeepAll, KeepNewest
from gateway.fanout.outbox import Outbox
from gateway.protocol.codes import SLOW_CONSUMER
from gateway.protocol.frames import text_frame, texts
from tests.gateway.fakes import FakeWire


def frames(*names: str) -> list[bytes]:
    return [text_frame(b'{"tick":"%b"}' % name.encode()) for name in names]


def taken(conflation: Conflation, symbol: str | None = None) -> list[str]:
    """Receipts as ``slow A+2``, ticks that stand for others as ``a3+2``."""
    return [_word(text) for text in texts(b"".join(conflation.take(symbol)))]


def _word(text: str) -> str:
    receipt = json.loads(text)
    if "tick" in receipt:
        return f"{receipt['tick']}+{receipt['skipped']}" if "skipped" in receipt else str(receipt["tick"])
    return " ".join([receipt["reason"], *(f"{symbol}+{count}" for symbol, count in receipt["skipped"].items())])


def test_the_newest_of_each_symbol_is_kept_and_the_others_are_counted() -> None:
    conflation = KeepNewest()
    conflation.park("B", frames("b1"))
    conflation.park("A", frames("a1", "a2", "a3"))
    conflation.park("B", frames("b2"))
    assert taken(conflation) == ["slow B+1 A+2", "b2", "a3"]
    assert conflation.skipped == 3
    assert taken(conflation) == []


def test_all_are_kept_and_those_of_a_symbol_stay_in_order() -> None:
    conflation = KeepAll(1_000)
    conflation.open(lambda: pytest.fail("It is not full."))
    conflation.park("B", frames("b1"))
    conflation.park("A", frames("a1", "a2", "a3"))
    conflation.park("B", frames("b2"))
    assert taken(conflation) == ["b1", "b2", "a1", "a2", "a3"]
    assert conflation.skipped == 0
    assert taken(conflation) == []


@pytest.mark.parametrize("conflation", [KeepNewest(), KeepAll(1_000)])
def test_what_waits_of_one_symbol_can_be_taken_or_forgotten(conflation: Conflation) -> None:
    conflation.open(lambda: pytest.fail("It is not full."))
    for symbol in ("A", "B", "C"):
        conflation.park(symbol, frames(symbol.lower()))
    assert taken(conflation, "B") == ["b"]
    assert taken(conflation, "B") == []
    assert conflation.forget("A")
    assert not conflation.forget("A")
    assert taken(conflation) == ["c"]


@pytest.mark.parametrize("conflation", [KeepNewest(), KeepAll(1_000)])
def test_what_a_rate_left_out_is_told_with_the_tick(conflation: Conflation) -> None:
    conflation.open(lambda: pytest.fail("It is not full."))
    conflation.park("A", frames("a5"), 4)
    conflation.park("B", frames("b1"))
    assert taken(conflation) == ["a5+4", "b1"]
    assert conflation.skipped == 0


def test_one_tick_more_than_may_be_kept_closes_the_client() -> None:
    overflows: list[str] = []
    conflation = KeepAll(sum(map(len, frames("a1", "a2", "b1"))))
    conflation.open(lambda: overflows.append("full"))
    conflation.park("A", frames("a1", "a2"))
    assert taken(conflation, "A") == ["a1", "a2"]  # now it waits in the outbox, and counts still
    conflation.park("B", frames("b1"))
    assert overflows == []
    conflation.park("C", frames("c1"))
    assert overflows == ["full"]


def test_what_was_drained_or_forgotten_makes_room() -> None:
    conflation = KeepAll(len(frames("a1")[0]))
    conflation.open(lambda: pytest.fail("It is not full."))
    for _ in range(3):
        conflation.park("A", frames("a1"))
        assert taken(conflation) == ["a1"]
        conflation.park("B", frames("b1"))
        assert conflation.forget("B")


async def test_a_client_for_which_too_much_waits_is_closed_as_a_slow_consumer() -> None:
    wire = FakeWire()
    outbox = Outbox(wire, patience=60, conflation=KeepAll(len(frames("a2")[0])))
    wire.full = True
    outbox.write(frames("a1")[0])
    outbox.waiting.park("A", frames("a2"))
    assert wire.closure is None
    outbox.waiting.park("A", frames("a3"))
    assert wire.closure == SLOW_CONSUMER
    outbox.waiting.park("A", frames("a4"))
    assert outbox.waiting.take() == []


def test_a_client_that_is_gone_leaves_no_circle_to_the_garbage_collector() -> None:
    class Client:
        def close(self) -> None: ...

    client = Client()
    reference = weakref.ref(client)
    conflation = KeepAll(1_000)
    conflation.open(client.close)
    del client
    assert reference() is not None
    conflation.clear()
    assert reference() is None
