"""What a run may be asked to do."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.loadtest import LoadTestError, Options


def options(**changes: Any) -> Options:
    return Options(**{"connections": 2, "symbols": ["AAPL"], "seconds": 0.2, "grace": 0.1, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"connections": 0},
        {"symbols": []},
        {"symbols": ["A", ""]},
        {"symbols": ["A", "A"]},
        {"per_client": 0},
        {"per_client": 2},
        {"rate": -1},
        {"rate": float("nan")},
        {"batch": 0},
        {"batch": 1_001},
        {"seconds": 0},
        {"seconds": float("inf")},
        {"grace": -1},
        {"rate": 0.01},
        {"max_rate": 5},
        {"max_rate": 0, "verify": True},
        {"reconnect": 0.5},
        {"reconnect": 1.1, "verify": True},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LoadTestError):
        options(**changes)


def test_clients_share_the_symbols_out_evenly() -> None:
    each = options(symbols=["A", "B", "C"], per_client=2)
    assert [each.symbols_of(index) for index in range(3)] == [["A", "B"], ["B", "C"], ["C", "A"]]
