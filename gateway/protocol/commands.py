"""What clients may say: subscribers' commands, and publishers' ticks. No I/O.

A message is one JSON object in one text message. docs/reference/protocol.md describes all of them. Each class declares
a message for :func:`parse` and for the AsyncAPI document, where its docstring is the summary. ``rules``: what JSON
Schema needs beyond the fields.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import msgspec
from msgspec import Meta

from bus.contract import Since
from gateway.protocol.codes import ErrorCode, ProtocolError
from gateway.protocol.values import EVERYTHING, MAX_ID_LENGTH, PUBLISHED_FIELDS, RequestId, Subscribable, Symbol, ref
from ticks.access.credentials import MAX_TOKEN_BYTES
from ticks.grammar import check_symbol
from ticks.tick import MAX_BATCH

__all__ = ["MAX_RATE", "MIN_RATE", "RATES", "Action", "Auth", "Command", "KeyedTicks", "checked_text", "parse"]

_STEPS: Final = (1, 1.5, 2, 3, 4, 5, 6, 8)
RATES: Final = (*(round(step * decade, 3) for decade in (0.01, 0.1, 1.0, 10.0, 100.0) for step in _STEPS), 1000.0)
"""The rates there are, in ticks a second: each that clients take is a timer and a table a symbol."""
MIN_RATE: Final = 0.01
MAX_RATE: Final = 1000
"""The bounds of ``max_rate``, in ticks a second."""

# Subscribers


class LastRead(msgspec.Struct, forbid_unknown_fields=True):
    """Where a client stopped reading a symbol: the last ``seq`` it knows, and its epoch."""

    seq: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    epoch: Annotated[str, Meta(max_length=MAX_ID_LENGTH)]


LastReads = Annotated[Mapping[Symbol, LastRead], Meta(title="LastReads", description="Of the symbols with one.")]


class _Command(msgspec.Struct, tag_field="action", tag=str.lower, forbid_unknown_fields=True):
    id: RequestId | None = None


class _OfSymbols(_Command):
    symbol: Subscribable | None = None
    symbols: Annotated[Collection[Subscribable], Meta(min_length=1)] | None = None

    # Not oneOf, of which generators of clients make a class without a name for each alternative.
    rules: ClassVar[dict[str, Any]] = {
        "if": {"required": ["symbols"]},
        "then": {"not": {"required": ["symbol"]}},
        "else": {"required": ["symbol"]},
    }


_AT_MOST: Final = (
    "Ticks a second at most; the newest always arrives in the end. Without it: all ticks. It is rounded down to one of "
    f"{', '.join(f'{rate:g}' for rate in RATES)}; `subscribed` says to which."
)
_SINCE: Final = {
    "title": "Since",
    "description": "Where the client stopped reading: what it missed is sent, if all of it is there. With `symbol` it "
    "is one position, with `symbols` a position by symbol.",
    "anyOf": [ref("LastRead"), ref("LastReads")],
}
_ONE_POSITION: Final = {"properties": {"seq": {"type": "integer"}}, "required": ["seq"]}


class Subscribe(_OfSymbols):
    """Subscribes to symbols: to all of them or, on an error, to none."""

    snapshot: Annotated[bool, Meta(description="Whether the last tick is sent first.")] = True
    trace: Annotated[bool, Meta(description="Whether ticks and snapshots say when they were where.")] = False
    max_rate: Annotated[float, Meta(ge=MIN_RATE, le=MAX_RATE, description=_AT_MOST)] | None = None
    since: Annotated[Any, Meta(extra_json_schema=_SINCE)] = None

    rules = _OfSymbols.rules | {
        "dependencies": {
            "since": {
                "if": {"required": ["symbols"]},
                "then": {"properties": {"since": {"additionalProperties": {"type": "object"}}}},
                "else": {"properties": {"since": _ONE_POSITION, "symbol": ref("Symbol")}},
            }
        }
    }
    # No references to LastRead and LastReads, which generators of classes would take for one class.


class Unsubscribe(_OfSymbols):
    """Ends subscriptions; a symbol that was not subscribed is no error."""


class List(_Command):
    """Asks for the symbols subscribed to."""


class Ping(_Command):
    """Asks for a `pong`."""


class Auth(_Command, kw_only=True):
    """Shows another token of the same owner: the connection may do what it allows, as long as it does."""

    token: Annotated[str, Meta(max_length=MAX_TOKEN_BYTES, description="As in the handshake.")]


# Publishers

PublishedTick = msgspec.defstruct("PublishedTick", PUBLISHED_FIELDS, kw_only=True, forbid_unknown_fields=True)


_TICKS: Final = {
    "title": "PublishedTicks",
    "description": "One tick, or an array of them: all are published or, if one is invalid, none.",
    "anyOf": [ref("PublishedTick"), {"type": "array", "items": ref("PublishedTick"), "maxItems": MAX_BATCH}],
}
_KEY: Final = {"pattern": "^[!-~]{1,255}$", "description": "The publisher's own, another for each message."}


class KeyedTicks(msgspec.Struct, forbid_unknown_fields=True):
    """Ticks that are published once, however often they are sent under their key."""

    key: Annotated[str, Meta(extra_json_schema=_KEY)]
    ticks: Annotated[msgspec.Raw, Meta(extra_json_schema=_TICKS)]
    traceparent: Annotated[str, Meta(description="Of W3C Trace Context; ignored unless it is well-formed.")] = ""


class Publication:
    """Ticks to publish: alone or, with a key that makes sending them again harmless, in an object."""

    rules: ClassVar = {"anyOf": [ref("PublishedTicks"), ref("KeyedTicks")]}


# What subscribers say, read


class Action(StrEnum):
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    LIST = "list"
    PING = "ping"
    AUTH = "auth"


_ACTIONS: Final = {action.value: action for action in Action}
_WITH_SYMBOLS: Final = frozenset({Action.SUBSCRIBE, Action.UNSUBSCRIBE})
_NAMES: Final = ("symbol", "symbols")
_FIELDS: Final = {
    action: {"action", *_NAMES, *kind.__struct_fields__}
    for action, kind in zip(Action, (Subscribe, Unsubscribe, List, Ping, Auth), strict=True)
}
# The names of symbols are among all of them, as commands without symbols have an error of their own for these.
_PLAIN: Final = frozenset({"action", "id", *_NAMES})
"""The fields of most commands."""


class Command(NamedTuple):
    """What a client asked for. ``symbols`` is empty for actions that take none; ``token`` is for ``auth``, the rest for
    ``subscribe``.

    ``since``: where the client stopped reading, by symbol. ``rate``: ticks a second at most, one of :data:`RATES`, None
    for all of them.
    """

    action: Action
    symbols: tuple[str, ...]
    request_id: RequestId | None
    snapshot: bool = True
    rate: float | None = None
    since: Mapping[str, Since] = MappingProxyType({})
    token: str = ""
    trace: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it asks for every tick of one symbol, and for nothing else."""
        return (
            self.action is Action.SUBSCRIBE
            and self[2:] == _NOTHING_ELSE
            and len(self.symbols) == 1
            and self.symbols[0] != EVERYTHING
        )


_NOTHING_ELSE: Final = Command(Action.SUBSCRIBE, (), None)[2:]


def checked_text(text: str | None, limit: int, request_id: RequestId | None = None) -> str:
    """``text`` itself if it is a message's text of at most ``limit`` bytes of UTF-8; None is a binary message."""
    if text is None:
        raise ProtocolError(ErrorCode.BINARY_MESSAGE, "Messages are text, not binary.", request_id)
    if (len(text) if text.isascii() else len(text.encode())) > limit:
        raise ProtocolError(ErrorCode.MESSAGE_TOO_BIG, f"A message has at most {limit} bytes.", request_id)
    return text


_ONE_SYMBOL: Final = re.compile(r'\{"action": ?"subscribe", ?"symbol": ?"([!#-\[\]-~]+)"\}')
"""What clients say most often, as they write it; found in a sixth of the time that reading JSON takes."""


def parse(text: str) -> Command:
    """The command in a client's message; :class:`~gateway.protocol.codes.ProtocolError` if it is none."""
    if (one := _ONE_SYMBOL.fullmatch(text)) is None:
        return _parse_any(text)
    symbol = one[1]
    if symbol != EVERYTHING:
        _check_symbol(symbol)
    return Command(Action.SUBSCRIBE, (symbol,), None)


def _parse_any(text: str) -> Command:
    fields = _decode(text)
    request_id = _request_id(fields)
    try:
        action = _action(fields)
        symbols = _symbols(action, fields)
        if action is Action.AUTH:
            return Command(action, symbols, request_id, token=_token(fields))
        if action is not Action.SUBSCRIBE or fields.keys() <= _PLAIN:
            return Command(action, symbols, request_id)
        is_snapshot, is_trace = _flag(fields, "snapshot", True), _flag(fields, "trace", False)
        since = _since(fields, symbols)
        return Command(action, symbols, request_id, is_snapshot, _rate(fields), since, trace=is_trace)
    except ProtocolError as error:
        raise ProtocolError(error.code, error.message, request_id) from None


def _decode(text: str) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ProtocolError(ErrorCode.INVALID_JSON, f"The message is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise _invalid("The message is not a JSON object.")
    return fields


def _invalid(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.INVALID_MESSAGE, message)


def _request_id(fields: Mapping[str, Any]) -> RequestId | None:
    request_id = fields.get("id")
    if request_id is None:
        return None
    if isinstance(request_id, bool) or not isinstance(request_id, str | int) or len(str(request_id)) > MAX_ID_LENGTH:
        raise _invalid(f"An id is a string or an integer of at most {MAX_ID_LENGTH} characters.")
    return request_id


def _action(fields: Mapping[str, Any]) -> Action:
    name = fields.get("action")
    if not isinstance(name, str):
        raise _invalid("The message has no action.")
    action = _ACTIONS.get(name)
    if action is None:
        raise ProtocolError(ErrorCode.UNKNOWN_ACTION, f"There is no such action; there are {', '.join(_ACTIONS)}.")
    if unknown := fields.keys() - _FIELDS[action]:
        raise _invalid(f"Unknown field: {min(unknown)[:64]!r}.")
    return action


def _symbols(action: Action, fields: Mapping[str, Any]) -> tuple[str, ...]:
    named = [name for name in _NAMES if name in fields]
    if action not in _WITH_SYMBOLS:
        if named:
            raise _invalid(f"{action} takes no {named[0]}.")
        return ()
    if len(named) != 1:
        raise _invalid(f"{action} takes either symbol or symbols.")
    symbols = fields["symbols"] if named == ["symbols"] else [fields["symbol"]]
    if not isinstance(symbols, list) or not symbols:
        raise _invalid("symbols is a list of at least one symbol.")
    for symbol in symbols:
        if symbol != EVERYTHING:
            _check_symbol(symbol)
    return tuple(dict.fromkeys(symbols))


def _check_symbol(symbol: Any) -> None:
    if not isinstance(symbol, str):
        raise ProtocolError(ErrorCode.INVALID_SYMBOL, f"{str(symbol)[:40]!r} is not a symbol: it is not a string.")
    try:
        check_symbol(symbol)
    except ValueError as error:
        raise ProtocolError(ErrorCode.INVALID_SYMBOL, str(error)) from None


def _token(fields: Mapping[str, Any]) -> str:
    token = fields.get("token")
    if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES:
        raise _invalid(f"auth takes a token: a string of at most {MAX_TOKEN_BYTES} characters.")
    return token


def _flag(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    flag = fields.get(name)
    if flag is None:
        return default
    if not isinstance(flag, bool):
        raise _invalid(f"{name} is true or false.")
    return flag


def _rate(fields: Mapping[str, Any]) -> float | None:
    rate = fields.get("max_rate")
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not MIN_RATE <= rate <= MAX_RATE:
        raise _invalid(f"max_rate is a number of ticks a second from {MIN_RATE} to {MAX_RATE}.")
    return RATES[bisect(RATES, rate) - 1]


def _since(fields: Mapping[str, Any], symbols: tuple[str, ...]) -> dict[str, Since]:
    """By symbol: for ``symbol`` the message has its position alone, for ``symbols`` a position for each it knows."""
    since = fields.get("since")
    if since is None:
        return {}
    if "symbol" in fields and symbols != (EVERYTHING,):
        return {symbols[0]: _last_read(since)}
    if "symbol" in fields or not isinstance(since, dict):
        raise _invalid("With symbols, since is an object: a position for each symbol.")
    named = frozenset(symbols)
    for symbol in since:
        _check_symbol(symbol)
        if symbol not in named and EVERYTHING not in named:
            raise _invalid(f"since has a symbol that symbols has not: {symbol}.")
    return {symbol: _last_read(value) for symbol, value in since.items()}


def _last_read(value: Any) -> Since:
    try:
        last = msgspec.convert(value, LastRead)
    except msgspec.ValidationError:
        raise _invalid('A position is {"seq": a whole number, "epoch": a string}.') from None
    return Since(last.epoch, last.seq)
