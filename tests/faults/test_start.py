"""A gateway that is started while its Redis is not there, or is not one that it can use."""

from __future__ import annotations

import httpx
import pytest

from tests.clients import RawClient, metrics
from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer, ServerKind, wait_until


def answers(gateway: GatewayProcess) -> bool:
    try:
        return httpx.get(f"{gateway.http}/healthz").status_code in (200, 503)
    except httpx.TransportError:
        return False


def is_told(client: RawClient, connected: bool) -> None:
    assert client.read_until(["bus"])[-1] == {"type": "bus", "connected": connected}


@pytest.mark.parametrize("server", ["serve", pytest.param("daphne", marks=pytest.mark.soak)])
def test_a_gateway_that_never_heard_from_redis_says_so(
    server: ServerKind, start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    redis_server.kill()
    gateway = start_gateway(redis_server.url, server=server, ready=False)
    wait_until(lambda: answers(gateway))
    with RawClient(gateway) as client, RawClient(gateway) as other:
        is_told(client, False)
        is_told(other, False)
        assert metrics(gateway)["bus_connected"] == 0
        assert metrics(gateway)["bus_lost_total"] == 0
        assert "No connection to Redis, trying again until there is one: Error" in gateway.output()
        assert "ready at" not in gateway.output()
        redis_server.start()
        is_told(client, True)
        is_told(other, True)
        assert metrics(gateway)["bus_connected"] == 1
    if server == "serve":
        wait_until(lambda: "ready at" in gateway.output())


def test_a_gateway_whose_password_is_wrong_says_so(start_gateway: StartGateway, redis_server: RedisServer) -> None:
    redis_server.call("CONFIG SET requirepass right")
    gateway = start_gateway(redis_server.url.replace("//", "//:wrong@"), ready=False)
    wait_until(lambda: answers(gateway))
    with RawClient(gateway) as client:
        is_told(client, False)
    assert metrics(gateway)["bus_connected"] == 0
    assert "invalid username-password pair" in gateway.output()
    assert "ready at" not in gateway.output()
