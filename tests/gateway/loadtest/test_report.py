"""What a run found."""

from __future__ import annotations

import json
from typing import Any

from gateway.loadtest.ledger import Ledger
from gateway.loadtest.report import Cost, Deliveries, Latency, Report, Subscribers, Ticks


def report(**deliveries: Any) -> Report:
    figures = {"count": 10, "per_second": 1.0, "conflated": 0, "errors": {}, "expected": 10, "lost": 0, **deliveries}
    return Report(
        subscribers=Subscribers(asked=1, opened=1, refused={}, closed={}, connect_seconds=0.1),
        ticks=Ticks(published=10, accepted=10, refused=0, unanswered=0, refusals={}, seconds=1.0),
        deliveries=Deliveries(**figures),
        latency_ms=Latency.of(Ledger()),
        cost=Cost.of(connect=0.1, run=0.2, run_seconds=1.0, deliveries=10),
        interrupted=False,
    )


def test_a_report_is_ok_only_without_a_flaw() -> None:
    assert report().ok
    assert report(foreign=5).ok
    assert not any(report(**{flaw: 1}).ok for flaw in ("lost", "out_of_order", "duplicates", "unasked"))


def test_a_report_is_one_json_object() -> None:
    figures = json.loads(report(lost=1).json())
    assert figures["ok"] is False
    assert figures["deliveries"]["lost"] == 1
    assert figures["latency_ms"] == {"since": "post", "p50": None, "p90": None, "p99": None, "p999": None, "max": None}
    assert figures["cost"]["microseconds_per_delivery"] == 20_000
