"""Draws docs/images/cost.svg: CPU per delivery against the tick rate, for each system that was measured.

    .venv/bin/python -m tests.benchmarks.picture compare.json [more.json ...] [--out docs/images/cost.svg]

Takes what ``compare.py --json`` wrote. Of a scenario that is in several files the last one counts. Both axes are
logarithmic; colours follow the reader's light or dark scheme.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from tests.servers import ROOT

__all__ = ["Sample", "picture", "samples"]


@dataclass(frozen=True, slots=True)
class Sample:
    """``rate`` in ticks a second, ``us`` of CPU per delivery; ``lost`` is the share of deliveries that never came."""

    system: str
    scenario: str
    clients: int
    rate: float
    us: float
    lost: float


@dataclass(frozen=True, slots=True)
class System:
    name: str
    light: str
    dark: str


SYSTEMS: Final = {
    "marketmux": System("MarketMux", "#0b62c4", "#5aa9ff"),
    "daphne": System("MarketMux on daphne", "#7a3fb0", "#c38bf5"),
    "go": System("Go", "#0a7a54", "#3fcf98"),
    "stock": System("plain Channels", "#c02f2f", "#ff8078"),
    "floor": System("C, send() only", "#6b6b6b", "#a8a8a8"),
}

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 58, 88
LOST_SHOWN: Final = 0.001
"""From this share on a loss is drawn: such a delivery is cheap because others were not made."""
LABEL_GAP: Final = 17.0
SCENARIO_GAP: Final = 120.0


def samples(records: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """What was measured; the rate is the one at which ticks were published."""
    merged: dict[tuple[str, str], Sample] = {}
    for record in records:
        for scenario, systems in record.items():
            for system, run in systems.items():
                if run.get("us_per_delivery"):
                    merged[scenario, system] = _sample(scenario, system, run)
    return list(merged.values())


def _sample(scenario: str, system: str, run: Mapping[str, Any]) -> Sample:
    first = run["rounds"][0]
    rate = float(f"{first['ticks_per_s']:.2g}")  # what was asked for, where it was kept to
    return Sample(system, scenario, first["conns"], rate, run["us_per_delivery"], max(0.0, run["lost_pct"] / 100))


class Axis:
    """Maps values to pixels, logarithmically, over whole decades."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(self._low + 1, math.ceil(math.log10(max(values))))
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    @property
    def decades(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]

    @property
    def minor(self) -> list[float]:
        return [decade * step for decade in self.decades[:-1] for step in range(2, 10)]


def picture(points: Sequence[Sample]) -> str:
    """The SVG; ``ValueError`` if there is nothing to draw."""
    if not points:
        raise ValueError("no measured system in these files")
    x = Axis([point.rate for point in points], LEFT, WIDTH - RIGHT)
    y = Axis([point.us for point in points], HEIGHT - BOTTOM, TOP)
    systems = [name for name in SYSTEMS if any(point.system == name for point in points)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">',
        '<title id="t">CPU per delivery against tick rate</title>',
        f'<desc id="d">{escape(_description(points, systems))}</desc>',
        f"<style>{_style(systems)}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        *_frame(x, y),
        *_scenarios(points, x),
    ]
    for name in systems:
        lines += _series(name, [point for point in points if point.system == name], x, y)
    lines += [*_legend(points, systems, x, y), "</svg>", ""]
    return "\n".join(lines)


def _style(systems: Iterable[str]) -> str:
    light = "".join(_colour(name, SYSTEMS[name].light) for name in systems)
    dark = "".join(_colour(name, SYSTEMS[name].dark) for name in systems)
    return (
        "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#24292f}.title{font-size:16px;font-weight:600}"
        ".small{font-size:11px;fill:#57606a}.paper{fill:#fff}.major{stroke:#c4cad1}.minor{stroke:#edeff2}"
        ".line{fill:none;stroke-width:2.2;stroke-linejoin:round}.hollow{fill:#fff;stroke-width:2.2}"
        f"{light}"
        "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9aa4af}.paper,.hollow{fill:#0d1117}"
        f".major{{stroke:#3d444d}}.minor{{stroke:#1d232b}}{dark}}}"
    )


def _colour(name: str, colour: str) -> str:
    return f".{name}{{stroke:{colour}}}circle.dot.{name},text.{name}{{fill:{colour};stroke:none}}"


def _frame(x: Axis, y: Axis) -> Iterator[str]:
    yield f'<text class="title" x="{LEFT}" y="26">CPU per delivery against tick rate</text>'
    yield f'<text class="small" x="{LEFT}" y="44">µs of server CPU, ingest included; both axes logarithmic; less is better</text>'
    for value in x.minor:
        yield _line("minor", x(value), y(y.decades[0]), x(value), y(y.decades[-1]))
    for value in y.minor:
        yield _line("minor", x(x.decades[0]), y(value), x(x.decades[-1]), y(value))
    for value in x.decades:
        yield _line("major", x(value), y(y.decades[0]), x(value), y(y.decades[-1]))
        yield _text(x(value), y(y.decades[0]) + 18, f"{value:,.0f}", anchor="middle")
    for value in y.decades:
        yield _line("major", x(x.decades[0]), y(value), x(x.decades[-1]), y(value))
        yield _text(LEFT - 8, y(value) + 4, f"{value:,g}", anchor="end")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "ticks per second, over all symbols", anchor="middle")


def _scenarios(points: Sequence[Sample], x: Axis) -> Iterator[str]:
    """The name of each scenario under its rate, with its clients; a row lower where the last one is too near."""
    seen = {point.scenario: point for point in points}
    last, row = -math.inf, 0
    for point in sorted(seen.values(), key=lambda each: each.rate):
        row = 1 - row if x(point.rate) - last < SCENARIO_GAP else 0
        last = x(point.rate)
        label = f"{point.scenario}, {point.clients:,} clients"
        yield _text(last, HEIGHT - BOTTOM + 35 + 15 * row, label, "small", "middle")


def _series(name: str, points: Sequence[Sample], x: Axis, y: Axis) -> Iterator[str]:
    ordered = sorted(points, key=lambda point: point.rate)
    path = " ".join(f"{x(point.rate):.1f},{y(point.us):.1f}" for point in ordered)
    yield f'<polyline class="line {name}" points="{path}"/>'
    for point in ordered:
        yield from _dot(name, point, x(point.rate), y(point.us))


def _dot(name: str, point: Sample, left: float, top: float) -> Iterator[str]:
    lost = f", {point.lost:.0%} lost" if point.lost >= LOST_SHOWN else ""
    hint = f"{SYSTEMS[name].name}, {point.scenario}: {point.us:.2f} µs{lost}"
    kind = "hollow" if lost else "dot"
    yield f'<circle class="{kind} {name}" cx="{left:.1f}" cy="{top:.1f}" r="4.5"><title>{escape(hint)}</title></circle>'
    if lost:
        near_edge = left > WIDTH - RIGHT - 30
        yield _text(left, top - 10, f"{point.lost:.0%} lost", f"small {name}", "end" if near_edge else "middle")


def _legend(points: Sequence[Sample], systems: Sequence[str], x: Axis, y: Axis) -> Iterator[str]:
    """Each system's name where its line ends; moved down where the one above would be too near."""
    ends = {name: max((p for p in points if p.system == name), key=lambda p: p.rate) for name in systems}
    top = -math.inf
    for name in sorted(systems, key=lambda each: -ends[each].us):
        top = max(top + LABEL_GAP, y(ends[name].us))
        yield _text(x(ends[name].rate) + 12, top + 4, SYSTEMS[name].name, name)


def _description(points: Sequence[Sample], systems: Iterable[str]) -> str:
    def of(name: str) -> str:
        return ", ".join(f"{p.us:.2f} µs at {p.rate:,.0f} ticks/s" for p in points if p.system == name)

    return "; ".join(f"{SYSTEMS[name].name}: {of(name)}" for name in systems)


def _line(kind: str, *ends: float) -> str:
    x1, y1, x2, y2 = ends
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(left: float, top: float, text: str, kind: str = "", anchor: str = "start") -> str:
    attributes = f' class="{kind}"' if kind else ""
    return f'<text{attributes} x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.picture", description="Draws docs/images/cost.svg."
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="JSON", help="what compare.py --json wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "cost.svg")
    options = parser.parse_args(arguments)
    options.out.write_text(picture(samples(json.loads(file.read_text()) for file in options.files)))


if __name__ == "__main__":
    main()
