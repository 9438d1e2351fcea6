"""What symbols, numbers and timestamps look like: the rules that a tick's fields are held to.

Each rule takes the text of a value and returns it in the form that ticks carry, or raises ``ValueError`` with a
sentence for the publisher. A text that is in that form already comes back unchanged.
"""

from __future__ import annotations

import re
import time
import unicodedata
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from ticks.advice import meant_number, meant_timestamp

__all__ = [
    "MAX_NUMBER_LENGTH",
    "MAX_SYMBOL_LENGTH",
    "MAX_TIMESTAMP_LENGTH",
    "check_number",
    "check_symbol",
    "instant",
    "is_symbol",
    "moment",
    "now",
    "number",
    "size",
    "timestamp",
]

MAX_SYMBOL_LENGTH: Final = 64
"""In characters, which are code points."""
MAX_NUMBER_LENGTH: Final = 66
"""A sign, 32 digits, the point and 32 digits."""
MAX_TIMESTAMP_LENGTH: Final = 30
"""2026-05-12T15:04:05.123456789Z"""

_SHOWN: Final = 64
"""Most characters of a text that a sentence shows."""

_ASCII_SYMBOL = re.compile(r"(?! )[ -+\--~]{1,64}(?<![ *])")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that nobody sees, though Python calls them printable: fillers and variation selectors."""
_MAX_DIGITS: Final = 32
# JSON's own number grammar, ASCII digits only. 32 digits hold every price there is, with room for 18 decimals.
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,31}+)(?:\.[0-9]{1,32}+)?+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,31}+)(?:\.([0-9]{1,32}+))?+[eE]([+-]?[0-9]{1,3}+)")
_NO_VALUES: Final = frozenset({"", "nan", "inf", "infinity", "null", "none", "n/a", "-"})
_UTC = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z",
)
_TIMESTAMP = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]"
    r"(?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?P<fraction>\.[0-9]{1,9})?"
    r"(?P<zone>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def is_symbol(text: str) -> bool:
    """Whether ``text`` is 1 to 64 printable characters in NFC that neither begin nor end with white space.

    There is no comma, which separates symbols in lists, and no ``*`` at the end, which makes a pattern: ``*`` alone is
    every symbol. Nothing is trimmed or folded.
    """
    if _ASCII_SYMBOL.fullmatch(text) is not None:
        return True
    return len(text) <= MAX_SYMBOL_LENGTH and not text.isascii() and not _fault(text)


@lru_cache(maxsize=65_536)
def check_symbol(text: str) -> str:
    """``text`` itself if it is a symbol, else ``ValueError``. Every tick comes here, so those seen are remembered."""
    if _ASCII_SYMBOL.fullmatch(text) is None and not is_symbol(text):
        raise ValueError(f"{text[:_SHOWN]!r} is not a symbol: {_fault(text)}.")
    return text


@lru_cache(maxsize=4_096)
def _fault(text: str) -> str:
    """Why a text is no symbol; empty if it is one. Not on the hot path, which asks for ASCII alone."""
    if not 0 < len(text) <= MAX_SYMBOL_LENGTH:
        return f"it has {len(text)} characters, and a symbol has 1 to {MAX_SYMBOL_LENGTH}"
    strange = next((each for each in text.strip() if not each.isprintable() or _INVISIBLE.match(each)), "\0")
    faults = {
        "it begins or ends with white space": text != text.strip(),
        f"U+{ord(strange):04X} is a control, invisible, or no character yet": strange != "\0" or "\0" in text,
        "a comma separates symbols in lists": "," in text,
        "what ends with * is a pattern, and * alone is every symbol": text.endswith("*"),
        "it is not in NFC, where a letter and its accent are one character": not unicodedata.is_normalized("NFC", text),
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")


def number(text: str) -> str:
    """The number in ``text`` with its digits kept, an exponent written out; ``ValueError`` if it is none.

    The grammar is JSON's: no plus sign, no leading zeros, no NaN or Infinity, ASCII digits only.
    """
    if _PLAIN_NUMBER.fullmatch(text) is not None:
        return text
    _check_exponent(text)
    return format(Decimal(text), "f")


def check_number(text: str) -> None:
    """``ValueError`` if :func:`number` takes no such text."""
    if _PLAIN_NUMBER.fullmatch(text) is None:
        _check_exponent(text)


def _check_exponent(text: str) -> None:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(_right_number(text))
    whole, fraction, exponent = match.groups("")
    shift = int(exponent)
    before = len(whole) + shift if whole != "0" else Decimal(text).adjusted() + 1
    if before > _MAX_DIGITS or len(fraction) - shift > _MAX_DIGITS:
        raise ValueError("The exponent is out of range: at most 32 digits before and after the point.")


def size(text: str) -> str:
    """Like :func:`number`, but not below zero."""
    digits = number(text)
    if digits.startswith("-"):
        raise ValueError("A size is not negative.")
    return digits


def timestamp(text: str) -> str:
    """The RFC 3339 timestamp ``text`` in UTC with Z, its fraction kept; ``ValueError`` if it is none.

    A time without a zone is refused: it does not say which instant it means.
    """
    match = _UTC.fullmatch(text)
    if match is not None and _is_date(match[1]):
        return text
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(_right_timestamp(text))
    day, time, fraction, zone = match.group("date", "time", "fraction", "zone")
    if not _is_date(day):
        raise ValueError(f"There is no such day: {day}.")
    if zone in "Zz":
        return f"{day}T{time}{fraction or ''}Z"
    return f"{_to_utc(f'{day}T{time}', zone)}{fraction or ''}Z"


def _right_number(text: str) -> str:
    if text.lstrip("+-").lower() in _NO_VALUES:
        return "Not a number: leave the field out, or write null, where there is no value."
    meant = meant_number(text)
    form = meant if _PLAIN_NUMBER.fullmatch(meant) else "150.25"
    return f"Not a number: write digits like {form}, at most 32 before and after the point."


def _right_timestamp(text: str) -> str:
    """What is wrong with ``text``, and how to write it."""
    fault, form = meant_timestamp(text)
    if _TIMESTAMP.fullmatch(form) is None or not _is_date(form[:10]):
        return (
            "Not an RFC 3339 timestamp with a zone: write 2026-05-12T15:04:05Z, with at most nine digits of fraction."
        )
    return f"Not an RFC 3339 timestamp{fault and f': {fault}'}. Write {form}."


def now() -> str:
    """The time of receipt: this moment as a timestamp, to the microsecond."""
    return moment(time.time_ns() // 1_000)


def moment(micros: int) -> str:
    """So many microseconds since 1970 as a timestamp."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest:06}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def instant(seconds: float) -> str:
    """A time of ``time.time()`` as a timestamp, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


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
