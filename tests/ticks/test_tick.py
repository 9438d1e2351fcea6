"""What is a symbol, a number, a timestamp, and which group a symbol has."""

from __future__ import annotations

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from ticks.tick import Tick, check_symbol, group_name, now, number, size, symbol_of, timestamp

ALPHABET = "ABCXYZabcxyz0123456789.-_/=^:+$#"
symbols = st.text(ALPHABET, min_size=1, max_size=32)


@pytest.mark.parametrize("text", ["BRK.B", "BTC-USD", "^GSPC", "ES=F", "EUR/USD", "a", "x" * 32, "#1", "A_B", ":+$"])
def test_a_symbol_is_taken_as_it_is(text: str) -> None:
    assert check_symbol(text) == text


@pytest.mark.parametrize("text", ["", "x" * 33, "A B", "AAPL\n", " AAPL", "É", "٣", "A%", 'A"', "A\\", "💰", "A\x00"])
def test_anything_else_is_no_symbol(text: str) -> None:
    with pytest.raises(ValueError, match="1 to 32"):
        check_symbol(text)


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


@pytest.mark.parametrize(
    "text", ["150.250", "0", "-37.63", "0.00", "-0", "1", "1" * 32 + "." + "9" * 32, "0.000000000000000001"]
)
def test_a_number_keeps_its_digits(text: str) -> None:
    assert number(text) == text


@pytest.mark.parametrize(
    ("text", "digits"),
    [("1.50e2", "150"), ("1e3", "1000"), ("1E-7", "0.0000001"), ("-2.5e+1", "-25"), ("1.250e1", "12.50")],
)
def test_an_exponent_is_written_out(text: str, digits: str) -> None:
    assert number(text) == digits


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "1e400", "1e-400", "1e99", "1_000", "١٢", "１２", "+1", "01", ".5", "5.", "1e", "", " 1",
     "1 ", "1\n", "0x10", "1,5", "--1", "1" * 33, "0." + "1" * 33, "null", "true"],
)  # fmt: skip
def test_anything_else_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|exponent"):
        number(text)


def test_a_size_is_not_negative() -> None:
    assert size("0.5") == "0.5"
    with pytest.raises(ValueError, match="not negative"):
        size("-1")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-05-12T15:04:05Z", "2026-05-12T15:04:05Z"),
        ("2026-05-12T15:04:05.123456789Z", "2026-05-12T15:04:05.123456789Z"),
        ("2026-05-12t15:04:05.10z", "2026-05-12T15:04:05.10Z"),
        ("2026-05-12T15:04:05+02:00", "2026-05-12T13:04:05Z"),
        ("2026-01-01T00:30:00.000000001+01:00", "2025-12-31T23:30:00.000000001Z"),
        ("2026-12-31T23:30:00-05:45", "2027-01-01T05:15:00Z"),
        ("2024-02-29T00:00:00-00:00", "2024-02-29T00:00:00Z"),
    ],
)
def test_a_timestamp_is_given_in_utc_with_its_fraction(text: str, utc: str) -> None:
    assert timestamp(text) == utc


@pytest.mark.parametrize(
    "text",
    ["2026-05-12T15:04:05", "2026-05-12 15:04:05Z", "2026-05-12", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z",
     "2026-05-12T24:00:00Z", "2026-05-12T15:60:00Z", "2026-05-12T15:04:60Z", "2026-05-12T15:04:05.Z", "",
     "2026-05-12T15:04:05.1234567890Z", "2026-05-12T15:04:05+0200", "2026-05-12T15:04:05+24:00", "0000-01-01T00:00:00Z",
     "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "٢٠٢٦-05-12T15:04:05Z", "2026-05-12T15:04:05Z\n",
     "1778598245"],
)  # fmt: skip
def test_anything_else_is_no_timestamp(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|no such day|outside"):
        timestamp(text)


def test_the_time_of_receipt_is_a_timestamp() -> None:
    received = now()
    assert timestamp(received) == received
    assert len(received) == len("2026-05-12T15:04:05.123456Z")


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
