"""The gateway's messages, as far as a subscriber under test cares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["EVERYTHING", "Since", "decode", "is_tick", "place_of", "price_of", "skipped_by", "stamp_of", "subscribe"]

EVERYTHING: Final = "*"
"""The subscription to every symbol."""

Since = Mapping[str, Mapping[str, Any]]
"""By symbol, the position up to which a client has read: ``{"seq": ..., "epoch": ...}``."""

_TICK = b'{"type":"tick",'
_SYMBOL_AT = len(b'{"type":"tick","symbol":"')
_TIMESTAMP = b'"timestamp":"'
_PRICE = b'"price":'
_SEQ = b',"seq":'
_SKIPPED = b',"skipped":'
_TAIL = len(_SKIPPED) + 20


def stamp_of(payload: bytes) -> bytes:
    """The timestamp of a tick as the gateway writes it; empty for any other message, snapshots among them.

    This runs for every delivery and is why the message is not decoded.
    """
    if not payload.startswith(_TICK):
        return b""
    start = payload.find(_TIMESTAMP) + len(_TIMESTAMP)
    return payload[start : payload.find(b'"', start)]


def is_tick(payload: bytes) -> bool:
    return payload.startswith(_TICK)


def place_of(payload: bytes) -> tuple[bytes, int]:
    """Symbol and seq of a tick as the gateway writes it: the symbol first, the seq behind it; seq 0 if it has none.

    For every delivery of a run that verifies, so this does not decode either. Symbols need no escapes in JSON.
    """
    symbol = payload[_SYMBOL_AT : payload.find(b'"', _SYMBOL_AT)]
    at = payload.rfind(_SEQ)
    return symbol, int(payload[at + len(_SEQ) : -1].partition(b",")[0]) if at > 0 else 0


def skipped_by(payload: bytes) -> int:
    """How many ticks before it a tick says were left out because of a rate."""
    at = payload.rfind(_SKIPPED, -_TAIL)
    digits = payload[at + len(_SKIPPED) : -1]  # not of an extra, behind which there is a brace
    return int(digits) if at > 0 and digits.isdigit() else 0


def price_of(payload: bytes) -> bytes:
    """The digits of the price of a tick or snapshot; empty if ``payload`` is."""
    start = payload.find(_PRICE) + len(_PRICE)
    return payload[start : payload.find(b",", start)] if payload else b""


def decode(payload: bytes) -> dict[str, Any]:
    """Any message as a dict, empty if it is no JSON object."""
    try:
        message = json.loads(payload)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def subscribe(
    symbols: Sequence[str], max_rate: float | None = None, since: Since | None = None, *, trace: bool = False
) -> bytes:
    command: dict[str, Any] = {"action": "subscribe", "symbols": list(symbols), "id": 1}
    if max_rate is not None:
        command["max_rate"] = max_rate
    if since:
        command["since"] = since
    if trace:
        command["trace"] = True
    return json.dumps(command, separators=(",", ":")).encode()
