"""What messages are made of: each value is declared once, with its rule and what machines are told about it.

``title`` is the name of its schema in the AsyncAPI document.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, UnsetType

from ticks.extra import MAX_BYTES, MAX_NAME_LENGTH, MAX_VALUES, extra
from ticks.fields import FIELDS, Field
from ticks.grammar import MAX_SYMBOL_LENGTH, check_symbol, number, size, timestamp

__all__ = ["EVERYTHING", "MAX_ID_LENGTH", "PUBLISHED_FIELDS", "SENT_FIELDS", "ref"]

EVERYTHING: Final = "*"
"""What a client subscribes to for every symbol, those included that have not ticked yet."""

MAX_ID_LENGTH: Final = 64
"""Most characters of an ``id``, and of an epoch that a client names."""

_SYMBOL: Final = r"(?:[^\x00-\x20\x7f,][^\x00-\x1f\x7f,]*)?[^\x00-\x20\x7f*,]"
# What a pattern can say that every program understands alike.
_SYMBOL_IS: Final = (
    f"1 to {MAX_SYMBOL_LENGTH} printable characters in NFC, of any script and with spaces within; no comma, and no `*` "
    "at the end. Case-sensitive, never trimmed."
)


def ref(title: str) -> dict[str, str]:
    """What stands in a schema for another one."""
    return {"$ref": f"#/components/schemas/{title}"}


Symbol = Annotated[
    str, Meta(title="Symbol", max_length=MAX_SYMBOL_LENGTH, pattern=f"^{_SYMBOL}$", description=_SYMBOL_IS)
]
Subscribable = Annotated[
    str,
    Meta(
        title="Subscribable",
        max_length=MAX_SYMBOL_LENGTH,
        pattern=rf"^({_SYMBOL}|\{EVERYTHING})$",
        description=f"A symbol, or `{EVERYTHING}` for every symbol, those included that have not ticked yet.",
    ),
]
Symbols = Collection[Subscribable]

_SEQ: Final = "A place in a symbol's stream: +1 per tick, from 1. 0 is the place before the first."
Seq = Annotated[int, Meta(title="Seq", ge=0, description=_SEQ)]
_EPOCH: Final = (
    "Which stream a seq belongs to. It changes when the bus lost its memory; seq restarts at 1. "
    "Empty where there is no stream yet."
)
Epoch = Annotated[str, Meta(title="Epoch", pattern="^([0-9a-f]{8,20})?$", description=_EPOCH)]

RequestId = Annotated[
    Annotated[str, Meta(max_length=MAX_ID_LENGTH)] | int,
    Meta(title="RequestId", description="The client's own; the answer brings it back."),
]
MessageNumber = Annotated[int, Meta(ge=1, description="The number of the publisher's message; the first is 1.")]
Count = Annotated[int, Meta(ge=0)]

# Prices travel as text. ``float`` says no more here than that it is a JSON number.
_NUMBER: Final = "Comes with the digits it was published with. A parser that makes a float of it loses some."
_Number = Annotated[float, Meta(title="Number", description=_NUMBER)]
_DIGITS: Final = r"^-?(0|[1-9][0-9]{0,31})(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,3})?$"
_Digits = Annotated[str, Meta(title="Digits", pattern=_DIGITS, description="A number as a string, in JSON's grammar.")]
_NumberOrDigits = Annotated[_Number | _Digits, Meta(title="NumberOrDigits")]
_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$"
_Time = Annotated[str, Meta(description="RFC 3339 with a zone.", extra_json_schema={"format": "date-time"})]
Timestamp = Annotated[
    _Time,
    Meta(title="Timestamp", pattern=_TIME, description="RFC 3339 in UTC with Z, with at most nine digits of fraction."),
]

_EXTRA: Final = f"What else the publisher has to say, as it came: at most {MAX_BYTES} bytes of compact JSON."
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
_Extra = Annotated[
    dict[_Name, str | float | bool | None], Meta(title="Extra", max_length=MAX_VALUES, description=_EXTRA)
]

_KINDS: Final[dict[Callable[[str], str], tuple[Any, Any]]] = {
    check_symbol: (Symbol, Symbol),
    timestamp: (_Time, Timestamp),
    number: (_NumberOrDigits, _Number),
    size: (_NumberOrDigits, _Number),
    extra: (_Extra, _Extra),
}
# By the rule of a tick's field: its values as publishers send them, and as subscribers get them.


def _published(field: Field) -> tuple[str, Any] | tuple[str, Any, UnsetType]:
    kind, _ = _KINDS[field.rule]
    return (field.name, kind) if field.presence == "required" else (field.name, kind | None | UnsetType, UNSET)


def _sent(field: Field) -> tuple[str, Any] | tuple[str, Any, None]:
    _, kind = _KINDS[field.rule]
    return (field.name, kind | None, None) if field.presence == "optional" else (field.name, kind)


PUBLISHED_FIELDS: Final = [_published(field) for field in FIELDS]
SENT_FIELDS: Final = [_sent(field) for field in FIELDS]
"""A tick's fields, for :func:`msgspec.defstruct`."""
