"""Holds messages to an AsyncAPI document: each must be exactly one of those its channel has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

from jsonschema import Draft7Validator

__all__ = ["PUBLISHERS", "SUBSCRIBERS", "Conformance", "Side", "parsed"]

SUBSCRIBERS: Final = "/ws"
PUBLISHERS: Final = "/ws/publish"


class Side:
    """The messages that one side of a channel may send."""

    def __init__(self, messages: dict[str, Any], schemas: dict[str, Any]) -> None:
        self.names: Final = messages.keys()
        """Their names in the document."""
        self.kinds: Final = {message["name"] for message in messages.values()}
        """Their ``type`` or ``action``."""
        self.examples: Final = [example["payload"] for message in messages.values() for example in message["examples"]]
        self._validators = {
            name: Draft7Validator({"components": {"schemas": schemas}, "allOf": [message["payload"]]})
            for name, message in messages.items()
        }

    def name_of(self, message: Any) -> str:
        """The name of the one message it is; ``AssertionError`` if it is none, or could be several."""
        names = [name for name, validator in self._validators.items() if validator.is_valid(message)]
        assert len(names) == 1, f"{message} fits {names or 'nothing'}: {[*self._complaints(message)]}"
        return names[0]

    def takes(self, message: Any) -> bool:
        """Whether it is one of the messages."""
        return any(validator.is_valid(message) for validator in self._validators.values())

    def _complaints(self, message: Any) -> Iterator[str]:
        for name, validator in self._validators.items():
            yield from (f"{name}: {error.message}" for error in validator.iter_errors(message))


class Conformance:
    """Both sides of the channels of a document, by address.

    What the gateway sends is held to the document more strictly than clients are told to: a field that the document
    does not name is an error.
    """

    def __init__(self, document: Any) -> None:
        schemas = _closed(document["components"]["schemas"])
        messages = _closed(document["components"]["messages"])
        self.gateway = {
            address: Side({name: messages[name] for name in names}, schemas)
            for address, names in _sent(document, "send").items()
        }
        self.client = {
            address: Side({name: messages[name] for name in names}, schemas)
            for address, names in _sent(document, "receive").items()
        }


def parsed(text: str) -> Any:
    """The message in ``text``, its numbers with all their digits."""
    return json.loads(text, parse_float=Decimal)


def _sent(document: Any, action: str) -> dict[str, list[str]]:
    """The names of messages that go one way, by the address of their channel. Answers go the other way."""
    names: dict[str, list[str]] = {channel["address"]: [] for channel in document["channels"].values()}
    for operation in document["operations"].values():
        part = operation if operation["action"] == action else operation.get("reply")
        if part is None:
            continue
        channel = _resolve(document, part["channel"])
        for reference in part["messages"]:
            _resolve(document, reference)
            name = reference["$ref"].rpartition("/")[2]
            if name not in names[channel["address"]]:
                names[channel["address"]].append(name)
    return names


def _resolve(document: Any, reference: dict[str, str]) -> Any:
    found = document
    for step in _steps(reference["$ref"]):
        found = found[step]
    return found


def _steps(pointer: str) -> Iterable[str]:
    root, *steps = pointer.split("/")
    assert root == "#"
    return steps


def _closed(schema: Any) -> Any:
    """The schema with no room for properties it does not name."""
    match schema:
        case dict():
            closed = {key: _closed(value) for key, value in schema.items()}
            if closed.get("type") == "object" and "properties" in closed:
                closed.setdefault("additionalProperties", False)
            return closed
        case list():
            return [_closed(item) for item in schema]
    return schema
