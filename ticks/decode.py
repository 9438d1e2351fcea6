"""From the bytes of a request to ticks.

The fast way decodes with msgspec and checks each field once. Whatever it does not take goes the careful way, which
finds out what is wrong, item by item and field by field; a test holds both to the same verdict and the same ticks.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, Raw, UnsetType
from rest_framework.exceptions import ParseError

from ticks.errors import InvalidTicks, ItemError
from ticks.serializers import NumberText, TickSerializer
from ticks.tick import MAX_BATCH, Tick, check_symbol, now, number, size, timestamp

__all__ = ["decode", "decode_carefully"]


class _Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    symbol: str
    price: Raw
    timestamp: str | UnsetType = UNSET
    bid: Raw | UnsetType = UNSET
    ask: Raw | UnsetType = UNSET
    size: Raw | UnsetType = UNSET


_one = msgspec.json.Decoder(_Item)
_many = msgspec.json.Decoder(list[_Item])


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
        items = _one.decode_lines(body)
        if len(items) != sum(1 for line in body.split(b"\n") if line.strip()):
            raise ValueError("an object over several lines")
    else:
        items = _many.decode(body) if body.lstrip()[:1] == b"[" else [_one.decode(body)]
    if len(items) > MAX_BATCH:
        raise ValueError("too many")
    strings = _Strings(received)
    ticks = [strings.tick(item) for item in items]
    # msgspec keeps the last of two equal keys. All names and strings are known to hold no quote by now, so a quote that
    # they do not account for belongs to a key that was overridden.
    if body.count(b'"') != 2 * strings.count:
        raise ValueError("duplicate keys")
    return ticks


class _Strings:
    """Makes ticks of items and counts the JSON strings, names of fields among them, that the items were made of."""

    __slots__ = ("_received", "count")

    def __init__(self, received: str | None) -> None:
        self._received = received
        self.count = 0

    def tick(self, item: _Item) -> Tick:
        self.count += 3  # two names, and the symbol
        if item.timestamp is UNSET:
            when = self._received = self._received or now()  # the same for the whole batch
        else:
            self.count += 2
            when = timestamp(item.timestamp)
        price = number(self.digits(item.price))
        if item.bid is UNSET and item.ask is UNSET and item.size is UNSET:
            return Tick(check_symbol(item.symbol), price, when)
        bid, ask, volume = (self.optional(raw) for raw in (item.bid, item.ask, item.size))
        return Tick(
            check_symbol(item.symbol),
            price,
            when,
            None if bid is None else number(bid),
            None if ask is None else number(ask),
            None if volume is None else size(volume),
        )

    def optional(self, raw: Raw | UnsetType) -> str | None:
        if raw is UNSET:
            return None
        self.count += 1
        return self.digits(raw)

    def digits(self, raw: Raw) -> str:
        """The inside of a JSON number or string; a string with escapes in it is no number anyway."""
        text = str(raw, "utf-8")
        if text[0] != '"':
            return text
        self.count += 1
        return text[1:-1]


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
        if isinstance(item, _Duplicate):
            errors.append(_error(index, item.name, "duplicate", "The field is given twice."))
        elif serializer.is_valid():
            ticks.append(Tick(**{"timestamp": received, **serializer.validated_data}))
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
    return {"index": index, "field": field, "code": code, "message": message}


class _Duplicate:
    """Stands for an object with a key given twice."""

    def __init__(self, name: str) -> None:
        self.name = name[:64]


def _load_items(body: bytes) -> list[Any]:
    data = _load(body)
    return data if isinstance(data, list) else [data]


def _load_lines(body: bytes) -> list[Any]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > MAX_BATCH:
        lines = lines[: MAX_BATCH + 1]  # enough to be too many
    return [_load(line) for line in lines]


def _load(body: bytes) -> Any:
    if not body.strip():
        raise ParseError("The body is empty: send a tick, or an array of ticks, as JSON.")
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=NumberText,
            parse_float=NumberText,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise ParseError("The body is not UTF-8.") from None
    except RecursionError:
        raise ParseError("The body is nested too deeply.") from None
    except ValueError as error:
        raise ParseError(f"The body is not JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Duplicate:
    names = [name for name, _ in pairs]
    for index, name in enumerate(names):
        if name in names[:index]:
            return _Duplicate(name)
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number.")
