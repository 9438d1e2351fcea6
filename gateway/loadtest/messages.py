"""The gateway's messages, as far as a subscriber under test cares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

__all__ = ["decode", "stamp_of", "subscribe"]

_TICK = b'{"type":"tick",'
_TIMESTAMP = b'"timestamp":"'


def stamp_of(payload: bytes) -> bytes:
    """The timestamp of a tick as the gateway writes it; empty for any other message.

    This runs for every delivery and is why the message is not decoded.
    """
    if not payload.startswith(_TICK):
        return b""
    start = payload.find(_TIMESTAMP) + len(_TIMESTAMP)
    return payload[start : payload.find(b'"', start)]


def decode(payload: bytes) -> dict[str, Any]:
    """Any message as a dict, empty if it is no JSON object."""
    try:
        message = json.loads(payload)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def subscribe(symbols: Sequence[str]) -> bytes:
    return json.dumps({"action": "subscribe", "symbols": list(symbols), "id": 1}).encode()
