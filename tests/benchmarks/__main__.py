"""``python -m tests.benchmarks [--quick] [--json FILE] [names...]``: measures, and prints tables.

Names are parts of the benchmarks' names; ``server``, or a scenario's name, means whole servers, ``cluster`` a Redis
Cluster of three primaries. Without any, everything is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from rich.console import Console  # noqa: E402

from tests.benchmarks import bus, codec, fanout, server, sockets, spread  # noqa: E402
from tests.benchmarks.display import micro_row, micro_table, server_row, server_table  # noqa: E402
from tests.benchmarks.measure import FULL, QUICK, Benchmark, Effort, run  # noqa: E402
from tests.cluster import RedisCluster  # noqa: E402
from tests.servers import RedisServer, migrate  # noqa: E402

SECONDS = 5.0
QUICK_SECONDS = 2.0
"""How long a whole server is sent ticks."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores", style="dim")
    with tempfile.TemporaryDirectory(prefix="marketmux-benchmarks-") as directory, _redis(Path(directory)) as redis:
        if redis is None:
            console.print("Left out what needs Redis: there is no redis-server on PATH.", style="yellow")
        found = {
            "parts": _parts(console, options, redis),
            "spread": [] if redis is None else _spread(console, options, redis, Path(directory)),
            "servers": [] if redis is None else _servers(console, options, redis, Path(directory)),
        }
    if options.json:
        options.json.write_text(json.dumps({"python": platform.python_version(), "cores": os.cpu_count(), **found}))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all if none is given")
    parser.add_argument("--quick", action="store_true", help="under a minute, and rougher")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    return parser.parse_args(arguments)


@contextmanager
def _redis(directory: Path) -> Iterator[RedisServer | None]:
    if RedisServer.find_binary() is None:
        yield None
        return
    redis = RedisServer(directory)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()


def _parts(console: Console, options: argparse.Namespace, redis: RedisServer | None) -> list[dict[str, Any]]:
    chosen = [benchmark for benchmark in _benchmarks(redis) if _wanted(benchmark.name, options.names)]
    if not chosen:
        return []
    effort: Effort = QUICK if options.quick else FULL
    table = micro_table(effort)
    results = []
    with console.status("") as status:
        for benchmark in chosen:
            status.update(f"Measuring: {benchmark.name}")
            results.append(run(benchmark, effort))
            table.add_row(*micro_row(results[-1]))
    console.print(table)
    return [result.record() for result in results]


def _benchmarks(redis: RedisServer | None) -> Iterator[Benchmark]:
    yield from fanout.BENCHMARKS
    yield from sockets.benchmarks()
    yield from codec.BENCHMARKS
    yield from bus.memory_benchmarks()
    if redis is not None:
        yield from bus.redis_benchmarks(redis)


def _spread(console: Console, options: argparse.Namespace, redis: RedisServer, directory: Path) -> list[dict[str, Any]]:
    loads = [load for load in spread.LOADS if _wanted(f"cluster, {load}", options.names)]
    if not loads or redis.version < (7,):
        return []
    cluster = RedisCluster(directory / "cluster", replicas=False)
    effort: Effort = QUICK if options.quick else FULL
    table = spread.table(effort)
    found = []
    cluster.start()
    try:
        for load in loads:
            with console.status(f"Measuring: cluster, {load}"):
                found.append(spread.measure(load, redis, cluster, effort))
            table.add_row(*spread.row(found[-1]))
    finally:
        cluster.stop()
    console.print(table)
    return [each.record() for each in found]


def _servers(
    console: Console, options: argparse.Namespace, redis: RedisServer, directory: Path
) -> list[dict[str, Any]]:
    scenarios = [
        scenario
        for scenario in server.SCENARIOS
        if (scenario.quick or not options.quick) and _wanted(f"server, {scenario.name}", options.names)
    ]
    if not scenarios:
        return []
    site = server.Site(redis, directory, directory / "db.sqlite3", QUICK_SECONDS if options.quick else SECONDS)
    migrate(site.database)
    records = []
    for scenario in scenarios:
        outcomes = list(_outcomes(console, scenario, site))
        table = server_table(str(scenario))
        for outcome in outcomes:
            table.add_row(*server_row(outcome, outcomes[-1]))
        console.print(table)
        records += [asdict(scenario) | outcome.record() for outcome in outcomes]
    return records


def _outcomes(console: Console, scenario: server.Scenario, site: server.Site) -> Iterator[server.Outcome]:
    """MarketMux first, and last what it is compared with."""
    for system in server.SYSTEMS:
        if system != "plain" or scenario.with_plain:
            with console.status(f"Measuring: {system}, {scenario}"):
                yield server.measure(system, scenario, site)


def _wanted(name: str, names: Sequence[str]) -> bool:
    return not names or any(each.lower() in name.lower() for each in names)


if __name__ == "__main__":
    main()
