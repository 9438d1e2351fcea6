"""The WebSocket protocol as an AsyncAPI 3.0 document, for machines: what docs/reference/protocol.md says to people.

The error and close codes come out of codes.py. Tests hold the rest: every frame that messages.py builds and every
example in docs/reference/protocol.md fits a payload here, and no example here differs from one there.

Schemas of what the gateway sends leave room for fields to come, as clients should. Those of what it takes leave none,
as it refuses what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from gateway import VERSION
from gateway.protocol.codes import CLOSURES, ERRORS, ErrorCode
from gateway.protocol.messages import EVERYTHING, MAX_RATE, MIN_RATE
from ticks.extra import MAX_BYTES, MAX_NAME_LENGTH, MAX_VALUES, extra
from ticks.fields import FIELDS, OPTIONAL, Field
from ticks.grammar import check_symbol, number, size, timestamp
from ticks.tick import MAX_BATCH, MAX_BODY_BYTES

__all__ = ["Deployment", "close_codes", "document", "encode", "error_codes", "table"]

Json = dict[str, Any]


class Deployment(NamedTuple):
    """What the document says about the gateway that serves it.

    ``host``: host and port as clients name them; ``anonymous``: anyone may connect; ``session_cookie``: its name.
    """

    host: str
    secure: bool
    anonymous: bool
    session_cookie: str


def encode(json_document: Json) -> bytes:
    """The document as JSON. The numbers of its examples keep their digits."""
    return msgspec.json.Encoder(decimal_format="number").encode(json_document)


def document(deployment: Deployment) -> Json:
    """The AsyncAPI document of a gateway."""
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {"host": deployment.host, "protocol": "wss" if deployment.secure else "ws"},
        },
        "channels": _CHANNELS,
        "operations": _operations(deployment.anonymous),
        "components": {
            "messages": {**_COMMANDS, **_QUOTES, **_PUBLISHING},
            "schemas": _SCHEMAS,
            "securitySchemes": _security_schemes(deployment.session_cookie),
        },
        "x-error-codes": error_codes(),
        "x-close-codes": close_codes(),
    }


# The tables of gateway/protocol/codes.py


def error_codes() -> list[Json]:
    """A row for each error code."""
    return [{"code": code, "meaning": kind.meaning, "retry": kind.retry} for code, kind in ERRORS.items()]


def close_codes() -> list[Json]:
    """A row for each close code; ``wait`` in seconds."""
    return [
        {
            "code": closure.code,
            "reason": closure.reason,
            "reconnect": closure.reconnect,
            "wait": closure.wait,
            "announced": closure.announced,
        }
        for closure in CLOSURES
    ]


def table(rows: Sequence[Json]) -> str:
    """Rows of one kind as a Markdown table."""
    head = " | ".join(f"`{name}`" for name in rows[0])
    body = [" | ".join(map(_cell, row.values())) for row in rows]
    return "\n".join([f"| {head} |", f"|{'---|' * len(rows[0])}", *(f"| {cells} |" for cells in body)])


def _cell(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case ErrorCode():
            return f"`{value}`"
    return str(value)


# Schemas


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Json, optional: Json | None = None, **more: Any) -> Json:
    """An object with these properties, and room for others."""
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}, **more}


def _exact(required: Json, optional: Json | None = None, **more: Any) -> Json:
    """An object with these properties and no others."""
    return _object(required, optional, additionalProperties=False, **more)


def _map(names: Json, values: Json, **more: Any) -> Json:
    return {"type": "object", "propertyNames": names, "additionalProperties": values, **more}


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


_COUNT: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"anyOf": [_ref("number"), _ref("digits")]}
_EVERYTHING: Final = {"const": EVERYTHING}
_GIVEN: Final = {
    check_symbol: _ref("symbol"),
    number: _ref("number"),
    size: _ref("number"),
    timestamp: _ref("timestamp"),
    extra: _ref("extra"),
}
"""What the gateway sends of a tick's field, by the field's rule."""
_TAKEN: Final = {**_GIVEN, number: _NUMBER, size: _NUMBER, timestamp: {"type": "string", "format": "date-time"}}
"""What it takes."""


def _properties(fields: Iterable[Field], schemas: Mapping[Any, Json]) -> Json:
    return {field.name: schemas[field.rule] for field in fields}


def _or_null(schemas: Json) -> Json:
    return {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in schemas.items()}


_PRICES: Final = _properties(FIELDS[: -len(OPTIONAL)], _GIVEN)
_QUOTE: Final = _properties(OPTIONAL, _GIVEN)
_ID: Final = {"id": _ref("id")}

_SCHEMAS: Final[Json] = {
    "symbol": {"type": "string", "pattern": "^[A-Za-z0-9._/=^:+$#-]{1,32}$", "description": "Case-sensitive."},
    "symbolOrAll": {
        "anyOf": [_ref("symbol"), _EVERYTHING],
        "description": f"A symbol, or `{EVERYTHING}` for every symbol, those included that have not ticked yet.",
    },
    "number": {
        "type": "number",
        "description": "Comes with the digits it was published with. A parser that makes a float of it loses some.",
    },
    "digits": {
        "type": "string",
        "pattern": r"^-?(0|[1-9][0-9]{0,31})(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,3})?$",
        "description": "A number as a string, in JSON's grammar.",
    },
    "timestamp": {
        "type": "string",
        "format": "date-time",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$",
        "description": "RFC 3339 in UTC with Z, with at most nine digits of fraction.",
    },
    "extra": {
        "type": "object",
        "maxProperties": MAX_VALUES,
        "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_LENGTH},
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        "description": f"What else the publisher said, as it came: at most {MAX_BYTES} bytes of compact JSON.",
    },
    "seq": {
        "type": "integer",
        "minimum": 0,
        "description": "A place in a symbol's stream: +1 per tick, from 1. 0 is the place before the first.",
    },
    "epoch": {
        "type": "string",
        "pattern": "^([0-9a-f]{8,20})?$",
        "description": "Which stream a seq belongs to. It changes when the bus lost its memory; seq restarts at 1. "
        "Empty where there is no stream yet.",
    },
    "since": _exact({"seq": _ref("seq"), "epoch": {"type": "string", "maxLength": 64}}),
    "position": _object(
        {"seq": _ref("seq"), "epoch": _ref("epoch")},
        {
            "recovered": {
                "type": "boolean",
                "description": "Only in answer to `since`: whether all that was missed follows.",
            }
        },
    ),
    "id": {
        "type": ["string", "integer"],
        "maxLength": 64,
        "description": "The client's own; the answer brings it back.",
    },
    "symbols": _list(_ref("symbolOrAll"), description="All that the client is subscribed to now."),
    "skipped": _map(_ref("symbol"), {"type": "integer", "minimum": 1}, minProperties=1),
    "publishedTick": _exact(
        _properties((field for field in FIELDS if field.presence == "required"), _TAKEN),
        _or_null(_properties((field for field in FIELDS if field.presence != "required"), _TAKEN)),
    ),
    "publishedTicks": {
        "oneOf": [_ref("publishedTick"), _list(_ref("publishedTick"), maxItems=MAX_BATCH)],
        "description": "One tick, or an array of them: all are published or, if one is invalid, none.",
    },
    "errorCode": {"enum": [code.value for code in ErrorCode]},
}

# Messages


def _message(kind: str, summary: str, payload: Json, examples: Sequence[str], **more: Any) -> Json:
    """``kind``: the payload's ``type`` or ``action``; ``examples``: payloads, to the byte."""
    return {
        "name": kind,
        "summary": summary,
        "payload": payload,
        "examples": [{"payload": json.loads(example, parse_float=Decimal)} for example in examples],
        **({"correlationId": {"location": "$message.payload#/id"}} if "id" in payload.get("properties", ()) else {}),
        **more,
    }


def _command(action: str, summary: str, *examples: str, required: Json | None = None, **payload: Any) -> Json:
    optional = payload.pop("optional", {})
    shape = _exact({"action": {"const": action}, **(required or {})}, {**optional, **_ID}, **payload)
    return _message(action, summary, shape, examples)


def _event(kind: str, summary: str, required: Json, optional: Json, *examples: str, **more: Any) -> Json:
    return _message(kind, summary, _object({"type": {"const": kind}, **required}, optional), examples, **more)


_NAMED: Final = {"symbol": _ref("symbolOrAll"), "symbols": _list(_ref("symbolOrAll"), minItems=1)}
_EITHER: Final = [{"required": ["symbol"]}, {"required": ["symbols"]}]

_COMMANDS: Final[Json] = {
    "subscribe": _command(
        "subscribe",
        "Subscribes to symbols: to all of them or, on an error, to none.",
        '{"action":"subscribe","symbol":"AAPL"}',
        '{"action":"subscribe","symbols":["AAPL","EUR/USD"],"id":1}',
        '{"action":"subscribe","symbol":"*"}',
        '{"action":"subscribe","symbol":"AAPL","max_rate":5}',
        '{"action":"subscribe","symbol":"AAPL","snapshot":false}',
        '{"action":"subscribe","symbol":"AAPL","since":{"seq":1041,"epoch":"5f3a9c1e"},"id":2}',
        '{"action":"subscribe","symbols":["AAPL","EUR/USD"],"since":{"AAPL":{"seq":1041,"epoch":"5f3a9c1e"}},"id":3}',
        optional={
            **_NAMED,
            "snapshot": {"type": "boolean", "default": True, "description": "Whether the last tick is sent first."},
            "max_rate": {
                "type": "number",
                "minimum": MIN_RATE,
                "maximum": MAX_RATE,
                "description": "Ticks a second at most; the newest always arrives in the end. Without it: all ticks.",
            },
            "since": {
                "description": "Where the client stopped reading: what it missed is sent, if all of it is there."
            },
        },
        oneOf=[
            {
                "required": ["symbol"],
                "properties": {"symbol": _ref("symbol"), "since": _ref("since")},
                "description": "With `symbol`, `since` is its position.",
            },
            {"required": ["symbol"], "properties": {"symbol": _EVERYTHING}, "not": {"required": ["since"]}},
            {
                "required": ["symbols"],
                "properties": {"since": _map(_ref("symbol"), _ref("since"))},
                "description": "With `symbols`, `since` has a position by symbol, for those the client has one of.",
            },
        ],
    ),
    "unsubscribe": _command(
        "unsubscribe",
        "Ends subscriptions; a symbol that was not subscribed is no error.",
        '{"action":"unsubscribe","symbol":"^GSPC","id":"x"}',
        optional=_NAMED,
        oneOf=_EITHER,
    ),
    "list": _command("list", "Asks for the symbols subscribed to.", '{"action":"list","id":"x"}'),
    "ping": _command("ping", "Asks for a `pong`.", '{"action":"ping","id":0}'),
}

_CLOSING: Final = _event(
    "closing",
    "The gateway is about to close the connection, with the close code named here.",
    {
        "code": {"enum": [closure.code for closure in CLOSURES if closure.announced]},
        "reason": {"type": "string"},
        "reconnect": {"type": "boolean", "description": "Whether connecting again can help."},
        "wait": {"type": "number", "minimum": 0, "description": "Least seconds before it; jittered backoff on top."},
    },
    {},
    '{"type":"closing","code":1012,"reason":"The gateway stops or restarts.","reconnect":true,"wait":0}',
    description=f"How a connection ends:\n\n{table(close_codes())}",
)

_QUOTES: Final[Json] = {
    "welcome": _event(
        "welcome",
        "The first message of a connection to `/ws`.",
        {
            "version": {"type": "string"},
            "limits": _object({"symbols": _COUNT, "message_bytes": _COUNT, "commands_per_second": _COUNT}),
            "heartbeat": {
                "type": "number",
                "minimum": 0,
                "description": "Seconds between heartbeats; 0 is none.",
            },
        },
        {},
        '{"type":"welcome","version":"0.1.0","limits":{"symbols":1000,"message_bytes":65536,"commands_per_second":100},"heartbeat":1.0}',
    ),
    "subscribed": _event(
        "subscribed",
        "Answers `subscribe`. Snapshots, or the ticks that were missed, come right behind it.",
        {
            "symbols": _ref("symbols"),
            "positions": _map(
                _ref("symbol"), _ref("position"), description="Of the symbols the command named; for `*` of all known."
            ),
        },
        _ID,
        '{"type":"subscribed","symbols":["AAPL"],"positions":{"AAPL":{"seq":1041,"epoch":"5f3a9c1e"}},"id":1}',
        '{"type":"subscribed","symbols":["AAPL"],"positions":{"AAPL":{"seq":1043,"epoch":"5f3a9c1e","recovered":true}},"id":2}',
        '{"type":"subscribed","symbols":["AAPL"],"positions":{"AAPL":{"seq":7,"epoch":"8d21b7f0","recovered":false}},"id":2}',
    ),
    "unsubscribed": _event(
        "unsubscribed",
        "Answers `unsubscribe`.",
        {"symbols": _ref("symbols")},
        _ID,
        '{"type":"unsubscribed","symbols":[]}',
    ),
    "subscriptions": _event(
        "subscriptions",
        "Answers `list`.",
        {"symbols": _ref("symbols")},
        _ID,
        '{"type":"subscriptions","symbols":["AAPL"],"id":"x"}',
    ),
    "pong": _event("pong", "Answers `ping`.", {}, _ID, '{"type":"pong","id":0}'),
    "snapshot": _event(
        "snapshot",
        "The last tick of a symbol, for a client that did not get it as a `tick`.",
        {**_PRICES, "seq": _ref("seq"), "epoch": _ref("epoch")},
        _QUOTE,
        '{"type":"snapshot","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z","seq":1041,"epoch":"5f3a9c1e"}',
    ),
    "tick": _event(
        "tick",
        "A tick of a symbol, in the epoch the client was told last.",
        {**_PRICES, "seq": _ref("seq")},
        _QUOTE,
        '{"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z","seq":1042}',
        '{"type":"tick","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05.123456789Z","bid":1.0849,"ask":1.0851,"size":1000000,"seq":1042}',
        '{"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z","extra":{"venue":"XNAS","fee":0.0030,"late":false},"seq":1042}',
    ),
    "gap": _event(
        "gap",
        "The gateway missed ticks: they are lost to this client.",
        {
            "symbol": _ref("symbol"),
            "missed": {"type": ["integer", "null"], "minimum": 1, "description": "Null: nobody knows how many."},
            "seq": _ref("seq"),
            "epoch": _ref("epoch"),
        },
        {},
        '{"type":"gap","symbol":"AAPL","missed":8,"seq":1049,"epoch":"5f3a9c1e"}',
        '{"type":"gap","symbol":"AAPL","missed":null,"seq":0,"epoch":"8d21b7f0"}',
    ),
    "conflated": _event(
        "conflated",
        "A receipt: how many ticks were skipped on purpose before the next of each symbol.",
        {
            "reason": {
                "enum": ["slow", "rate"],
                "description": "`slow`: the client did not read fast enough. `rate`: it chose a `max_rate`.",
            },
            "skipped": _ref("skipped"),
        },
        {},
        '{"type":"conflated","reason":"slow","skipped":{"AAPL":12}}',
        '{"type":"conflated","reason":"rate","skipped":{"AAPL":3}}',
    ),
    "heartbeat": _event(
        "heartbeat",
        "Nothing new. A client that holds another seq than one given here has missed something.",
        {},
        {"seqs": _map(_ref("symbol"), _ref("seq"), description="Of the symbols that came to rest since the last one.")},
        '{"type":"heartbeat"}',
        '{"type":"heartbeat","seqs":{"AAPL":1049}}',
    ),
    "bus": _event(
        "bus",
        "Whether the gateway hears from the bus. While it does not, prices may be stale.",
        {"connected": {"type": "boolean"}},
        {},
        '{"type":"bus","connected":false}',
        '{"type":"bus","connected":true}',
    ),
    "closing": _CLOSING,
    "error": _event(
        "error",
        "Answers a message that was not carried out.",
        {"code": _ref("errorCode"), "message": {"type": "string", "description": "For the developer; may change."}},
        _ID,
        r'{"type":"error","code":"invalid_symbol","message":"Not \"x\".","id":3}',
        description=f"A code never changes its meaning:\n\n{table(error_codes())}",
    ),
}

_PUBLISHING: Final[Json] = {
    "publication": _message(
        "publication",
        "Ticks to publish: alone or, with a key that makes sending them again harmless, in an object.",
        {
            "oneOf": [
                _ref("publishedTick"),
                _list(_ref("publishedTick"), maxItems=MAX_BATCH),
                _exact(
                    {
                        "key": {
                            "type": "string",
                            "pattern": "^[!-~]{1,255}$",
                            "description": "The publisher's own, another for each message.",
                        },
                        "ticks": _ref("publishedTicks"),
                    }
                ),
            ]
        },
        [
            '{"symbol":"AAPL","price":150.250}',
            '[{"symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z"},{"symbol":"EUR/USD","price":"1.0850"}]',
            '{"symbol":"AAPL","price":150.250,"extra":{"venue":"XNAS","fee":0.0030,"late":false}}',
            '{"key":"feed-7-000123","ticks":[{"symbol":"AAPL","price":150.250}]}',
        ],
    ),
    "publisherWelcome": _event(
        "welcome",
        "The first message of a connection to `/ws/publish`.",
        {"version": {"type": "string"}, "limits": _object({"ticks": _COUNT, "message_bytes": _COUNT})},
        {},
        '{"type":"welcome","version":"0.1.0","limits":{"ticks":1000,"message_bytes":1048576}}',
    ),
    "published": _event(
        "published",
        "Every message up to `id` is published, except those that an `error` before it named.",
        {
            "messages": {**_COUNT, "description": "Published since the connection began."},
            "ticks": {**_COUNT, "description": "Published since the connection began."},
            "id": {**_COUNT, "description": "The number of the last message this speaks for; the first is 1."},
        },
        {},
        '{"type":"published","messages":100,"ticks":5000,"id":100}',
    ),
    "publisherError": _event(
        "error",
        "Nothing of a message was published or, with `bus_unavailable`, it was not confirmed.",
        {
            "code": _ref("errorCode"),
            "message": {"type": "string", "description": "For the developer; may change."},
            "id": {**_COUNT, "description": "The number of the message; the first is 1."},
        },
        {
            "errors": _list(
                _object({"index": _COUNT, "field": {"type": "string"}, "code": {"type": "string"}, "message": {}}),
                description="With `invalid_ticks` only: what is wrong with which tick.",
            )
        },
        '{"type":"error","code":"invalid_ticks","message":"Nothing was published: at least one tick is invalid.",'
        '"errors":[{"index":0,"field":"price","code":"required","message":"This field is required."}],"id":2}',
    ),
}

# Channels and operations


def _channel(address: str, title: str, description: str, messages: Iterable[str]) -> Json:
    return {
        "address": address,
        "title": title,
        "description": description,
        "servers": [{"$ref": "#/servers/gateway"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }


_SUBSCRIBERS: Final = "subscribers"
_PUBLISHERS: Final = "publishers"

_CHANNELS: Final[Json] = {
    _SUBSCRIBERS: _channel(
        "/ws",
        "Ticks out",
        "A client subscribes to symbols and is sent their ticks. Messages are JSON, one in one text message.",
        [*_COMMANDS, *_QUOTES],
    ),
    _PUBLISHERS: _channel(
        "/ws/publish",
        "Ticks in",
        f"A publisher sends message after message, each of at most {MAX_BODY_BYTES} bytes, without awaiting answers.",
        [*_PUBLISHING, "closing"],
    ),
}

_INFO: Final = {
    "title": "MarketMux",
    "version": VERSION,
    "description": (
        "Market data over WebSockets: ticks in from publishers, out to every subscriber.\n\n"
        "Whatever a client holds is the latest price, or it has been told otherwise. Each symbol's ticks are numbered "
        "(`seq`). Between one tick or snapshot that a client got and the next, in one epoch, `next.seq - last.seq - 1` "
        "is the sum of what `conflated` says was skipped and `gap` says was missed. Ignore types and fields you do not "
        "know: more will come."
    ),
    "license": {"name": "MIT"},
}


def _operations(anonymous: bool) -> Json:
    """What the gateway takes (receive) and what it gives (send)."""
    key = {"$ref": "#/components/securitySchemes/apiKey"}
    session = {"$ref": "#/components/securitySchemes/session"}
    subscriber = {} if anonymous else {"security": [key, session]}
    publisher = {} if anonymous else {"security": [key]}
    return {
        **{
            action: {**_operation("receive", _SUBSCRIBERS, [action], answers), **subscriber}
            for action, answers in {
                "subscribe": ["subscribed", "error"],
                "unsubscribe": ["unsubscribed", "error"],
                "list": ["subscriptions", "error"],
                "ping": ["pong", "error"],
            }.items()
        },
        "greet": {**_operation("send", _SUBSCRIBERS, ["welcome"]), **subscriber},
        "deliver": {**_operation("send", _SUBSCRIBERS, ["snapshot", "tick", "gap", "conflated"]), **subscriber},
        "inform": {**_operation("send", _SUBSCRIBERS, ["heartbeat", "bus", "closing"]), **subscriber},
        "publish": {
            **_operation("receive", _PUBLISHERS, ["publication"], ["published", "publisherError"]),
            **publisher,
        },
        "greetPublisher": {**_operation("send", _PUBLISHERS, ["publisherWelcome"]), **publisher},
        "informPublisher": {**_operation("send", _PUBLISHERS, ["closing"]), **publisher},
    }


def _operation(action: str, channel: str, messages: Iterable[str], answers: Sequence[str] = ()) -> Json:
    where = {"$ref": f"#/channels/{channel}"}
    operation: Json = {"action": action, "channel": where, "messages": _in_channel(channel, messages)}
    if answers:
        operation["reply"] = {"channel": where, "messages": _in_channel(channel, answers)}
    return operation


def _in_channel(channel: str, messages: Iterable[str]) -> list[Json]:
    return [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages]


def _security_schemes(session_cookie: str) -> Json:
    return {
        "apiKey": {
            "type": "httpApiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key` and the key (`manage.py create_key`), sent with the handshake.",
        },
        "session": {
            "type": "httpApiKey",
            "in": "cookie",
            "name": session_cookie,
            "description": "A session that is logged in, for browsers. They also send an Origin that must be allowed.",
        },
    }
