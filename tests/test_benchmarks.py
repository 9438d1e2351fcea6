"""The benchmarks still run: every part once with tiny sizes, and all that is computed or drawn from figures.

What is measured here means nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.benchmarks import capacity, picture, sockets, spread
from tests.benchmarks.bus import memory_benchmarks, redis_benchmarks
from tests.benchmarks.capacity import MEASURED, SHAPES, Fit, Limits, Load, Point, RedisCosts, needs
from tests.benchmarks.codec import BENCHMARKS as CODEC
from tests.benchmarks.display import duration, micro_row, server_row
from tests.benchmarks.fanout import BENCHMARKS as FANOUT
from tests.benchmarks.measure import Benchmark, Effort, Unfinished, finished, run
from tests.benchmarks.server import SCENARIOS, Outcome, Scenario
from tests.cluster import RedisCluster
from tests.servers import RedisServer

TINY = Effort(repeats=1, seconds=0.0, share=0.02)


def compare_run(us: float, clients: int, subscribers: int, batch: int, lost: float = 0.0) -> dict[str, Any]:
    """A system's figures of a scenario, as compare.py writes them."""
    ticks = 1_000
    return {
        "us_per_delivery": us,
        "us_per_connect": 400.0,
        "kb_per_conn": 20.0,
        "lost_pct": lost,
        "rounds": [
            {
                "conns": clients,
                "ticks": ticks,
                "posts": ticks // batch,
                "ticks_per_s": ticks / 8,
                "expected": ticks * subscribers,
            }
        ],
    }


COMPARED = {
    "one": {"marketmux": compare_run(5.0, 1_000, 1_000, 1), "go": compare_run(7.0, 1_000, 1_000, 1)},
    "busy": {"marketmux": compare_run(1.2, 500, 100, 50), "go": compare_run(2.5, 500, 100, 50, lost=22.0)},
}


@pytest.mark.parametrize(
    "benchmark", [*FANOUT, *sockets.benchmarks(), *CODEC, *memory_benchmarks()], ids=lambda each: each.name
)
def test_every_part_can_be_measured(benchmark: Benchmark) -> None:
    result = run(benchmark, TINY)
    assert result.wall.median > 0
    assert result.name in micro_row(result)


def test_every_part_that_needs_redis_can_be_measured(shared_redis: RedisServer) -> None:
    for benchmark in redis_benchmarks(shared_redis):
        assert run(benchmark, TINY).wall.median > 0


def test_the_spread_over_a_cluster_can_be_measured(shared_redis: RedisServer, shared_cluster: RedisCluster) -> None:
    for load in spread.LOADS:
        found = spread.measure(load, shared_redis, shared_cluster, TINY)
        assert len(found.primaries) == 3
        assert load in spread.row(found)


def test_the_busiest_primary_counts() -> None:
    assert spread.Spread("single ticks", 10_000, [3_000, 4_000, 2_000], 1, 1).share == pytest.approx(0.4)


def test_work_that_got_lost_is_no_figure() -> None:
    with pytest.raises(Unfinished, match="99 of 100"):
        finished(100, 99)


def test_durations_have_three_digits() -> None:
    assert [duration(value) for value in (7.4, 1_234, 12_345, 123_456)] == ["7 ns", "1.23 µs", "12.3 µs", "123 µs"]


def test_a_server_is_shown_with_its_part_of_the_baselines_cost() -> None:
    ours = Outcome("marketmux", "hot", 0.2, 10.0, 46.0, 25_000, 0, 3, 8, 350, 20.5, 80)
    plain = replace(ours, system="plain", cpu_per_delivery=200.0)
    assert "1/20" in server_row(ours, plain)
    assert "1/1" not in server_row(plain, plain)


def test_two_costs_are_found_again_in_what_they_make() -> None:
    ways = ((1.0, 1_000.0, 1.0), (0.2, 100.0, 10.0), (0.2, 100.0, 50.0), (1.0, 100.0, 100.0))
    free = replace(MEASURED, post_us=0.0, batch_us=0.0, bus_us=0.0, upkeep_us=0.0)
    points = tuple(
        Point("made", share, subscribers, 100.0, batch, 4.0 / capacity.ticks_per_write(share, batch) + 0.25)
        for share, subscribers, batch in ways
    )
    fit = Fit.to(replace(free, points=points))
    assert (fit.write_us, fit.tick_us, fit.error) == pytest.approx((4.0, 0.25, 1.0))


def test_points_that_are_mostly_ingest_say_nothing() -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        Fit.to(replace(MEASURED, points=(Point("one", 1.0, 1, 50, 1, MEASURED.post_us),) * 3))


def test_more_clients_need_more_and_a_linger_makes_a_delivery_cheaper() -> None:
    few, many = needs(Load(10_000)), needs(Load(1_000_000))
    assert few.workers is not None
    assert many.workers is not None
    assert few.workers < many.workers
    assert few.memory_gb < many.memory_gb
    assert needs(Load(10_000, linger_ms=100)).delivery_us < few.delivery_us


def test_workers_keep_to_the_limits() -> None:
    need = needs(Load(100_000, symbols=1, per_client=1, rate=10, batch=1), limits=Limits(use=0.5, pass_ms=20))
    assert need.workers is not None
    assert need.cores <= 0.5 * need.workers
    assert need.pass_ms <= 20


def test_a_bus_that_no_worker_can_read_is_said_to_be_too_much() -> None:
    assert needs(Load(1_000, symbols=1, per_client=1, rate=1e6, batch=1_000)).workers is None


def test_what_redis_spends_is_found_again_in_the_shapes_of_batches() -> None:
    costs = RedisCosts(call_us=20.0, symbol_us=4.0, tick_us=0.5, listener_us=0.3)
    alone, ten, hundred = (costs.per_post(*shape) / shape[0] for shape in ((1, 1), (10, 10), (100, 1)))
    assert RedisCosts.of(alone, ten, hundred, ten + 8 * 0.3) == costs


def test_single_ticks_are_dearer_for_redis_than_batches_and_what_limits_first_is_said() -> None:
    single, ten = (needs(Load(1_000, rate=10_000, batch=batch)) for batch in (1, 10))
    assert single.redis_cores > 2 * ten.redis_cores
    assert needs(Load(10, symbols=10, per_client=1, rate=40_000, batch=1)).first == "Redis"
    assert needs(Load(1_000_000, symbols=1, per_client=1, rate=0.1, batch=1)).first == "pass"


def test_the_capacity_table_comes_after_its_assumptions(capsys: pytest.CaptureFixture[str]) -> None:
    capacity.main(["--clients", "10000", "--rate", "100", "1000000"])
    printed = capsys.readouterr().out
    assert printed.index("A write to a client costs") < printed.index("10,000")


def test_the_costs_can_be_taken_from_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "compare.json"
    file.write_text(json.dumps(COMPARED))
    capacity.main(["--compare", str(file), "--source"])
    source = capsys.readouterr().out.removeprefix("MEASURED: Final = ")
    measured = eval(source, vars(capacity))  # noqa: S307 - what is to be pasted into the file
    assert measured.points == (Point("one", 1.0, 1_000, 125, 1, 5.0), Point("busy", 0.2, 100, 125, 50, 1.2))
    assert measured.accept_us == 400.0


def test_the_costs_can_be_taken_from_the_benchmarks() -> None:
    names = [each.name for each in (*CODEC, *memory_benchmarks())]
    names += ["from Redis through the listener to the tap"]
    names += [f"Redis's own CPU, {shape}" for shape in SHAPES]
    idle = next(each for each in SCENARIOS if not each.rate)
    measured = capacity.from_bench(
        {
            "parts": [{"name": name, "cpu": {"median": 2_000.0}} for name in names],
            "servers": [
                *(server_record(scenario) for scenario in SCENARIOS),
                server_record(idle) | {"workers": 8, "rest_us": 17_000.0, "redis_rest_us": 2_200.0},
            ],
        }
    )
    assert (measured.worker_us, measured.redis_own_us, measured.redis_worker_us) == (2_000.0, 1_400.0, 100.0)
    assert measured.bus_us == 6.0
    assert measured.redis == RedisCosts(call_us=0.0, symbol_us=0.0, tick_us=2.0, listener_us=0.0)
    assert [point.name for point in measured.points] == ["crowd", "hot", "mixed", "burst"]


def server_record(scenario: Scenario) -> dict[str, Any]:
    return {
        "system": "marketmux",
        "scenario": scenario.name,
        "clients": scenario.clients,
        "symbols": scenario.symbols,
        "per_client": scenario.per_client,
        "rate": scenario.rate,
        "batch": scenario.batch,
        "cores": 0.1,
        "cpu_per_delivery": 8.0,
        "cpu_per_connection": 350.0,
        "kb_per_connection": 20.0,
        "process_mb": 90.0,
        "rest_us": 3_000.0,
        "redis_rest_us": 1_500.0,
    }


def test_the_picture_shows_every_system_and_what_was_lost() -> None:
    drawn = picture.picture(picture.samples([COMPARED]))
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"MarketMux", "Go", "22% lost", "one, 1,000 clients"} <= texts
    assert "prefers-color-scheme:dark" in drawn


def test_the_pictures_axes_are_logarithmic() -> None:
    axis = picture.Axis([20, 3_000], 0.0, 300.0)
    assert [round(axis(value)) for value in (10, 100, 10_000)] == [0, 100, 300]
    assert math.isclose(axis(1_000) - axis(100), axis(100) - axis(10))


def test_a_picture_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no measured system"):
        picture.picture([])
