"""JSON read without loss: numbers keep their text, and a name that is given twice is seen."""

from __future__ import annotations

import json
from typing import Any, NoReturn

__all__ = ["Duplicate", "NumberText", "load"]


class NumberText(str):
    """The text of a JSON number, told from a JSON string by its type."""

    __slots__ = ()


class Duplicate:
    """Stands for an object that has a name twice; ``name``: the first one, cut to 64 characters."""

    def __init__(self, name: str) -> None:
        self.name = name[:64]


def load(text: str) -> Any:
    """The value of ``text``, with numbers as :class:`NumberText` and :class:`Duplicate` for some objects.

    ``ValueError`` if it is not JSON, ``NaN`` and ``Infinity`` included; ``RecursionError`` if it is nested too deeply.
    """
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=NumberText,
        parse_float=NumberText,
        parse_constant=_refuse_constant,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Duplicate:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            return Duplicate(name)
        values[name] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number.")
