"""``manage.py export_ticks``: recorded ticks as CSV, oldest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ticks.exporting import HEAD, as_csv, chosen
from ticks.management.keys import past


class Command(BaseCommand):
    help = "Prints recorded ticks as CSV, oldest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--symbol", help="only ticks of this symbol")
        parser.add_argument("--since", metavar="WHEN", type=past, help="24h, 30d, or a time such as 2027-01-31")
        parser.add_argument("--until", metavar="WHEN", type=past, help="the same")

    def handle(self, *, symbol: str | None, since: datetime | None, until: datetime | None, **_: Any) -> None:
        self.stdout.write(HEAD, ending="")
        for rows in as_csv(chosen(symbol, since, until)):
            self.stdout.write(rows, ending="")
