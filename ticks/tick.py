"""What a tick is: its symbol, its exact price, its time, and the name of the group it is published to.

Digits are text from the publisher's request to the subscriber's frame. No value passes through a float, so 150.250
stays 150.250 and a timestamp keeps its nanoseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, NotRequired, TypedDict

import msgspec

__all__ = [
    "GROUP_PREFIX",
    "MAX_BATCH",
    "MAX_BODY_BYTES",
    "Tick",
    "TickMessage",
    "check_symbol",
    "group_name",
    "is_symbol",
    "now",
    "number",
    "size",
    "symbol_of",
    "timestamp",
]

MAX_BATCH: Final = 1_000
"""Most ticks in one request."""

MAX_BODY_BYTES: Final = 1_048_576
"""Most bytes in one request."""

GROUP_PREFIX: Final = "ticks."

_SYMBOL = re.compile(r"[A-Za-z0-9.\-_/=^:+$#]{1,32}")
# JSON's own number grammar, ASCII digits only. 32 digits hold every price there is, with room for 18 decimals.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,31})(?:\.[0-9]{1,32})?(?P<exponent>[eE][+-]?[0-9]{1,3})?")
_MAX_DIGITS: Final = 32
_TIMESTAMP = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]"
    r"(?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?P<fraction>\.[0-9]{1,9})?"
    r"(?P<zone>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


class TickMessage(TypedDict):
    """A tick as it travels through the channel layer: a group message whose handler is named ``tick``.

    Numbers are strings of digits, since no serializer of a channel layer keeps them exact otherwise.
    """

    type: Literal["tick"]
    symbol: str
    price: str
    timestamp: str
    bid: NotRequired[str]
    ask: NotRequired[str]
    size: NotRequired[str]


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One price of one symbol at one time. Numbers are strings of digits; the timestamp is RFC 3339 in UTC with Z."""

    symbol: str
    price: str
    timestamp: str
    bid: str | None = None
    ask: str | None = None
    size: str | None = None

    def json(self) -> str:
        """The tick's fields as the inside of a JSON object, without the braces; numbers are JSON numbers.

        A checked symbol, number or timestamp holds nothing that JSON would escape.
        """
        text = f'"symbol":"{self.symbol}","price":{self.price},"timestamp":"{self.timestamp}"'
        if self.bid is not None:
            text += f',"bid":{self.bid}'
        if self.ask is not None:
            text += f',"ask":{self.ask}'
        if self.size is not None:
            text += f',"size":{self.size}'
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
        check_symbol(self.symbol)
        for text, rule in (
            (self.price, number),
            (self.timestamp, timestamp),
            (self.bid, number),
            (self.ask, number),
            (self.size, size),
        ):
            if text is not None and rule(text) != text:
                raise ValueError(f"not in the form ticks are published in: {text!r}")


def is_symbol(text: str) -> bool:
    return _SYMBOL.fullmatch(text) is not None


def check_symbol(text: str) -> str:
    """``text`` itself if it is a symbol (1 to 32 of letters, digits and ``.-_/=^:+$#``), else ``ValueError``."""
    if not is_symbol(text):
        raise ValueError("A symbol is 1 to 32 ASCII characters: letters, digits and .-_/=^:+$#")
    return text


def number(text: str) -> str:
    """The number in ``text`` with its digits kept, an exponent written out; ``ValueError`` if it is none.

    The grammar is JSON's: no plus sign, no leading zeros, no NaN or Infinity, ASCII digits only.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError("Not a number: write digits like 150.25, at most 32 before and after the point.")
    if match["exponent"] is None:
        return text
    value = Decimal(text)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MAX_DIGITS or value.adjusted() >= _MAX_DIGITS:
        raise ValueError("The exponent is out of range: at most 32 digits before and after the point.")
    return format(value, "f")


def size(text: str) -> str:
    """Like :func:`number`, but not below zero."""
    digits = number(text)
    if digits.startswith("-"):
        raise ValueError("A size is not negative.")
    return digits


def timestamp(text: str) -> str:
    """The RFC 3339 timestamp ``text`` in UTC with Z, its fraction kept; ``ValueError`` if it is none.

    A time without a zone is refused: nobody can tell which instant it means.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(
            "Not an RFC 3339 timestamp with a zone: write 2026-05-12T15:04:05Z, with at most nine digits of fraction."
        )
    day, time, fraction, zone = match.group("date", "time", "fraction", "zone")
    if not _is_date(day):
        raise ValueError(f"There is no such day: {day}.")
    if zone in "Zz":
        return f"{day}T{time}{fraction or ''}Z"
    return f"{_to_utc(f'{day}T{time}', zone)}{fraction or ''}Z"


def now() -> str:
    """The time of receipt: this moment as a timestamp, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=64)
def _is_date(day: str) -> bool:
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)
def _to_utc(local: str, zone: str) -> str:
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    offset = timedelta(hours=hours, minutes=minutes)
    moment = datetime.fromisoformat(local)
    try:
        return (moment + offset if zone[0] == "-" else moment - offset).isoformat()
    except OverflowError:
        raise ValueError("The timestamp is outside the years 1 to 9999 in UTC.") from None


def group_name(symbol: str) -> str:
    """The channel layer group that carries the ticks of ``symbol``.

    Every channel layer takes ASCII letters, digits, ``-``, ``_`` and ``.``, fewer than 100 of them. The other
    characters of a symbol become ``_`` and a letter, and ``_`` itself is doubled: ``EUR/USD`` is ``ticks.EUR_sUSD``.
    """
    return GROUP_PREFIX + _escape(check_symbol(symbol))


@lru_cache(maxsize=65_536)
def symbol_of(group: str) -> str:
    """The symbol whose group ``group`` is; ``ValueError`` for any other group."""
    symbol = _ESCAPED.sub(lambda match: _UNESCAPES.get(match[0], ""), group.removeprefix(GROUP_PREFIX))
    if GROUP_PREFIX + _escape(symbol) != group or not is_symbol(symbol):
        raise ValueError(f"Not a group of ticks: {group!r}")
    return symbol


# s(lash), e(quals), c(aret), n as in coloN, p(lus), d(ollar), h(ash)
_ESCAPES: Final = {"_": "__", "/": "_s", "=": "_e", "^": "_c", ":": "_n", "+": "_p", "$": "_d", "#": "_h"}
_UNESCAPES: Final = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPE_TABLE: Final = str.maketrans(_ESCAPES)
_ESCAPED = re.compile(r"_.")


@lru_cache(maxsize=65_536)
def _escape(symbol: str) -> str:
    return symbol.translate(_ESCAPE_TABLE)
