"""What a run found, as figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

from gateway.loadtest.crowd import Counts
from gateway.loadtest.ledger import Ledger, Listener, Tally
from gateway.loadtest.proof import Findings
from gateway.loadtest.publisher import Publisher
from gateway.loadtest.traces import Traces

__all__ = ["Cost", "Deliveries", "Latency", "Proof", "Report", "Step", "Subscribers", "Ticks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribers:
    """``refused`` counts by reason; ``closed``, during the run, by close code (1006: without a close frame).

    ``away`` are those that had a subscription and at the end had none. Where clients reconnect: how many were
    ``dropped`` for it, and came back (``returned``); ``rebuffed`` counts, by reason, attempts to come back that failed.
    """

    asked: int
    opened: int
    refused: Mapping[str, int]
    closed: Mapping[int, int]
    connect_seconds: float
    dropped: int = 0
    returned: int = 0
    away: int = 0
    rebuffed: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, counts: Counts, asked: int, connect_seconds: float) -> Self:
        return cls(
            asked=asked,
            opened=counts.opened,
            refused=dict(counts.refused),
            closed=dict(counts.closed),
            connect_seconds=round(connect_seconds, 3),
            dropped=counts.dropped,
            returned=counts.returned,
            away=counts.away,
            rebuffed=dict(counts.rebuffed),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """What the run itself published; ``refusals`` counts refused and unanswered POSTs by reason."""

    published: int
    accepted: int
    refused: int
    unanswered: int
    refusals: Mapping[str, int]
    seconds: float

    @classmethod
    def of(cls, publisher: Publisher, seconds: float) -> Self:
        return cls(
            published=publisher.published,
            accepted=publisher.accepted,
            refused=publisher.refused,
            unanswered=publisher.unanswered,
            refusals=dict(publisher.refusals),
            seconds=round(seconds, 3),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """What the subscribers read. Where the run published nothing itself, only ``count`` and ``conflated`` are known.

    ``expected`` are the deliveries of accepted ticks; ``count`` may be more where POSTs went unanswered. ``lost`` are
    those expected that had not come by the end of the grace period, including those that the gateway announced as left
    out (``conflated``). ``foreign`` are ticks of other publishers, ``unasked`` those of symbols the subscriber had not
    asked for; ``count`` has neither. ``per_second`` is over the time until the last delivery.
    """

    count: int
    per_second: float
    conflated: int
    errors: Mapping[str, int]
    expected: int | None = None
    lost: int | None = None
    out_of_order: int | None = None
    duplicates: int | None = None
    foreign: int | None = None
    unasked: int | None = None

    @classmethod
    def of(cls, tally: Ledger | Listener, subscribers: Mapping[str, int], seconds: float) -> Self:
        """``subscribers`` is how many there were of each symbol, ``seconds`` the time until the last delivery."""
        return cls(
            count=tally.deliveries,
            per_second=round(tally.deliveries / seconds, 1),
            conflated=tally.conflated,
            errors=dict(tally.errors),
            **(_balance(tally, subscribers) if isinstance(tally, Ledger) else {}),
        )


def _balance(ledger: Ledger, subscribers: Mapping[str, int]) -> dict[str, int]:
    return {
        "expected": ledger.expected(subscribers),
        "lost": ledger.lost(subscribers),
        "out_of_order": ledger.out_of_order,
        "duplicates": ledger.duplicates,
        "foreign": ledger.foreign,
        "unasked": ledger.unasked,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds, None where nothing was delivered. ``since`` is where the clock starts: the moment just before the
    POST was written (``"post"``), or the tick's own timestamp."""

    since: str
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    max: float | None

    @classmethod
    def of(cls, tally: Tally) -> Self:
        since = "post" if isinstance(tally, Ledger) else "timestamp"
        return cls(since=since, **{name: tally.latencies.percentile(share) for name, share in _SHARES.items()})


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Step:
    """Milliseconds from one stamp of a tick to another, None where no tick had both."""

    begin: str
    end: str
    p50: float | None
    p99: float | None

    @classmethod
    def all_of(cls, traces: Traces) -> list[Self]:
        return [
            cls(begin, end, taken.percentile(0.5), taken.percentile(0.99))
            for (begin, end), taken in traces.steps.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU seconds of the generator itself, all its ``processes``: to connect, and from the first tick to the end of the
    grace period."""

    connect_cpu_seconds: float
    run_cpu_seconds: float
    run_seconds: float
    microseconds_per_delivery: float | None
    processes: int = 1

    @classmethod
    def of(cls, connect: float, run: float, run_seconds: float, deliveries: int, processes: int = 1) -> Self:
        return cls(
            connect_cpu_seconds=round(connect, 3),
            run_cpu_seconds=round(run, 3),
            run_seconds=round(run_seconds, 3),
            microseconds_per_delivery=round(run / deliveries * 1e6, 2) if deliveries else None,
            processes=processes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the sequence proved; the figures are those of :class:`~gateway.loadtest.proof.Findings`.

    ``stale`` are clients that do not hold the last tick of all their symbols, ``forgotten`` symbols whose last accepted
    tick is not the gateway's last. ``unknown`` says why the gateway's last ticks could not be had, else it is empty.
    """

    ticks: int
    conflated: Mapping[str, int]
    gaps: int
    missed: int
    unmeasured: int
    resumed: int
    restarted: int
    replayed: int
    snapshots: int
    heartbeats: int
    lost: int
    duplicates: int
    reordered: int
    breaches: Mapping[str, int]
    stale: int
    forgotten: int
    unknown: str
    examples: Sequence[str]

    @classmethod
    def of(cls, findings: Findings, stale: Sequence[str], forgotten: Sequence[str], unknown: str) -> Self:
        names = "ticks", "gaps", "missed", "unmeasured", "resumed", "restarted", "replayed", "snapshots", "heartbeats"
        flaws = "lost", "duplicates", "reordered"
        ends = [*(f"stale: {each}" for each in stale), *(f"not the gateway's last: {each}" for each in forgotten)]
        return cls(
            **{name: getattr(findings, name) for name in (*names, *flaws)},
            conflated=dict(findings.conflated),
            breaches=dict(findings.breaches),
            stale=len(stale),
            forgotten=len(forgotten),
            unknown=unknown,
            examples=[*findings.examples, *ends[:ENDS_SHOWN]],
        )

    @property
    def ok(self) -> bool:
        """All ticks came in order or were announced as left out, and every client ended on the last value."""
        flaws = self.lost, self.duplicates, self.reordered, self.breaches, self.stale, self.forgotten, self.unknown
        return not any(flaws)


ENDS_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``ticks`` is None where the run published nothing itself, ``proof`` where it did not verify. ``trace_ms`` is
    empty unless it traced.
    """

    subscribers: Subscribers
    ticks: Ticks | None
    deliveries: Deliveries
    latency_ms: Latency
    cost: Cost
    interrupted: bool
    proof: Proof | None = None
    trace_ms: Sequence[Step] = ()

    @property
    def ok(self) -> bool:
        """Every subscriber stayed, every tick was taken, and every delivery came once and in its place.

        With a proof: every subscriber is there at the end, some tick was taken, and the proof holds.
        """
        return self._flawless if self.proof is None else self.proof.ok and self._complete

    @property
    def _complete(self) -> bool:
        """Everyone is there at the end, and there was something to deliver."""
        return not (self.subscribers.refused or self.subscribers.away or (self.ticks and not self.ticks.accepted))

    @property
    def _flawless(self) -> bool:
        refused = self.ticks is not None and (self.ticks.refused or self.ticks.unanswered)
        subscribers, deliveries = self.subscribers, self.deliveries
        return not (
            refused
            or subscribers.refused
            or subscribers.closed
            or deliveries.lost
            or deliveries.out_of_order
            or deliveries.duplicates
            or deliveries.unasked
        )

    def json(self) -> str:
        return json.dumps({"ok": self.ok, **asdict(self)})
