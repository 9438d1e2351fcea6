"""How many ticks a second get in, by every way there is, beside a plain DRF view and any other gateway.

    python -m tests.benchmarks.ingest [--seconds 4] [--rounds 3] [--other NAME=COMMAND]

HTTP is measured with wrk (Debian's package of that name). ``--other`` starts one more server that takes the same POSTs;
``{port}`` and ``{redis}`` in its command are replaced by ports. All servers are started afresh, share a Redis and have no
subscribers; medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.benchmarks.server import PlainProcess, running
from tests.clients import RawClient
from tests.servers import GatewayProcess, RedisServer, free_port, migrate, wait_until

__all__ = ["main"]

WINDOW: Final = 64
"""Messages a stream may have unanswered."""


@dataclass(frozen=True)
class Way:
    """POSTs of ``batch`` ticks over ``connections``; none for the stream over a WebSocket."""

    name: str
    batch: int
    connections: int


WAYS: Final = [
    Way("one tick, 16 connections", 1, 16),
    Way("batches of 100, 4 connections", 100, 4),
    Way("batches of 1,000, 4 connections", 1_000, 4),
    Way("stream, arrays of 100", 100, 0),
]


@dataclass(frozen=True)
class Rate:
    ticks: float
    p99: float | None


def body(batch: int) -> str:
    ticks = [
        {"symbol": f"S{number % 100}", "price": 150.25, "timestamp": "2026-05-12T15:04:05Z"} for number in range(batch)
    ]
    return json.dumps(ticks[0] if batch == 1 else ticks)


def post(port: int, way: Way, seconds: float, directory: Path) -> Rate:
    """What wrk measures."""
    script = directory / "post.lua"
    head = 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
    script.write_text(f"{head}wrk.body = [==[{body(way.batch)}]==]\n")
    command = ["wrk", "-t1", f"-c{way.connections}", f"-d{seconds:g}s", "--latency", "-s", str(script)]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/api/v1/ticks"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in output:
        raise RuntimeError(output)
    requests = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    slowest = re.search(r"99%\s+([0-9.]+)(us|ms|s)", output)
    assert requests is not None
    assert slowest is not None
    return Rate(float(requests[1]) * way.batch, float(slowest[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[slowest[2]])


def stream(gateway: GatewayProcess, way: Way, seconds: float) -> Rate:
    """What is acknowledged over one WebSocket."""
    with RawClient(gateway, path="/ws/publish") as client:
        room = threading.Semaphore(WINDOW)
        acknowledged = 0

        def read() -> None:
            nonlocal acknowledged
            last = 0
            while (answer := client.read()).get("id", 0) < last or answer["type"] == "published":
                room.release(answer["id"] - last)
                last, acknowledged = answer["id"], answer["ticks"]
                if done.is_set() and last == sent:
                    return

        done = threading.Event()
        sent = 0
        reader = threading.Thread(target=read)
        reader.start()
        payload = body(way.batch).encode()
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            room.acquire()
            sent += 1
            client.send(payload)
        done.set()
        sent += 1
        client.send(payload)
        reader.join(10)
        return Rate(acknowledged / (time.perf_counter() - start), None)


@contextmanager
def other(command: str, redis: RedisServer) -> Iterator[int]:
    port = free_port()
    arguments = shlex.split(command.replace("{port}", str(port)).replace("{redis}", str(redis.port)))
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port))
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure(arguments: argparse.Namespace, redis: RedisServer, directory: Path) -> dict[str, dict[str, list[Rate]]]:
    """Rates by system and way, one a round."""
    database = directory / "db.sqlite3"
    migrate(database)
    rates: dict[str, dict[str, list[Rate]]] = {}
    progress = Console(stderr=True)

    def note(system: str, way: Way, rate: Rate) -> None:
        rates.setdefault(system, {}).setdefault(way.name, []).append(rate)
        progress.print(f"{system:12} {way.name:32} {rate.ticks:12,.0f} ticks/s")

    posted = [way for way in WAYS if way.connections]
    for number in range(arguments.rounds):
        here = directory / str(number)
        with running(GatewayProcess(here / "marketmux", redis_url=redis.url, database=database)) as gateway:
            for way in posted:
                note("marketmux", way, post(gateway.port, way, arguments.seconds, directory))
            note("marketmux", WAYS[-1], stream(gateway, WAYS[-1], arguments.seconds))
        with running(PlainProcess(here / "plain", redis)) as plain:
            for way in posted:
                note("plain", way, post(plain.port, way, arguments.seconds, directory))
        for name, _, command in (entry.partition("=") for entry in arguments.other):
            with other(command, redis) as port:
                for way in posted:
                    note(name, way, post(port, way, arguments.seconds, directory))
    return rates


def table(rates: dict[str, dict[str, list[Rate]]]) -> Table:
    result = Table("way in", *rates, *(f"marketmux / {name}" for name in rates if name != "marketmux"), "p99")
    for way in WAYS:
        medians = {system: _median(ways.get(way.name)) for system, ways in rates.items()}
        ours = medians["marketmux"]
        ratios = [
            f"x{ours / value:.2f}" if ours and value else "" for name, value in medians.items() if name != "marketmux"
        ]
        slowest = [rate.p99 for rate in rates["marketmux"][way.name] if rate.p99 is not None]
        figures = [f"{value:,.0f}" if value else "" for value in medians.values()]
        result.add_row(way.name, *figures, *ratios, f"{statistics.median(slowest):.1f} ms" if slowest else "")
    return result


def _median(rates: Any) -> float | None:
    return statistics.median(rate.ticks for rate in rates) if rates else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other", action="append", default=[], metavar="NAME=COMMAND")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        redis = RedisServer(directory)
        redis.start()
        try:
            Console().print(table(measure(arguments, redis, directory)))
        finally:
            redis.stop()


if __name__ == "__main__":
    main()
