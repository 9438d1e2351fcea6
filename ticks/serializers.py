"""The careful way to read ticks: DRF's serializer, which names every mistake of every item.

ticks/decode.py takes a faster way for what is valid; both go by the rules of ticks/tick.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework import serializers

from ticks import tick

__all__ = ["NumberText", "TickSerializer"]


class NumberText(str):
    """The text of a JSON number, told from a JSON string by its type."""

    __slots__ = ()


class RuleField(serializers.Field[str, Any, str, Any]):
    """A field whose value is text that one of the rules of ticks/tick.py accepts."""

    def __init__(self, rule: Callable[[str], str], takes_numbers: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._rule = rule
        self._takes_numbers = takes_numbers

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or (isinstance(data, NumberText) and not self._takes_numbers):
            raise serializers.ValidationError(f"Must be a {'number' if self._takes_numbers else 'string'}.")
        try:
            return self._rule(str(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value: str) -> str:
        return value


class TickSerializer(serializers.Serializer[dict[str, str]]):
    """One tick: ``{"symbol": "AAPL", "price": 150.25, "timestamp": "2026-05-12T15:04:05Z"}``."""

    symbol = RuleField(tick.check_symbol)
    price = RuleField(tick.number, takes_numbers=True)
    timestamp = RuleField(tick.timestamp, required=False)
    bid = RuleField(tick.number, takes_numbers=True, required=False)
    ask = RuleField(tick.number, takes_numbers=True, required=False)
    size = RuleField(tick.size, takes_numbers=True, required=False)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict):
            raise serializers.ValidationError({"": [serializers.ErrorDetail("Must be an object.", "invalid")]})
        errors: dict[str, Any] = {
            name[:64]: [serializers.ErrorDetail("There is no such field.", "unknown")]
            for name in data
            if name not in self.fields
        }
        values: dict[str, str] = {}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors |= error.detail if isinstance(error.detail, dict) else {}
        if errors:
            raise serializers.ValidationError(errors)
        return values
