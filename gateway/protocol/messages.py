"""The WebSocket language: what clients may say, and the frames that answer them. No I/O.

A message is one JSON object in one text frame. docs/reference/protocol.md describes all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from bus.contract import Since
from gateway.protocol.codes import Closure, ErrorCode, ProtocolError
from gateway.protocol.frames import text_frame
from ticks.grammar import is_symbol

__all__ = [
    "EVERYTHING",
    "MAX_RATE",
    "MIN_RATE",
    "Action",
    "Command",
    "bus_frame",
    "checked_text",
    "closing_frame",
    "conflated_frame",
    "error_frame",
    "gap_frame",
    "heartbeat_frame",
    "parse",
    "pong_frame",
    "position",
    "published_frame",
    "snapshot_frame",
    "subscribed_frame",
    "symbols_frame",
    "tick_frame",
    "welcome_frame",
]

EVERYTHING: Final = "*"
"""What a client subscribes to for every symbol, those included that have not ticked yet."""

MIN_RATE: Final = 0.01
MAX_RATE: Final = 1000
"""The bounds of ``max_rate``, in ticks a second."""

_MAX_ID_LENGTH: Final = 64
_FIELDS: Final = frozenset({"action", "symbol", "symbols", "id"})
_SUBSCRIBE_FIELDS: Final = _FIELDS | {"snapshot", "max_rate", "since"}


class Action(StrEnum):
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    LIST = "list"
    PING = "ping"


_ACTIONS: Final = {action.value: action for action in Action}
_WITH_SYMBOLS: Final = frozenset({Action.SUBSCRIBE, Action.UNSUBSCRIBE})
_ANSWERS: Final = {Action.UNSUBSCRIBE: "unsubscribed", Action.LIST: "subscriptions"}

RequestId = str | int | None


class Command(NamedTuple):
    """What a client asked for. ``symbols`` is empty for actions that take none; the rest is for ``subscribe``.

    ``since``: where the client stopped reading, by symbol. ``rate``: ticks a second at most, None for all of them.
    """

    action: Action
    symbols: tuple[str, ...]
    request_id: RequestId
    snapshot: bool = True
    rate: float | None = None
    since: Mapping[str, Since] = MappingProxyType({})


def checked_text(text: str | None, limit: int, request_id: RequestId = None) -> str:
    """``text`` itself if it is a message's text of at most ``limit`` bytes of UTF-8; None is a binary message."""
    if text is None:
        raise ProtocolError(ErrorCode.BINARY_MESSAGE, "Messages are text, not binary.", request_id)
    if (len(text) if text.isascii() else len(text.encode())) > limit:
        raise ProtocolError(ErrorCode.MESSAGE_TOO_BIG, f"A message has at most {limit} bytes.", request_id)
    return text


def parse(text: str) -> Command:
    """The command in a client's message; :class:`~gateway.protocol.codes.ProtocolError` if it is none."""
    fields = _decode(text)
    request_id = _request_id(fields)
    try:
        action = _action(fields)
        symbols = _symbols(action, fields)
        if action is not Action.SUBSCRIBE:
            return Command(action, symbols, request_id)
        return Command(action, symbols, request_id, _snapshot(fields), _rate(fields), _since(fields, symbols))
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
    unknown = fields.keys() - (_SUBSCRIBE_FIELDS if name == Action.SUBSCRIBE else _FIELDS)
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
        if symbol != EVERYTHING:
            _check_symbol(symbol)
    return tuple(dict.fromkeys(symbols))


def _check_symbol(symbol: Any) -> None:
    if not isinstance(symbol, str) or not is_symbol(symbol):
        raise ProtocolError(
            ErrorCode.INVALID_SYMBOL,
            f"Not a symbol: {str(symbol)[:40]!r}. A symbol is 1 to 32 of letters, digits and .-_/=^:+$#",
        )


def _snapshot(fields: Mapping[str, Any]) -> bool:
    snapshot = fields.get("snapshot")
    if snapshot is not None and not isinstance(snapshot, bool):
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, "snapshot is true or false.")
    return snapshot is not False


def _rate(fields: Mapping[str, Any]) -> float | None:
    rate = fields.get("max_rate")
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not MIN_RATE <= rate <= MAX_RATE:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE, f"max_rate is a number of ticks a second from {MIN_RATE} to {MAX_RATE}."
        )
    return float(rate)


def _since(fields: Mapping[str, Any], symbols: tuple[str, ...]) -> dict[str, Since]:
    """By symbol: for ``symbol`` the message has its position alone, for ``symbols`` a position for each it knows."""
    since = fields.get("since")
    if since is None:
        return {}
    if "symbol" in fields and symbols != (EVERYTHING,):
        return {symbols[0]: _position(since)}
    if "symbol" in fields or not isinstance(since, dict):
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, "With symbols, since is an object: a position for each symbol.")
    for symbol in since:
        _check_symbol(symbol)
        if symbol not in symbols and EVERYTHING not in symbols:
            raise ProtocolError(ErrorCode.INVALID_MESSAGE, f"since has a symbol that symbols has not: {symbol}.")
    return {symbol: _position(value) for symbol, value in since.items()}


def _position(value: Any) -> Since:
    match value:
        case {"seq": int(seq), "epoch": str(epoch), **others} if not others and not isinstance(value["seq"], bool):
            if 0 <= seq < 2**63 and len(epoch) <= _MAX_ID_LENGTH:
                return Since(epoch, seq)
    raise ProtocolError(ErrorCode.INVALID_MESSAGE, 'A position is {"seq": a whole number, "epoch": a string}.')


def tick_frame(body: str, seq: int) -> bytes:
    """The frame every subscriber of the tick's symbol is sent; ``body``: what ``Tick.json`` gives."""
    return text_frame(f'{{"type":"tick",{body},"seq":{seq}}}'.encode())


def snapshot_frame(body: str, seq: int, epoch: str) -> bytes:
    """The last tick, for somebody who did not get it as one."""
    return text_frame(f'{{"type":"snapshot",{body},"seq":{seq},"epoch":"{epoch}"}}'.encode())


def gap_frame(symbol: str, missed: int | None, seq: int, epoch: str) -> bytes:
    """Says that ``missed`` ticks (None: nobody knows how many) are lost; the stream goes on behind ``seq``."""
    return _frame({"type": "gap", "symbol": symbol, "missed": missed, "seq": seq, "epoch": epoch})


def heartbeat_frame(seqs: Mapping[str, int]) -> bytes:
    """Says that there is nothing new, and where the streams are that have just come to rest."""
    return _frame({"type": "heartbeat", "seqs": seqs} if seqs else {"type": "heartbeat"})


def bus_frame(connected: bool) -> bytes:
    """Says whether the gateway hears from the bus; while it does not, prices may be stale."""
    return _frame({"type": "bus", "connected": connected})


def closing_frame(closure: Closure) -> bytes:
    """Announces a planned close, and says what to do then; ``wait`` in seconds."""
    wait = int(closure.wait) if closure.wait == math.floor(closure.wait) else closure.wait
    return _frame(
        {
            "type": "closing",
            "code": closure.code,
            "reason": closure.reason,
            "reconnect": closure.reconnect,
            "wait": wait,
        }
    )


def welcome_frame(version: str, limits: Mapping[str, int], heartbeat: float | None = None) -> bytes:
    """The first message of a connection. ``heartbeat``: seconds between heartbeats, 0 for none."""
    message: dict[str, Any] = {"type": "welcome", "version": version, "limits": limits}
    if heartbeat is not None:
        message["heartbeat"] = heartbeat
    return _frame(message)


def position(seq: int, epoch: str, recovered: bool | None = None) -> dict[str, Any]:
    """A stream's place in a ``subscribed`` message; ``recovered`` only for a client that said where it stopped."""
    place: dict[str, Any] = {"seq": seq, "epoch": epoch}
    if recovered is not None:
        place["recovered"] = recovered
    return place


def subscribed_frame(
    symbols: Collection[str], positions: Mapping[str, Mapping[str, Any]], request_id: RequestId
) -> bytes:
    """The answer to ``subscribe``: all the client is subscribed to now, and where the streams asked for are."""
    return _frame({"type": "subscribed", "symbols": list(symbols), "positions": positions}, request_id)


def symbols_frame(action: Action, symbols: Collection[str], request_id: RequestId) -> bytes:
    """The answer to ``unsubscribe`` or ``list``, with all the client is subscribed to now."""
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
    """The receipt for ticks that were skipped: how many of which symbol, and why (``slow`` or ``rate``)."""
    return _frame({"type": "conflated", "reason": reason, "skipped": skipped})


def _frame(message: dict[str, Any], request_id: RequestId = None) -> bytes:
    if request_id is not None:
        message["id"] = request_id
    return text_frame(msgspec.json.encode(message))
