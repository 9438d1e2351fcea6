"""All workers of all gateways on the bus at one moment, by what they say of themselves (gateway/edge/reports.py)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from heapq import nlargest
from typing import Final

import msgspec

from bus.contract import BusUnavailable
from bus.layers import get_bus
from gateway.edge.hottest import MOST_HOT, Hot
from gateway.edge.reports import HISTORY, MOST_SLOW, Load, Report, Slow, Worker, get_reporter

__all__ = ["Picture", "Totals", "draw", "take"]

logger = logging.getLogger(__name__)

_SECONDS: Final = 1.0


class Totals(Load):
    """Of all workers together; ``lag_ms`` is that of the latest of them."""


class Picture(msgspec.Struct):
    at: float
    is_whole: bool
    """Whether the bus could be asked; without it this worker alone is in the picture."""
    nodes: int
    totals: Totals
    workers: list[Worker]
    hot: list[Hot]
    slow: list[Slow]


async def take() -> Picture:
    """The picture of now, from within a worker: a process that has not reported yet looks at itself."""
    reporter = get_reporter()
    reporter.start()
    try:
        reports, is_whole = await told(), True
    except (BusUnavailable, TimeoutError):
        reports, is_whole = [], False
    own = reporter.report or await reporter.look()
    if not any(report.worker.id == own.worker.id for report in reports):
        reports.append(own)
    return draw(reports, is_whole=is_whole)


async def told() -> list[Report]:
    """What workers have said of themselves."""
    async with asyncio.timeout(_SECONDS):
        records = await get_bus().announced()
    return [report for record in records.values() if (report := _read(record)) is not None]


def _read(record: bytes) -> Report | None:
    try:
        return msgspec.json.decode(record, type=Report)
    except msgspec.DecodeError:
        return None  # another version's, as in a rolling restart


def draw(reports: Sequence[Report], *, is_whole: bool) -> Picture:
    """Puts reports together."""
    workers = sorted((report.worker for report in reports), key=lambda worker: (worker.node, worker.started))
    rates: dict[str, float] = {}
    for hot in (hot for report in reports for hot in report.hot):
        rates[hot.symbol] = max(hot.rate, rates.get(hot.symbol, 0.0))  # every worker sees all of a symbol's ticks
    return Picture(
        at=time.time(),
        is_whole=is_whole,
        nodes=len({worker.node for worker in workers}),
        totals=_totals(workers),
        workers=workers,
        hot=nlargest(MOST_HOT, (Hot(*item) for item in rates.items()), key=lambda hot: hot.rate),
        slow=nlargest(MOST_SLOW, (slow for report in reports for slow in report.slow), key=lambda slow: slow.skipped),
    )


def _totals(workers: Sequence[Worker]) -> Totals:
    refused: Counter[str] = Counter()
    for worker in workers:
        refused.update(worker.refused)
    summed = (name for name in Totals.__struct_fields__ if name not in {"lag_ms", "refused", "history"})
    return Totals(
        **{name: sum(getattr(worker, name) for worker in workers) for name in summed},
        lag_ms=max((worker.lag_ms for worker in workers), default=0.0),
        refused=dict(refused),
        history={name: _added(name, [worker.history.get(name, []) for worker in workers]) for name in HISTORY},
    )


def _added(name: str, histories: Sequence[Sequence[float]]) -> list[float]:
    """The figures of all workers by moment, counted back from the newest."""
    put_together = max if name == "lag_ms" else sum
    longest = max(map(len, histories), default=0)
    moments = ([history[-back] for history in histories if len(history) >= back] for back in range(longest, 0, -1))
    return [round(put_together(figures), 1) for figures in moments]
