"""``manage.py seed_instruments``: a couple of dozen instruments to start with."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from ticks.feed import LISTINGS
from ticks.models import Instrument


def seed() -> int:
    """Adds the instruments that are missing, leaves the others as they are, and returns how many it added."""
    present = set(Instrument.objects.values_list("symbol", flat=True))
    missing = [Instrument(symbol=item.symbol, name=item.name) for item in LISTINGS if item.symbol not in present]
    # Another process may be seeding at the same time.
    Instrument.objects.bulk_create(missing, ignore_conflicts=True)
    return len(missing)


class Command(BaseCommand):
    help = "Adds the instruments of the mock market that are not in the database yet."

    def handle(self, **_: Any) -> None:
        self.stdout.write(f"Added {seed()} instruments; there are {Instrument.objects.count()}.")
