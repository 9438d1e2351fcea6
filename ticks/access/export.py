"""The audit log as CSV and as lines of JSON, a page of the table at a time, however long it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import QuerySet

from ticks.access.models import AuditEntry

__all__ = ["COLUMNS", "FORMATS", "as_csv", "as_json", "instant_text", "neutral", "pages"]

COLUMNS: Final = ("id", "at", "actor", "action", "subject", "detail")
_PAGE: Final = 1_000
_FORMULA: Final = tuple("=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
                        "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


def pages(entries: QuerySet[AuditEntry], *, oldest_first: bool = False) -> Iterator[list[AuditEntry]]:
    """The entries in pages, each of which is a query of its own: no cursor is held open meanwhile."""
    ordered = entries.order_by("pk" if oldest_first else "-pk")
    page = list(ordered[:_PAGE])
    while page:
        yield page
        behind = page[-1].pk
        page = list((ordered.filter(pk__gt=behind) if oldest_first else ordered.filter(pk__lt=behind))[:_PAGE])


def as_json(entries: Iterable[AuditEntry]) -> str:
    """An object a line."""
    return "".join(
        json.dumps({**dict(zip(COLUMNS, _values(one), strict=True)), "detail": one.detail}) + "\n" for one in entries
    )


def as_csv(entries: Iterable[AuditEntry]) -> str:
    """A row each. What a spreadsheet would take for a formula has an apostrophe before it."""
    return _rows([neutral(str(value)) for value in _values(one)] for one in entries)


FORMATS: Final[dict[str, tuple[str, str, Callable[[Iterable[AuditEntry]], str]]]] = {
    "csv": ("text/csv; charset=utf-8", ",".join(COLUMNS) + "\r\n", as_csv),
    "jsonl": ("application/x-ndjson", "", as_json),
}
"""By the ending of the file's name: its type, what it begins with, and what makes its lines."""


def instant_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _values(entry: AuditEntry) -> tuple[Any, ...]:
    detail = json.dumps(entry.detail)
    return (entry.pk, instant_text(entry.at), entry.actor, entry.action, entry.subject, detail)


def _rows(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def neutral(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA) else cell
