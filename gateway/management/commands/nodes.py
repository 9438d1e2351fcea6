"""``manage.py nodes``: all workers of all gateways on the bus, with their figures."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.core.management.base import BaseCommand, CommandParser

from gateway.edge import picture
from gateway.edge.picture import Picture
from gateway.edge.reports import Worker
from gateway.management.office import ask, show

_HEAD: Final = (
    *("node", "worker", "version", "up", "cpu", "lag ms", "clients", "ticks/s in", "delivered/s", "behind", "skipped"),
    *("gaps", "refused"),
)


class Command(BaseCommand):
    help = "Shows all workers of all gateways on the bus, what they do, and which clients are behind."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print what GET /api/v1/nodes answers")

    def handle(self, *, json: bool, **_: Any) -> None:
        seen = ask(_seen)
        if json:
            self.stdout.write(msgspec.json.encode(seen).decode())
            return
        show(f"{len(seen.workers)} workers on {seen.nodes} nodes", _HEAD, [_row(seen, one) for one in seen.workers])
        if seen.hot:
            show("Hot symbols", ("symbol", "ticks/s"), [(hot.symbol, f"{hot.rate:,.1f}") for hot in seen.hot])
        if seen.slow:
            head = ("who", "address", "symbols", "behind for s", "skipped", "worker")
            rows = [(one.who, one.address, one.symbols, one.seconds, one.skipped, one.worker) for one in seen.slow]
            show("Clients that are behind", head, rows)


async def _seen() -> Picture:
    return picture.draw(await picture.told(), is_whole=True)


def _row(seen: Picture, one: Worker) -> tuple[object, ...]:
    return (
        *(
            one.node,
            f"{one.worker} ({one.pid})",
            one.version,
            f"{seen.at - one.started:,.0f} s",
            f"{one.cpu:.0%}",
            one.lag_ms,
        ),
        *(f"{one.connections + one.publishers:,}", f"{one.ticks_per_second:,.0f}", f"{one.delivered_per_second:,.0f}"),
        *(one.behind, f"{one.skipped:,}", one.gaps, sum(one.refused.values())),
    )
