"""What several hosts did of one thing, as one outcome."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from bus.contract import BusUnavailable, Refusal, Since

__all__ = ["answers", "published"]

T = TypeVar("T")


def answers(outcomes: Sequence[T | BaseException]) -> tuple[list[T], list[BusUnavailable]]:
    """What those said that answered, and why others did not; raises if none did."""
    found = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    failures = []
    for outcome in outcomes:
        if isinstance(outcome, BusUnavailable) and found:
            failures.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
    return found, failures


def published(
    parts: Sequence[Collection[str]], outcomes: Sequence[dict[str, Since] | BaseException | None]
) -> dict[str, Since] | None:
    """Where a batch ended whose ``parts`` went to a host each; None if all of them are repeats.

    The error, if there is one, has what was not published. One that passes comes first: the batch is to be sent again.
    """
    places: dict[str, Since] = {}
    failures: list[BaseException] = []
    groups: list[str] = []
    for part, outcome in zip(parts, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            failures.append(outcome)
            groups += part
        elif outcome is not None:
            places |= outcome
    if not failures:
        return None if outcomes and all(outcome is None for outcome in outcomes) else places
    failure = min(failures, key=lambda error: (isinstance(error, Refusal), not isinstance(error, BusUnavailable)))
    if isinstance(failure, Refusal):
        failure.groups, failure.places = groups, places
    raise failure
