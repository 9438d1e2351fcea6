"""Messages of the gateway as values. Numbers keep their digits: what has a point becomes a Decimal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from marketmux.client.events import Snapshot, Tick

__all__ = ["decode", "snapshot", "tick"]


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"not a JSON number: {text}")


_DECODER: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)


def decode(text: str | bytes) -> dict[str, Any]:
    """The message in a frame's payload; ValueError if there is none."""
    message = _DECODER.decode(text if isinstance(text, str) else text.decode())
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ValueError("not an object with a type")
    return message


def tick(message: Mapping[str, Any]) -> Tick:
    """KeyError or TypeError if it is none."""
    return Tick(
        message["symbol"],
        _decimal(message["price"]),
        message["timestamp"],
        message["seq"],
        _optional(message.get("bid")),
        _optional(message.get("ask")),
        _optional(message.get("size")),
    )


def snapshot(message: Mapping[str, Any]) -> Snapshot:
    """KeyError or TypeError if it is none."""
    return Snapshot(
        message["symbol"],
        _decimal(message["price"]),
        message["timestamp"],
        message["seq"],
        message["epoch"],
        _optional(message.get("bid")),
        _optional(message.get("ask")),
        _optional(message.get("size")),
    )


def _decimal(value: Any) -> Decimal:
    if type(value) is Decimal:
        return value
    if type(value) is int:
        return Decimal(value)
    raise TypeError(f"not a number: {value!r}")


def _optional(value: Any) -> Decimal | None:
    return None if value is None else _decimal(value)
