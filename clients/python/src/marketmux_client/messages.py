"""Messages of the gateway as values. Prices, sizes and the numbers of ``extra`` become Decimals with all digits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn

from .events import Extra, Snapshot, Tick, Trace

__all__ = ["decode", "decode_all", "snapshot", "tick"]


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"not a JSON number: {text}")


_DECODER: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)


def decode(text: str | bytes) -> dict[str, Any]:
    """The message in a frame's payload; ValueError if there is none."""
    message = _DECODER.decode(text if isinstance(text, str) else text.decode())
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ValueError("not an object with a type")
    return message


def decode_all(text: str | bytes, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The messages in a frame's payload; in the compact format that may be several ticks, with these ``fields``."""
    found = text if isinstance(text, str) else text.decode()
    if not found.startswith("["):
        return [decode(found)]
    rows = _DECODER.decode(found)
    if not (fields and rows and all(isinstance(row, list) and row for row in rows)):
        raise ValueError("not an array of ticks")
    return [_expanded(row, fields) for row in rows]


def _expanded(row: list[Any], fields: Sequence[str]) -> dict[str, Any]:
    values, more = (row[:-1], row[-1]) if isinstance(row[-1], dict) else (row, {})
    return {"type": "tick", **dict(zip(fields, values, strict=False)), **more}


def tick(message: Mapping[str, Any]) -> Tick:
    """KeyError or TypeError if it is none."""
    return Tick(
        message["symbol"],
        _decimal(message["price"]),
        message["timestamp"],
        message["seq"],
        **_optional(message),
    )


def snapshot(message: Mapping[str, Any]) -> Snapshot:
    """KeyError or TypeError if it is none."""
    return Snapshot(
        message["symbol"],
        _decimal(message["price"]),
        message["timestamp"],
        message["seq"],
        message["epoch"],
        **_optional(message),
    )


def _decimal(value: Any) -> Decimal:
    if type(value) is Decimal:
        return value
    if type(value) is int:
        return Decimal(value)
    raise TypeError(f"not a number: {value!r}")


def _extra(value: Any) -> Extra:
    if type(value) is not dict:
        raise TypeError(f"not an object: {value!r}")
    return {name: Decimal(inner) if type(inner) is int else inner for name, inner in value.items()}


def _trace(value: Any) -> Trace:
    """Of what it has, what is known here."""
    stamps = {name: value[name] for name in _STAMPS if type(value.get(name)) is int}
    return Trace(**stamps, traceparent=str(value.get("traceparent", "")))


_STAMPS: Final = ("published", "received", "sequenced", "sent")
_OPTIONAL: Final[dict[str, Callable[[Any], Any]]] = {
    "bid": _decimal,
    "ask": _decimal,
    "size": _decimal,
    "extra": _extra,
    "trace": _trace,
}


def _optional(message: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the optional fields that the message has."""
    return {name: read(message[name]) for name, read in _OPTIONAL.items() if message.get(name) is not None}
