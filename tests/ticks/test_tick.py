"""A tick in its forms, and which group a symbol has."""

from __future__ import annotations

import json

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from bus.layers import MemoryLayer
from tests.symbols import SYMBOLS
from ticks.grammar import is_symbol
from ticks.groups import beginning_of, forget, known, learn, symbol_in
from ticks.tick import Tick, group_name, symbol_of

ASCII = "".join(map(chr, range(32, 127)))
symbols = st.one_of(st.text(ASCII, min_size=1, max_size=64), st.text(min_size=1, max_size=64)).filter(is_symbol)


@pytest.mark.parametrize(
    ("symbol", "group"),
    [
        ("AAPL", "ticks.AAPL"),
        ("EUR/USD", "ticks.EUR_sUSD"),
        ("^GSPC", "ticks._cGSPC"),
        ("A_B", "ticks.A__B"),
        ("ES=F:+$#-.", "ticks.ES_eF_n_p_d_h-."),
        ("SPY   251219C00650000", "ticks.SPY_w_w_w251219C00650000"),
        ("M&M.NS", "ticks.M_aM.NS"),
        ("茅台.SS", "ticks._IC5_FFm.SS"),
    ],
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


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_symbol_of_a_feed_comes_back_from_its_group(symbol: str) -> None:
    group = group_name(symbol)
    assert BaseChannelLayer().require_valid_group_name(group)
    assert symbol_of(group) == symbol
    assert all(group.startswith(beginning_of(symbol[:size])) for size in range(len(symbol) + 1))


@given(st.text(ASCII, min_size=1, max_size=64).filter(is_symbol))
def test_the_group_of_an_ascii_symbol_is_all_it_takes_to_know_it(symbol: str) -> None:
    group = group_name(symbol)
    forget()
    assert symbol_of(group) == symbol


async def test_a_symbol_that_its_group_does_not_hold_is_learned_from_messages() -> None:
    groups = {group_name(symbol): symbol for symbol in ("茅" * 64, "💰" * 24)}
    bus = MemoryLayer().bus
    await bus.publish(
        {group: [Tick(symbol, "1", "2026-05-12T15:04:05Z").message()] for group, symbol in groups.items()}
    )
    for group, symbol in groups.items():
        forget()
        with pytest.raises(ValueError, match="Not a group"):
            symbol_of(group)
        with pytest.raises(ValueError, match="Not a group"):
            symbol_in(group, [{"symbol": "茅"}])
        assert symbol_in(group, [{"symbol": symbol}]) == symbol_of(group) == symbol
    forget()
    assert known(list(groups)) == []
    await learn(bus, [*groups, "ticks.AAPL", "ticks.A_x"])
    assert known(list(groups)) == list(groups.values())


@pytest.mark.parametrize(
    "group", ["AAPL", "ticks.", "ticks.A_", "ticks.A_x", "ticks.A/B", "other.AAPL", "ticks.AAPL\n"]
)
def test_a_name_that_is_no_group_of_ticks_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="Not a group"):
        symbol_of(group)


FULL = Tick("EUR/USD", "1.0850", "2026-05-12T15:04:05Z", bid="1.0849", ask="1.0851", size="1000000")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_json_of_a_tick_is_json_whatever_its_symbol(symbol: str) -> None:
    tick = Tick(symbol, "1.50", "2026-05-12T15:04:05Z")
    assert json.loads(f"{{{tick.json()}}}")["symbol"] == symbol
    assert Tick.from_message(tick.message()) == tick


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
     {"symbol": "A", "price": "1", "timestamp": "now"}, {"symbol": "A,B", "price": "1", "timestamp":
     "2026-05-12T15:04:05Z"}, {"type": "tick", "symbol": "A", "price": "1}", "timestamp": "2026-05-12T15:04:05Z"},
     {"type": "tick", "symbol": "A", "price": "1", "timestamp": "2026-05-12T15:04:05Z", "size": "-1"}, {"type":
     "tick", "symbol": "A", "price": "1", "timestamp": "2026-05-12T15:04:05Z", "bid": 1.5}],
)  # fmt: skip
def test_a_message_that_is_no_tick_is_refused(message: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Tick.from_message(message)  # type: ignore[arg-type] # that is the test
