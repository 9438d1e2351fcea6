"""From the bytes of a request to ticks.

The fast way decodes with msgspec and checks each field once. Whatever it does not take goes the careful way, which
finds out what is wrong, item by item and field by field; a test holds both to the same verdict and the same ticks, and
another holds valid bodies to the fast way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple
from rest_framework.exceptions import ParseError

from ticks import exact
from ticks.errors import InvalidTicks, ItemError
from ticks.fields import FIELDS, OPTIONAL, Field
from ticks.grammar import now
from ticks.serializers import TickSerializer
from ticks.tick import MAX_BATCH, Tick

__all__ = ["decode", "decode_carefully"]


def _member(field: Field) -> tuple[str, Any] | tuple[str, Any, Any]:
    """The field as msgspec decodes it: strings as text, all else as the bytes of its JSON, ``null`` among them."""
    if field.presence == "required":
        return (field.name, str if field.kind == "string" else Raw)
    return (field.name, str | None | UnsetType if field.kind == "string" else Raw | UnsetType, UNSET)


_Item = msgspec.defstruct("_Item", map(_member, FIELDS), forbid_unknown_fields=True, gc=False)

_one: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_Item)
_many: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(list[_Item])  # type: ignore[valid-type]
_raw: Final = msgspec.json.Decoder(dict[str, Raw] | list[dict[str, Raw]])
_encode: Final = msgspec.json.Encoder().encode

_symbol, _price, _timestamp = (field.rule for field in FIELDS[:3])
_NOTHING: Final = [UNSET] * len(OPTIONAL)


def decode(body: bytes, lines: bool = False, received: str | None = None) -> list[Tick]:
    """The ticks in a request's body: one JSON object, or an array of at most a thousand; or ``lines``, an object each.

    ``received``: the timestamp of ticks that have none, this moment if not given.
    :class:`~ticks.errors.InvalidTicks` names what is wrong with which item; DRF's ``ParseError`` says why it is no
    JSON.
    """
    try:
        return _decode_fast(body, lines, received)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return decode_carefully(body, lines, received)


def _decode_fast(body: bytes, lines: bool = False, received: str | None = None) -> list[Tick]:
    if lines:
        return _ticks([_read(line, _one) for line in _lines(body)], received)
    if body.lstrip()[:1] == b"[":
        return _ticks(_read(body, _many), received)
    return _ticks([_read(body, _one)], received)


def _read(text: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """What ``text`` holds; ``ValueError`` unless that is all: msgspec keeps the last of two equal keys.

    What msgspec writes is never longer than what it was read from. So if it is as long, nothing was left out.
    """
    value = decoder.decode(text)
    size = len(_encode(value))
    if size == len(text):
        return value
    # It has whitespace, or escapes, or a key twice.
    compact = len(_compact(text))
    if size == compact or len(_compact(_encode(_raw.decode(text)))) == compact:
        return value
    raise ValueError("duplicate keys, or escapes in keys")


def _compact(text: bytes) -> bytes:
    """``text`` without whitespace between its tokens."""
    return msgspec.json.format(text, indent=-1)


def _ticks(items: Sequence[Any], received: str | None) -> list[Tick]:
    if len(items) > MAX_BATCH:
        raise ValueError("too many")
    ticks = []
    for item in items:
        symbol, price, timestamp, *optional = astuple(item)
        if timestamp is UNSET or timestamp is None:
            when = received = received or now()  # the same for the whole batch
        else:
            when = _timestamp(timestamp)
        symbol, price = _symbol(symbol), _price(_digits(str(price, "utf-8")))
        if optional == _NOTHING:
            ticks.append(Tick(symbol, price, when))
        else:
            ticks.append(Tick(symbol, price, when, *map(_optional, OPTIONAL, optional)))
    return ticks


def _optional(field: Field, value: Any) -> str | None:
    if value is UNSET or value is None:
        return None
    if field.kind == "string":
        return field.rule(value)
    text = str(value, "utf-8")
    if text == "null":
        return None
    return field.rule(text if field.kind == "object" else _digits(text))


def _digits(text: str) -> str:
    """The inside of a JSON number or string."""
    return text[1:-1] if text[0] == '"' else text


def decode_carefully(body: bytes, lines: bool = False, received: str | None = None) -> list[Tick]:
    """Like :func:`decode`, without haste."""
    items = _load_lines(body) if lines else _load_items(body)
    if len(items) > MAX_BATCH:
        raise InvalidTicks([_error(MAX_BATCH, "", "too_many", f"A request has at most {MAX_BATCH} ticks.")])
    errors: list[ItemError] = []
    ticks: list[Tick] = []
    received = received or now()
    for index, item in enumerate(items):
        serializer = TickSerializer(data=item)
        if isinstance(item, exact.Duplicate):
            errors.append(_error(index, item.name, "duplicate", "The field is given twice."))
        elif serializer.is_valid():
            given = {name: text for name, text in serializer.validated_data.items() if text is not None}
            ticks.append(Tick(**{"timestamp": received, **given}))
        else:
            errors += _item_errors(index, serializer)
    if errors:
        raise InvalidTicks(errors)
    return ticks


def _item_errors(index: int, serializer: TickSerializer) -> list[ItemError]:
    return [
        _error(index, field, detail.code, str(detail))
        for field, details in serializer.errors.items()
        for detail in details
    ]


def _error(index: int, field: str, code: str, message: str) -> ItemError:
    # A name in JSON may hold half of a surrogate pair, which no answer can be encoded with.
    field = field.encode(errors="replace").decode()
    return {"index": index, "field": field, "code": code, "message": message}


def _load_items(body: bytes) -> list[Any]:
    data = _load(body)
    return data if isinstance(data, list) else [data]


def _load_lines(body: bytes) -> list[Any]:
    return [_load(line) for line in _lines(body)[: MAX_BATCH + 1]]  # enough to be too many


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip()]


def _load(body: bytes) -> Any:
    if not body.strip():
        raise ParseError("The body is empty: send a tick, or an array of ticks, as JSON.")
    try:
        return exact.load(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise ParseError("The body is not UTF-8.") from None
    except RecursionError:
        raise ParseError("The body is nested too deeply.") from None
    except ValueError as error:
        raise ParseError(f"The body is not JSON: {error}") from None
