"""One scrape answers for all workers: as much as was delivered, whatever becomes of a worker."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from typing import TypeAlias

import httpx
from prometheus_client.samples import Sample

from tests.clients import RawClient, samples
from tests.conftest import StartGateway
from tests.integration.test_loadtest import loadtest, post
from tests.servers import GatewayProcess, is_running, wait_until

WORKERS = ("0", "1")


def figure(gateway: GatewayProcess, name: str) -> dict[str, float]:
    """The values of a metric by worker."""
    return by_worker(samples(gateway), name)


def by_worker(scraped: Iterable[Sample], name: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for sample in scraped:
        if sample.name == f"marketmux_{name}":
            found[sample.labels["worker"]] += sample.value
    return found


Counted: TypeAlias = dict[tuple[str, frozenset[tuple[str, str]]], float]


def counters(gateway: GatewayProcess) -> Counted:
    return {(one.name, frozenset(one.labels.items())): one.value for one in samples(gateway) if "_total" in one.name}


def two_workers(start_gateway: StartGateway, redis_url: str, hung_seconds: str = "15") -> GatewayProcess:
    gateway = start_gateway(redis_url, workers=2, MARKETMUX_HUNG_SECONDS=hung_seconds)
    gateway.wait_for_output("ready at")
    wait_until(lambda: figure(gateway, "worker_up") == dict.fromkeys(WORKERS, 1))
    return gateway


def all_workers_have_clients(gateway: GatewayProcess, clients: list[RawClient]) -> bool:
    """The kernel spreads connections as it likes."""
    clients.append(RawClient(gateway, "AAPL"))
    return all(figure(gateway, "connections")[worker] for worker in WORKERS)


def test_a_scrape_of_two_workers_says_what_a_load_test_has_counted(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = two_workers(start_gateway, redis_url)
    outcome = loadtest(gateway.http, "-c", "100", "--symbol", "AAPL", "--rate", "50", "--seconds", "2", "--grace", "10")
    assert outcome.code == 0, outcome.stdout
    delivered = figure(gateway, "delivered_total")
    assert all(delivered[worker] for worker in WORKERS)
    assert sum(delivered.values()) == outcome.report["deliveries"]["count"] == 10_000


def test_no_counter_runs_backwards_when_a_worker_is_replaced(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = two_workers(start_gateway, redis_url)
    clients: list[RawClient] = []
    wait_until(lambda: all_workers_have_clients(gateway, clients))
    for _ in range(50):
        post(gateway, "AAPL")
    for client in clients:
        for _ in range(50):
            client.read()
        client.close()
    before = counters(gateway)
    for victim, ends in zip(gateway.pids, (signal.SIGKILL, signal.SIGTERM), strict=True):
        os.kill(victim, ends)
        wait_until(lambda victim=victim: not is_running(victim))  # type: ignore[misc]
        while figure(gateway, "worker_up") != dict.fromkeys(WORKERS, 1):
            before = not_less(before, counters(gateway))
        before = not_less(before, counters(gateway))
    assert sum(value for (name, _), value in before.items() if name == "marketmux_delivered_total") == 50 * len(clients)
    gateway.signal(signal.SIGHUP)
    gateway.wait_for_output("Worker 0 was replaced")
    before = not_less(before, counters(gateway))
    gateway.wait_for_output("Worker 1 was replaced")
    not_less(before, counters(gateway))


def not_less(before: Counted, after: Counted) -> Counted:
    assert not {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1) < value}
    return after


def test_a_worker_that_hangs_does_not_hold_up_the_rest(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = two_workers(start_gateway, redis_url, hung_seconds="120")
    before = counters(gateway)
    for hung in gateway.pids:
        os.kill(hung, signal.SIGSTOP)
        found = answered(gateway)
        os.kill(hung, signal.SIGCONT)
        assert sorted(found.values()) == [0, 1]
        wait_until(lambda: sum(figure(gateway, "worker_up").values()) == 2)
    not_less(before, counters(gateway))


def answered(gateway: GatewayProcess) -> dict[str, float]:
    """Which worker is up; the kernel may hand a connection to the one that hangs."""
    while True:
        with contextlib.suppress(httpx.TimeoutException):
            return by_worker(samples(gateway, timeout=5), "worker_up")


def test_a_supervisor_that_stands_still_is_said_and_not_waited_for(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    os.kill(gateway.pid, signal.SIGSTOP)
    try:
        response = httpx.get(f"{gateway.http}/metrics", timeout=30)
    finally:
        os.kill(gateway.pid, signal.SIGCONT)
    assert (response.status_code, response.text) == (503, "The supervisor does not answer.\n")
