"""The JavaScript client while workers are killed under load: its books balance, and nothing is unexplained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients import tick
from tests.conftest import StartGateway
from tests.javascript.node import environment, node
from tests.servers import GatewayProcess, wait_until

SUBSCRIBER = Path(__file__).parent / "subscriber.js"
SYMBOLS = tuple(f"KILL{number}" for number in range(20))
PATIENCE = 120.0


class Subscriber:
    """The client in a node of its own."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._process = subprocess.Popen(
            [node(), str(SUBSCRIBER), gateway.ws, *SYMBOLS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self._read() == "ready"

    @property
    def books(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        books: dict[str, Any] = json.loads(self._read())
        return books

    def end(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                assert process.wait(PATIENCE) == 0
            finally:
                process.kill()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Publisher:
    """Posts a tick of each symbol, again and again; ``published`` batches were taken."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.published = 0
        self._url = f"{gateway.http}/api/v1/ticks"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=PATIENCE) as http:
            while not self._stopping.wait(0.02):
                ticks = [tick(symbol, self.published + 1) for symbol in SYMBOLS]
                assert http.post(self._url, json=ticks).status_code == 202
                self.published += 1


def killed(redis_url: str, start_gateway: StartGateway, times: int) -> None:
    # The other gateway takes what is published, so that a kill costs no batch.
    gateway, other = start_gateway(redis_url, workers=2), start_gateway(redis_url)
    subscriber, publisher = Subscriber(gateway), Publisher(other)
    try:
        with publisher.at_work():
            for number in range(1, times + 1):
                _kill_until_lost(gateway, subscriber, number)
        last = dict.fromkeys(SYMBOLS, publisher.published)
        wait_until(lambda: subscriber.books["newest"] == last, PATIENCE, "the last ticks never came")
        books = subscriber.books
    finally:
        subscriber.end()
    assert books["unaccounted"] == 0, books
    assert "unexplained" not in books["gaps"], books
    assert books["restarted"] == 0, books
    skipped = sum(books["skipped"].values())
    assert books["streamed"] == books["received"] + skipped + books["missed"], books
    assert books["disconnects"] >= times


def _kill_until_lost(gateway: GatewayProcess, subscriber: Subscriber, number: int) -> None:
    """Kills both workers, one of which has the client."""
    received = subscriber.books["received"]
    wait_until(lambda: subscriber.books["received"] > received + len(SYMBOLS), PATIENCE, "it never came back")
    for worker in gateway.pids:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: subscriber.books["disconnects"] >= number, PATIENCE, "it never noticed")


@pytest.mark.soak
def test_books_balance_when_workers_are_killed(redis_url: str, start_gateway: StartGateway) -> None:
    killed(redis_url, start_gateway, 2)


@pytest.mark.soak
def test_books_balance_when_workers_are_killed_twenty_times(redis_url: str, start_gateway: StartGateway) -> None:
    killed(redis_url, start_gateway, 20)
