"""Prices as a table in the terminal: what ``manage.py watch`` shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from rich.live import Live
from rich.table import Table
from rich.text import Text

from marketmux.client import (
    AccessChanged,
    BusState,
    Client,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    Quote,
    Snapshot,
    Tick,
)

__all__ = ["Board"]

_PAINT_SECONDS: Final = 0.125
_FRAME_LINES: Final = 6
"""Lines of the table that are no rows: its frame, its header, its caption and what says that there are more."""

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@dataclass
class Row:
    """What is known of one symbol. ``came``: when its price was new, on the monotonic clock."""

    quote: Quote | None = None
    first: Decimal = Decimal(0)
    rose: bool | None = None
    came: float = 0.0
    ticks: int = 0
    skipped: int = 0
    missed: int = 0

    def take(self, quote: Quote, came: float) -> None:
        if self.quote is None:
            self.first = quote.price
        elif quote.price != self.quote.price:
            self.rose = quote.price > self.quote.price
        self.quote, self.came = quote, came
        self.ticks += isinstance(quote, Tick)


class Board:
    """The rows, and how it is with the connection. ``symbols``: what is asked for; ``*`` is every symbol."""

    def __init__(self, url: str, symbols: Sequence[str]) -> None:
        self._url = url
        self._takes_all = "*" in symbols
        self._rows = {symbol: Row() for symbol in symbols if symbol != "*"}
        self._state = Text("connecting ...", "yellow")
        self._again_at: float | None = None
        self._bus = BusState(connected=True)

    async def read(self, client: Client) -> None:
        """Takes what comes until there is no going on."""
        async for event in client:
            self.take(event, time.monotonic())

    async def paint(self, live: Live, client: Client) -> None:
        while True:
            height = live.console.height - _FRAME_LINES
            live.update(self.table(height, time.monotonic(), client), refresh=True)
            await asyncio.sleep(_PAINT_SECONDS)

    def take(self, event: Event, now: float) -> None:
        match event:
            case Tick():
                self._row(event.symbol).take(event, now)
            case Snapshot():
                self._row(event.symbol).take(event, now - _age(event))
            case Conflated():
                self._row(event.symbol).skipped += event.skipped
            case Gap():
                self._row(event.symbol).missed += event.missed or 0
            case BusState():
                self._bus = event
            case AccessChanged():
                for symbol in event.lost:
                    self._rows.pop(symbol, None)
            case Connected():
                self._state, self._again_at = Text(f"connected, version {event.version}", "green"), None
                self._bus = BusState(connected=True)
            case Disconnected():
                self._state = Text(f"no connection: {event.code} {event.reason}".rstrip(), "red")
                self._again_at = now + event.wait

    def _row(self, symbol: str) -> Row:
        return self._rows.setdefault(symbol, Row())

    def table(self, height: int, now: float, client: Client | None = None) -> Table:
        """As many rows as ``height`` has room for. Prices that may be stale are dim."""
        table = Table(caption=self._caption(now), caption_justify="left")
        table.add_column("symbol", style="bold", no_wrap=True)
        for name in ("price", "change", "bid", "ask", "age", "ticks", "skipped", "missed"):
            table.add_column(name, justify="right", no_wrap=True)
        names = sorted(self._rows) if self._takes_all else list(self._rows)
        shown = names[: max(1, height)]
        for symbol in shown:
            latest = None if client is None else client.latest(symbol)
            table.add_row(*_cells(symbol, self._rows[symbol], now), style="dim" if latest and latest.is_stale else "")
        if len(names) > len(shown):
            table.add_row(f"and {len(names) - len(shown):,} more")
        return table

    def _caption(self, now: float) -> Text:
        caption = Text(f"{self._url}  ").append_text(self._state)
        if self._again_at is not None:
            caption.append(f"; again in {max(0.0, self._again_at - now):.0f} s", "red")
        elif not self._bus.connected:
            caption.append("; the gateway does not hear from its bus: prices may be stale", "red")
        return caption.append("  Ctrl-C ends it", "dim")


def _cells(symbol: str, row: Row, now: float) -> list[Text | str]:
    if row.quote is None:
        return [Text(symbol), "-", "", "", "", "", "", _count(row.skipped), _count(row.missed)]
    colour = {True: "green", False: "red", None: ""}[row.rose]
    return [
        Text(symbol),
        Text(f"{row.quote.price:f}", colour),
        _change(row.quote.price, row.first),
        *("" if value is None else f"{value:f}" for value in (row.quote.bid, row.quote.ask)),
        _duration(now - row.came),
        f"{row.ticks:,}",
        _count(row.skipped),
        _count(row.missed),
    ]


def _change(price: Decimal, first: Decimal) -> Text:
    """Since the first price that this board has seen."""
    percent = f"{(price - first) / abs(first):+.2%}" if first else ""
    return Text(f"{price - first:+f} {percent}".rstrip(), "green" if price > first else "red" if price < first else "")


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _duration(seconds: float) -> str:
    for unit, size in _UNITS[:-1]:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s"


def _age(snapshot: Snapshot) -> float:
    """Seconds since it was published, by the clocks of its publisher and of this machine."""
    try:
        return max(0.0, time.time() - datetime.fromisoformat(snapshot.timestamp).timestamp())
    except ValueError:
        return 0.0
