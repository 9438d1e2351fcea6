"""``manage.py clients``: who is connected to any worker of any gateway on the bus."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
from django.core.management.base import BaseCommand, CommandParser

from gateway.edge import roster
from gateway.edge.roster import Roster
from gateway.edge.staff import answer
from gateway.management.office import ask, show

_HEAD: Final = ("who", "address", "age", "does", "symbols", "max rate", "behind", "skipped", "MB", "worker")


class Command(BaseCommand):
    help = "Lists who is connected to any worker of any gateway on the bus."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("wanted", nargs="?", default="", help="part of a key's name, of a user's or of an address")
        parser.add_argument("--json", action="store_true", help="print what GET /api/v1/connections answers")

    def handle(self, *, wanted: str, json: bool, **_: Any) -> None:
        async def asked() -> Roster:
            return await roster.ask(None, wanted)

        found = ask(asked)
        if json:
            self.stdout.write(msgspec.json.encode(answer(found)).decode())
            return
        now = time.time()
        title = (
            f"{found.connections:,} connections on {found.workers} workers: {found.publishers:,} publish, "
            f"{found.behind:,} are behind"
        )
        show(title, _HEAD, [_row(row, now) for row in found.rows])
        if found.matching > len(found.rows):
            self.stdout.write(f"And {found.matching - len(found.rows):,} more: name those you look for.")


def _row(row: dict[str, Any], now: float) -> tuple[object, ...]:
    return (
        row["who"],
        row["address"],
        f"{now - row['since']:,.0f} s",
        "publishes" if row["publishes"] else "subscribes",
        " ".join([f"{row['symbols']:,}", *row["named"]]),
        "every tick" if row["max_rate"] is None else f"{row['max_rate']:g}/s",
        "behind" if row["behind"] else "no",
        f"{row['skipped']:,}",
        "-" if row["bytes"] is None else f"{row['bytes'] / 1e6:,.1f}",
        row["worker"],
    )
