"""A tick as a DRF serializer, for the form of the browsable API.

Bodies are read by ticks/decode.py; both go by the table in ticks/fields.py.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ticks.fields import FIELDS, Field

__all__ = ["TickSerializer"]


class RuleField(serializers.Field[str, Any, str, Any]):
    """A field of the table, whose value is text that its rule accepts."""

    def __init__(self, field: Field) -> None:
        is_required = field.presence == "required"
        super().__init__(required=is_required, allow_null=not is_required)
        self._field = field

    def to_internal_value(self, data: Any) -> str:
        try:
            return self._field.read(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value: str) -> str:
        return value


class TickSerializer(serializers.Serializer[dict[str, str | None]]):
    """One tick: ``{"symbol": "AAPL", "price": 150.25, "timestamp": "2026-05-12T15:04:05Z"}``."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {field.name: RuleField(field) for field in FIELDS}
