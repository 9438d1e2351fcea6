"""Which addresses may open another TCP connection."""

from __future__ import annotations

import pytest

from gateway.edge.arrivals import Arrivals
from ticks.access.shares import limited

TEN_SECONDS = 10


def admitted(arrivals: Arrivals, address: str, count: int = 100) -> int:
    return sum(arrivals(address) for _ in range(count))


def test_an_address_has_a_share_of_its_own() -> None:
    arrivals = Arrivals(1, [])
    before = limited["tcp_connections"]
    assert admitted(arrivals, "192.0.2.1") == TEN_SECONDS
    assert limited["tcp_connections"] == before + 100 - TEN_SECONDS
    assert admitted(arrivals, "192.0.2.2") == TEN_SECONDS


def test_a_network_of_ipv6_is_one_customer() -> None:
    arrivals = Arrivals(1, [])
    assert admitted(arrivals, "2001:db8::1") == TEN_SECONDS
    assert not arrivals("2001:db8::ffff")
    assert arrivals("2001:db8:0:1::1")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "", "10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7"]
)
def test_this_machine_and_named_proxies_have_no_limit(address: str) -> None:
    assert admitted(Arrivals(1, ["10.0.0.0/8", "192.0.2.7"]), address) == 100
