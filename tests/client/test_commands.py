"""Commands are as long as the gateway allows, and say where to go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketmux_client import commands
from marketmux_client.books import Position
from marketmux_client.commands import Options, encode
from marketmux_client.errors import CommandRefused

EPOCH = "5f3a9c1e"


def nowhere(symbol: str) -> None:
    return None


def test_a_subscription_says_only_what_differs_from_the_defaults() -> None:
    command = commands.subscribe(["AAPL", "MSFT"], Options(), nowhere, list, 65_536)
    assert command.fields == {"action": "subscribe", "symbols": ["AAPL", "MSFT"]}
    command = commands.subscribe(["AAPL"], Options(max_rate=5, snapshot=False), nowhere, list, 65_536)
    assert command.fields == {"action": "subscribe", "symbols": ["AAPL"], "max_rate": 5, "snapshot": False}


def test_a_symbol_that_has_a_position_is_resumed() -> None:
    places = {"AAPL": Position(1041, EPOCH)}
    command = commands.subscribe(["AAPL", "MSFT"], Options(), places.get, list, 65_536)
    assert command.fields["since"] == {"AAPL": {"seq": 1041, "epoch": EPOCH}}


def test_everything_is_resumed_symbol_by_symbol() -> None:
    places = {"AAPL": Position(1041, EPOCH)}
    command = commands.subscribe(["*", "MSFT"], Options(), places.get, lambda: ["AAPL", "MSFT"], 65_536)
    assert command.symbols == ("*",)
    assert command.fields["since"] == {"AAPL": {"seq": 1041, "epoch": EPOCH}}


@given(
    st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=32), unique=True),
    st.integers(0, 2**63),
    st.integers(200, 2000),
    st.booleans(),
)
def test_no_command_is_longer_than_the_gateway_takes(
    symbols: list[str], seq: int, limit: int, everything: bool
) -> None:
    def since(symbol: str) -> Position | None:
        return Position(seq, EPOCH) if len(symbol) % 2 else None

    left = ["*"] if everything else list(symbols)
    while left:
        command = commands.subscribe(left, Options(max_rate=0.01, snapshot=False), since, lambda: symbols, limit)
        assert len(encode({**command.fields, "id": 10**18})) <= limit
        assert command.symbols == tuple(left[: len(command.symbols)])
        assert command.symbols
        left = left[len(command.symbols) :]


def test_a_symbol_that_no_message_can_hold_is_refused_here() -> None:
    with pytest.raises(CommandRefused, match="invalid_symbol"):
        commands.subscribe(["A" * 500], Options(), nowhere, list, 256)
