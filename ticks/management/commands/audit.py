"""``manage.py audit``: the audit log, oldest first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ticks.access.export import FORMATS, instant_text, pages
from ticks.access.models import AuditEntry
from ticks.management.keys import past, printable


class Command(BaseCommand):
    help = "Prints the audit log, oldest first: who made, changed, revoked and cut what."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", metavar="WHEN", type=past, help="24h, 30d, or a time such as 2027-01-31")
        parser.add_argument("--until", metavar="WHEN", type=past, help="the same")
        for name in ("actor", "action", "subject"):
            parser.add_argument(f"--{name}", help=f"only entries whose {name} contains this")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print an object a line")
        form.add_argument("--csv", action="store_true", help="print a table for spreadsheets")

    def handle(self, *, json: bool, csv: bool, **options: Any) -> None:
        _, head, lines = FORMATS["csv" if csv else "jsonl"]
        if csv:
            self.stdout.write(head, ending="")
        for page in pages(_chosen(**options), oldest_first=True):
            self.stdout.write(lines(page) if json or csv else _table(page), ending="")


def _chosen(*, since: datetime | None, until: datetime | None, **options: Any) -> Any:
    entries = AuditEntry.objects.all()
    if since is not None:
        entries = entries.filter(at__gte=since)
    if until is not None:
        entries = entries.filter(at__lt=until)
    for name in ("actor", "action", "subject"):
        if options[name]:
            entries = entries.filter(**{f"{name}__contains": options[name]})
    return entries


def _table(entries: Iterable[AuditEntry]) -> str:
    return "".join(
        printable(f"{instant_text(one.at)}  {one.actor}  {one.action}  {one.subject}  {one.detail or ''}").rstrip()
        + "\n"
        for one in entries
    )
