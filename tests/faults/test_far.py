"""A Redis that is far away, and a network that forgets connections on which nothing was said for a while."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import httpx
import pytest

from tests.clients import RawClient, tick
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.network import StallingProxy
from tests.servers import GatewayProcess, RedisServer, wait_until

EACH_WAY: Final = 0.15
FORGOTTEN_AFTER: Final = 14.0
QUIET_SECONDS: Final = 17.0
STREAMED: Final = 8


@pytest.mark.parametrize("server", ["serve", pytest.param("daphne", marks=pytest.mark.soak)])
def test_a_redis_that_is_300_ms_away_is_used_as_any_other(
    server: Any, start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    with StallingProxy(redis_server.port, delay=EACH_WAY) as proxy:
        gateway = start_gateway(proxy.url, server=server)
        if server == "serve":
            gateway.wait_for_output("ready at")
        else:  # it has no notion of being ready: what comes first waits for a connection as long as it may
            wait_until(lambda: httpx.get(f"{gateway.http}/healthz", timeout=10).status_code == 200)
        started = time.monotonic()
        used = _use(gateway, 1)
        figure(f"Redis {1_000 * EACH_WAY:g} ms away each way, {server}: {used}, in {time.monotonic() - started:.1f} s")
    assert used == ALL_WELL


@pytest.mark.soak
def test_the_first_of_everything_after_a_quiet_night_succeeds(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    with StallingProxy(redis_server.port, forget_after=FORGOTTEN_AFTER) as proxy:
        gateway = start_gateway(proxy.url)
        gateway.wait_for_output("ready at")
        assert _use(gateway, 1) == ALL_WELL
        time.sleep(QUIET_SECONDS)
        used = _use(gateway, 2)
        figure(f"silent for {QUIET_SECONDS:g} s, forgotten after {FORGOTTEN_AFTER:g} s: {used}")
    assert used == ALL_WELL


ALL_WELL: Final = {"POST": 202, "GET": 200, "healthz": 200, "subscribe": "subscribed", "streamed": STREAMED}


def _use(gateway: GatewayProcess, number: int) -> dict[str, Any]:
    """What becomes of one of everything that needs Redis, each tried once."""
    with httpx.Client(base_url=gateway.http, timeout=10) as http:
        used: dict[str, Any] = {
            "POST": http.post("/api/v1/ticks", json=tick("A", number)).status_code,
            "GET": http.get("/api/v1/ticks/A").status_code,
            "healthz": http.get("/healthz").status_code,
        }
    with RawClient(gateway) as client:
        client.send(json.dumps({"action": "subscribe", "symbol": f"B{number}"}).encode())
        used["subscribe"] = client.read_until(["subscribed", "error"])[-1]["type"]
    with RawClient(gateway, path="/ws/publish") as publisher:
        for price in range(1, STREAMED + 1):
            publisher.send(json.dumps(tick("C", price)).encode())
        used["streamed"] = _accepted(publisher)
    return used


def _accepted(publisher: RawClient) -> int:
    """How many of the streamed messages were published: an answer speaks for all up to its id."""
    accepted = answered = 0
    while answered < STREAMED:
        answer = publisher.read_until(["published", "error"])[-1]
        accepted = answer.get("messages", accepted)
        answered = answer["id"]
    return accepted
