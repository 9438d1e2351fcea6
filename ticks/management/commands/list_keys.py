"""``manage.py list_keys``: the keys there are, and what each may do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandParser

from ticks.access.grant import Scope
from ticks.access.models import ApiKey
from ticks.management.keys import printable, represent

_HEAD: Final = ("id", "name", "prefix", "scopes", "state", "expires", "last used")
_WIDEST: Final = 60


class Command(BaseCommand):
    help = "Lists the API keys. Their secrets are not known to anybody but those who hold them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print an object a line")

    def handle(self, *, json: bool, **_: Any) -> None:
        keys = ApiKey.objects.all()
        for line in _lines(keys) if json else _table([_HEAD, *map(_row, keys)]):
            self.stdout.write(line)


def _lines(keys: Iterable[ApiKey]) -> Iterator[str]:
    return (json.dumps(represent(key)) for key in keys)


def _row(key: ApiKey) -> tuple[str, ...]:
    scopes = [f"{scope}={' '.join(key.scope(scope))}" for scope in Scope if key.scope(scope)]
    return (
        str(key.pk),
        printable(key.name),
        key.prefix,
        _cut(", ".join(scopes) or "none"),
        key.state,
        _minute(key.expires_at),
        _minute(key.last_used_at),
    )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _minute(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}Z"
