"""Timestamps to the nanosecond."""

from __future__ import annotations

import pytest

from gateway.loadtest.instants import Stamps, nanoseconds


def test_timestamps_increase_even_where_the_clock_does_not() -> None:
    times = iter([1_000_000_005, 1_000_000_005, 999_999_999, 1_700_000_000_000_000_000])
    stamps = Stamps(clock=lambda: next(times))
    assert [stamps.next() for _ in range(4)] == [
        "1970-01-01T00:00:01.000000005Z",
        "1970-01-01T00:00:01.000000006Z",
        "1970-01-01T00:00:01.000000007Z",
        "2023-11-14T22:13:20.000000000Z",
    ]


@pytest.mark.parametrize(("fraction", "expected"), [("", 0), (".5", 500_000_000), (".000000006", 6)])
def test_timestamps_are_read_to_the_nanosecond(fraction: str, expected: int) -> None:
    assert nanoseconds(f"1970-01-01T00:00:01{fraction}Z") == 1_000_000_000 + expected


@pytest.mark.parametrize("stamp", ["", "2026-05-12T15:04:05", "2026-05-12T15:04:05+02:00", "yesterdayZ"])
def test_timestamps_not_in_utc_are_refused(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"UTC|isoformat"):
        nanoseconds(stamp)
