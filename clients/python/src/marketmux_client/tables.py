"""Prices as a table of pandas or polars, which this package does without otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

from .events import Event, Quote, Snapshot, Tick

__all__ = ["to_pandas", "to_polars"]

_NUMBERS: Final = ("price", "bid", "ask", "size")


def to_pandas(events: Iterable[Event], *, exact: bool = False) -> Any:
    """A ``pandas.DataFrame`` of the prices among ``events``: symbol, timestamp, price, bid, ask, size, seq.

    Numbers are floats; with ``exact`` they are the Decimals themselves, digits and all. Timestamps have nanoseconds.
    Raises ImportError, with what to install, if there is no pandas.
    """
    pandas = _library("pandas")
    columns = _columns(events, exact=exact)
    columns["timestamp"] = pandas.to_datetime(
        pandas.Series(columns["timestamp"], dtype="object"), utc=True, format="ISO8601"
    ).astype("datetime64[ns, UTC]")
    kind = "object" if exact else "float64"
    for name in _NUMBERS:
        columns[name] = pandas.Series(columns[name], dtype=kind)
    return pandas.DataFrame(columns)


def to_polars(events: Iterable[Event], *, exact: bool = False) -> Any:
    """A ``polars.DataFrame`` of the same. ``exact``: numbers as they are written, as strings, which ``cast`` makes what
    is wanted; a column of polars has one scale, and a price as many digits as it came with.
    """
    polars = _library("polars")
    columns = _columns(events, exact=exact)
    kind = polars.String if exact else polars.Float64
    for name in _NUMBERS:
        values = columns[name]
        if exact:
            values = [None if value is None else format(value, "f") for value in values]
        columns[name] = polars.Series(name, values, dtype=kind)
    for name, of in (("symbol", polars.String), ("timestamp", polars.String), ("seq", polars.Int64)):
        columns[name] = polars.Series(name, columns[name], dtype=of)
    moment = polars.col("timestamp").str.to_datetime("%+", time_unit="ns", time_zone="UTC")
    return polars.DataFrame(columns).with_columns(moment)


def _columns(events: Iterable[Event], *, exact: bool) -> dict[str, Any]:
    quotes: list[Quote] = [event for event in events if isinstance(event, Tick | Snapshot)]
    columns: dict[str, Any] = {
        "symbol": [quote.symbol for quote in quotes],
        "timestamp": [quote.timestamp for quote in quotes],
    }
    for name in _NUMBERS:
        values = [getattr(quote, name) for quote in quotes]
        columns[name] = values if exact else [None if value is None else float(value) for value in values]
    columns["seq"] = [quote.seq for quote in quotes]
    return columns


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"this takes {name}, which is not installed: pip install 'marketmux-client[{name}]'"
        ) from error
