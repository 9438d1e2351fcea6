"""Reads of PromQL what a test needs: the names of metrics and labels. It is no parser: promtool is one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Final, NamedTuple

__all__ = ["Selector", "groupings", "selectors"]

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR: Final = re.compile(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()\s*(?:\{([^}]*)\})?")
_OPERATORS: Final = {"and", "or", "unless", "bool", "offset"}
_AGGREGATIONS: Final = {"sum", "avg", "min", "max", "count"}
"""Which may stand before ``by (...)``."""


class Selector(NamedTuple):
    """Series that an expression asks for."""

    metric: str
    labels: Set[str]
    """By which it chooses."""


def groupings(expression: str) -> list[Set[str]]:
    """The labels of each ``by (...)`` and its like."""
    return [_words(found) for found in _GROUPING.findall(_STRING.sub('""', expression))]


def selectors(expression: str) -> Iterator[Selector]:
    text = re.sub(r"\[[^\]]*\]", "", _GROUPING.sub("", _STRING.sub('""', expression)))
    for metric, matchers in _SELECTOR.findall(text):
        if metric not in _OPERATORS | _AGGREGATIONS:
            yield Selector(metric, _words(matchers))


def _words(text: str) -> Set[str]:
    return set(re.findall(r"[a-zA-Z_]\w*", text))
