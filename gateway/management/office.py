"""What the commands that ask running workers share."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from asgiref.sync import async_to_sync
from django.core.management.base import CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bus.contract import BusUnavailable
from bus.layers import is_shared
from ticks.management.keys import printable

__all__ = ["ask", "show"]

T = TypeVar("T")

_PIPED_WIDTH: Final = 200
"""Columns of a table that goes to a file or another program."""


def ask(question: Callable[[], Awaitable[T]]) -> T:
    """What the workers say."""
    if not is_shared():
        raise CommandError("Without REDIS_URL a gateway is one process, which is asked over HTTP: GET /api/v1/nodes.")
    try:
        return async_to_sync(question)()
    except (BusUnavailable, TimeoutError) as error:
        raise CommandError(f"The bus cannot be asked. {error}") from error


def show(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on standard output, numbers to the right."""
    table = Table(title=title, title_justify="left")
    lines = [[str(cell) for cell in row] for row in rows]
    for number, name in enumerate(head):
        is_figure = all(line[number].replace(",", "").replace(".", "").isdigit() for line in lines)
        table.add_column(name, justify="right" if is_figure and lines else "left", overflow="fold")
    for line in lines:
        table.add_row(*(escape(printable(cell)) for cell in line))
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)
