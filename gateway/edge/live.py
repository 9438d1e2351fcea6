"""The live picture of all gateways on the admin's front page: for the page, and for the script that renews it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from gateway.edge import picture
from gateway.edge.picture import Picture
from gateway.edge.reports import Worker
from gateway.edge.staff import SEES_CONNECTIONS
from ticks.admin import length

__all__ = ["context", "live", "staff_live"]

_WIDTH, _HEIGHT = 120, 28
"""Of a sparkline."""


class Tile(NamedTuple):
    """A figure, and its last minutes as the points of a line."""

    name: str
    figure: str
    points: str = ""
    is_bad: bool = False


class Row(NamedTuple):
    """A worker in the table."""

    worker: Worker
    uptime: str
    memory: str
    refused: int
    points: str


def live(request: HttpRequest) -> HttpResponse:
    """The picture of now, alone."""
    return TemplateResponse(request, "gateway/live.html", context(request))


staff_live: Final = admin.site.admin_view(live)


def context(request: HttpRequest) -> dict[str, Any]:
    """What the template is given."""
    seen = async_to_sync(picture.take)()
    user: Any = request.user
    return {
        "seen": seen,
        "tiles": list(_tiles(seen)),
        "rows": [_row(seen, worker) for worker in seen.workers],
        "refused": sorted(seen.totals.refused.items(), key=lambda item: -item[1]),
        "hottest": max((hot.rate for hot in seen.hot), default=1.0),
        "sees_connections": user.has_perm(SEES_CONNECTIONS),
    }


def _tiles(seen: Picture) -> Iterable[Tile]:
    totals, history = seen.totals, seen.totals.history
    yield Tile("Clients", f"{totals.connections:,}", _points(history["connections"]))
    yield Tile("Publishers", f"{totals.publishers:,}")
    yield Tile("Ticks/s in", _rate(totals.ticks_per_second), _points(history["ticks_per_second"]))
    yield Tile("Deliveries/s", _rate(totals.delivered_per_second), _points(history["delivered_per_second"]))
    yield Tile("Behind", f"{totals.behind:,}", _points(history["behind"]), totals.behind > 0)
    skipped = _points(history["skipped_per_second"])
    yield Tile("Skipped/s", _rate(totals.skipped_per_second), skipped, totals.skipped_per_second > 0)
    yield Tile("Gaps", f"{totals.gaps:,}", is_bad=totals.gaps > 0)
    yield Tile("Lag", f"{totals.lag_ms:,.0f} ms", _points(history["lag_ms"]), totals.lag_ms > 250)


def _row(seen: Picture, worker: Worker) -> Row:
    return Row(
        worker,
        uptime=length(seen.at - worker.started),
        memory=f"{worker.memory_bytes / 2**20:,.0f} MB",
        refused=sum(worker.refused.values()),
        points=_points(worker.history.get("delivered_per_second", [])),
    )


def _points(values: Sequence[float]) -> str:
    """A line through values, the highest at the top; none of fewer than two."""
    if len(values) < 2:
        return ""
    highest = max(values) or 1.0
    step = _WIDTH / (len(values) - 1)
    return " ".join(
        f"{number * step:.1f},{_HEIGHT - 1 - value / highest * (_HEIGHT - 2):.1f}"
        for number, value in enumerate(values)
    )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"
