"""The codes clients meet: errors, which answer a message and leave the connection open, and closures, which end it.

They are part of the protocol: a code never changes its meaning. docs/reference/protocol.md and the AsyncAPI document
(gateway/protocol/asyncapi.py) show these tables, and tests hold both to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from bus.contract import Reason

__all__ = [
    "CLOSURES",
    "ERRORS",
    "EXPIRED",
    "FLOODING",
    "NO_ROOM",
    "REVOKED",
    "SERVICE_RESTART",
    "SLOW_CONSUMER",
    "TOO_BIG",
    "TOO_MANY",
    "Closure",
    "ErrorCode",
    "ErrorKind",
    "ProtocolError",
    "close_codes",
    "error_codes",
    "table",
]


class ErrorCode(StrEnum):
    """What an ``error`` message says went wrong."""

    INVALID_JSON = "invalid_json"
    INVALID_MESSAGE = "invalid_message"
    UNKNOWN_ACTION = "unknown_action"
    INVALID_SYMBOL = "invalid_symbol"
    ACCESS_DENIED = "access_denied"
    AUTH_FAILED = "auth_failed"
    AUTH_UNAVAILABLE = "auth_unavailable"
    TOO_MANY_SYMBOLS = "too_many_symbols"
    TOO_MANY_COMMANDS = "too_many_commands"
    MESSAGE_TOO_BIG = "message_too_big"
    BINARY_MESSAGE = "binary_message"
    BUS_UNAVAILABLE = "bus_unavailable"
    INVALID_TICKS = "invalid_ticks"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    TOO_MANY_STREAMS = "too_many_streams"
    TOO_MANY_KEYS = "too_many_keys"
    TOO_MANY_TICKS = "too_many_ticks"
    TOO_MANY_NEW_SYMBOLS = "too_many_new_symbols"


@dataclass(frozen=True)
class ErrorKind:
    """What an error code means, and what a client may do about it."""

    meaning: str
    retry: str


ERRORS: Final = {
    ErrorCode.INVALID_JSON: ErrorKind("the text is not JSON, empty, or nested too deeply", "no"),
    ErrorCode.INVALID_MESSAGE: ErrorKind(
        "JSON, but not a message: no object, no `action`, a field too many, missing or of the wrong kind", "no"
    ),
    ErrorCode.UNKNOWN_ACTION: ErrorKind("there is no such action", "no"),
    ErrorCode.INVALID_SYMBOL: ErrorKind("a string that is not a symbol, or no string", "no"),
    ErrorCode.ACCESS_DENIED: ErrorKind(
        "the connection may not subscribe to these symbols, or publish them; nothing of the message was carried out",
        "no",
    ),
    ErrorCode.AUTH_FAILED: ErrorKind(
        "the token of `auth` is not valid, not for this, or somebody else's; nothing changed for the connection",
        "with another token",
    ),
    ErrorCode.AUTH_UNAVAILABLE: ErrorKind(
        "it could not be found out what the token of `auth` allows; nothing changed for the connection",
        "after a second",
    ),
    ErrorCode.TOO_MANY_SYMBOLS: ErrorKind(
        "the connection would have more symbols than `limits.symbols` or, with `retry_after`, all connections of the "
        "key more than it may have; nothing was subscribed",
        "after unsubscribing",
    ),
    ErrorCode.TOO_MANY_COMMANDS: ErrorKind("more than `limits.commands_per_second`; not carried out", "after a second"),
    ErrorCode.MESSAGE_TOO_BIG: ErrorKind(
        "more bytes than `limits.message_bytes`; the connection is closed with 1009", "no"
    ),
    ErrorCode.BINARY_MESSAGE: ErrorKind("a binary message", "no"),
    ErrorCode.BUS_UNAVAILABLE: ErrorKind(
        "Redis did not answer, or refused (`reason`); nothing was subscribed, or what was published is not confirmed",
        "after a second",
    ),
    ErrorCode.INVALID_TICKS: ErrorKind(
        "`/ws/publish` only: JSON, but not ticks; nothing of the message was published", "no"
    ),
    ErrorCode.IDEMPOTENCY_KEY_REUSED: ErrorKind(
        "`/ws/publish` only: the message's `key` was used for other ticks; nothing of the message was published", "no"
    ),
    ErrorCode.TOO_MANY_STREAMS: ErrorKind(
        "`/ws/publish` only: the bus would have more symbols than it may; nothing of the message was published", "no"
    ),
    ErrorCode.TOO_MANY_KEYS: ErrorKind(
        "`/ws/publish` only: more keys than may come in their time; nothing of the message was published", "later"
    ),
    ErrorCode.TOO_MANY_TICKS: ErrorKind(
        "`/ws/publish` only: more ticks a second than the key or address may publish; nothing of the message was "
        "published",
        "after `retry_after`",
    ),
    ErrorCode.TOO_MANY_NEW_SYMBOLS: ErrorKind(
        "`/ws/publish` only: more symbols that never ticked before than the key may begin in a day; nothing of the "
        "message was published",
        "after `retry_after`",
    ),
}


class ProtocolError(Exception):
    """A message the server cannot act on: a code, a sentence for the developer, and the request's ``id`` if any.

    ``details``: what is wrong with which part, where the message has parts: the first of ``count`` mistakes.
    ``reason``: with BUS_UNAVAILABLE, why. ``symbols``: those that it is about, where it is not about all.
    ``retry_after``: in how many seconds there is use in sending it again.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        request_id: str | int | None = None,
        details: Sequence[Any] = (),
        count: int = 0,
        *,
        reason: Reason | None = None,
        symbols: Sequence[str] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message, request_id, details, count, reason, symbols, retry_after)
        self.retry_after = None if retry_after is None else math.ceil(retry_after * 1_000) / 1_000
        self.reason = reason
        self.symbols = symbols
        self.code = code
        self.message = message
        self.request_id = request_id
        self.details = details
        self.count = count

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class Closure:
    """Why a connection ends: the WebSocket close code, a reason, and what the client should do then.

    ``reconnect``: whether connecting again can help; ``wait``: the least seconds before it, with the client's own
    jittered backoff on top. ``announced``: whether a ``closing`` message comes before the close frame.
    """

    code: int
    reason: str
    reconnect: bool
    wait: float = 0
    announced: bool = False


FLOODING: Final = Closure(
    1008, "Too many commands or frames, or a message without end.", reconnect=True, wait=5, announced=True
)
TOO_BIG: Final = Closure(1009, "The message is too big.", reconnect=False, announced=True)
FAILED: Final = Closure(1011, "The gateway failed.", reconnect=True, wait=1)
SERVICE_RESTART: Final = Closure(1012, "The gateway stops or restarts.", reconnect=True, announced=True)
REVOKED: Final = Closure(
    4003, "The access was revoked: the key, the login or the permission is no more.", reconnect=False, announced=True
)
EXPIRED: Final = Closure(4004, "The credential has expired; come back with a new one.", reconnect=True, announced=True)
NO_ROOM: Final = Closure(
    1013,
    "No room for so many connections that ask for nothing, or come without a credential.",
    reconnect=True,
    wait=5,
    announced=True,
)
TOO_MANY: Final = Closure(4029, "Too many connections of the same key, login or address.", reconnect=True, wait=5)
SLOW_CONSUMER: Final = Closure(4001, "The client did not read for too long.", reconnect=True, wait=1)

CLOSURES: Final = (
    Closure(1000, "The client closed.", reconnect=True),
    Closure(1002, "A breach of the WebSocket protocol, such as an unmasked frame.", reconnect=False),
    Closure(1006, "Never sent: the connection was lost, or refused (403), or nobody was there.", reconnect=True),
    Closure(1007, "A text message is not UTF-8.", reconnect=False),
    FLOODING,
    TOO_BIG,
    FAILED,
    SERVICE_RESTART,
    NO_ROOM,
    SLOW_CONSUMER,
    REVOKED,
    EXPIRED,
    TOO_MANY,
)
"""Every way in which a connection ends. SLOW_CONSUMER is not announced: its socket takes nothing. Neither is TOO_MANY,
which comes in place of the welcome."""


def error_codes() -> list[dict[str, Any]]:
    """A row for each error code."""
    return [{"code": code, **asdict(kind)} for code, kind in ERRORS.items()]


def close_codes() -> list[dict[str, Any]]:
    """A row for each close code; ``wait`` in seconds."""
    return [asdict(closure) for closure in CLOSURES]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of one kind as a Markdown table."""
    head = " | ".join(f"`{name}`" for name in rows[0])
    body = [" | ".join(map(_cell, row.values())) for row in rows]
    return "\n".join([f"| {head} |", f"|{'---|' * len(rows[0])}", *(f"| {cells} |" for cells in body)])


def _cell(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case ErrorCode():
            return f"`{value}`"
    return str(value)
