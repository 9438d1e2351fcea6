"""What a tick is: its symbol, its exact price and its time.

Digits are text from the publisher's request to the subscriber's frame. No value passes through a float, so 150.250
stays 150.250 and a timestamp keeps its nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
from msgspec.structs import astuple

from ticks.fields import FIELDS
from ticks.groups import GROUP_PREFIX, group_name, symbol_of

__all__ = [
    "GROUP_PREFIX",
    "MAX_BATCH",
    "MAX_BODY_BYTES",
    "Placed",
    "Tick",
    "TickMessage",
    "group_name",
    "symbol_of",
]

MAX_BATCH: Final = 1_000
"""Most ticks in one request."""

MAX_BODY_BYTES: Final = 1_048_576
"""Most bytes in one request."""

_RULES: Final = tuple(field.rule for field in FIELDS)


class TickMessage(TypedDict):
    """A tick as it travels through the channel layer: a group message whose handler is named ``tick``.

    Numbers are strings of digits, since no serializer of a channel layer keeps them exact otherwise. ``extra`` is a
    string of JSON for the same reason.
    """

    type: Literal["tick"]
    symbol: str
    price: str
    timestamp: str
    bid: NotRequired[str]
    ask: NotRequired[str]
    size: NotRequired[str]
    extra: NotRequired[str]


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One price of one symbol at one time.

    Numbers are strings of digits, the timestamp is RFC 3339 in UTC with Z, and ``extra`` is compact JSON.

    The fields are those of the table in ticks/fields.py, in its order. They are written out here, and in :meth:`json`
    and :meth:`message`, for the type checker and for speed; tests/ticks/test_fields.py holds them to the table.
    """

    symbol: str
    price: str
    timestamp: str
    bid: str | None = None
    ask: str | None = None
    size: str | None = None
    extra: str | None = None

    def json(self) -> str:
        """The tick's fields as the inside of a JSON object, without the braces; numbers are JSON numbers.

        A checked number or timestamp holds nothing that JSON would escape, nor does most every symbol, and ``extra`` is
        JSON already.
        """
        symbol = self.symbol
        if '"' in symbol or "\\" in symbol:
            symbol = symbol.replace("\\", "\\\\").replace('"', '\\"')
        text = f'"symbol":"{symbol}","price":{self.price},"timestamp":"{self.timestamp}"'
        if self.bid is not None:
            text += f',"bid":{self.bid}'
        if self.ask is not None:
            text += f',"ask":{self.ask}'
        if self.size is not None:
            text += f',"size":{self.size}'
        if self.extra is not None:
            text += f',"extra":{self.extra}'
        return text

    def message(self) -> TickMessage:
        """The tick as a message for its group."""
        message: TickMessage = {
            "type": "tick",
            "symbol": self.symbol,
            "price": self.price,
            "timestamp": self.timestamp,
        }
        if self.bid is not None:
            message["bid"] = self.bid
        if self.ask is not None:
            message["ask"] = self.ask
        if self.size is not None:
            message["size"] = self.size
        if self.extra is not None:
            message["extra"] = self.extra
        return message

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Tick:
        """The tick of a group message; ``ValueError`` if the message is not one :meth:`message` could have made."""
        try:
            tick = msgspec.convert(message, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"not a tick: {error}") from None
        tick._check()
        return tick

    def _check(self) -> None:
        for rule, text in zip(_RULES, astuple(self), strict=True):
            if text is not None and rule(text) != text:
                raise ValueError(f"not in the form ticks are published in: {text!r}")


class Placed(NamedTuple):
    """A tick and its place in the stream of its symbol."""

    tick: Tick
    seq: int
    epoch: str
