"""What should have been delivered, and what was."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from gateway.loadtest.instants import Stamps
from gateway.loadtest.ledger import Cursor, Ledger, Listener, SentTick

MILLISECOND = 1_000_000


class Books:
    """A ledger with subscribers by hand: each reads ticks by their number, of the symbol A unless said otherwise."""

    def __init__(self, subscribers: int = 1) -> None:
        self.ledger = Ledger()
        self.ledger.begin()
        self.cursors = [{"A": Cursor()} for _ in range(subscribers)]
        self.subscribers = Counter({"A": subscribers})

    def publish(self, *numbers: int, symbol: str = "A", accepted: bool = True) -> None:
        for number in numbers:
            tick: SentTick = self.ledger.enter(symbol, f"{symbol}{number}")
            tick.accepted = accepted

    def read(self, *numbers: int, subscriber: int = 0, symbol: str = "A") -> None:
        for number in numbers:
            self.ledger.tick(self.cursors[subscriber], f"{symbol}{number}".encode(), now=MILLISECOND)

    def figures(self) -> tuple[int, int, int, int, int]:
        """Expected, delivered, lost, out of order, duplicates."""
        ledger, owed = self.ledger, self.subscribers
        return ledger.expected(owed), ledger.deliveries, ledger.lost(owed), ledger.out_of_order, ledger.duplicates


def test_every_subscriber_is_owed_every_accepted_tick() -> None:
    books = Books(subscribers=2)
    books.publish(1, 2, 3)
    books.read(1, 2, 3, subscriber=0)
    books.read(1, 2, subscriber=1)
    assert books.figures() == (6, 5, 1, 0, 0)


@pytest.mark.parametrize(
    ("reads", "delivered", "lost", "out_of_order", "duplicates"),
    [
        ([1, 2, 3, 4], 4, 0, 0, 0),
        ([1, 4], 2, 2, 0, 0),
        ([2, 3, 4], 3, 1, 0, 0),
        ([1, 3, 2, 4], 4, 0, 1, 0),
        ([4, 3, 2, 1], 4, 0, 3, 0),
        ([1, 2, 2, 3, 4], 4, 0, 0, 1),
        ([1, 2, 3, 4, 1], 4, 0, 0, 1),
        ([1, 4, 2, 2, 4], 3, 1, 1, 2),
        ([], 0, 4, 0, 0),
    ],
)
def test_lost_late_and_repeated_ticks_are_told_apart(
    reads: list[int], delivered: int, lost: int, out_of_order: int, duplicates: int
) -> None:
    books = Books()
    books.publish(1, 2, 3, 4)
    books.read(*reads)
    assert books.figures() == (4, delivered, lost, out_of_order, duplicates)


def test_a_refused_tick_is_owed_to_nobody_and_leaves_no_gap() -> None:
    books = Books()
    books.publish(1)
    books.publish(2, accepted=False)
    books.publish(3)
    books.read(1, 3)
    assert books.figures() == (2, 2, 0, 0, 0)


def test_ticks_of_other_publishers_and_of_symbols_not_asked_for_do_not_count() -> None:
    books = Books()
    books.publish(1, symbol="B")
    books.read(1, symbol="B")
    books.read(99)
    assert books.figures() == (0, 0, 0, 0, 0)
    assert (books.ledger.unasked, books.ledger.foreign) == (1, 1)


def test_each_symbol_has_a_sequence_of_its_own() -> None:
    books = Books()
    books.cursors[0]["B"] = Cursor()
    books.subscribers["B"] = 1
    for number in (1, 2):
        books.publish(number)
        books.publish(number, symbol="B")
    books.read(1, 2)
    books.read(1, 2, symbol="B")
    assert books.figures() == (4, 4, 0, 0, 0)


def test_conflation_receipts_and_errors_are_counted() -> None:
    ledger = Ledger()
    ledger.message({"type": "conflated", "skipped": {"A": 3, "B": 4}})
    ledger.message({"type": "error", "code": "flooding"})
    ledger.message({"type": "welcome"})
    assert ledger.conflated == 7
    assert ledger.errors == {"flooding": 1}


def test_latency_runs_from_the_post_to_the_read() -> None:
    books = Books()
    books.publish(1)
    books.read(1)
    assert books.ledger.latencies.percentile(1.0) == 1.01


def test_a_listener_measures_from_the_tick_s_own_timestamp() -> None:
    listener = Listener()
    before = time.monotonic_ns()
    stamp = Stamps().next().encode()
    read_at = time.monotonic_ns() + 40 * MILLISECOND
    listener.tick({}, stamp, read_at)
    listener.tick({}, b"last Tuesday", read_at)
    assert listener.deliveries == 2
    assert len(listener.latencies) == 1
    longest = (read_at - before) / MILLISECOND
    assert 39 < (listener.latencies.percentile(1.0) or 0) < 1.02 * longest + 1
