"""What `make lint` says about known faults in dependencies: a fault fails, and what could not be looked up is named."""

from __future__ import annotations

import json
from typing import Any

from tests.audit import verdict

SOUND = {"name": "django", "version": "5.2.19", "vulns": []}
FAULTY = {"name": "daphne", "version": "4.2.1", "vulns": [{"id": "CVE-2026-44545", "fix_versions": ["4.2.2"]}]}
UNKNOWN = {"name": "redis", "skip_reason": "not found on PyPI"}


def words(*dependencies: dict[str, Any]) -> tuple[int, str]:
    return verdict(json.dumps({"dependencies": dependencies}), "")


def test_a_known_fault_fails_and_says_which_version_mends_it() -> None:
    status, text = words(SOUND, FAULTY, UNKNOWN)
    assert status == 1
    assert "daphne 4.2.1: CVE-2026-44545, mended in 4.2.2" in text


def test_what_has_no_known_fault_passes() -> None:
    assert words(SOUND) == (0, "1 packages without a known fault")


def test_what_the_index_does_not_know_is_named() -> None:
    assert words(SOUND, UNKNOWN) == (0, "1 packages without a known fault; SKIPPED, not audited: redis")


def test_an_index_that_tells_nothing_is_no_clean_bill() -> None:
    status, text = words(UNKNOWN, UNKNOWN)
    assert (status, text.startswith("SKIPPED, nothing was audited")) == (0, True)


def test_a_network_that_is_away_is_said_with_its_reason() -> None:
    assert verdict("", "Traceback ...\nProxyError: refused") == (0, "SKIPPED, nothing was audited: ProxyError: refused")
