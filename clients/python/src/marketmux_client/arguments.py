"""What the calls of the client take. A wrong argument is an error of the call, and never of the task behind it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from typing import Any, Final, SupportsFloat, SupportsIndex, TypeAlias

__all__ = ["Number", "above_zero", "count", "flag", "header_fields", "not_negative", "number", "text"]

Number: TypeAlias = SupportsFloat | SupportsIndex
"""int, float, Decimal, Fraction, or a number of another library."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[ -~\t]*")
"""ASCII: what servers make of other bytes differs."""


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a string, not {_kind(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {_kind(value)}")
    return value


def count(name: str, value: Any, least: int = 1) -> int:
    """A whole number."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a whole number, not {_kind(value)}")
    if (whole := operator.index(value)) < least:
        raise ValueError(f"{name} is at least {least}: {whole}")
    return whole


def number(name: str, value: Any) -> float:
    """A number that is not too large for a float; infinity is none."""
    is_number = isinstance(value, SupportsFloat | SupportsIndex) and not isinstance(value, bool | str | bytes)
    if not is_number:
        raise TypeError(f"{name} is a number, not {_kind(value)}")
    try:
        known = float(value)
    except OverflowError:
        known = math.inf
    if not math.isfinite(known):
        raise ValueError(f"{name} is a finite number: {value}")
    return known


def above_zero(name: str, value: Any) -> float:
    if (known := number(name, value)) <= 0:
        raise ValueError(f"{name} is above 0: {value}")
    return known


def not_negative(name: str, value: Any) -> float:
    if (known := number(name, value)) < 0:
        raise ValueError(f"{name} is not below 0: {value}")
    return known


def header_fields(fields: Any) -> dict[str, str]:
    """Names and values that are one header each: what ends a line would begin another."""
    if not isinstance(fields, Mapping):
        raise TypeError(f"headers are a mapping of names to values, not {_kind(fields)}")
    for name, value in fields.items():
        if not _NAME.fullmatch(text("a header's name", name)):
            raise ValueError(f"not the name of a header: {name!r}")
        if not _VALUE.fullmatch(text(f"the header {name}", value)):
            raise ValueError(f"the header {name} has characters that a header cannot have")
    return dict(fields)


def _kind(value: Any) -> str:
    return type(value).__name__
