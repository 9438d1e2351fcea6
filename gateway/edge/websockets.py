"""The AsyncAPI document as a page: its channels, messages and codes, rendered here from what the code makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.utils.safestring import SafeString

from gateway.protocol.asyncapi import encode
from ticks.prose import html

__all__ = ["Channel", "context"]

Json = Mapping[str, Any]


class Field(NamedTuple):
    """A field of a message: what it is called, what it may be, and what that means."""

    name: str
    kind: str
    is_required: bool
    description: SafeString


class Message(NamedTuple):
    """What is said, and by whom."""

    name: str
    is_ours: bool
    summary: SafeString
    fields: list[Field]
    example: str


class Channel(NamedTuple):
    """An address, and all that is said there."""

    address: str
    title: str
    description: SafeString
    messages: list[Message]


def context(document: Json) -> dict[str, Any]:
    """All that the page shows."""
    (server,) = document["servers"].values()
    codes = (("Error codes", document["x-error-codes"]), ("Close codes", document["x-close-codes"]))
    return {
        "description": html(document["info"]["description"]),
        "version": document["info"]["version"],
        "server": f"{server['protocol']}://{server['host']}",
        "channels": [_channel(document, name, each) for name, each in document["channels"].items()],
        "codes": [
            (title, list(rows[0]), [[_cell(cell) for cell in row.values()] for row in rows]) for title, rows in codes
        ],
    }


def _cell(value: Any) -> SafeString:
    return html(("yes" if value else "no") if isinstance(value, bool) else str(value))


def _channel(document: Json, name: str, channel: Json) -> Channel:
    taken = {
        message["$ref"].rpartition("/")[2]
        for operation in document["operations"].values()
        if operation["action"] == "receive" and operation["channel"]["$ref"].endswith(f"/{name}")
        for message in operation["messages"]
    }
    messages = [_message(document, each, is_ours=each not in taken) for each in channel["messages"]]
    messages.sort(key=lambda message: message.is_ours)
    return Channel(channel["address"], channel["title"], html(channel["description"]), messages)


def _message(document: Json, name: str, *, is_ours: bool) -> Message:
    message = document["components"]["messages"][name]
    payload = _resolved(document, message["payload"])
    examples = message.get("examples", ())
    example = encode(examples[0]["payload"]).decode() if examples else ""
    summary = message.get("summary") or payload.get("description", "")
    return Message(name, is_ours, html(summary), list(_fields(document, payload)), example)


def _fields(document: Json, payload: Json) -> Iterator[Field]:
    for name, schema in payload.get("properties", {}).items():
        described = schema.get("description") or _resolved(document, schema).get("description", "")
        yield Field(name, _kind(document, schema), name in payload.get("required", ()), html(described))


def _resolved(document: Json, schema: Json) -> Json:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _kind(document: Json, schema: Json) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        resolved = _kind(document, _resolved(document, schema))
        return f"{name} ({resolved})" if resolved else name
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(document, each) for each in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"array of {_kind(document, schema['items'])}"
    kind = schema.get("type", "")
    return kind if isinstance(kind, str) else " or ".join(kind)
