"""What is a symbol, a number, a timestamp."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.symbols import NO_SYMBOLS, SYMBOLS
from ticks.grammar import check_symbol, is_symbol, now, number, size, timestamp


@pytest.mark.parametrize("text", SYMBOLS)
def test_a_symbol_is_taken_as_it_is(text: str) -> None:
    assert check_symbol(text) == text


@pytest.mark.parametrize(("text", "fault"), NO_SYMBOLS.items())
def test_anything_else_is_no_symbol_and_the_message_says_which_and_why(text: str, fault: str) -> None:
    assert not is_symbol(text)
    with pytest.raises(ValueError, match="is not a symbol") as caught:
        check_symbol(text)
    assert fault in str(caught.value)
    assert str(caught.value).isprintable()
    assert repr(text[:64]) in str(caught.value)


@given(st.text(max_size=66))
def test_a_symbol_is_as_the_documentation_says(text: str) -> None:
    if is_symbol(text):
        assert 1 <= len(text) <= 64
        assert text == text.strip() == unicodedata.normalize("NFC", text)
        assert text.isprintable()
        assert "," not in text
        assert not text.endswith("*")


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
