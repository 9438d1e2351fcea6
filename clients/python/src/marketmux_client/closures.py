"""Close codes: whether to come back after them, and when. docs/reference/protocol.md has the same table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["CLOSURES", "LOST", "Closure", "announced", "closure"]

LOST: Final = 1006
"""What a connection has ended with that was not closed."""


class Closure(NamedTuple):
    """How a connection ended. ``wait``: least seconds before the next, with jittered backoff on top."""

    code: int
    reason: str
    reconnect: bool = True
    wait: float = 0.0


CLOSURES: Final = {
    known.code: known
    for known in (
        Closure(1000, "The client closed."),
        Closure(1002, "A breach of the WebSocket protocol, such as an unmasked frame.", reconnect=False),
        Closure(LOST, "The connection was lost."),
        Closure(1007, "A text message is not UTF-8.", reconnect=False),
        Closure(1008, "Too many commands or frames, or a message without end.", wait=5.0),
        Closure(1009, "The message is too big.", reconnect=False),
        Closure(1011, "The gateway failed.", wait=1.0),
        Closure(1012, "The gateway stops or restarts."),
        Closure(1013, "No room for so many connections that ask for nothing, or come without a credential.", wait=5.0),
        Closure(4001, "The client did not read for too long.", wait=1.0),
        Closure(4003, "The access was revoked: the key, the login or the permission is no more.", reconnect=False),
        Closure(4004, "The credential has expired; come back with a new one."),
        Closure(4029, "Too many connections of the same key, login or address.", wait=5.0),
    )
}


def closure(code: int, reason: str = "") -> Closure:
    """What a close frame with ``code`` means. After codes that are not known yet coming back is worth a try."""
    known = CLOSURES.get(code, Closure(code, ""))
    return known._replace(reason=reason) if reason else known


def announced(message: Mapping[str, Any]) -> Closure:
    """What a ``closing`` message says."""
    return Closure(int(message["code"]), str(message["reason"]), bool(message["reconnect"]), float(message["wait"]))
