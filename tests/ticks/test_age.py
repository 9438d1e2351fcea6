"""How old a tick is."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.messages import tick_frame
from ticks.age import Seconds
from ticks.grammar import instant
from ticks.tick import Tick


@given(st.floats(min_value=0, max_value=4e9))
def test_a_timestamp_is_read_in_text_and_in_a_frame(seconds: float) -> None:
    stamp = instant(seconds)
    tick = Tick("EUR/USD", "1.5", stamp, extra='{"timestamp":"2001-01-01T00:00:00Z"}')
    expected = datetime.fromisoformat(stamp).timestamp()
    assert Seconds().of(stamp) == pytest.approx(expected, abs=1e-5)
    assert Seconds().of_frame(tick_frame(tick.json(), 7)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:00.123456789Z", 0.123456789),
        ("0001-01-01T00:00:00Z", -62_135_596_800.0),
        ("9999-12-31T23:59:59.9Z", 253_402_300_799.9),
    ],
)
def test_every_time_that_a_tick_may_have(stamp: str, seconds: float) -> None:
    assert Seconds().of(stamp) == pytest.approx(seconds)


def test_seconds_of_any_number_of_days_take_no_more_memory() -> None:
    seconds = Seconds()
    for day in range(1, 366):
        seconds.of(instant(86_400.0 * day))
    assert len(seconds._known) <= 256
