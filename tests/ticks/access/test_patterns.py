from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import symbols
from ticks.access.patterns import ALL, MAX_PATTERNS, NONE, Patterns

SYMBOLS = st.text("AB-", min_size=1, max_size=4)
PATTERNS = st.lists(st.one_of(SYMBOLS, SYMBOLS.map("{}*".format), st.just("*")), max_size=5)


def covers(patterns: list[str], symbol: str) -> bool:
    """The rule, pattern by pattern."""
    return any(symbol == word or (word.endswith("*") and symbol.startswith(word[:-1])) for word in patterns)


@given(PATTERNS, SYMBOLS)
def test_a_symbol_is_covered_if_one_pattern_covers_it(words: list[str], symbol: str) -> None:
    patterns = Patterns(words)
    assert patterns.covers(symbol) is covers(words, symbol)
    assert (patterns.rule(symbol) is not None) is covers(words, symbol)
    assert Patterns.parse(str(patterns)) == patterns


@given(PATTERNS, PATTERNS, SYMBOLS)
def test_two_sets_are_joined_and_crossed(one: list[str], other: list[str], symbol: str) -> None:
    assert (Patterns(one) & Patterns(other)).covers(symbol) is (covers(one, symbol) and covers(other, symbol))
    assert (Patterns(one) | Patterns(other)).covers(symbol) is (covers(one, symbol) or covers(other, symbol))


def test_the_shortest_form() -> None:
    assert str(Patterns.parse(" BTC-*, AAPL\nBTC-USD BTC-E*,AAPL ")) == "AAPL BTC-*"
    assert Patterns(["AAPL", "*"]) == ALL
    assert not NONE
    assert Patterns.parse("") == Patterns.parse(" , ") == NONE


@pytest.mark.parametrize("word", ["", "A,B", "**", "A**", "a\u0308", "x" * 65, "x" * 65 + "*", "A\x00", " A", " *"])
def test_what_is_no_pattern_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="Not a pattern"):
        Patterns([word])


def test_there_are_at_most_so_many() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_PATTERNS}"):
        Patterns(f"S{number}" for number in range(MAX_PATTERNS + 1))


@pytest.mark.parametrize("symbol", symbols.SYMBOLS)
def test_patterns_of_every_symbol_come_back_from_their_text(symbol: str) -> None:
    patterns = Patterns([symbol, "BTC-*"])
    assert Patterns.parse(str(patterns)) == patterns
    assert patterns.covers(symbol)
    beginning = Patterns([f"{symbol[:20]}*"])
    assert Patterns.parse(str(beginning)) == beginning
    assert beginning.covers(symbol)


def test_a_symbol_with_spaces_stands_in_quotes() -> None:
    patterns = Patterns.parse('AAPL, "SPY   251219C00650000" "GOOGL *"\n"""A""" B"C')
    assert patterns == Patterns(["AAPL", "SPY   251219C00650000", "GOOGL *", '"A"', 'B"C'])
    assert patterns.covers("GOOGL 251219P00150000")
