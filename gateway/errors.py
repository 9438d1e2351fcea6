"""The codes clients meet: errors, which answer a command and leave the connection open, and closures, which end it.

They are part of the protocol: a code never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

__all__ = [
    "FLOODING",
    "SLOW_CONSUMER",
    "TOO_BIG",
    "Closure",
    "ErrorCode",
    "ProtocolError",
]


class ErrorCode(StrEnum):
    """What an ``error`` message says went wrong."""

    INVALID_JSON = "invalid_json"
    INVALID_MESSAGE = "invalid_message"
    UNKNOWN_ACTION = "unknown_action"
    INVALID_SYMBOL = "invalid_symbol"
    TOO_MANY_SYMBOLS = "too_many_symbols"
    TOO_MANY_COMMANDS = "too_many_commands"
    MESSAGE_TOO_BIG = "message_too_big"
    BINARY_MESSAGE = "binary_message"
    BUS_UNAVAILABLE = "bus_unavailable"
    INVALID_TICKS = "invalid_ticks"


class ProtocolError(Exception):
    """A message the server cannot act on: a code, a sentence for the developer, and the request's ``id`` if any.

    ``details``: what is wrong with which part, where the message has parts.
    """

    def __init__(
        self, code: ErrorCode, message: str, request_id: str | int | None = None, details: Sequence[Any] = ()
    ) -> None:
        super().__init__(code, message, request_id, details)
        self.code = code
        self.message = message
        self.request_id = request_id
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class Closure:
    """Why the server ends a connection: the WebSocket close code, a reason, and whether to connect again."""

    code: int
    reason: str
    reconnect: bool


TOO_BIG: Final = Closure(1009, "The message is too big.", reconnect=False)
SLOW_CONSUMER: Final = Closure(4001, "The client did not read for too long.", reconnect=True)
FLOODING: Final = Closure(1008, "Too many commands.", reconnect=True)
