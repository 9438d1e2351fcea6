"""The model of capacity.py held against runs: predicted first, and then measured.

    python -m tests.benchmarks.predicted [--gateways 2 4 6] [--hundred hundred.json]

The costs are measured on this machine a moment before: parts, and one gateway with small loads. From these alone the
model says what gateways that share a Redis will need, and then that is run, at a load that leaves every core idle for the
most part. ``--hundred`` adds what ``python -m tests.benchmarks.hundred --json`` wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from tests.benchmarks import bus, codec, server  # noqa: E402
from tests.benchmarks.capacity import Load, Measured, from_bench, needs  # noqa: E402
from tests.benchmarks.measure import FULL, run  # noqa: E402
from tests.servers import RedisServer, migrate  # noqa: E402

INPUTS: Final = ("crowd", "hot", "mixed", "burst", "posts", "stream", "idle")
MANY: Final = 8
"""Workers that rest, so that what each of them asks of Redis can be told."""
PARTS: Final = ("Redis's own CPU", "to the tap", "from_message", "tick_frame")

TRIAL: Final = server.Scenario(
    "trial", clients=300, symbols=100, per_client=20, rate=500, batch=10, with_plain=False, seconds=8.0
)
"""30,000 deliveries a second, whatever the number of gateways."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was predicted and what came."""

    what: str
    unit: str
    predicted: float
    measured: float

    @property
    def off(self) -> float:
        return self.predicted / self.measured - 1 if self.measured else 0.0


def inputs(site: server.Site) -> dict[str, Any]:
    """The costs, as ``python -m tests.benchmarks --json`` writes them."""
    parts = [*codec.BENCHMARKS, *bus.redis_benchmarks(site.redis)]
    scenarios = [each for each in server.SCENARIOS if each.name in INPUTS]
    more = {"mixed": 2, "idle": MANY}
    runs = [(each, 1) for each in scenarios] + [(each, more[each.name]) for each in scenarios if each.name in more]
    return {
        "parts": [run(part, FULL).record() for part in parts if any(name in part.name for name in PARTS)],
        "servers": [
            asdict(each) | {"workers": workers} | server.measure("marketmux", each, site, workers).record()
            for each, workers in runs
        ],
    }


def gateways(count: int, site: server.Site, measured: Measured) -> Iterator[Figure]:
    """So many workers, each with its own connections to Redis and its share of the clients."""
    load = Load(TRIAL.clients, symbols=TRIAL.symbols, per_client=TRIAL.per_client, rate=TRIAL.rate, batch=TRIAL.batch)
    need = needs(load, measured, workers=count)
    name = f"{count} gateways"
    found = server.measure("marketmux", TRIAL, site, count)
    assert found.cpu_per_delivery is not None
    assert found.redis_per_tick is not None
    yield Figure(f"{name}: CPU of all", "µs a delivery", need.cores / load.deliveries * 1e6, found.cpu_per_delivery)
    yield Figure(f"{name}: Redis's CPU", "µs a tick", need.redis_cores / load.rate * 1e6, found.redis_per_tick)
    kb_per_client = (found.kb_per_connection or 0.0) * TRIAL.clients / 1024
    memory_mb = count * measured.process_mb + TRIAL.clients * measured.client_kb / 1024
    yield Figure(f"{name}: memory", "MB", memory_mb, found.process_mb + kb_per_client)


def hundred(record: Mapping[str, Any], measured: Measured) -> Iterator[Figure]:
    """The runs of a hundred thousand clients."""
    crowded = record["crowded"]
    clients, workers = crowded["clients"], crowded["workers"]
    name = f"{clients:,} clients"
    idle = (workers * measured.worker_us + clients * measured.upkeep_us) / 1e6
    yield Figure(f"{name}: to accept one", "µs", measured.accept_us, crowded["connect_us"])
    yield Figure(f"{name}: in the workers", "KB a client", measured.client_kb, crowded["process_kb"])
    yield Figure(f"{name}: in the kernel, both ends", "KB a client", 2 * measured.kernel_kb, crowded["kernel_kb"])
    yield Figure(f"{name}: idle", "cores", idle, crowded["busy"])
    symbols = record["symbols"]
    for rate in record["rates"]:
        batch = min(record["batch"], symbols)
        load = Load(clients, symbols=symbols, per_client=1, rate=rate["rate"], batch=batch)
        need = needs(load, measured, workers=workers)
        what = f"{name} of {symbols:,} symbols, {rate['rate']:,.0f} ticks/s"
        yield Figure(f"{what}: CPU", "µs a delivery", need.cores / load.deliveries * 1e6, rate["us"])
        yield Figure(f"{what}: Redis", "µs a tick", need.redis_cores / load.rate * 1e6, rate["redis_us"])


def table(figures: Sequence[Figure]) -> Table:
    result = Table("", "unit")
    for heading in ("predicted", "measured", "off by"):
        result.add_column(heading, justify="right")
    for each in figures:
        result.add_row(each.what, each.unit, f"{each.predicted:,.3g}", f"{each.measured:,.3g}", f"{each.off:+.0%}")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    with tempfile.TemporaryDirectory(prefix="marketmux-predicted-") as name:
        directory = Path(name)
        redis = RedisServer(directory)
        redis.start()
        try:
            site = server.Site(redis, directory, directory / "db.sqlite3", options.seconds)
            migrate(site.database)
            record = json.loads(options.inputs.read_text()) if options.inputs else inputs(site)
            if options.json:
                options.json.write_text(json.dumps(record))
            measured = from_bench(record)
            figures = [figure for count in options.gateways for figure in gateways(count, site, measured)]
        finally:
            redis.stop()
    for file in options.hundred:
        figures += hundred(json.loads(file.read_text()), measured)
    console.print(measured)
    console.print(table(figures))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.predicted", description=__doc__)
    add = parser.add_argument
    add("--gateways", type=int, nargs="*", default=[2, 4, 6], metavar="N")
    add("--seconds", type=float, default=5.0, help="of each run that measures the costs")
    add("--hundred", type=Path, nargs="*", default=[], metavar="FILE")
    add("--json", type=Path, metavar="FILE", help="write the costs there, as the benchmarks do")
    add("--inputs", type=Path, metavar="FILE", help="take the costs from there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
