"""What a soak found, as a table."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from tests.soak.gauges import MB, MEMORY, Gauge
from tests.soak.soak import Outcome

__all__ = ["summary"]


def summary(outcome: Outcome) -> Group:
    return Group(_gauges(outcome), _figures(outcome))


def _gauges(outcome: Outcome) -> Table:
    table = Table(
        title=f"Soak of {outcome.seconds / 60:g} minutes: what the gateway holds, before clients came to after they left"
    )
    table.add_column("gauge", style="bold", no_wrap=True)
    for heading in ("before", "first third", "last third", "after"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for gauge in outcome.gauges:
        values = (_value(gauge, value) for value in (gauge.before, gauge.first, gauge.last, gauge.after))
        table.add_row(gauge.name, *values, _verdict(gauge))
    return table


def _value(gauge: Gauge, value: float) -> str:
    return f"{value / MB:,.1f} MB" if gauge.name == MEMORY else f"{value:,.0f}"


def _verdict(gauge: Gauge) -> str:
    if gauge.grew:
        return "[red]grew"
    return "[red]left behind" if gauge.stayed else "[green]ok"


def _figures(outcome: Outcome) -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in outcome.figures.items():
        table.add_row(name, escape(value))
    table.add_section()
    for problem in outcome.problems:
        table.add_row("[red]Problem", escape(problem))
    table.add_row(
        "Result", "[red]failed" if outcome.problems else "[green]nothing grew, and nothing got lost without a word"
    )
    return table
