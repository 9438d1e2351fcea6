"""One scrape answers for all workers: as much as was delivered, whatever becomes of a worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Final, TypeAlias

import httpx
import pytest
from prometheus_client.samples import Sample

from gateway import VERSION
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


@pytest.mark.soak
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


@pytest.mark.soak
def test_a_supervisor_that_stands_still_is_said_and_not_waited_for(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    os.kill(gateway.pid, signal.SIGSTOP)
    try:
        response = httpx.get(f"{gateway.http}/metrics", timeout=30)
    finally:
        os.kill(gateway.pid, signal.SIGCONT)
    assert (response.status_code, response.text) == (503, "The supervisor does not answer.\n")


def buckets(gateway: GatewayProcess, name: str) -> Counter[float]:
    """How many values there were up to each bound, over all workers."""
    found: Counter[float] = Counter()
    for sample in samples(gateway):
        if sample.name == f"marketmux_{name}_bucket":
            found[float(sample.labels["le"])] += int(sample.value)
    return found


def quantile(found: Counter[float], share: float) -> float:
    """As Prometheus' histogram_quantile does: linear within the bucket."""
    rank, lower, below = share * max(found.values()), 0.0, 0
    for bound, count in sorted(found.items()):
        if count >= rank:
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    raise AssertionError("no bucket")


TRIES: Final = 6


@pytest.mark.soak
def test_the_age_of_sent_ticks_is_what_a_load_test_measures(start_gateway: StartGateway) -> None:
    """Within a tenth, at p50 and p99. Passes linger, so that there is something to measure beside the load test's own
    reading, which takes longest while all else stands still: so one try of a few is enough.
    """
    gateway = start_gateway(MARKETMUX_LINGER_MS="250")
    ratios = []
    for _ in range(TRIES):
        before = buckets(gateway, "send_age_seconds")
        outcome = loadtest(
            gateway.http, "-c", "10", "--symbol", "A,B,C", "--rate", "300", "--seconds", "3", "--grace", "20"
        )
        assert outcome.code == 0, outcome.stdout
        found = buckets(gateway, "send_age_seconds") - before
        assert max(found.values()) == pytest.approx(outcome.report["deliveries"]["count"], rel=0.1)
        measured = outcome.report["latency_ms"]
        ratios.append(
            [1_000 * quantile(found, share) / measured[name] for share, name in ((0.5, "p50"), (0.99, "p99"))]
        )
        if all(0.9 < ratio < 1.1 for ratio in ratios[-1]):
            return
    raise AssertionError(ratios)


def labelled(scraped: Iterable[Sample], name: str) -> dict[str, float]:
    """Values by way and result, without zeros."""
    return {
        f"{one.labels['way']} {one.labels['result']}": one.value
        for one in scraped
        if one.name == f"marketmux_{name}" and one.value
    }


def test_what_comes_in_is_counted_by_way_and_result(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    post = partial(httpx.post, f"{gateway.http}/api/v1/ticks")
    ticks = [{"symbol": "AAPL", "price": 1}, {"symbol": "MSFT", "price": 2}]
    for _ in range(2):
        post(json=ticks, headers={"Idempotency-Key": "one"}).raise_for_status()
    post(json=[])
    post(json={"symbol": "AAPL"})
    post(content=b"{", headers={"Content-Type": "application/json"})
    through_django = json.dumps({"symbol": "AAPL", "price": 1}).encode().ljust(70_000)
    json_type = {"Content-Type": "application/json"}
    post(content=through_django, headers=json_type | {"Cookie": "a=b"})
    post(content=through_django, headers=json_type, params={"a": "b"})
    with RawClient(gateway, path="/ws/publish") as publisher:
        publisher.send(json.dumps(ticks).encode())
        publisher.read_until(["published"])
        publisher.send(b"{")
        publisher.read_until(["error"])
    scraped = samples(gateway)
    assert labelled(scraped, "ticks_total") == {"http published": 4, "http repeated": 2, "websocket published": 2}
    assert labelled(scraped, "publications_total") == {
        "http published": 4,  # an empty array is one
        "http repeated": 1,
        "http invalid_ticks": 1,
        "http parse_error": 1,
        "websocket published": 1,
        "websocket invalid_json": 1,
    }
    received = {one.labels["way"]: one.value for one in scraped if one.name == "marketmux_received_bytes_total"}
    assert received["websocket"] == len(json.dumps(ticks)) + 1
    assert 2 * 70_000 + 100 < received["http"] < 2 * 70_000 + 400
    assert sum(one.value for one in scraped if one.name == "marketmux_ingest_age_seconds_count") == 5
    assert next(one.labels["version"] for one in scraped if one.name == "marketmux_build_info") == VERSION
