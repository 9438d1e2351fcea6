"""From the bytes of a request to ticks.

The fast way decodes with msgspec and checks each field once. Whatever it does not take goes the careful way, which
finds out what is wrong, item by item and field by field; a test holds both to the same verdict and the same ticks, and
another holds valid bodies to the fast way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from rest_framework.exceptions import ParseError

from ticks import exact
from ticks.advice import meant_field
from ticks.errors import MAX_ERRORS, InvalidTicks, ItemError
from ticks.exact import MAX_FIELDS, Crowd, Duplicate, NumberText
from ticks.extra import MAX_NAME_LENGTH, MAX_VALUES
from ticks.fields import FIELDS, OPTIONAL, Field
from ticks.grammar import now
from ticks.tick import MAX_BATCH, Tick

__all__ = ["decode", "decode_carefully", "decode_fast"]


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

_NAMES: Final = frozenset(field.name for field in FIELDS)
_MAX_VALUES: Final = MAX_BATCH * (1 + len(FIELDS) + MAX_VALUES)
"""Most values in a batch, arrays and objects among them: what has more is no batch, and is not looked at."""

_LINE = re.compile(rb"[^ \t\r\n][^\n]*")
"""A line that is not empty."""

_symbol, _price, _timestamp = (field.rule for field in FIELDS[:3])
_optional_of: Final = attrgetter(*(field.name for field in OPTIONAL))
_NOTHING: Final = (UNSET,) * len(OPTIONAL)


def decode(body: bytes, lines: bool = False, received: str | None = None) -> list[Tick]:
    """The ticks in a request's body: one JSON object, or an array of at most a thousand; or ``lines``, an object each.

    ``received``: the timestamp of ticks that have none, this moment if not given.
    :class:`~ticks.errors.InvalidTicks` names what is wrong with which item; DRF's ``ParseError`` says why it is no
    JSON.
    """
    try:
        return decode_fast(body, lines, received)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return decode_carefully(body, lines, received)


def decode_fast(body: bytes, lines: bool = False, received: str | None = None) -> list[Tick]:
    """Like :func:`decode`; ``msgspec.DecodeError``, ``ValueError`` or ``RecursionError`` if it takes a closer look."""
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
        raise _too_many()
    ticks: list[Tick] = []
    before, when = None, ""
    for item in items:
        text = item.timestamp
        if text is UNSET or text is None:
            stamp = received = received or now()  # the same for the whole batch
        else:
            if text != before:  # as most are not
                before, when = text, _timestamp(text)
            stamp = when
        digits = str(item.price, "utf-8")
        symbol, price = _symbol(item.symbol), _price(digits if digits[0] != '"' else digits[1:-1])
        optional = _optional_of(item)
        if optional == _NOTHING:
            ticks.append(Tick(symbol, price, stamp))
        else:
            ticks.append(Tick(symbol, price, stamp, *map(_optional, OPTIONAL, optional)))
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
    if not exact.has_at_most(_MAX_VALUES, body):
        raise _too_many(f"At most {MAX_BATCH} ticks, with {_MAX_VALUES} values between them: this body has more.")
    items = _load_items(body, lines)
    if len(items) > MAX_BATCH:
        raise _too_many()
    mistakes = _Mistakes()
    ticks: list[Tick] = []
    received = received or now()
    for index, item in enumerate(items):
        values = _check(index, item, mistakes)
        if not mistakes.count:
            ticks.append(Tick(**{"timestamp": received, **values}))
    if mistakes.count:
        raise InvalidTicks(mistakes.found, mistakes.count)
    return ticks


class _Mistakes:
    """What is wrong with a batch: ``count`` is all of it, ``found`` what an answer names."""

    def __init__(self) -> None:
        self.found: list[ItemError] = []
        self.count = 0

    def add(self, index: int, field: str, code: str, message: str) -> None:
        self.count += 1
        if len(self.found) < MAX_ERRORS:
            # A name in JSON may hold half of a surrogate pair, which no answer can be encoded with.
            name = field[:MAX_NAME_LENGTH].encode(errors="replace").decode()
            self.found.append({"index": index, "field": name, "code": code, "message": message})


def _check(index: int, item: Any, mistakes: _Mistakes) -> dict[str, str]:
    """The fields of an item, as far as there is nothing wrong with them."""
    if isinstance(item, Duplicate):
        mistakes.add(index, item.name, "duplicate", "The field is given twice.")
    elif isinstance(item, Crowd):
        mistakes.add(index, "", "too_many", f"An object has at most {MAX_FIELDS} fields: this one has {item.size}.")
    elif isinstance(item, dict):
        return _check_fields(index, item, mistakes)
    else:
        example = '{"symbol": "AAPL", "price": 150.25}'
        mistakes.add(index, "", "invalid", f"A tick is an object like {example}, and not {_called(item)}.")
    return {}


def _called(value: Any) -> str:
    kinds = {list: "an array", bool: "true or false", NumberText: "a number", str: "a string"}
    return kinds.get(type(value), "null")


def _check_fields(index: int, item: dict[str, Any], mistakes: _Mistakes) -> dict[str, str]:
    values = {}
    for name in item:
        if name not in _NAMES:
            mistakes.add(index, name, "unknown", meant_field(name))
    for field in FIELDS:
        name, value = field.name, item.get(field.name)
        try:
            if value is not None:
                values[name] = field.read(value)
            elif field.presence == "required":
                code, complaint = ("null", "may not be null") if name in item else ("required", "is required")
                mistakes.add(index, name, code, f"This field {complaint}.")
        except ValueError as error:
            mistakes.add(index, name, "duplicate" if isinstance(value, Duplicate) else "invalid", str(error))
    return values


def _too_many(complaint: str = f"A request has at most {MAX_BATCH} ticks.") -> InvalidTicks:
    return InvalidTicks([{"index": MAX_BATCH, "field": "", "code": "too_many", "message": complaint}])


def _load_items(body: bytes, lines: bool) -> list[Any]:
    if not lines:
        data = _load(body)
        return data if isinstance(data, list) else [data]
    return [_load(line) for line in _lines(body)]


def _lines(body: bytes) -> list[bytes]:
    """The lines that are not empty; one more than a batch may have are enough to be too many."""
    return [match[0] for match in islice(_LINE.finditer(body), MAX_BATCH + 1)]


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
