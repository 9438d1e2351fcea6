"""What one client's trouble, or a busy publisher, costs the others.

    python -m tests.benchmarks.neighbours [--seconds 6] [--rounds 5]

A crowd of subscribers reads ticks, and its latency is measured: undisturbed; with a tenth as many clients beside it
that do not read at all, and with as many; and while ticks of other symbols come in at half of what a worker can take.
For the stalled clients also: what the gateway's memory grows by, and whether they end on the latest price when they
read again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table

from gateway.loadtest import LoadTest, Options
from tests.clients import RawClient, metrics, tick
from tests.servers import GatewayProcess, RedisServer, migrate

__all__ = ["main"]

CROWD: Final = 100
STALLED: Final = (10, 100)
RATE: Final = 2_000
BATCH: Final = 20
POSTED: Final = 100
INGEST: Final = 60_000
"""Ticks a second, half of what batches of 100 reach on the machine of docs/explanation/performance.md."""


def crowd(gateway: GatewayProcess, seconds: float) -> float:
    """The subscribers' p99 in milliseconds."""
    options = Options(
        url=gateway.http, connections=CROWD, symbols=["HOT"], rate=RATE, batch=BATCH, seconds=seconds, grace=1.0
    )
    report: Any = json.loads(LoadTest(options).run().json())
    return float(report["latency_ms"]["p99"])


def quiet_crowd(gateway: GatewayProcess, connections: int, seconds: float) -> float:
    """The same for subscribers of 50 ticks a second."""
    options = Options(url=gateway.http, connections=connections, symbols=["HOT"], rate=50, seconds=seconds, grace=1.0)
    report: Any = json.loads(LoadTest(options).run().json())
    return float(report["latency_ms"]["p99"])


@contextmanager
def stalled(gateway: GatewayProcess, count: int) -> Iterator[list[RawClient]]:
    with ExitStack() as stack:
        yield [stack.enter_context(RawClient(gateway, "HOT", "LAST", receive_buffer=4_096)) for _ in range(count)]


def end_on_the_latest(gateway: GatewayProcess, clients: list[RawClient]) -> bool:
    """Whether every client, reading again, ends on the last price of a symbol published while it was stalled."""
    httpx.post(f"{gateway.http}/api/v1/ticks", json=[tick("LAST", 1), tick("LAST", 2)]).raise_for_status()
    return all(client.read_until(price=2)[-1]["symbol"] == "LAST" for client in clients)


def publish(port: int, rate: int, stop: Any) -> None:
    """Posts batches of other symbols at a steady rate. In a process of its own, and cheap, for it takes from the same
    two cores."""
    body = json.dumps([{"symbol": f"OTHER{number}", "price": "150.25"} for number in range(POSTED)])
    request = (
        "POST /api/v1/ticks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    start, sent = time.perf_counter(), 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while not stop.is_set():
            wait = sent / rate - (time.perf_counter() - start)
            if wait > 0:
                time.sleep(wait)
            connection.sendall(request)
            if not connection.recv(65_536).startswith(b"HTTP/1.1 202"):
                raise RuntimeError("a POST was refused")
            sent += POSTED


@contextmanager
def busy_publisher(gateway: GatewayProcess) -> Iterator[None]:
    stop = multiprocessing.Event()
    process = multiprocessing.Process(target=publish, args=(gateway.port, INGEST, stop))
    process.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        stop.set()
        process.join()


def measure(gateway: GatewayProcess, seconds: float, figures: dict[str, list[float]]) -> None:
    """Adds a round's figures. Undisturbed crowds come in between, as the machine changes from minute to minute."""

    def note(name: str, figure: float) -> None:
        figures.setdefault(name, []).append(figure)

    crowd(gateway, 1.0)  # warms up
    for count in STALLED:
        note("undisturbed", crowd(gateway, seconds))
        before = metrics(gateway)["resident_bytes"]
        with stalled(gateway, count) as clients:
            crowd(gateway, 1.0)  # which they fall behind in
            note(f"beside {count} that do not read", crowd(gateway, seconds))
            during = metrics(gateway)
            assert during["behind"] == count, "the stalled clients were not behind"
            note(f"MB for those {count}", (during["resident_bytes"] - before) / 1e6)
            assert end_on_the_latest(gateway, clients)
    for connections in (200, 1_000):
        note(f"{connections:,} x 50/s, quiet ingest", quiet_crowd(gateway, connections, seconds))
        with busy_publisher(gateway):
            note(f"{connections:,} x 50/s, busy ingest", quiet_crowd(gateway, connections, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        migrate(directory / "db.sqlite3")
        redis = RedisServer(directory)
        redis.start()
        figures: dict[str, list[float]] = {}
        try:
            for number in range(arguments.rounds):
                gateway = GatewayProcess(
                    directory / str(number), redis_url=redis.url, database=directory / "db.sqlite3",
                    MARKETMUX_SLOW_CLIENT_SECONDS="600", MARKETMUX_UNSENT_BYTES="65536",
                )  # fmt: skip
                gateway.start()
                try:
                    measure(gateway, arguments.seconds, figures)
                finally:
                    gateway.kill()
        finally:
            redis.stop()
    table = Table("figure", "median", "measured")
    for figure, values in figures.items():
        table.add_row(figure, f"{statistics.median(values):.1f}", ", ".join(f"{value:.1f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()
