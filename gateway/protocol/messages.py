"""What the gateway says: each message declared once, and the frames that carry them. No I/O.

A message is one JSON object in one text frame. docs/reference/protocol.md describes all of them. Each class declares a
message: its fields, in their order, for the wire and for the AsyncAPI document, where its docstring is the summary. A
field with a default is left out when it has that value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, ParamSpec

import msgspec
from msgspec import Meta

from bus.contract import Reason
from gateway.protocol.codes import CLOSURES, Closure, ErrorCode, ProtocolError
from gateway.protocol.frames import rewritten, text_frame
from gateway.protocol.values import (
    SENT_FIELDS,
    Count,
    Epoch,
    MessageNumber,
    RequestId,
    Seq,
    Symbol,
    Symbols,
    Timestamp,
)

__all__ = [
    "Limits",
    "Position",
    "PublisherLimits",
    "Trace",
    "access_frame",
    "authenticated_frame",
    "bus_frame",
    "closing_frame",
    "conflated_frame",
    "error_frame",
    "gap_frame",
    "heartbeat_frame",
    "introduced_frame",
    "pong_frame",
    "published_frame",
    "publisher_welcome_frame",
    "skipping",
    "snapshot_frame",
    "subscribed_frame",
    "subscriptions_frame",
    "tick_frame",
    "traced",
    "unsubscribed_frame",
    "welcome_frame",
]

P = ParamSpec("P")


class Event(msgspec.Struct, tag_field="type", tag=str.lower, omit_defaults=True, gc=False):
    """What the gateway says. Its ``type`` is the name of its class."""


ExpiresAt = Annotated[
    Timestamp, Meta(title="ExpiresAt", description="When the credential ends; absent if it does not by itself.")
]

# How the connection is


class Limits(msgspec.Struct):
    """What a subscriber may ask for."""

    symbols: Count
    message_bytes: Count
    commands_per_second: Count


class Welcome(Event):
    """The first message of a connection to `/ws`."""

    version: str
    limits: Limits
    heartbeat: Annotated[float, Meta(ge=0, description="Seconds without a message until a heartbeat; 0: none come.")]
    expires_at: ExpiresAt | None = None
    fields: Annotated[
        Sequence[str], Meta(title="Fields", description="With `format=compact`: what each array of `ticks` has.")
    ] = ()


class Heartbeat(Event):
    """Nothing new at the `time` of the gateway's clock. A client with another seq than one here missed something."""

    time: Timestamp
    seqs: Annotated[
        Mapping[Symbol, Seq], Meta(title="Seqs", description="Of the symbols that came to rest since the last one.")
    ] = {}


class Bus(Event):
    """Whether the gateway hears from the bus. While it does not, prices may be stale."""

    connected: bool
    symbols: Annotated[
        Collection[Symbol], Meta(description="Where it is not heard of these alone; the client's others are live.")
    ] = ()


class Closing(Event):
    """The gateway is about to close the connection, with the close code named here."""

    code: Annotated[int, Meta(title="CloseCode", extra_json_schema={"enum": [c.code for c in CLOSURES if c.announced]})]
    reason: str
    reconnect: Annotated[bool, Meta(description="Whether connecting again can help.")]
    wait: Annotated[float, Meta(ge=0, description="Least seconds before it; jittered backoff on top.")]


class Access(Event):
    """What the connection may do has changed. Nothing more comes of what was lost."""

    patterns: Annotated[
        Collection[str],
        Meta(title="Patterns", description="Of the symbols that it may subscribe to or publish from now on."),
    ]
    lost: Annotated[Symbols, Meta(description="Subscriptions that have ended with it.")] = ()


class Authenticated(Event, tag="auth"):
    """Answers `auth`. To a publisher `id` is the number of the message."""

    expires_at: ExpiresAt | None = None
    id: RequestId | None = None


# Answers to subscribers


class Position(msgspec.Struct, omit_defaults=True):
    """Where a symbol's stream is. `recovered` is there in answer to `since`: whether all that was missed follows."""

    seq: Seq
    epoch: Epoch
    recovered: bool | None = None


Positions = Annotated[
    Mapping[Symbol, Position],
    Meta(title="Positions", description="By symbol: of all that the command named, or of 500 at most for `*`."),
]


class Subscribed(Event):
    """Answers `subscribe`. Snapshots, or the ticks that were missed, come right behind it."""

    symbols: Annotated[Symbols, Meta(description="Those that the command named.")]
    positions: Positions
    id: RequestId | None = None
    max_rate: Annotated[float | None, Meta(description="The rate that was taken, where the command had one.")] = None


class Introduced(Event):
    """Where more streams of `*` are, after its `subscribed`. The snapshots of these symbols come right behind it."""

    positions: Positions


class Unsubscribed(Event):
    """Answers `unsubscribe`."""

    symbols: Annotated[Symbols, Meta(description="Those that the command named and the client was subscribed to.")]
    id: RequestId | None = None


class Subscriptions(Event):
    """Answers `list`."""

    symbols: Annotated[Symbols, Meta(description="All that the client is subscribed to now.")]
    id: RequestId | None = None


class Pong(Event):
    """Answers `ping`."""

    id: RequestId | None = None


BusReason = Annotated[
    str,
    Meta(
        title="BusReason",
        description="With `bus_unavailable`: why. May be one that is not listed here.",
        extra_json_schema={"examples": [reason.value for reason in Reason]},
    ),
]


class Error(Event):
    """Answers a message that was not carried out."""

    code: ErrorCode
    message: Annotated[str, Meta(description="For the developer; may change.")]
    reason: BusReason | None = None
    symbols: Annotated[
        Symbols,
        Meta(
            description="With `access_denied`: those that are not covered. With `bus_unavailable`, on a bus of several "
            "hosts: those that were not published or subscribed."
        ),
    ] = ()
    retry_after: Annotated[float | None, Meta(description="Seconds after which it may be sent again.")] = None
    id: RequestId | None = None


# Prices


class Trace(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """When a tick was where, in µs since 1970, for a client that asked with `"trace": true`. Unknown is absent."""

    published: Annotated[int | None, Meta(description="By its publisher: the timestamp that it came with.")] = None
    received: Annotated[int | None, Meta(description="By the gateway that it was posted to.")] = None
    sequenced: Annotated[int | None, Meta(description="By the bus, which gave it its seq.")] = None
    sent: Annotated[int, Meta(description="To this client, by the gateway that it is connected to.")]
    traceparent: Annotated[str, Meta(description="Of W3C Trace Context, if the tick was posted with one.")] = ""


def _priced(name: str, summary: str, *place: tuple[str, Any] | tuple[str, Any, Any]) -> type[msgspec.Struct]:
    fields = [*SENT_FIELDS, *place, ("trace", Trace | None, None)]
    return msgspec.defstruct(name, fields, bases=(Event,), kw_only=True, namespace={"__doc__": summary})


_LEFT_OUT: Final = "How many ticks before it were left out because of the `max_rate` that the client chose."
_Left = Annotated[int, Meta(ge=0, description=_LEFT_OUT)]
_TICK: Final = "A tick of a symbol, in the epoch the client was told last."
Tick = _priced("Tick", _TICK, ("seq", Seq), ("skipped", _Left, 0))
_LAST: Final = "The last tick of a symbol, for a client that did not get it as a `tick`."
Snapshot = _priced("Snapshot", _LAST, ("seq", Seq), ("epoch", Epoch))


class Ticks:
    """With `format=compact`, in place of `tick`: an array for each, with the values of the `fields` of `welcome`."""

    rules: ClassVar = {
        "type": "array",
        "minItems": 1,
        "items": {"type": "array", "minItems": 4},
        "description": "Null where a tick has no such field, and nothing where it has none of the last ones. Its other "
        "fields are in an object behind them.",
    }


class Gap(Event):
    """The gateway missed ticks: they are lost to this client. The stream goes on behind `seq`."""

    symbol: Symbol
    missed: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Null: how many is unknown.")]
    seq: Seq
    epoch: Epoch


class Conflated(Event):
    """A receipt: how many ticks were skipped on purpose before the next of each symbol, besides what that says."""

    reason: Annotated[
        str,
        Meta(
            title="ConflationReason",
            description="`slow`: the client did not read fast enough. `rate`: of its `max_rate`, if no tick says so.",
            extra_json_schema={"enum": ["slow", "rate"]},
        ),
    ]
    skipped: Annotated[Mapping[Symbol, Annotated[int, Meta(ge=1)]], Meta(title="Skipped", min_length=1)]


# To publishers


class PublisherLimits(msgspec.Struct):
    """What a message of a publisher may have."""

    ticks: Count
    message_bytes: Count


class PublisherWelcome(Event, tag="welcome"):
    """The first message of a connection to `/ws/publish`."""

    version: str
    limits: PublisherLimits
    expires_at: ExpiresAt | None = None


class Published(Event):
    """Every message up to `id` is published, except those that an `error` before it named."""

    messages: Annotated[Count, Meta(description="Published since the connection began.")]
    ticks: Annotated[Count, Meta(description="Published since the connection began.")]
    id: MessageNumber


class TickError(msgspec.Struct):
    """What is wrong with a tick: which of the message's, and which of its fields."""

    index: Count
    field: str
    code: str
    message: str


class PublisherError(Event, tag="error", kw_only=True):
    """Nothing of a message was published or, with `bus_unavailable`, it was not confirmed."""

    code: ErrorCode
    message: Annotated[str, Meta(description="For the developer; may change.")]
    errors: Annotated[Sequence[TickError], Meta(description="With `invalid_ticks` only: the first 50.")] = ()
    error_count: Annotated[Count, Meta(description="With `invalid_ticks` only: how many errors there are.")] = 0
    symbols: Annotated[Symbols, Meta(description="With `access_denied`: those that are not covered.")] = ()
    id: MessageNumber


# Frames

_PRICE: Final = re.compile(rb'\{"type":"(?:tick|snapshot)","symbol":"([^"]+)","price":[^,]+,"timestamp":"([^"]+)"')
_PLACE: Final = re.compile(rb'"seq":([0-9]+)(?:,"epoch":"[0-9a-f]*"|,"skipped":[0-9]+)?\}\Z')
# As the encoders below have them.


def tick_frame(body: str, seq: int) -> bytes:
    """The frame of a :class:`Tick`, the same for all its subscribers; ``body``: what ``ticks.tick.Tick.json`` gives.

    On the hot path, as is :func:`snapshot_frame`: the body is not encoded again.
    """
    return text_frame(f'{{"type":"tick",{body},"seq":{seq}}}'.encode())


def skipping(frame: bytes, count: int) -> bytes:
    """The frame of a tick, which also says how many before it were left out because of a rate."""
    return rewritten(frame, lambda text: b'%b,"skipped":%d}' % (text[:-1], count)) if count else frame


def snapshot_frame(body: str, seq: int, epoch: str) -> bytes:
    """The frame of a :class:`Snapshot`."""
    return text_frame(f'{{"type":"snapshot",{body},"seq":{seq},"epoch":"{epoch}"}}'.encode())


def traced(trace: Callable[[str, int, bytes], Trace | None], text: bytes) -> bytes:
    """The text of a message with the trace of its symbol, seq and timestamp, if it is a price and there is one."""
    price, place = _PRICE.match(text), _PLACE.search(text)
    if price is None or place is None or (found := trace(price[1].decode(), int(place[1]), price[2])) is None:
        return text
    return b"".join((text[:-1], b',"trace":', _encode(found), b"}"))


# What json has no form for is a view of a dict's keys: symbols in their order.
_encode: Final = msgspec.json.Encoder(enc_hook=list).encode


def _framed(message: Callable[P, Event]) -> Callable[P, bytes]:
    """A function that takes what the message has, and gives its frame."""
    return lambda *args, **kwargs: text_frame(_encode(message(*args, **kwargs)))


access_frame: Final = _framed(Access)
authenticated_frame: Final = _framed(Authenticated)
bus_frame: Final = _framed(Bus)
conflated_frame: Final = _framed(Conflated)
gap_frame: Final = _framed(Gap)
heartbeat_frame: Final = _framed(Heartbeat)
introduced_frame: Final = _framed(Introduced)
pong_frame: Final = _framed(Pong)
publisher_welcome_frame: Final = _framed(PublisherWelcome)
subscribed_frame: Final = _framed(Subscribed)
subscriptions_frame: Final = _framed(Subscriptions)
unsubscribed_frame: Final = _framed(Unsubscribed)
welcome_frame: Final = _framed(Welcome)


def closing_frame(closure: Closure) -> bytes:
    """Announces a planned close."""
    return text_frame(_encode(Closing(closure.code, closure.reason, closure.reconnect, closure.wait)))


def error_frame(error: ProtocolError) -> bytes:
    """The frame of an :class:`Error` or, with details, of a :class:`PublisherError`."""
    code, message, request_id = error.code, error.message, error.request_id
    if error.details and isinstance(request_id, int):
        errors, count = error.details, error.count
        return text_frame(
            _encode(PublisherError(code=code, message=message, errors=errors, error_count=count, id=request_id))
        )
    return text_frame(_encode(Error(code, message, error.reason, error.symbols, error.retry_after, request_id)))


def published_frame(number: int, messages: int, ticks: int) -> bytes:
    """Acknowledges a publisher's messages up to the one of that ``number``, with the counts since its start."""
    return text_frame(_encode(Published(messages, ticks, number)))
