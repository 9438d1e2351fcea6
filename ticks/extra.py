"""What a vendor sends beyond the fields that every feed has: an object of a few scalar values, passed on as it came.

It travels as compact JSON, in which numbers keep their digits and exponents, and strings have no escape that they can
do without. So two texts of the same object are one text here.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from ticks.exact import Crowd, Duplicate, NumberText, load
from ticks.grammar import check_number

__all__ = ["MAX_BYTES", "MAX_NAME_LENGTH", "MAX_VALUES", "compact", "extra"]

MAX_VALUES: Final = 16
MAX_NAME_LENGTH: Final = 64
MAX_BYTES: Final = 2_048
"""Most bytes of the object as compact JSON in UTF-8."""

_Scalar: TypeAlias = str | bool | Raw | None

_SCALARS: Final = frozenset({str, bool, Raw, type(None)})
_MAX_SHORT_INTEGER: Final = 10**18


def extra(text: str) -> str:
    """The object in the JSON ``text`` as compact JSON; ``ValueError`` says what is wrong with it."""
    return _quickly(text) or compact(_load(text))


def compact(values: Any) -> str:
    """The object that :func:`ticks.exact.load` made as compact JSON; ``ValueError`` says what is wrong with it."""
    if isinstance(values, Duplicate):
        raise ValueError(f"The name {values.name!r} is given twice.")
    size = values.size if isinstance(values, Crowd) else len(values) if isinstance(values, dict) else 0
    if size > MAX_VALUES:
        raise ValueError(f"An object of at most {MAX_VALUES} values: this one has {size}.")
    if not isinstance(values, dict):
        raise ValueError("Must be an object.")
    scalars = {_name(name): _scalar(name, value) for name, value in values.items()}
    try:
        written = msgspec.json.encode(scalars)
    except UnicodeEncodeError:
        raise ValueError("Half of a surrogate pair is not a character.") from None
    if len(written) > MAX_BYTES:
        raise ValueError(f"At most {MAX_BYTES} bytes as compact JSON: this object has {len(written)}.")
    return written.decode()


def _name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise ValueError(f"A name has 1 to {MAX_NAME_LENGTH} characters, not {len(name)}.")
    return name


def _scalar(name: str, value: Any) -> _Scalar:
    if isinstance(value, NumberText):
        try:
            return _exact(value)
        except ValueError:
            raise ValueError(f"The number {name!r} has more than 32 digits before or after the point.") from None
    if isinstance(value, str | bool | None):
        return value
    raise ValueError(f"{name!r} is an object or an array: values are strings, numbers, true, false and null.")


def _exact(text: str) -> Raw:
    """A number as it came. It is held to the rule of ticks' numbers, so that no subscriber's parser breaks on it."""
    check_number(text)
    return Raw(str(text))  # Raw takes no subclass of str


def _load(text: str) -> Any:
    try:
        return load(text)
    except RecursionError:
        raise ValueError("The object is nested too deeply.") from None


_decode: Final = msgspec.json.Decoder(dict[str, Any], float_hook=_exact).decode


def _quickly(text: str) -> str | None:
    """What :func:`compact` would make of the object in ``text``; None if that takes a closer look.

    msgspec keeps the last of two equal names, and what it writes is never longer than what it was read from. So if it
    is as long as the text without its whitespace, nothing was left out and nothing was changed.
    """
    try:
        values = _decode(text)
        written = msgspec.json.encode(values)
        is_all = written.decode() == text or len(written) == len(msgspec.json.format(text.encode(), indent=-1))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    is_valid = (
        len(written) <= MAX_BYTES
        and len(values) <= MAX_VALUES
        and all(0 < len(name) <= MAX_NAME_LENGTH for name in values)
        and all(type(value) in _SCALARS or _is_short_integer(value) for value in values.values())
    )
    return written.decode() if is_all and is_valid else None


def _is_short_integer(value: Any) -> bool:
    return type(value) is int and -_MAX_SHORT_INTEGER < value < _MAX_SHORT_INTEGER
