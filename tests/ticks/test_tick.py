"""A tick in its forms, and which group a symbol has."""

from __future__ import annotations

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from ticks.tick import Tick, group_name, symbol_of

ALPHABET = "ABCXYZabcxyz0123456789.-_/=^:+$#"
symbols = st.text(ALPHABET, min_size=1, max_size=32)


@pytest.mark.parametrize(
    ("symbol", "group"),
    [("AAPL", "ticks.AAPL"), ("EUR/USD", "ticks.EUR_sUSD"), ("^GSPC", "ticks._cGSPC"), ("A_B", "ticks.A__B")],
)
def test_a_group_name_can_be_read(symbol: str, group: str) -> None:
    assert group_name(symbol) == group


@given(symbols)
def test_a_group_name_gives_its_symbol_back(symbol: str) -> None:
    assert symbol_of(group_name(symbol)) == symbol


@given(symbols, symbols)
def test_no_two_symbols_share_a_group(one: str, other: str) -> None:
    assert (group_name(one) == group_name(other)) == (one == other)


@given(symbols)
def test_every_channel_layer_accepts_the_group_name(symbol: str) -> None:
    assert BaseChannelLayer().require_valid_group_name(group_name(symbol))


def test_the_longest_group_name_is_accepted() -> None:
    assert BaseChannelLayer().require_valid_group_name(group_name("=" * 32))


@pytest.mark.parametrize(
    "group", ["AAPL", "ticks.", "ticks.A_", "ticks.A_x", "ticks.A/B", "other.AAPL", "ticks.AAPL\n"]
)
def test_a_name_that_is_no_group_of_ticks_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="Not a group"):
        symbol_of(group)


FULL = Tick("EUR/USD", "1.0850", "2026-05-12T15:04:05Z", bid="1.0849", ask="1.0851", size="1000000")


@pytest.mark.parametrize(
    "tick", [FULL, Tick("A", "-0.50", "2026-05-12T15:04:05.1Z"), Tick("A", "1", "2026-05-12T15:04:05Z", ask="2")]
)
def test_a_tick_survives_the_channel_layer(tick: Tick) -> None:
    assert Tick.from_message(tick.message()) == tick


def test_a_tick_is_json_with_its_digits() -> None:
    assert FULL.json() == (
        '"symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05Z","bid":1.0849,"ask":1.0851,"size":1000000'
    )


@pytest.mark.parametrize(
    "message",
    [{}, {"type": "tick"}, {"symbol": "A", "price": 1, "timestamp": "2026-05-12T15:04:05Z"}, "tick", None, 3, [],
     {"symbol": "A", "price": "1", "timestamp": "now"}, {"symbol": "A B", "price": "1", "timestamp":
     "2026-05-12T15:04:05Z"}, {"type": "tick", "symbol": "A", "price": "1}", "timestamp": "2026-05-12T15:04:05Z"},
     {"type": "tick", "symbol": "A", "price": "1", "timestamp": "2026-05-12T15:04:05Z", "size": "-1"}, {"type":
     "tick", "symbol": "A", "price": "1", "timestamp": "2026-05-12T15:04:05Z", "bid": 1.5}],
)  # fmt: skip
def test_a_message_that_is_no_tick_is_refused(message: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Tick.from_message(message)  # type: ignore[arg-type] # that is the test
