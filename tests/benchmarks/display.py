"""Figures as tables in a terminal."""

from __future__ import annotations

from rich.table import Table

from tests.benchmarks.measure import Effort, Figure, Result
from tests.benchmarks.server import Outcome

__all__ = ["duration", "micro_row", "micro_table", "server_row", "server_table"]


def micro_table(effort: Effort) -> Table:
    table = Table(
        title=f"Parts: time per unit, median of {effort.repeats} x {effort.seconds:g} s (lowest to highest)",
        title_justify="left",
    )
    table.add_column("benchmark", overflow="fold")
    table.add_column("unit")
    for heading in ("CPU", "", "wall", "per second"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def micro_row(result: Result) -> tuple[str, ...]:
    return (
        result.name,
        result.unit,
        duration(result.cpu.median),
        _spread(result.cpu),
        duration(result.wall.median),
        f"{1e9 / result.wall.median:,.0f}",
    )


def duration(nanoseconds: float) -> str:
    """With three digits that count."""
    if nanoseconds < 1_000:
        return f"{nanoseconds:.0f} ns"
    microseconds = nanoseconds / 1_000
    return f"{microseconds:.{2 if microseconds < 10 else 1 if microseconds < 100 else 0}f} µs"


def _spread(figure: Figure) -> str:
    return f"{figure.lowest / figure.median - 1:+.0%} {figure.highest / figure.median - 1:+.0%}"


def server_table(scenario: str) -> Table:
    table = Table(title=scenario, title_justify="left")
    table.add_column("server")
    for heading in (
        "µs/delivery",
        "",
        "Redis µs/tick",
        "deliveries/s",
        "lost",
        "cores",
        "p50 ms",
        "p99 ms",
        "µs/client",
        "KB/client",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def server_row(outcome: Outcome, baseline: Outcome) -> tuple[str, ...]:
    return (
        outcome.system,
        _number(outcome.cpu_per_delivery, 2),
        _ratio(outcome.cpu_per_delivery, baseline.cpu_per_delivery) if outcome is not baseline else "",
        _number(outcome.redis_per_tick, 1),
        f"{outcome.deliveries_per_second:,.0f}",
        f"{outcome.lost_share:.1%}",
        f"{outcome.cores:.2f}",
        _number(outcome.p50, 1),
        _number(outcome.p99, 1),
        _number(outcome.cpu_per_connection, 0),
        _number(outcome.kb_per_connection, 1),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _ratio(value: float | None, baseline: float | None) -> str:
    return f"1/{baseline / value:.0f}" if value and baseline else ""
