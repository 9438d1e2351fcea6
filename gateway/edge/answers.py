"""What the HTTP API answers, declared for the OpenAPI document: a tick's fields come from their table."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.edge.picture import Picture
from gateway.protocol.commands import PublishedTick
from gateway.protocol.schemas import named_schemas
from gateway.protocol.values import SENT_FIELDS, Count, Epoch, Seq
from ticks.access.credentials import Audience
from ticks.access.grant import Limits, Scope
from ticks.parsers import TokenRequest
from ticks.problems import PROBLEMS

__all__ = ["SCHEMAS"]

LatestTick = msgspec.defstruct("LatestTick", [*SENT_FIELDS, ("seq", Seq), ("epoch", Epoch)], kw_only=True)
_Address = Annotated[str | None, Meta(description="The address of another page.")]


class TickPage(msgspec.Struct):
    """The latest tick of each symbol on a page."""

    count: Annotated[Count, Meta(description="How many symbols there are.")]
    next: _Address
    previous: _Address
    results: list[LatestTick]  # type: ignore[valid-type] # it is made of the table
    incomplete: (
        Annotated[
            Literal[True], Meta(description="One of several hosts of the bus is away, and its symbols are missing.")
        ]
        | UnsetType
    ) = UNSET


class Accepted(msgspec.Struct):
    """The ticks are with the bus."""

    accepted: Annotated[Count, Meta(description="How many ticks there were.")]


class Mistake(msgspec.Struct):
    """One mistake in a batch."""

    index: Annotated[Count, Meta(description="In which item: 0 for a single tick.")]
    field: Annotated[str, Meta(description="In which field; empty if in none.")]
    code: Literal["required", "null", "invalid", "unknown", "duplicate", "too_many"]
    message: str


class Obstacle(msgspec.Struct):
    """What is in the way."""

    code: str
    detail: str


class Problem(msgspec.Struct):
    """What went wrong (RFC 9457)."""

    type: Annotated[
        str, Meta(extra_json_schema={"format": "uri-reference"}, description="Where the code is explained.")
    ]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong this time, in a sentence.")]
    code: Annotated[str, Meta(extra_json_schema={"enum": sorted(PROBLEMS)}, description="Never changes its meaning.")]
    errors: Annotated[list[Mistake], Meta(description="The first mistakes, with `invalid_ticks`.")] | UnsetType = UNSET
    error_count: Annotated[int, Meta(ge=1, description="How many there are in all.")] | UnsetType = UNSET
    reasons: Annotated[list[Obstacle], Meta(description="What is in the way, with `not_ready`.")] | UnsetType = UNSET
    symbols: Annotated[list[str], Meta(description="Those that it is about, where others are served.")] | UnsetType = (
        UNSET
    )


class Token(msgspec.Struct):
    """A token, good for a minute."""

    token: str
    audience: Audience
    expires_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Kind(msgspec.Struct):
    """What the code of a problem means."""

    code: str
    status: int
    title: str
    when: Annotated[str, Meta(description="When it is answered, in Markdown.")]


class Health(msgspec.Struct):
    """What is published would be taken in time."""

    status: Annotated[
        Literal["ok", "degraded"], Meta(description="`degraded`: one of several hosts of the bus is away.")
    ]
    bus: Literal["redis", "memory"]
    version: str
    code: Annotated[str, Meta(description="Why it is `degraded`.")] | UnsetType = UNSET
    detail: Annotated[str, Meta(description="The same in a sentence.")] | UnsetType = UNSET


class Alive(msgspec.Struct):
    """The worker's event loop turns."""

    status: Literal["alive"]
    version: str


class Ready(msgspec.Struct):
    """Clients and publishers may be sent here."""

    status: Literal["ready"]
    reasons: Annotated[
        list[Obstacle], Meta(description="Why not all of it is: one of several hosts of the bus is away.")
    ]
    version: str


class Allowance(msgspec.Struct):
    """With which symbols something may be done; whether it may with the symbol asked about, and by which pattern."""

    patterns: list[str]
    allowed: bool | UnsetType = UNSET
    rule: str | UnsetType | None = UNSET


_Limits = msgspec.defstruct("Limits", [(name, int | None) for name in Limits.__slots__])
Access = msgspec.defstruct(
    "Access",
    [
        ("who", str),
        ("symbol", str | None),
        *((scope.value, Allowance) for scope in Scope),
        ("limits", _Limits),
        ("expires_at", str | None),
    ],
    namespace={"__doc__": "What the caller may do."},
)


class Connected(msgspec.Struct):
    """A WebSocket that is open."""

    id: str
    since: Annotated[float, Meta(description="In seconds since 1970.")]
    owner: Annotated[str, Meta(description="The key, user or address that it stands on.")]
    who: str
    address: str
    publishes: bool
    symbols: Annotated[Count, Meta(description="How many it is subscribed to.")]
    named: Annotated[list[str], Meta(description="The first of them.")]
    max_rate: Annotated[float | None, Meta(description="That it chose for all of them.")]
    behind: Annotated[bool, Meta(description="Whether ticks wait because it does not keep up.")]
    skipped: Annotated[Count, Meta(description="Ticks left out because it did not.")]
    bytes: Annotated[int | None, Meta(description="Sent to it, where the system tells.")]
    ticks: Annotated[int | None, Meta(description="How many it published.")]
    worker: str


class Connections(msgspec.Struct):
    """Who is connected, the oldest first."""

    count: Annotated[Count, Meta(description="How many are meant; the results are the first of them.")]
    connections: Annotated[Count, Meta(description="How many there are in all.")]
    publishers: Count
    behind: Count
    workers: Annotated[Count, Meta(description="How many workers answered.")]
    is_whole: Annotated[bool, Meta(description="False if the bus could not be asked.")]
    next: Annotated[str, Meta(description="`after` of the next page; empty if this is the last.")]
    results: list[Connected]


def _schemas() -> dict[str, Any]:
    return named_schemas(
        [
            *(PublishedTick, LatestTick, TickPage, Accepted, TokenRequest, Token, Problem, Kind, Access),
            *(Alive, Ready, Health, Picture, Connections),
        ]
    )


SCHEMAS: Final = _schemas()
"""By the names that they have in the document."""
