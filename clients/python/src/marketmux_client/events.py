"""What a client is told, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

__all__ = [
    "AccessChanged",
    "BusState",
    "Conflated",
    "Connected",
    "Delayed",
    "Disconnected",
    "Event",
    "Extra",
    "Gap",
    "GapReason",
    "Quote",
    "Snapshot",
    "Tick",
    "Trace",
]

Extra: TypeAlias = Mapping[str, str | Decimal | bool | None]
"""What a publisher sends beyond the other fields: values by name."""

GapReason: TypeAlias = Literal["bus", "not_recovered", "heartbeat", "unexplained"]


@dataclass(frozen=True, slots=True)
class Trace:
    """When a tick was where, in microseconds since 1970, each by the clock of where that was. None is not known.

    ``published``: its own timestamp, if it came with one. ``received``: by the gateway that it was posted to.
    ``sequenced``: by the bus, which numbered it. ``sent``: by the gateway that this client is connected to.
    ``traceparent``: of W3C Trace Context; empty if it was posted without one.
    """

    published: int | None = None
    received: int | None = None
    sequenced: int | None = None
    sent: int | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick, with the digits it was published with.

    ``timestamp``: RFC 3339 in UTC, as it came: it may have nine digits of fraction, which no ``datetime`` holds.
    ``seq``: its number in the stream of its symbol. ``trace``: if it was asked for.
    """

    symbol: str
    price: Decimal
    timestamp: str
    seq: int
    bid: Decimal | None = None
    ask: Decimal | None = None
    size: Decimal | None = None
    extra: Extra | None = field(default=None, hash=False)
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last tick of a symbol, for a client that did not get it when it was new. It may be old: see ``timestamp``."""

    symbol: str
    price: Decimal
    timestamp: str
    seq: int
    epoch: str
    bid: Decimal | None = None
    ask: Decimal | None = None
    size: Decimal | None = None
    extra: Extra | None = field(default=None, hash=False)
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Ticks of ``symbol`` did not come: ``missed`` of them, None where the number cannot be known.

    ``reason``:

    - ``"bus"``: the gateway itself missed them.
    - ``"not_recovered"``: they came while this client was not connected, and are not kept any more.
    - ``"heartbeat"``: the gateway is ahead of this client, which has asked for what is missing. It comes as ticks, or
      another gap says that it is lost. ``missed`` is None.
    - ``"unexplained"``: a number was left out without an explanation.

    ``seq`` and ``epoch``: where the stream is. ``epoch`` is empty if that is not known.
    """

    symbol: str
    missed: int | None
    reason: GapReason
    seq: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Conflated:
    """``skipped`` ticks of ``symbol`` were left out for the newer one that comes next.

    ``reason``: ``"rate"`` for the ``max_rate`` that was chosen, ``"slow"`` for a client that did not keep up.
    """

    symbol: str
    skipped: int
    reason: str


@dataclass(frozen=True, slots=True)
class BusState:
    """Whether the gateway hears from the bus. While it does not, prices may be stale: all, or of ``symbols``."""

    connected: bool
    symbols: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """What this client may see has changed: subscriptions to ``lost`` have ended, and will not be asked for again.

    ``patterns``: symbols and beginnings (``BTC-*``) that may be subscribed to now; None where only ``lost`` is known,
    because the change came while there was no connection.
    """

    lost: tuple[str, ...]
    patterns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Delayed:
    """The gateway refuses a command for the moment. It is asked again, ``wait`` seconds later at least.

    ``code``, ``message``: as in docs/reference/protocol.md. ``reason``: why, of ``bus_unavailable``; else empty.
    """

    code: str
    message: str
    reason: str
    wait: float


@dataclass(frozen=True, slots=True)
class Connected:
    """There is a connection. What was subscribed is being subscribed again. ``version``: the gateway's."""

    version: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """There is no connection: one was lost, or an attempt failed. Every price may be stale.

    ``code``: the WebSocket close code; 1006 if there was none. ``wait``: seconds until the next attempt.
    """

    code: int
    reason: str
    wait: float


Quote: TypeAlias = Tick | Snapshot
Event: TypeAlias = Tick | Snapshot | Gap | Conflated | BusState | AccessChanged | Delayed | Connected | Disconnected
