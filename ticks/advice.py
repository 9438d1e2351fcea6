"""What a publisher may have meant whose tick was refused, for the message. Nothing here is on the hot path."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

__all__ = ["meant_field", "meant_number", "meant_timestamp"]

_MOST: Final = 64
"""Longest text that is looked at."""

_LOOSE: Final = re.compile(
    r"\s*(?P<year>[0-9]{4})(?P<dashes>-?)(?P<month>[0-9]{1,2})(?P=dashes)(?P<day>[0-9]{1,2})"
    r"(?P<between>[Tt]?|\s+)(?:(?P<hour>[0-9]{1,2}):?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2}))?)?"
    r"(?P<point>[.,]?)(?P<fraction>[0-9]*)"
    r"\s*(?P<zone>[Zz]|UTC|GMT|(?P<sign>[+-])(?P<hours>[0-9]{1,2}):?(?P<minutes>[0-9]{2})?)?\s*"
)
"""Most of what ISO 8601 and programs write that RFC 3339 has no form for."""
_SINCE_1970: Final = re.compile(r"([0-9]{9,20})(?:\.([0-9]+))?")
_UNITS: Final = {10: "seconds", 13: "milliseconds", 16: "microseconds", 19: "nanoseconds"}
"""By the digits that a time of today has since 1970."""

_PLAIN: Final = re.compile(r"\s*\+?(-?)0*([0-9]*)(?:\.|(\.[0-9]+))?\s*")
"""A number with a plus sign, with zeros before it, or with nothing on one side of its point."""

_OTHER_NAMES: Final = {
    "symbol": ("ticker", "sym", "s", "instrument", "pair", "product_id"),
    "price": ("last", "last_price", "px", "p", "value", "close"),
    "timestamp": ("ts", "time", "t", "datetime", "date"),
    "bid": ("bid_price", "best_bid", "b"),
    "ask": ("ask_price", "best_ask", "offer", "a"),
    "size": ("volume", "qty", "quantity", "amount", "vol", "v"),
    "extra": ("meta", "metadata", "data", "info", "tags"),
}


def meant_field(name: str) -> str:
    """A sentence: what to write in place of a field that ticks do not have."""
    plain = name.strip().lower()
    for field, others in _OTHER_NAMES.items():
        if plain == field or plain in others:
            return f"There is no such field; did you mean {field}?"
    if plain == "ticks":
        return "There is no such field: the body is the array itself."
    return f"There is no such field; there are {', '.join(_OTHER_NAMES)}."


def meant_number(text: str) -> str:
    """The number that a text may stand for that is none; empty where nothing comes to mind."""
    match = _PLAIN.fullmatch(text.replace("_", "")) if len(text) <= _MOST else None
    return (match and f"{match[1]}{match[2] or '0'}{match[3] or ''}") or ""


def meant_timestamp(text: str) -> tuple[str, str]:
    """What is wrong with a text that is no timestamp, and the one that it may stand for, which need not exist.

    Empty where nothing comes to mind.
    """
    if len(text) > _MOST:
        return "", ""
    if (number := _SINCE_1970.fullmatch(text)) is not None:
        return _since_1970(number[1], number[2] or "")
    match = _LOOSE.fullmatch(text)
    if match is None:
        return "", ""
    found = {name: value or "" for name, value in match.groupdict().items()}
    day = f"{found['year']}-{found['month']:>02}-{found['day']:>02}"
    time = f"{found['hour'] or '00':>02}:{found['minute'] or '00'}:{found['second'] or '00'}"
    fraction = found["fraction"] and f".{found['fraction'][:9]}"
    zone = f"{found['sign']}{found['hours']:>02}:{found['minutes'] or '00'}" if found["sign"] else "Z"
    return _faults(found), f"{day}T{time}{fraction}{zone}"


def _faults(found: dict[str, str]) -> str:
    faults = {
        "it has no time of day": not found["hour"],
        "a T stands between date and time": found["hour"] and found["between"] not in {"T", "t"},
        "it has no seconds": found["hour"] and not found["second"],
        "a fraction begins with a point": found["point"] == ",",
        "a fraction has at most nine digits": len(found["fraction"]) > 9,
        "it has no zone (Z is UTC)": not found["zone"],
        "a zone is written with a colon": found["sign"] and found["zone"][3:4] != ":",
    }
    return ", ".join(fault for fault, is_so in faults.items() if is_so)


def _since_1970(digits: str, fraction: str) -> tuple[str, str]:
    unit = min(_UNITS, key=lambda each: abs(each - len(digits)))
    seconds, rest = divmod(int(digits), 10 ** (unit - 10))
    if unit > 10:
        fraction = f"{rest:0{unit - 10}}"
    try:
        moment = datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
    except (ValueError, OverflowError, OSError):
        return "", ""
    return f"{_UNITS[unit]} since 1970 are no timestamp", f"{moment}{fraction and f'.{fraction[:9]}'}Z"
