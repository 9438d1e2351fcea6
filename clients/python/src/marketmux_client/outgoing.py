"""A tick on its way to the gateway: JSON with the digits it was given. The gateway checks what it means."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NamedTuple, SupportsFloat, TypeAlias

from .events import Quote, Snapshot, Tick

__all__ = ["MAX_TICK_BYTES", "Outgoing", "TickLike", "outgoing"]

TickLike: TypeAlias = Mapping[str, Any] | Quote
"""The fields of a tick by name, or a tick as a client receives them."""

MAX_TICK_BYTES: Final = 64 * 1024
"""No tick that the gateway takes is as long."""

_FIELDS: Final = ("symbol", "price", "timestamp", "bid", "ask", "size", "extra")

_CONSTANTS: Final = {None: "null", True: "true", False: "false"}

_quoted: Final = lru_cache(maxsize=4096)(encode_basestring_ascii)


class Outgoing(NamedTuple):
    """``json`` is ASCII, one byte a character."""

    symbol: str
    json: str


def outgoing(tick: TickLike) -> Outgoing:
    """Raises TypeError or ValueError for what is no tick in JSON. None for a field is its absence."""
    if isinstance(tick, Tick | Snapshot):
        tick = {name: getattr(tick, name) for name in _FIELDS}
    elif not isinstance(tick, Mapping):
        raise TypeError(f"a tick is a mapping of its fields, not {type(tick).__name__}")
    symbol = tick.get("symbol")
    if not isinstance(symbol, str):
        raise TypeError(f"a tick's symbol is a string, not {type(symbol).__name__}")
    text = f"{{{','.join([f'{_quoted(name)}:{_value(value)}' for name, value in tick.items() if value is not None])}}}"
    if len(text) > MAX_TICK_BYTES:
        raise ValueError(f"a tick of {symbol[:40]!r} has {len(text):,} bytes, which no gateway takes")
    return Outgoing(symbol, text)


def _value(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is Decimal:
        if not value.is_finite():
            raise ValueError(f"not a number in JSON: {value}")
        return str(value)
    if kind is int:
        return int.__repr__(value)
    if kind is float:
        return _float(value)
    return _other(value)


def _other(value: Any) -> str:
    """What is not of the four common classes itself."""
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_quoted(name)}:{_value(inner)}' for name, inner in value.items())}}}"
    return _value(_plain(value))


def _plain(value: Any) -> str | Decimal | int | float:
    """Of a subclass, or of a number of another library, the value."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Decimal):
        return Decimal(value)
    if hasattr(value, "__index__"):
        return operator.index(value) + 0
    if isinstance(value, SupportsFloat):
        return float(value) + 0.0
    raise TypeError(f"not a value of a tick: {value!r}")


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"a timestamp has a time zone: {value}")
    return f'"{value.isoformat()}"'


def _float(value: float) -> str:
    """The shortest digits that mean this float. What should keep its digits is a Decimal, or a string."""
    if not math.isfinite(value):
        raise ValueError(f"not a number in JSON: {value}")
    return float.__repr__(value)
