"""The user of Redis that documents and compose file give a gateway: what it may is what is used, and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML
from websockets.sync.client import connect

from bus.redis.entry import rights
from bus.redis.scripts import scripts
from tests.clients import RawClient, tick
from tests.cluster import RedisCluster
from tests.conftest import StartGateway
from tests.servers import ROOT, GatewayProcess, RedisServer, wait_until

COMMANDS = rights(path.read_text() for path in (ROOT / "bus/redis/lua").glob("*.lua"))
RULE = f"~marketmux.0:* &marketmux.0:* &marketmux.0:{{0}}__group__ticks.* {COMMANDS}"
CLUSTERS_COMMANDS = rights((script.source for script in scripts(is_cluster=True)), is_cluster=True)
CLUSTERS_RULE = f"~marketmux.0:* &marketmux.0:* {CLUSTERS_COMMANDS}"
RARE = {"dbsize", "hdel", "hgetall", "hget", "hkeys", "incrby", "mget", "pttl", "select", "zrem", "zremrangebyscore"}
"""Used where a primary has lost its place, by whoever asks the bus for all names, for another database number, and where
streams are dropped or shares are counted."""


def words(text: str) -> str:
    """Without line ends, quotes and the marks of a list."""
    return " ".join(re.sub(r"""["',>\[\]-]""", " ", text).split())


@pytest.mark.parametrize(
    ("document", "rule"),
    [("docs/how-to/redis.md", RULE), ("docker-compose.yml", RULE), ("docs/how-to/cluster.md", CLUSTERS_RULE)],
    ids=["redis", "compose", "cluster"],
)
def test_what_is_written_down_is_what_is_used(document: str, rule: str) -> None:
    assert words(rule) in words((ROOT / document).read_text())


def test_a_whole_conversation_needs_this_and_no_more(start_gateway: StartGateway, redis_server: RedisServer) -> None:
    assert redis_server.call(f"ACL SETUSER gateway on >secret {RULE}") == "+OK"
    gateway = start_gateway(
        redis_server.url.replace("//", "//gateway:secret@"),
        workers=2,
        MARKETMUX_OWN_HISTORY_BYTES="0",
        MARKETMUX_HISTORY_TICKS="2",
    )
    gateway.wait_for_output("ready at")
    converse(gateway, redis_server)
    assert redis_server.denied() == []
    assert unused(COMMANDS, redis_server) <= RARE


def test_so_it_is_with_a_cluster(start_gateway: StartGateway, redis_cluster: RedisCluster) -> None:
    for node in redis_cluster.nodes:
        assert node.call(f"ACL SETUSER gateway on >secret {CLUSTERS_RULE}") == "+OK"
    gateway = start_gateway(
        redis_cluster.url.replace("//", "//gateway:secret@"),
        workers=2,
        MARKETMUX_OWN_HISTORY_BYTES="0",
        MARKETMUX_HISTORY_TICKS="2",
    )
    gateway.wait_for_output("ready at")
    converse(gateway, *redis_cluster.primaries)
    redis_cluster.fail_over(redis_cluster.primaries[0])
    wait_until(lambda: all(node.call("PING") == "+PONG" for node in redis_cluster.nodes))
    post(gateway, [tick(f"S{number}", 1) for number in range(20)])
    assert [entry for node in redis_cluster.nodes for entry in node.denied()] == []
    assert unused(CLUSTERS_COMMANDS, *redis_cluster.nodes) <= RARE


def unused(commands: str, *servers: RedisServer) -> set[str]:
    """Those that nobody has asked any of the servers for."""
    lines = [line for redis in servers for line in redis.info("commandstats")]
    used = {line.partition(":")[0].removeprefix("cmdstat_") for line in lines}
    used |= {name.partition("|")[0] for name in used}
    return {command.removeprefix("+") for command in commands.split()} - used


def converse(gateway: GatewayProcess, *servers: RedisServer) -> None:
    """Everything that a gateway does with Redis, or with a cluster's primaries."""
    post(gateway, tick("A", 1), {"Idempotency-Key": "one"})
    assert post(gateway, tick("A", 1), {"Idempotency-Key": "one"}).headers["Idempotency-Replayed"] == "true"
    with (
        RawClient(gateway, "A") as one,
        RawClient(gateway, "*") as every,
        connect(f"{gateway.ws}/publish") as publisher,
    ):
        snapshot = one.read_until(["snapshot"])[-1]
        publisher.recv()
        publisher.send(json.dumps(tick("A", 2)))
        assert json.loads(publisher.recv())["type"] == "published"
        for client in (one, every):
            client.read_until(price=2)
        for redis in servers:
            redis.call("SCRIPT FLUSH")
        post(gateway, [tick("A", 3), tick("B/C", 3)])
        every.read_until(price=3)
        one.send(b'{"action":"unsubscribe","symbol":"A"}')
        every.send(b'{"action":"unsubscribe","symbol":"*"}')
        one.read_until(["unsubscribed"])
        since = {"seq": snapshot["seq"], "epoch": snapshot["epoch"]}
    for page in ("page_size=1", "page_size=1&after=", "page_size=1&after=A"):
        assert httpx.get(f"{gateway.http}/api/v1/ticks?{page}").json()["results"]
    assert httpx.get(f"{gateway.http}/api/v1/ticks/A").json()["price"] == 3
    assert httpx.get(f"{gateway.http}/healthz").status_code == 200
    gateway.manage("mock_publisher", "--symbols", "A", "--rate", "100", "--seconds", "0.3")
    wait_until(lambda: any("unsubscribe" in str(redis.info("commandstats")) for redis in servers))
    with RawClient(gateway) as back:
        back.send(json.dumps({"action": "subscribe", "symbol": "A", "since": since}).encode())
        back.read_until(["subscribed"])
    for redis in servers:
        for key in redis.words("KEYS *:streams"):
            redis.call(f"DEL {key}")  # another epoch
    post(gateway, tick("A", 4))


def post(gateway: GatewayProcess, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    response = httpx.post(f"{gateway.http}/api/v1/ticks", json=body, headers=headers, timeout=30)
    assert response.status_code == 202, response.text
    return response


def test_the_compose_files_redis_takes_its_users(tmp_path: Path) -> None:
    service = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]
    options = [word.replace("${REDIS_PASSWORD}", "secret") for word in service["command"][1:]]
    redis = RedisServer(tmp_path, options=options)
    redis.start()
    try:
        assert redis.call("GET marketmux.0:a").startswith("-NOPERM")
        with redis._asked("AUTH marketmux secret") as answer:
            assert answer.readline() == b"+OK\r\n"
        with redis._asked("AUTH marketmux wrong") as answer:
            assert answer.readline().startswith(b"-WRONGPASS")
    finally:
        redis.stop()
