"""The table of a tick's fields.

Made from it: how a body is decoded (ticks/decode.py, ticks/serializers.py), the check of what comes from the bus
(ticks/tick.py), the columns that are recorded (ticks/models.py), what the HTTP API answers (ticks/views.py), and the
schemas of the AsyncAPI document. Everything that writes the fields out is held to it by tests/ticks/test_fields.py:
:class:`~ticks.tick.Tick` and its messages, the database's model, the clients and the documents.

An optional field is added by a line here and a migration; the test names the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ticks.exact import NumberText
from ticks.extra import compact, extra
from ticks.grammar import (
    MAX_NUMBER_LENGTH,
    MAX_SYMBOL_LENGTH,
    MAX_TIMESTAMP_LENGTH,
    check_symbol,
    number,
    size,
    timestamp,
)

__all__ = ["FIELDS", "OPTIONAL", "Field", "Kind", "Presence"]

Kind: TypeAlias = Literal["string", "number", "object"]
"""A value's type in JSON. Publishers may also write a number as a string of its digits."""

Presence: TypeAlias = Literal["required", "received", "optional"]
"""``received``: a tick that comes without the field gets the time of its receipt. ``null`` is the same as absent."""


_SHOWN: Final = 64
"""Most characters of a value that a sentence shows."""


class Field(NamedTuple):
    """One field of a tick.

    ``rule`` takes the text of a value, of an object its JSON, and returns it in the form that ticks carry, or raises
    ``ValueError`` with a sentence for the publisher. ``length``: most characters of that form, which is the width of
    the database column; None is a column without a limit.
    """

    name: str
    rule: Callable[[str], str]
    kind: Kind
    presence: Presence
    length: int | None

    def read(self, value: Any) -> str:
        """What ticks carry of a value as :func:`ticks.exact.load` made it; ``ValueError`` as from ``rule``."""
        if self.kind == "object":
            return compact(value)
        if isinstance(value, NumberText) and self.kind != "number":
            if self.rule is timestamp:
                return timestamp(str(value))  # which it is not, and says what to write
            raise ValueError(f'Must be a {self.kind}: write "{value[:_SHOWN]}".')
        if not isinstance(value, str):
            raise ValueError(f"Must be a {self.kind}.")
        return self.rule(str(value))


FIELDS: Final = (
    Field("symbol", check_symbol, "string", "required", MAX_SYMBOL_LENGTH),
    Field("price", number, "number", "required", MAX_NUMBER_LENGTH),
    Field("timestamp", timestamp, "string", "received", MAX_TIMESTAMP_LENGTH),
    Field("bid", number, "number", "optional", MAX_NUMBER_LENGTH),
    Field("ask", number, "number", "optional", MAX_NUMBER_LENGTH),
    Field("size", size, "number", "optional", MAX_NUMBER_LENGTH),
    Field("extra", extra, "object", "optional", None),
)
"""In the order in which JSON has them: symbol, price and timestamp, which every tick has, and then what is optional."""

OPTIONAL: Final = FIELDS[3:]
