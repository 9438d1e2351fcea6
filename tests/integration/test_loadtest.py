"""``manage.py loadtest`` against a real gateway."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.conftest import StartGateway
from tests.servers import ROOT, GatewayProcess, free_port, wait_until

TIMEOUT = 60


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> Any:
        return json.loads(self.stdout)


class Command:
    """The command as a process, with short defaults; it prints JSON unless told otherwise."""

    def __init__(self, url: str, *arguments: str, as_json: bool = True, launcher: Sequence[str] = ()) -> None:
        command = [*launcher, sys.executable, "manage.py", "loadtest", "--url", url, "--grace", "0.5", *arguments]
        self._process = subprocess.Popen(
            [*command, *(["--json"] if as_json else [])],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def outcome(self, timeout: float = TIMEOUT) -> Outcome:
        try:
            stdout, stderr = self._process.communicate(timeout=timeout)
        finally:
            self._process.kill()
        return Outcome(self._process.returncode, stdout, stderr)


def loadtest(url: str, *arguments: str, as_json: bool = True, launcher: Sequence[str] = ()) -> Outcome:
    return Command(url, *arguments, as_json=as_json, launcher=launcher).outcome()


def post(gateway: GatewayProcess, symbol: str) -> None:
    httpx.post(f"{gateway.http}/api/v1/ticks", json={"symbol": symbol, "price": 1}).raise_for_status()


@contextlib.contextmanager
def publishing(gateway: GatewayProcess, symbol: str) -> Iterator[None]:
    """Somebody else who publishes the symbol, ten times a second."""
    stopped = threading.Event()

    def publish() -> None:
        while not stopped.wait(0.1):
            post(gateway, symbol)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_every_tick_reaches_every_subscriber(gateway: GatewayProcess) -> None:
    outcome = loadtest(gateway.http, "-c", "200", "--symbol", "AAPL", "--rate", "20", "--seconds", "1")
    assert outcome.code == 0, outcome
    report = outcome.report
    assert report["subscribers"]["opened"] == 200
    assert report["ticks"]["accepted"] == report["ticks"]["published"] == 20
    assert report["deliveries"]["count"] == report["deliveries"]["expected"] == 4_000
    assert report["latency_ms"]["since"] == "post"
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"] <= report["latency_ms"]["max"]
    assert outcome.stderr == ""


@pytest.mark.parametrize("extra", [(), ("--verify",)])
def test_where_time_goes(gateway: GatewayProcess, extra: tuple[str, ...]) -> None:
    few = "-c", "120", "--symbol", "AAPL", "--rate", "20", "--seconds", "1", "--trace", *extra
    outcome = loadtest(gateway.http, *few)
    assert outcome.code == 0, outcome
    steps = {(step["begin"], step["end"]): step for step in outcome.report["trace_ms"]}
    assert list(steps) == [
        ("published", "received"),
        ("received", "sequenced"),
        ("sequenced", "sent"),
        ("sent", "arrived"),
        ("published", "arrived"),
    ]
    assert all(0 < step["p50"] <= step["p99"] for step in steps.values())
    # Each tick is booked once for each client that asked: 2 of 120.
    assert outcome.report["deliveries"]["count"] == outcome.report["deliveries"]["expected"] == 2_400
    way = steps["published", "arrived"]["p50"]
    assert all(steps[step]["p50"] <= way for step in list(steps)[:-1])


def test_where_time_goes_is_shown(gateway: GatewayProcess) -> None:
    few = "-c", "2", "--symbol", "AAPL", "--rate", "5", "--seconds", "1"
    shown = loadtest(gateway.http, *few, "--trace", as_json=False).stdout
    assert "received to sequenced" in shown
    assert "received to sequenced" not in loadtest(gateway.http, *few, as_json=False).stdout


def test_batches_over_watch_lists(gateway: GatewayProcess) -> None:
    symbols = ",".join(f"S{number}" for number in range(10))
    outcome = loadtest(
        gateway.http,
        *("-c", "20", "--symbol", symbols, "--symbol", "EUR/USD", "--per-client", "3"),
        *("--rate", "220", "--batch", "11", "--seconds", "1"),
    )
    assert outcome.code == 0, outcome
    # 20 ticks of each of 11 symbols; 20 clients with 3 subscriptions each.
    assert outcome.report["ticks"]["accepted"] == 220
    assert outcome.report["deliveries"]["count"] == 20 * 60


def test_prints_a_table_for_people(gateway: GatewayProcess) -> None:
    outcome = loadtest(gateway.http, "-c", "3", "--symbol", "AAPL", "--seconds", "0.5", as_json=False)
    assert outcome.code == 0, outcome
    for text in ("3 of 3", "15 of 15", "p99.9", "all delivered, once and in order"):
        assert text in outcome.stdout
    assert outcome.stderr == ""  # no progress bar where there is no terminal


def test_ticks_of_others_are_told_apart(gateway: GatewayProcess) -> None:
    with publishing(gateway, "MSFT"):
        outcome = loadtest(gateway.http, "-c", "5", "--symbol", "MSFT", "--seconds", "1")
    assert outcome.code == 0, outcome
    assert outcome.report["deliveries"]["count"] == 50
    assert outcome.report["deliveries"]["foreign"] > 0


def test_rate_zero_only_listens(gateway: GatewayProcess) -> None:
    with publishing(gateway, "TSLA"):
        outcome = loadtest(gateway.http, "-c", "5", "--symbol", "TSLA", "--rate", "0", "--seconds", "1")
    assert outcome.code == 0, outcome
    assert outcome.report["ticks"] is None
    assert outcome.report["deliveries"]["count"] >= 5
    assert outcome.report["deliveries"]["lost"] is None
    assert outcome.report["latency_ms"]["since"] == "timestamp"
    assert outcome.report["latency_ms"]["max"] < 5_000


def test_ctrl_c_ends_early_with_the_report(gateway: GatewayProcess) -> None:
    command = Command(gateway.http, "-c", "5", "--symbol", "NVDA", "--seconds", "60")
    wait_until(lambda: httpx.get(f"{gateway.http}/api/v1/ticks/NVDA").status_code == 200)
    command.interrupt()
    outcome = command.outcome()
    assert outcome.code == 0, outcome
    assert outcome.report["interrupted"] is True
    assert outcome.report["ticks"]["seconds"] < 30
    assert outcome.report["deliveries"]["count"] == outcome.report["deliveries"]["expected"] > 0


@pytest.mark.soak
def test_connections_that_are_cut_are_reported(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    command = Command(gateway.http, "-c", "5", "--symbol", "AAPL", "--seconds", "3")
    wait_until(lambda: httpx.get(f"{gateway.http}/api/v1/ticks/AAPL").status_code == 200)
    gateway.kill()
    outcome = command.outcome()
    assert outcome.code == 1, outcome
    assert outcome.report["subscribers"]["closed"] == {"1006": 5}
    assert outcome.report["ticks"]["unanswered"] > 0
    assert outcome.report["ok"] is False


@pytest.mark.soak
def test_a_key_opens_a_gateway_that_asks_for_one(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    key = gateway.manage("create_key", "load test").rpartition("Api-Key ")[2].strip()
    arguments = "-c", "5", "--symbol", "AAPL", "--seconds", "0.5"
    assert loadtest(gateway.http, *arguments, "--key", key).code == 0
    refused = loadtest(gateway.http, *arguments)
    assert refused.code == 2
    assert "403" in refused.stderr


def test_the_sequence_proves_that_nothing_is_missing(start_gateway: StartGateway, redis_url: str) -> None:
    outcome = loadtest(
        start_gateway(redis_url).http,
        *("-c", "50", "--symbol", "A,B,C,D", "--per-client", "2", "--rate", "200", "--batch", "4"),
        *("--seconds", "2", "--verify", "--reconnect", "0.4"),
    )
    assert outcome.code == 0, outcome
    report = outcome.report
    assert (report["subscribers"]["dropped"], report["subscribers"]["returned"]) == (20, 20)
    proof = report["proof"]
    assert proof["resumed"] == 40
    assert proof["replayed"] > 0
    assert proof["ticks"] - proof["replayed"] == report["deliveries"]["count"]
    assert (proof["lost"], proof["duplicates"], proof["reordered"], proof["stale"]) == (0, 0, 0, 0)
    # What came live has a latency; what was replayed would have one of up to the time away.
    assert report["latency_ms"]["max"] < 2_000


def test_a_rate_that_was_asked_for_is_no_loss(gateway: GatewayProcess) -> None:
    outcome = loadtest(
        gateway.http,
        *("-c", "10", "--symbol", "SLOW", "--rate", "50", "--seconds", "1", "--grace", "1"),
        *("--verify", "--max-rate", "5"),
    )
    assert outcome.code == 0, outcome
    proof = outcome.report["proof"]
    assert proof["conflated"]["rate"] > 300
    assert proof["ticks"] + proof["conflated"]["rate"] == 500
    assert proof["stale"] == 0


FEW_FILES = "sh", "-c", 'ulimit -n 200 && exec "$@"', "sh"
"""Starts a command that may have 200 open files, of which 136 are for connections."""


def test_more_clients_than_one_process_can_have_are_shared_out(gateway: GatewayProcess) -> None:
    clients = "-c", "300", "--symbol", "SHARED,OUT", "--per-client", "1"
    outcome = loadtest(
        gateway.http,
        *(*clients, "--rate", "40", "--seconds", "2", "--verify", "--reconnect", "0.1", "--trace"),
        launcher=FEW_FILES,
    )
    assert outcome.code == 0, outcome
    report = outcome.report
    subscribers, proof = report["subscribers"], report["proof"]
    assert (subscribers["opened"], subscribers["dropped"], subscribers["returned"]) == (300, 30, 30)
    assert report["cost"]["processes"] == 3
    assert proof["ticks"] == 40 * 300
    assert proof["ticks"] - proof["replayed"] == report["deliveries"]["count"]
    assert (report["deliveries"]["foreign"], proof["stale"]) == (0, 0)
    assert report["trace_ms"][0]["p50"] > 0
    shown = loadtest(gateway.http, *clients, "--rate", "0", "--seconds", "0.1", as_json=False, launcher=FEW_FILES)
    assert "300 clients, in 3 processes of 100, from 127.0.0.1 to 127.0.0.3" in shown.stderr


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_twenty_thousand_clients(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2)
    symbols = ",".join(f"S{number}" for number in range(200))
    arguments = "-c", "20000", "--symbol", symbols, "--per-client", "1", "--rate", "20", "--seconds", "5", "--verify"
    outcome = Command(gateway.http, *arguments, "--grace", "5").outcome(timeout=800)
    assert outcome.code == 0, outcome
    assert outcome.report["subscribers"]["opened"] == 20_000
    assert outcome.report["proof"]["ticks"] == 100 * 100
    assert outcome.report["proof"]["lost"] == 0


def test_a_proof_is_a_table_for_people(gateway: GatewayProcess) -> None:
    arguments = "-c", "3", "--symbol", "PROOF", "--seconds", "0.5", "--verify"
    outcome = loadtest(gateway.http, *arguments, as_json=False)
    assert outcome.code == 0, outcome
    for text in ("Ticks in sequence", "Lost without a word", "Clients not on the last value", "proven"):
        assert text in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--symbol", "AAPL", "-c", "0"], "At least one connection"),
        (["--symbol", "AAPL", "--max-rate", "5"], "Only --verify"),
        (["--symbol", "AAPL", "--per-client", "2"], "Per client"),
        (["--symbol", "NO*"], "invalid_symbol"),
        (["--symbol", "AAPL", "-c", "1073741000"], "ulimit -n"),
    ],
    ids=["connections", "max rate", "per client", "symbol", "open files"],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    gateway: GatewayProcess, arguments: list[str], complaint: str
) -> None:
    outcome = loadtest(gateway.http, *arguments)
    assert outcome.code == 2
    assert complaint in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


def test_no_gateway_is_one_line_and_exit_code_2() -> None:
    outcome = loadtest(f"http://127.0.0.1:{free_port()}", "--symbol", "AAPL")
    assert outcome.code == 2
    assert "connection refused" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
