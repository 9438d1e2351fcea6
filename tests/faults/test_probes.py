"""What an orchestrator sees while Redis, the database, or both are away: the gateway lives, and is not ready."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer, wait_until
from tests.tables import locked


def probe(gateway: GatewayProcess, path: str) -> tuple[int, list[str]]:
    """The status of a probe, and the codes of its reasons; as an orchestrator asks: by address, with its own Host."""
    answer = httpx.get(gateway.http + path, headers={"host": "10.1.2.3:8000"}, timeout=30)
    return answer.status_code, [each["code"] for each in answer.json().get("reasons", [])]


def test_while_redis_is_away_a_gateway_lives_and_is_not_ready(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url, workers=2, MARKETMUX_PUBLIC_URL="https://ticks.example.com")
    wait_until(lambda: probe(gateway, "/readyz") == (200, []))
    redis_server.pause()
    wait_until(lambda: probe(gateway, "/readyz") == (503, ["bus_unavailable"]))
    assert probe(gateway, "/livez") == (200, [])
    redis_server.resume()
    redis_server.kill()
    wait_until(lambda: probe(gateway, "/readyz") == (503, ["bus_unavailable"]))
    for _ in range(10):  # some at each worker
        assert probe(gateway, "/livez") == (200, [])
    redis_server.start()
    wait_until(lambda: all(probe(gateway, "/readyz") == (200, []) for _ in range(5)))


@pytest.mark.soak
@pytest.mark.database
def test_while_the_database_is_locked_a_gateway_lives_and_is_not_ready(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    with locked(gateway.database_url, for_readers=True):
        assert probe(gateway, "/readyz") == (503, ["database_unavailable"])
        assert probe(gateway, "/livez") == (200, [])
    wait_until(lambda: probe(gateway, "/readyz") == (200, []))
