"""The WebSocket language: what clients may say, and the frames that answer them. No I/O.

A message is one JSON object in one text frame. docs/protocol.md describes all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from gateway.errors import ErrorCode, ProtocolError
from gateway.frames import text_frame
from ticks.tick import Tick, is_symbol

__all__ = [
    "Action",
    "Command",
    "checked_text",
    "conflated_frame",
    "error_frame",
    "parse",
    "pong_frame",
    "published_frame",
    "symbols_frame",
    "tick_frame",
    "welcome_frame",
]

_MAX_ID_LENGTH: Final = 64
_FIELDS: Final = frozenset({"action", "symbol", "symbols", "id"})


class Action(StrEnum):
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    LIST = "list"
    PING = "ping"


_ACTIONS: Final = {action.value: action for action in Action}
_WITH_SYMBOLS: Final = frozenset({Action.SUBSCRIBE, Action.UNSUBSCRIBE})
_ANSWERS: Final = {Action.SUBSCRIBE: "subscribed", Action.UNSUBSCRIBE: "unsubscribed", Action.LIST: "subscriptions"}

RequestId = str | int | None


class Command(NamedTuple):
    """What a client asked for. ``symbols`` is empty for actions that take none."""

    action: Action
    symbols: tuple[str, ...]
    request_id: RequestId


def checked_text(text: str | None, limit: int, request_id: RequestId = None) -> str:
    """``text`` itself if it is a message's text of at most ``limit`` bytes of UTF-8; None is a binary message."""
    if text is None:
        raise ProtocolError(ErrorCode.BINARY_MESSAGE, "Messages are text, not binary.", request_id)
    if (len(text) if text.isascii() else len(text.encode())) > limit:
        raise ProtocolError(ErrorCode.MESSAGE_TOO_BIG, f"A message has at most {limit} bytes.", request_id)
    return text


def parse(text: str) -> Command:
    """The command in a client's message; :class:`~gateway.errors.ProtocolError` if it is none."""
    fields = _decode(text)
    request_id = _request_id(fields)
    try:
        action = _action(fields)
        return Command(action, _symbols(action, fields), request_id)
    except ProtocolError as error:
        raise ProtocolError(error.code, error.message, request_id) from None


def _decode(text: str) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ProtocolError(ErrorCode.INVALID_JSON, f"The message is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, "The message is not a JSON object.")
    return fields


def _request_id(fields: Mapping[str, Any]) -> RequestId:
    request_id = fields.get("id")
    if request_id is None:
        return None
    if isinstance(request_id, bool) or not isinstance(request_id, str | int) or len(str(request_id)) > _MAX_ID_LENGTH:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE, f"An id is a string or an integer of at most {_MAX_ID_LENGTH} characters."
        )
    return request_id


def _action(fields: Mapping[str, Any]) -> Action:
    name = fields.get("action")
    if not isinstance(name, str):
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, "The message has no action.")
    if name not in _ACTIONS:
        raise ProtocolError(ErrorCode.UNKNOWN_ACTION, f"There is no such action; there are {', '.join(_ACTIONS)}.")
    unknown = fields.keys() - _FIELDS
    if unknown:
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, f"Unknown field: {min(unknown)[:64]!r}.")
    return _ACTIONS[name]


def _symbols(action: Action, fields: Mapping[str, Any]) -> tuple[str, ...]:
    named = [name for name in ("symbol", "symbols") if name in fields]
    if action not in _WITH_SYMBOLS:
        if named:
            raise ProtocolError(ErrorCode.INVALID_MESSAGE, f"{action} takes no {named[0]}.")
        return ()
    if len(named) != 1:
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, f"{action} takes either symbol or symbols.")
    symbols = fields["symbols"] if named == ["symbols"] else [fields["symbol"]]
    if not isinstance(symbols, list) or not symbols:
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, "symbols is a list of at least one symbol.")
    for symbol in symbols:
        if not isinstance(symbol, str) or not is_symbol(symbol):
            raise ProtocolError(
                ErrorCode.INVALID_SYMBOL,
                f"Not a symbol: {str(symbol)[:40]!r}. A symbol is 1 to 32 of letters, digits and .-_/=^:+$#",
            )
    return tuple(dict.fromkeys(symbols))


def tick_frame(tick: Tick) -> bytes:
    """The frame every subscriber of the tick's symbol is sent."""
    return text_frame(f'{{"type":"tick",{tick.json()}}}'.encode())


def welcome_frame(version: str, limits: Mapping[str, int]) -> bytes:
    """The first message of a connection."""
    return _frame({"type": "welcome", "version": version, "limits": limits})


def symbols_frame(action: Action, symbols: Collection[str], request_id: RequestId) -> bytes:
    """The acknowledgement of ``action``, with all the client is subscribed to now."""
    return _frame({"type": _ANSWERS[action], "symbols": list(symbols)}, request_id)


def pong_frame(request_id: RequestId) -> bytes:
    return _frame({"type": "pong"}, request_id)


def error_frame(error: ProtocolError) -> bytes:
    message: dict[str, Any] = {"type": "error", "code": error.code.value, "message": error.message}
    if error.details:
        message["errors"] = error.details
    return _frame(message, error.request_id)


def published_frame(number: int, messages: int, ticks: int) -> bytes:
    """Acknowledges a publisher's messages up to the one of that ``number``, with the counts since its start."""
    return _frame({"type": "published", "messages": messages, "ticks": ticks}, number)


def conflated_frame(reason: str, skipped: Mapping[str, int]) -> bytes:
    """The receipt for ticks that were skipped: how many of which symbol, and why."""
    return _frame({"type": "conflated", "reason": reason, "skipped": skipped})


def _frame(message: dict[str, Any], request_id: RequestId = None) -> bytes:
    if request_id is not None:
        message["id"] = request_id
    return text_frame(msgspec.json.encode(message))
