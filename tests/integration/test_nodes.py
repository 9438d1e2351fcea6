"""All workers of two gateways on one Redis, as staff sees them: over the API and by commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients import RawClient, tick
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer, wait_until

ISSUE = """
def staff(name, *may, **fields):
    one = User.objects.create(username=name, is_staff=True, **fields)
    one.user_permissions.set(Permission.objects.filter(codename__in=may))
    return login(one)

answer = {"staff": staff("carl"), "operator": staff("olga", "view_connection", "view_instrument")}
"""
SYMBOLS = ("HOT", "WARM")


class Pair:
    """A gateway with two workers and one with one, on one Redis and one database; and two logins of staff."""

    def __init__(self, directory: Path, database: Path, redis: RedisServer) -> None:
        self.first = GatewayProcess(directory / "first", database=database, redis_url=redis.url, workers=2)
        self.second = GatewayProcess(
            directory / "second", redis_url=redis.url, DATABASE_URL=self.first.environment["DATABASE_URL"]
        )
        with Office(self.first.environment) as office:
            self.sessions = office.do(ISSUE)

    def get(self, path: str, who: str = "operator", **query: str) -> Any:
        cookie = {"cookie": f"sessionid={self.sessions[who]}"}
        return httpx.get(f"{self.second.http}{path}", params=query, headers=cookie, timeout=30)

    def nodes(self, who: str = "operator") -> Any:
        return self.get("/api/v1/nodes", who).raise_for_status().json()

    def publish(self, *symbols: str) -> None:
        for gateway in (self.first, self.second):
            httpx.post(f"{gateway.http}/api/v1/ticks", json=[tick(symbol, 1) for symbol in symbols], timeout=30)


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, shared_redis: RedisServer
) -> Iterator[Pair]:
    shared_redis.flush()
    pair = Pair(tmp_path_factory.mktemp("pair"), migrated_database, shared_redis)
    pair.first.start()
    pair.second.start()
    yield pair
    for gateway in (pair.first, pair.second):
        gateway.stop()
        assert "Traceback" not in gateway.output()


def test_every_worker_of_every_gateway_is_in_the_picture(pair: Pair) -> None:
    wait_until(lambda: len(pair.nodes()["workers"]) == 3)
    seen = pair.nodes()
    assert sorted(worker["worker"] for worker in seen["workers"]) == [0, 0, 1]
    assert {worker["pid"] for worker in seen["workers"]} == {
        pid for gateway in (pair.first, pair.second) for pid in gateway.pids
    }
    assert seen["is_whole"]
    assert all(worker["memory_bytes"] > 1e6 and worker["bus"] == "redis" for worker in seen["workers"])
    assert all(0 <= time.time() - worker["at"] < 30 for worker in seen["workers"])


def test_figures_are_those_of_all_workers(pair: Pair) -> None:
    with RawClient(pair.first, *SYMBOLS), RawClient(pair.second, *SYMBOLS), RawClient(pair.second, "WARM"):

        def is_told() -> bool:
            pair.publish("HOT", "HOT", "WARM")
            seen = pair.nodes()
            totals = seen["totals"]
            return (
                totals["connections"] == 3
                and totals["subscriptions"] == 5
                and 0 < totals["ticks_per_second"] < totals["delivered_per_second"]
                and [hot["symbol"] for hot in seen["hot"]] == ["HOT", "WARM"]
                and any(totals["history"]["delivered_per_second"])
            )

        wait_until(is_told, 60)
    wait_until(lambda: pair.nodes()["totals"]["connections"] == 0)


def test_who_is_behind_is_shown_to_who_may_know_it(pair: Pair) -> None:
    long = "x" * 100
    with RawClient(pair.second, "SLOW", receive_buffer=4_096) as client:

        def is_found() -> bool:
            ticks = [tick("SLOW", 1) | {"extra": {"text": long}}] * 100
            httpx.post(f"{pair.second.http}/api/v1/ticks", json=ticks, timeout=30).raise_for_status()
            return bool(pair.nodes()["slow"])

        wait_until(is_found, 60)
        [slow] = pair.nodes()["slow"]
        assert (slow["address"], slow["symbols"]) == ("127.0.0.1", 1)
        assert pair.nodes()["totals"]["behind"] == 1
        assert pair.nodes("staff")["slow"] == []
        client.close()


def test_connections_are_asked_for_over_the_api(pair: Pair) -> None:
    with RawClient(pair.first, *SYMBOLS), RawClient(pair.second, "WARM"):
        found = pair.get("/api/v1/connections").json()
        assert (found["count"], found["connections"], found["is_whole"]) == (2, 2, True)
        assert sorted(row["symbols"] for row in found["results"]) == [1, 2]
        assert pair.get("/api/v1/connections", q="192.0.2.1").json()["count"] == 0
    assert pair.get("/api/v1/connections", "staff").status_code == 403


def test_instruments_have_their_subscribers_on_all_workers(pair: Pair) -> None:
    wait_until(lambda: len(pair.nodes()["workers"]) == 3)
    pair.first.manage("shell", "-c", "from ticks.models import Instrument; Instrument.objects.create(symbol='HELD')")
    with RawClient(pair.first, "HELD"), RawClient(pair.second, "HELD"), RawClient(pair.second, "OTHER"):
        page = pair.get("/admin/marketmux_ticks/instrument/", q="HELD").text
        assert '<td class="field-subscribers">2</td>' in page


@pytest.mark.soak
def test_commands_say_the_same(pair: Pair) -> None:
    wait_until(lambda: len(pair.nodes()["workers"]) == 3)
    with RawClient(pair.first, *SYMBOLS):
        asked = json.loads(pair.first.manage("clients", "--json"))
        [row], [same] = asked["results"], pair.get("/api/v1/connections").json()["results"]
        assert row | {"bytes": 0} == same | {"bytes": 0}
        assert 0 < row["bytes"] <= same["bytes"]
        text = pair.first.manage("clients")
        assert "1 connections on" in text
        assert "HOT WARM" in text
        seen = json.loads(pair.first.manage("nodes", "--json"))
        assert {worker["id"] for worker in seen["workers"]} == {worker["id"] for worker in pair.nodes()["workers"]}
        assert "3 workers on 1 nodes" in pair.first.manage("nodes")
