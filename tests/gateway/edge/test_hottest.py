"""Which symbols have the most ticks, found by looking at where streams are."""

from __future__ import annotations

from typing import Any

from gateway.edge.hottest import MOST_HOT, Hottest


class Stream:
    def __init__(self, symbol: str) -> None:
        self.symbol, self.epoch, self.seq = symbol, "e", 0


def look(hottest: Hottest, now: float) -> int:
    """In how many slices."""
    return len(list(hottest.look(now)))


def test_rates_are_ticks_a_second_between_two_looks() -> None:
    streams: Any = {symbol: Stream(symbol) for symbol in ("A", "B", "C")}
    hottest = Hottest(streams)
    look(hottest, 10.0)
    streams["A"].seq, streams["B"].seq = 10, 30
    look(hottest, 12.0)
    assert [(hot.symbol, hot.rate) for hot in hottest.top] == [("B", 15.0), ("A", 5.0)]
    look(hottest, 14.0)
    assert hottest.top == []


def test_an_epoch_that_begins_is_no_rate() -> None:
    streams: Any = {"A": Stream("A")}
    hottest = Hottest(streams)
    look(hottest, 0.0)
    streams["A"].seq, streams["A"].epoch = 1_000, "f"
    look(hottest, 1.0)
    assert hottest.top == []


def test_of_very_many_a_part_is_looked_at_and_what_is_hot_is_found_and_kept() -> None:
    streams: Any = {f"S{number}": Stream(f"S{number}") for number in range(1_000)}
    hottest = Hottest(streams, at_once=100)
    seen = []
    for now in range(24):
        streams["S777"].seq += 50
        look(hottest, float(now))
        assert len(hottest._sample) <= 100 + MOST_HOT
        seen.append([hot.symbol for hot in hottest.top])
    assert ["S777"] in seen[:12]
    assert all(found == ["S777"] for found in seen[seen.index(["S777"]) :])


def test_a_hundred_thousand_symbols_are_looked_at_in_slices() -> None:
    streams: Any = {f"S{number}": Stream(f"S{number}") for number in range(100_000)}
    hottest = Hottest(streams)
    look(hottest, 0.0)
    assert 18 <= look(hottest, 2.0) <= 22
