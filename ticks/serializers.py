"""The careful way to read ticks: DRF's serializer, which names every mistake of every item.

ticks/decode.py takes a faster way for what is valid; both go by the table in ticks/fields.py.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ticks.exact import Duplicate, NumberText
from ticks.extra import compact
from ticks.fields import FIELDS, Field

__all__ = ["TickSerializer"]


class RuleField(serializers.Field[str, Any, str, Any]):
    """A field of the table, whose value is text that its rule accepts."""

    def __init__(self, field: Field) -> None:
        is_required = field.presence == "required"
        super().__init__(required=is_required, allow_null=not is_required)
        self._field = field

    def to_internal_value(self, data: Any) -> str:
        kind = self._field.kind
        if kind == "object":
            return _object(data)
        if not isinstance(data, str) or (isinstance(data, NumberText) and kind != "number"):
            raise serializers.ValidationError(f"Must be a {kind}.")
        try:
            return self._field.rule(str(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value: str) -> str:
        return value


def _object(data: Any) -> str:
    try:
        return compact(data)
    except ValueError as error:
        code = "duplicate" if isinstance(data, Duplicate) else "invalid"
        raise serializers.ValidationError(str(error), code) from None


class TickSerializer(serializers.Serializer[dict[str, str | None]]):
    """One tick: ``{"symbol": "AAPL", "price": 150.25, "timestamp": "2026-05-12T15:04:05Z"}``."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {field.name: RuleField(field) for field in FIELDS}

    def to_internal_value(self, data: Any) -> dict[str, str | None]:
        if not isinstance(data, dict):
            raise serializers.ValidationError({"": [serializers.ErrorDetail("Must be an object.", "invalid")]})
        errors: dict[str, Any] = {
            name[:64]: [serializers.ErrorDetail("There is no such field.", "unknown")]
            for name in data
            if name not in self.fields
        }
        values: dict[str, str | None] = {}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors |= error.detail if isinstance(error.detail, dict) else {}
        if errors:
            raise serializers.ValidationError(errors)
        return values
