"""``manage.py prune_ticks``: deletes recorded ticks that are older than so many days."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from ticks.management.keys import duration
from ticks.retention import prune


class Command(BaseCommand):
    help = "Deletes recorded ticks that are older than a length of time: in slices, so that recording goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", metavar="LENGTH", type=duration, required=True, help="30d, 24h, 2w")
        parser.add_argument("--seconds", type=float, default=None, help="how long it may take; the rest stays")

    def handle(self, *, older_than: timedelta, seconds: float | None, **_: Any) -> None:
        pruned = prune(timezone.now() - older_than, seconds)
        self.stdout.write(f"Deleted {pruned:,} recorded ticks.")
