"""What the machine allows."""

from __future__ import annotations

import resource

import pytest

from gateway.loadtest import LoadTestError
from gateway.loadtest.limits import parts, raise_file_limit


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


def test_a_run_that_one_process_can_hold_is_not_shared_out() -> None:
    limits = Limits(1_024, 30_000)
    [part] = parts(5_000, True, limits.get, limits.set, ports=25_408)
    assert part == (range(5_000), None)
    assert limits.limits == (5_064, 30_000)


def test_each_part_has_its_own_files_and_on_loopback_its_own_address() -> None:
    limits = Limits(1_024, 20_000)
    found = parts(100_000, True, limits.get, limits.set, ports=25_408)
    assert limits.limits == (20_000, 20_000)
    assert [part.source for part in found] == [(f"127.0.0.{number}", 0) for number in range(1, 7)]
    assert [index for part in found for index in part.numbers] == list(range(100_000))
    assert max(len(part.numbers) for part in found) <= 20_000 - 64
    plenty = Limits(1_024, resource.RLIM_INFINITY)
    assert len(parts(100_000, True, plenty.get, plenty.set, ports=25_408)) == 4
    assert max(len(part.numbers) for part in parts(100_000, True, plenty.get, plenty.set, ports=10_000)) <= 10_000


def test_one_address_has_so_many_ports() -> None:
    limits = Limits(1_024, 200_000)
    with pytest.raises(LoadTestError, match=r"60,000 connections.*25,408.*ip_local_port_range"):
        parts(60_000, False, limits.get, limits.set, ports=25_408)
    assert [part.source for part in parts(50_000, False, limits.get, limits.set, ports=50_000)] == [None, None]


def test_what_no_number_of_processes_can_hold_is_one_clear_message() -> None:
    limits = Limits(256, 1_024)
    with pytest.raises(LoadTestError, match="ulimit -n 100064"):
        parts(100_000, True, limits.get, limits.set, ports=25_408)
    plenty = Limits(1_024, resource.RLIM_INFINITY)
    with pytest.raises(LoadTestError, match="At most 1,600,000"):
        parts(2_000_000, True, plenty.get, plenty.set, ports=60_000)
