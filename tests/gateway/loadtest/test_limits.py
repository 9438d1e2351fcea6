"""What the machine allows."""

from __future__ import annotations

import resource

import pytest

from gateway.loadtest import LoadTestError
from gateway.loadtest.limits import raise_file_limit, source_address


class Limits:
    """Stands in for the kernel: open files, with a hard limit that only root may raise."""

    def __init__(self, soft: int, hard: int, is_root: bool = False) -> None:
        self.limits = soft, hard
        self._is_root = is_root

    def get(self, kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_NOFILE
        return self.limits

    def set(self, _kind: int, limits: tuple[int, int]) -> None:
        if self.limits[1] != resource.RLIM_INFINITY and limits[1] > self.limits[1] and not self._is_root:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("limits", "after"),
    [
        (Limits(10_000, 20_000), (10_000, 20_000)),
        (Limits(1_024, 20_000), (5_064, 20_000)),
        (Limits(1_024, 4_096, is_root=True), (5_064, 5_064)),
        (Limits(1_024, resource.RLIM_INFINITY), (5_064, resource.RLIM_INFINITY)),
    ],
    ids=["enough", "soft", "hard", "unlimited"],
)
def test_the_file_limit_is_raised_where_it_may(limits: Limits, after: tuple[int, int]) -> None:
    raise_file_limit(5_000, limits.get, limits.set)
    assert limits.limits == after


def test_a_file_limit_that_stays_too_low_is_one_clear_message() -> None:
    limits = Limits(1_024, 4_096)
    with pytest.raises(LoadTestError) as caught:
        raise_file_limit(5_000, limits.get, limits.set)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("5,000 connections", "5,064 open files", "1,024", "4,096", "ulimit -n 5064"):
        assert part in message


def test_source_addresses_are_spread_only_where_ports_would_run_out() -> None:
    assert source_address(24_000, 25_000, is_ipv4_loopback=True) is None
    assert source_address(24_000, 60_000, is_ipv4_loopback=False) is None
    assert source_address(24_000, 60_000, is_ipv4_loopback=True) == ("127.0.0.1", 0)
    assert source_address(59_999, 60_000, is_ipv4_loopback=True) == ("127.0.0.3", 0)
