"""A failover behind a name or an address: the old primary is a replica now, and keeps all its connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.clients import RawClient, metrics, tick
from tests.conftest import StartGateway
from tests.faults.figures import errors_logged, figure
from tests.faults.network import StallingProxy
from tests.servers import GatewayProcess, RedisServer, wait_until

PATIENCE: Final = 20.0


@pytest.fixture
def replica(tmp_path: Path, redis_server: RedisServer) -> Iterator[RedisServer]:
    """A replica of ``redis_server``, in step with it."""
    (tmp_path / "replica").mkdir()
    replica = RedisServer(tmp_path / "replica")
    replica.start()
    follow(replica, redis_server)
    yield replica
    replica.stop()


def follow(replica: RedisServer, primary: RedisServer) -> None:
    replica.call(f"REPLICAOF {primary.host} {primary.port}")
    wait_until(lambda: "master_link_status:up" in replica.info("replication"))


def fail_over(proxy: StallingProxy, old: RedisServer, new: RedisServer) -> None:
    """As a managed Redis does it: the name leads to the new primary, and the old one cuts nobody off."""
    new.call("REPLICAOF NO ONE")
    follow(old, new)
    proxy.lead_to(new.port)


def post(gateway: GatewayProcess, price: int) -> httpx.Response:
    return httpx.post(f"{gateway.http}/api/v1/ticks", json=tick("A", price), timeout=10)


def test_a_primary_that_was_demoted_is_left_for_the_new_one(
    start_gateway: StartGateway, redis_server: RedisServer, replica: RedisServer
) -> None:
    with StallingProxy(redis_server.port) as proxy:
        gateway = start_gateway(proxy.url)
        with RawClient(gateway, "A") as client:
            assert post(gateway, 1).status_code == 202
            client.read_until(price=1)
            fail_over(proxy, redis_server, replica)
            failed = time.monotonic()
            refused = 0
            while post(gateway, 2).status_code == 503:
                refused += 1
                assert time.monotonic() < failed + PATIENCE, "still refused"
                time.sleep(0.05)
            back = time.monotonic() - failed
            heard = client.read_until(price=2)
            assert metrics(gateway)["bus_connected"] == 1
        figure(
            f"the primary demoted, its connections kept: {refused} POSTs answered 503, taken again after {back:.2f} s"
        )
        assert {"type": "bus", "connected": False} in heard
        assert not errors_logged(gateway)
        wait_until(lambda: "connected_slaves:1" in replica.info("replication"))
        assert ours(redis_server) == 0


@pytest.mark.soak
def test_a_gateway_that_only_listens_finds_the_new_primary(
    start_gateway: StartGateway, redis_server: RedisServer, replica: RedisServer
) -> None:
    """Nobody tells it: the old primary goes on answering its pings, and brings what it gets from the new one."""
    with StallingProxy(redis_server.port) as proxy:
        gateway = start_gateway(proxy.url)
        gateway.wait_for_output("ready at")
        with RawClient(gateway, "A") as client:
            fail_over(proxy, redis_server, replica)
            failed = time.monotonic()
            wait_until(lambda: ours(redis_server) == 0 and ours(replica) >= 3, 2 * PATIENCE)
            found = time.monotonic() - failed
            redis_server.kill()  # what it had to say nobody misses
            other = start_gateway(replica.url)
            assert post(other, 2).status_code == 202
            client.read_until(price=2)
    figure(
        f"the primary demoted, to a gateway that only listens: all its connections at the new one after {found:.1f} s"
    )


def ours(server: RedisServer) -> int:
    """Connections to it that are no replica's and not the one that asks."""
    listed = server.lines("CLIENT LIST")
    return sum(" cmd=client" not in line and "flags=S" not in line and "flags=M" not in line for line in listed)
