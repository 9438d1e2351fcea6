"""JSON read without loss: numbers keep their text, and a name that is given twice is seen.

What is read is bounded in values and not only in bytes: a megabyte holds half a million of them, and each costs a call.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

__all__ = ["MAX_FIELDS", "Crowd", "Duplicate", "NumberText", "has_at_most", "load"]

MAX_FIELDS: Final = 64
"""Most names of an object that is looked at."""


class NumberText(str):
    """The text of a JSON number, told from a JSON string by its type."""

    __slots__ = ()


class Duplicate:
    """Stands for an object that has a name twice; ``name``: the first one, cut to 64 characters."""

    def __init__(self, name: str) -> None:
        self.name = name[:64]


class Crowd:
    """Stands for an object that has more than :data:`MAX_FIELDS` names."""

    def __init__(self, size: int) -> None:
        self.size = size


def has_at_most(values: int, text: bytes) -> bool:
    """Whether there are no more than so many values in ``text``; quick, whatever it is."""
    if _count(text) <= values:
        return True  # most often: what is counted may also stand in strings
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * values:  # those around a name and a string for each
        return False
    return sum(map(_count, bare.split(b'"')[::2])) <= values


def _count(text: bytes) -> int:
    """How many commas and opening brackets there are, of which a value has one at least; but for the last one."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def load(text: str) -> Any:
    """The value of ``text``, with numbers as :class:`NumberText`, and :class:`Duplicate` or :class:`Crowd` for some
    objects.

    ``ValueError`` if it is not JSON, ``NaN`` and ``Infinity`` included; ``RecursionError`` if it is nested too deeply.
    """
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=NumberText,
        parse_float=NumberText,
        parse_constant=_refuse_constant,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Duplicate | Crowd:
    if len(pairs) > MAX_FIELDS:
        return Crowd(len(pairs))
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            return Duplicate(name)
        values[name] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number; leave the field out, or write null, where there is no value.")
