"""A Redis that answers and does not do what it is asked: publishers, readers, probes and the log are told why."""

from __future__ import annotations

import re

import httpx
import pytest
from websockets.sync.client import connect

from bus.contract import Reason
from tests.clients import RawClient, tick
from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer, wait_until

TROUBLES = {
    Reason.OUT_OF_MEMORY: ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    Reason.TOO_FEW_REPLICAS: ("CONFIG SET min-replicas-to-write 2", "CONFIG SET min-replicas-to-write 0"),
    Reason.READ_ONLY: ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    Reason.FORBIDDEN: ("ACL SETUSER default -hset", "ACL SETUSER default +hset"),
}


@pytest.mark.parametrize(
    "reason",
    [
        Reason.READ_ONLY,
        *(pytest.param(reason, marks=pytest.mark.soak) for reason in TROUBLES if reason is not Reason.READ_ONLY),
    ],
    ids=lambda reason: reason.name,
)
def test_everybody_is_told_why_redis_refuses(
    reason: Reason, start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_server.url)
    begin, end = TROUBLES[reason]
    redis_server.call(begin)
    wait_until(lambda: post(gateway).status_code == 503)
    answer = post(gateway)
    assert (answer.json()["code"], answer.headers["Retry-After"]) == (reason, "1")
    assert answer.json()["detail"].startswith(reason.sentence)
    health = httpx.get(f"{gateway.http}/healthz")
    assert (health.status_code, health.json()["code"], health.json()["detail"]) == (503, reason, reason.sentence)
    with connect(f"{gateway.ws}/publish") as publisher:
        publisher.recv()
        publisher.send('{"symbol":"A","price":1}')
        message = str(publisher.recv())
        assert f'"code":"bus_unavailable","message":"The message is not confirmed: {reason.sentence}' in message
        assert f'"reason":"{reason}"' in message
    assert refused(gateway, reason) >= 4
    assert gateway.output().count(f"cannot be used, trying again: {reason.sentence}") == 1
    redis_server.call(end)
    wait_until(lambda: post(gateway).status_code == 202)
    wait_until(lambda: httpx.get(f"{gateway.http}/healthz").status_code == 200)


def test_a_question_that_redis_refuses_has_its_reason(start_gateway: StartGateway, redis_server: RedisServer) -> None:
    gateway = start_gateway(redis_server.url)
    redis_server.call("ACL SETUSER default -subscribe -hmget")
    wait_until(lambda: httpx.get(f"{gateway.http}/api/v1/ticks/A").status_code == 503)
    answer = httpx.get(f"{gateway.http}/api/v1/ticks/A")
    assert (answer.status_code, answer.json()["code"]) == (503, Reason.FORBIDDEN)
    with RawClient(gateway) as client:
        client.send(b'{"action":"subscribe","symbol":"A"}')
        error = client.read_until(["error"])[-1]
    assert (error["code"], error["reason"]) == ("bus_unavailable", Reason.FORBIDDEN)


@pytest.mark.soak
def test_serve_says_what_it_waits_for_and_what_to_do(start_gateway: StartGateway, redis_server: RedisServer) -> None:
    redis_server.call("ACL SETUSER gateway on >secret ~marketmux.0:* &marketmux.0:* +@all -@dangerous")
    gateway = start_gateway(redis_server.url.replace("//", "//gateway:secret@"), ready=False)
    gateway.wait_for_output("Not ready, waiting for the bus.")
    assert "It does not grant INFO" in gateway.output()
    assert "ready at" not in gateway.output()
    [rule] = re.findall(r"ACL SETUSER <user> (.*)", gateway.output())
    assert redis_server.call(f"ACL SETUSER gateway reset on >secret {rule}") == "+OK"
    gateway.wait_for_output("MarketMux is ready at")
    assert gateway.output().count("Not ready") == 1
    with RawClient(gateway, "*") as client:
        assert post(gateway).status_code == 202
        client.read_until(price=1)


def post(gateway: GatewayProcess) -> httpx.Response:
    return httpx.post(f"{gateway.http}/api/v1/ticks", json=tick("A", 1), timeout=30)


def refused(gateway: GatewayProcess, reason: Reason) -> float:
    text = httpx.get(f"{gateway.http}/metrics").text
    [value] = re.findall(rf'^marketmux_bus_refused_total{{.*reason="{reason}".*}} (.*)$', text, re.MULTILINE)
    return float(value)
