"""The WebSocket protocol as an AsyncAPI 3.0 document, for machines: what docs/reference/protocol.md says to people.

It is assembled from the declarations in commands.py and messages.py and from the tables in codes.py. Tests hold the
rest: every frame that messages.py builds and every example in docs/reference/protocol.md fits a payload here, and no
example here differs from one there.

Schemas of what the gateway sends leave room for fields to come, as clients should. Those of what it takes leave none,
as it refuses what it does not know. Every object has a name, which is a class in clients generated from the document.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from gateway import VERSION
from gateway.protocol import commands, messages
from gateway.protocol.codes import close_codes, error_codes, table
from gateway.protocol.compact import COMPACT
from gateway.protocol.schemas import named_schemas
from gateway.protocol.values import ref
from ticks.tick import MAX_BODY_BYTES

__all__ = ["Deployment", "document", "encode"]

Json = dict[str, Any]

_EXAMPLES: Final = Path(__file__).with_name("examples.txt").read_text().splitlines()
# A line each: the name of a declaration, and a message as docs/reference/protocol.md has it.


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
        "channels": {
            "subscribers": _channel(
                "subscribers",
                "/ws",
                "Ticks out",
                "A client subscribes to symbols and is sent their ticks. Messages are JSON, one in one text message.",
                query={"type": "object", "properties": {"format": {"const": COMPACT, "description": _FORMAT}}},
            ),
            "publishers": _channel(
                "publishers",
                "/ws/publish",
                "Ticks in",
                f"A publisher sends messages of at most {MAX_BODY_BYTES} bytes each, without awaiting answers.",
            ),
        },
        "operations": {each.name: _operation(each, deployment.anonymous) for each in _OPERATIONS},
        "components": {
            "messages": {_name(kind): _message(kind) for kind in _kinds()},
            "schemas": _SCHEMAS,
            "securitySchemes": _security_schemes(deployment.session_cookie),
        },
        "x-error-codes": error_codes(),
        "x-close-codes": close_codes(),
    }


_FORMAT: Final = "Ticks come as arrays (`ticks`), several in one message."
_INFO: Final = {
    "title": "MarketMux",
    "version": VERSION,
    "description": (
        "Market data over WebSockets: ticks in from publishers, out to every subscriber.\n\n"
        "Whatever a client holds is the latest price, or it has been told otherwise. Each symbol's ticks are numbered "
        "(`seq`). Between one tick or snapshot that a client got and the next, in one epoch, `next.seq - last.seq - 1` "
        "is the sum of what `conflated` and the next one say was skipped and `gap` says was missed. Ignore types and "
        "fields you do not know: more will come.\n\n"
        "`GET /api/v1/stream` sends what subscribers are sent as server-sent events; the OpenAPI document has it."
    ),
    "license": {"name": "MIT"},
}

# Channels, and what is said on them


class Operation(NamedTuple):
    """Messages on a channel: those that have ``answers`` come from clients, the others from the gateway."""

    channel: str
    name: str
    kinds: Sequence[type]
    answers: Sequence[type] = ()


_OPERATIONS: Final = [
    Operation("subscribers", "subscribe", [commands.Subscribe], [messages.Subscribed, messages.Error]),
    Operation("subscribers", "unsubscribe", [commands.Unsubscribe], [messages.Unsubscribed, messages.Error]),
    Operation("subscribers", "list", [commands.List], [messages.Subscriptions, messages.Error]),
    Operation("subscribers", "ping", [commands.Ping], [messages.Pong, messages.Error]),
    Operation("subscribers", "auth", [commands.Auth], [messages.Authenticated, messages.Error]),
    Operation("subscribers", "greet", [messages.Welcome]),
    Operation("subscribers", "introduce", [messages.Introduced]),
    Operation("subscribers", "deliver", [messages.Snapshot, messages.Tick, messages.Gap, messages.Conflated]),
    Operation("subscribers", "deliverCompact", [messages.Ticks]),
    Operation("subscribers", "inform", [messages.Heartbeat, messages.Bus, messages.Access, messages.Closing]),
    Operation("publishers", "publish", [commands.Publication], [messages.Published, messages.PublisherError]),
    Operation("publishers", "authPublisher", [commands.Auth], [messages.Authenticated, messages.PublisherError]),
    Operation("publishers", "greetPublisher", [messages.PublisherWelcome]),
    Operation("publishers", "informPublisher", [messages.Access, messages.Closing]),
]
_SECURITY: Final = {"subscribers": ["apiKey", "token", "session"], "publishers": ["apiKey", "token"]}


def _kinds(channel: str = "") -> list[type]:
    """The declarations of all messages of a channel, or of all channels."""
    operations = [each for each in _OPERATIONS if each.channel.startswith(channel)]
    return [*dict.fromkeys(kind for each in operations for kind in (*each.kinds, *each.answers))]


def _channel(name: str, address: str, title: str, description: str, **binding: Json) -> Json:
    return {
        "address": address,
        "title": title,
        "description": description,
        "servers": [{"$ref": "#/servers/gateway"}],
        "messages": {_name(kind): {"$ref": f"#/components/messages/{_name(kind)}"} for kind in _kinds(name)},
        "bindings": {"ws": {"method": "GET", **binding, "bindingVersion": "0.1.0"}},
    }


def _operation(operation: Operation, anonymous: bool) -> Json:
    def among(kinds: Sequence[type]) -> Json:
        refs = [{"$ref": f"#/channels/{operation.channel}/messages/{_name(kind)}"} for kind in kinds]
        return {"channel": {"$ref": f"#/channels/{operation.channel}"}, "messages": refs}

    described = {"action": "receive" if operation.answers else "send", **among(operation.kinds)}
    if operation.answers:
        described["reply"] = among(operation.answers)
    if not anonymous:
        schemes = _SECURITY[operation.channel]
        described["security"] = [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in schemes]
    return described


def _security_schemes(session_cookie: str) -> Json:
    return {
        "apiKey": {
            "type": "httpApiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key` and the key (`manage.py create_key`), sent with the handshake.",
        },
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token (`POST /api/v1/tokens`), in the header or, from a browser, as the subprotocol "
            "`marketmux.token.` and the token, offered beside `marketmux`.",
        },
        "session": {
            "type": "httpApiKey",
            "in": "cookie",
            "name": session_cookie,
            "description": "A session that is logged in, for browsers. They also send an Origin that must be allowed.",
        },
    }


# Messages and their schemas

_DESCRIPTIONS: Final = {
    messages.Closing: f"How a connection ends:\n\n{table(close_codes())}",
    messages.Error: f"A code never changes its meaning:\n\n{table(error_codes())}",
}


def _name(kind: type) -> str:
    return kind.__name__[0].lower() + kind.__name__[1:]


def _message(kind: Any) -> Json:
    examples = [line.partition(" ")[2] for line in _EXAMPLES if line.startswith(f"{kind.__name__} ")]
    message = {
        "name": kind.__struct_config__.tag if issubclass(kind, msgspec.Struct) else _name(kind),
        "summary": kind.__doc__,
        "payload": ref(kind.__name__),
        "examples": [{"payload": json.loads(example, parse_float=Decimal)} for example in examples],
    }
    if kind in _DESCRIPTIONS:
        message["description"] = _DESCRIPTIONS[kind]
    if hasattr(kind, "id"):
        message["correlationId"] = {"location": "$message.payload#/id"}
    return message


def _schemas() -> Json:
    """The schemas of all messages and of all that they name with a title."""
    structs = [kind for kind in _kinds() if issubclass(kind, msgspec.Struct)]
    named = named_schemas([*structs, commands.LastReads, commands.PublishedTick, commands.KeyedTicks])
    for kind in _kinds():
        named.setdefault(kind.__name__, {}).update(getattr(kind, "rules", {}))
    return named


_SCHEMAS: Final = _schemas()
