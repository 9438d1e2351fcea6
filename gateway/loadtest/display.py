"""The run on a terminal: a progress bar, then a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.loadtest.limits import Part
from gateway.loadtest.options import Options
from gateway.loadtest.report import Cost, Deliveries, Latency, Proof, Report, Step, Subscribers, Ticks

__all__ = ["ConnectProgress", "shared_out", "table"]

Row = tuple[str, str]


class ConnectProgress:
    """A progress bar on stderr while the connections are opened; nothing where stderr is no terminal.

    The bar is gone before the measurement starts: redrawing it would take time from reading.
    """

    def __init__(self, options: Options, wanted: bool = True) -> None:
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._bar = Progress(*columns, console=console, disable=not (wanted and console.is_terminal))
        self._task = self._bar.add_task("Connecting", total=options.connections)
        self._plan = _plan(options)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self) -> None:
        self._bar.advance(self._task)

    def connected(self) -> None:
        self._bar.stop()
        if not self._bar.disable:
            self._bar.console.print(self._plan)


def _plan(options: Options) -> str:
    if not options.rate:
        return f"Listening for {options.seconds:g} s"
    return f"Publishing {options.rate:g} ticks/s for {options.seconds:g} s, then waiting {options.grace:g} s"


def shared_out(parts: Sequence[Part]) -> str:
    """How a run of more clients than one process or address can have is made."""
    first, last = parts[0], parts[-1]
    connections = last.numbers.stop
    addresses = f", from {first.source[0]} to {last.source[0]}" if first.source and last.source else ""
    return f"{connections:,} clients, in {len(parts)} processes of {len(first.numbers):,}{addresses}"


def table(report: Report) -> Table:
    result = Table(title="Load test (interrupted)" if report.interrupted else "Load test", show_header=False)
    result.add_column(style="bold")
    result.add_column(justify="right", overflow="fold")
    # A proof tells what is lost from what was left out, which the count of deliveries cannot.
    deliveries = _deliveries(report.deliveries, _COUNTED if report.proof is None else _PROVEN)
    sections = _subscribers(report.subscribers), _ticks(report.ticks), deliveries, _proof(report.proof)
    for section in (*sections, _latency(report.latency_ms), _steps(report.trace_ms), _cost(report.cost)):
        for name, value in section:
            result.add_row(name, escape(value))
        result.add_section()
    result.add_row("Result", _result(report))
    return result


def _result(report: Report) -> str:
    if not report.ok:
        return "[red]not flawless"
    if report.proof is None:
        return "[green]all delivered, once and in order"
    return "[green]proven: in order, nothing missing without a word, everyone on the last value"


def _subscribers(figures: Subscribers) -> Iterator[Row]:
    yield "Connections opened", f"{figures.opened:,} of {figures.asked:,} in {figures.connect_seconds:.1f} s"
    yield "Refused", _counts(figures.refused)
    yield "Closed during the run (code)", _counts(figures.closed)
    if figures.dropped or figures.returned:
        yield "Dropped, came back, still away", f"{figures.dropped:,}, {figures.returned:,}, {figures.away:,}"
    if figures.rebuffed:
        yield "Refused on their return", _counts(figures.rebuffed)


def _ticks(figures: Ticks | None) -> Iterator[Row]:
    if figures is None:
        yield "Ticks published", "none, listening only"
        return
    yield "Ticks published", f"{figures.published:,} in {figures.seconds:.1f} s"
    yield "Accepted", f"{figures.accepted:,}"
    yield "Refused, unanswered", f"{figures.refused:,}, {figures.unanswered:,}"
    for reason, posts in figures.refusals.items():
        yield "", f"{posts:,} POSTs: {reason}"


_COUNTED = "lost", "out_of_order", "duplicates", "conflated", "foreign", "unasked"
_PROVEN = "foreign", "unasked"


def _deliveries(figures: Deliveries, names: Sequence[str]) -> Iterator[Row]:
    expected = "" if figures.expected is None or "lost" not in names else f" of {figures.expected:,}"
    yield "Deliveries", f"{figures.count:,}{expected}"
    yield "Deliveries per second", f"{figures.per_second:,.0f}"
    for name in names:
        if (value := getattr(figures, name)) is not None:
            yield name.replace("_", " ").capitalize(), f"{value:,}"
    if figures.errors:
        yield "Errors", _counts(figures.errors)


def _proof(figures: Proof | None) -> Iterator[Row]:
    if figures is None:
        return
    yield "Ticks in sequence", f"{figures.ticks:,}"
    yield "Conflated, by reason", _counts(figures.conflated)
    unmeasured = f", and {figures.unmeasured:,} of unknown length" if figures.unmeasured else ""
    yield "Reported gaps", f"{figures.gaps:,}: {figures.missed:,} ticks{unmeasured}"
    if figures.resumed or figures.restarted:
        yield "Resumed, restarted", f"{figures.resumed:,} with {figures.replayed:,} ticks, {figures.restarted:,}"
    yield "Lost without a word", f"{figures.lost:,}"
    yield "Duplicates, reordered", f"{figures.duplicates:,}, {figures.reordered:,}"
    yield "Breaches of the protocol", _counts(figures.breaches)
    yield "Clients not on the last value", figures.unknown or f"{figures.stale:,}"
    if figures.forgotten:
        yield "Accepted last, and not the last", f"{figures.forgotten:,} symbols"
    for example in figures.examples:
        yield "", example


def _latency(figures: Latency) -> Iterator[Row]:
    since = "POST" if figures.since == "post" else "the tick's own timestamp"
    yield f"Latency since {since}", "ms"
    for name in ("p50", "p90", "p99", "p999", "max"):
        value = getattr(figures, name)
        yield name.replace("p999", "p99.9"), "-" if value is None else f"{value:,.2f}"


def _steps(steps: Sequence[Step]) -> Iterator[Row]:
    if steps:
        yield "Where it goes", "p50 / p99 ms"
    for step in steps:
        yield (
            f"{step.begin} to {step.end}",
            " / ".join("-" if ms is None else f"{ms:,.2f}" for ms in (step.p50, step.p99)),
        )


def _cost(figures: Cost) -> Iterator[Row]:
    share = figures.run_cpu_seconds / figures.run_seconds
    room = min(figures.processes, os.cpu_count() or 1)
    busy = " - too busy for its latencies to mean much" if share > 0.9 * room else ""
    yield "Generator's own CPU", f"{figures.run_cpu_seconds:.2f} s, {share:.0%} of a core{busy}"
    if figures.microseconds_per_delivery is not None:
        yield "Per delivery", f"{figures.microseconds_per_delivery:.1f} µs"


def _counts(counts: Mapping[str, int] | Mapping[int, int]) -> str:
    return ", ".join(f"{count:,} x {what}" for what, count in counts.items()) or "0"
