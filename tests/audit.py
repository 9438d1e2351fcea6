"""``python -m tests.audit FILE``: asks PyPI for known faults in what a lock names, and says so where it cannot ask.

pip-audit ends well when it could look up nothing at all, and badly when there is no network. Neither is a verdict: the
first line printed says what was audited, and only a known fault fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["main", "verdict"]

SECONDS: Final = 240


def main(arguments: Sequence[str]) -> int:
    lock = Path(arguments[0])
    status, text = verdict(*_ask(lock))
    print(f"{lock.name}: {text}")  # noqa: T201 - a command's output
    return status


def verdict(answer: str, complaint: str) -> tuple[int, str]:
    """The exit code and the words for what pip-audit wrote: ``answer`` is its JSON, ``complaint`` the rest."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except ValueError:
        reason = complaint.strip().splitlines()[-1:] or ["no answer"]
        return 0, f"SKIPPED, nothing was audited: {reason[0][:300]}"
    faults = [_fault(one, fault) for one in dependencies for fault in one.get("vulns", ())]
    if faults:
        return 1, "\n".join([f"{len(faults)} known faults", *faults])
    missing = [one["name"] for one in dependencies if "skip_reason" in one]
    if len(missing) == len(dependencies):
        return 0, f"SKIPPED, nothing was audited: the index told nothing of these {len(missing)} packages"
    skipped = f"; SKIPPED, not audited: {', '.join(missing)}" if missing else ""
    return 0, f"{len(dependencies) - len(missing)} packages without a known fault{skipped}"


def _ask(lock: Path) -> tuple[str, str]:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--require-hashes"]
    command += ["--format=json", "--progress-spinner=off", "--timeout=5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {SECONDS} seconds"
    return done.stdout, done.stderr


def _fault(dependency: dict[str, Any], fault: dict[str, Any]) -> str:
    mended = ", ".join(fault["fix_versions"]) or "no version yet"
    return f"  {dependency['name']} {dependency['version']}: {fault['id']}, mended in {mended}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
