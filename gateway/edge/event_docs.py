"""What the OpenAPI document says of the events of ``/api/v1/stream``: names, and where their data is described."""

from __future__ import annotations

from typing import Any, Final

from gateway.protocol import messages

__all__ = ["EXAMPLE", "described"]

_EVENTS: Final = {
    kind.__struct_config__.tag: kind
    for kind in (
        messages.Welcome, messages.Subscribed, messages.Introduced, messages.Snapshot, messages.Tick,
        messages.Conflated, messages.Gap, messages.Bus, messages.Access, messages.Closing,
    )
}  # fmt: skip
_DOCUMENT: Final = "/api/v1/asyncapi.json"
_TEXT: Final = """\
An event's name is the `type` of a message of `/ws`, and its data is the message. Heartbeats are comments. The response
goes on until the client leaves, and ends with `closing` where the gateway ends it.

| event | |
|---|---|
"""
EXAMPLE: Final = """event: tick
data: {"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z","seq":1042}
id: 5f3a9c1e-1042

"""


def described() -> dict[str, Any]:
    """Parts of the operation. ``x-events``: the schema of each event's data, in the AsyncAPI document."""
    return {
        "description": _TEXT + "\n".join(f"| `{name}` | {kind.__doc__} |" for name, kind in _EVENTS.items()),
        "externalDocs": {"url": _DOCUMENT, "description": "What is in the messages."},
        "x-events": {name: f"{_DOCUMENT}#/components/schemas/{kind.__name__}" for name, kind in _EVENTS.items()},
    }
