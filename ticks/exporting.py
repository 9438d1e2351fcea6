"""Recorded ticks as CSV, a page of the table at a time, and that by a process beside the one that serves ticks.

To make the rows of millions of ticks takes minutes of processor time. So the admin starts ``manage.py export_ticks``
with a low priority and passes on what it writes, no faster than the client reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from ticks.access.export import instant_text, neutral
from ticks.fields import FIELDS
from ticks.models import RecordedTick

__all__ = ["HEAD", "MOST_AT_ONCE", "as_csv", "beside", "chosen", "is_busy"]

MOST_AT_ONCE: Final = 2
"""Exports that one worker has made at a time."""

_COLUMNS: Final = (*(field.name for field in FIELDS), "seq", "epoch", "recorded_at")
_TEXTS: Final = [number for number, name in enumerate(_COLUMNS) if name in {"symbol", "extra"}]
HEAD: Final = ",".join(_COLUMNS) + "\r\n"
_PAGE: Final = 2_000
_CHUNK: Final = 65_536
_NICE: Final = 10

_running: set[subprocess.Popen[bytes]] = set()


def chosen(
    symbol: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> QuerySet[RecordedTick]:
    """The ticks of a symbol, or of all, in a span of time."""
    ticks = RecordedTick.objects.all()
    if symbol is not None:
        ticks = ticks.filter(symbol=symbol)
    if since is not None:
        ticks = ticks.filter(at__gte=since)
    if until is not None:
        ticks = ticks.filter(at__lt=until)
    return ticks


def as_csv(ticks: QuerySet[RecordedTick]) -> Iterator[str]:
    """Rows, the oldest first. Each page is a query of its own, along an index: no snapshot is held open meanwhile."""
    ordered = ticks.order_by("at", "pk").values_list(*_COLUMNS, "at", "pk")
    page = list(ordered[:_PAGE])
    while page:
        yield _rows(page)
        at, pk = page[-1][-2:]
        page = list(ordered.filter(at__gte=at).exclude(at=at, pk__lte=pk)[:_PAGE])


def _rows(page: Sequence[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    for *values, recorded_at, _, _ in page:
        for number in _TEXTS:
            values[number] = neutral(values[number])
        writer.writerow([*values, instant_text(recorded_at)])
    return text.getvalue()


def is_busy() -> bool:
    """Whether there are as many exports as there may be."""
    return len(_running) >= MOST_AT_ONCE


async def beside(*arguments: str) -> AsyncIterator[bytes]:
    """What ``manage.py export_ticks`` writes. The process ends when the client leaves."""
    process = _start(arguments)
    try:
        while chunk := await asyncio.to_thread(os.read, process.stdout.fileno(), _CHUNK):  # type: ignore[union-attr]
            yield chunk
        if await asyncio.to_thread(process.wait):
            raise RuntimeError("An export of recorded ticks failed")  # which cuts it: a part is not to look whole
    finally:
        process.kill()
        _running.discard(process)


def _start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "django", "export_ticks", "--skip-checks", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in a terminal is for the gateway alone
    )
    _running.add(process)
    with contextlib.suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    return process
