"""``python -m tests.autobahn [CASE ...]``: runs the suite against ``serve``, and fails if a case does."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.autobahn.suite import SECTIONS, Unavailable, Verdict, find, run
from tests.servers import ROOT, GatewayProcess, migrate


def main(cases: Sequence[str]) -> int:
    try:
        wstest = find(ROOT / ".autobahn")
    except Unavailable as reason:
        _say(f"Autobahn TestSuite: SKIPPED, no case was run: {reason}.")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="autobahn-"))
    migrate(folder / "db.sqlite3")
    gateway = GatewayProcess(
        folder / "gateway", database=folder / "db.sqlite3", DJANGO_SETTINGS_MODULE="tests.autobahn.settings"
    )
    gateway.start()
    try:
        addresses = {"an ordinary consumer": gateway.ws.removesuffix("/ws") + "/echo", "the way of ticks": gateway.ws}
        verdicts = run(wstest, addresses, cases or SECTIONS, folder)
        has_traceback = "Traceback" in gateway.output()
    finally:
        gateway.stop()
    return _report(verdicts, has_traceback, folder)


def _report(verdicts: Sequence[Verdict], has_traceback: bool, folder: Path) -> int:
    for agent in dict.fromkeys(verdict.agent for verdict in verdicts):
        counts = Counter(verdict.behavior for verdict in verdicts if verdict.agent == agent)
        _say(f"{agent}: " + ", ".join(f"{count} {behavior}" for behavior, count in counts.most_common()))
    failed = [verdict for verdict in verdicts if verdict.has_failed]
    for verdict in failed:
        _say(f"  {verdict.agent}, case {verdict.case}: {verdict.behavior}, closing {verdict.closing}")
    if has_traceback:
        _say(f"  a worker logged a traceback: {folder / 'gateway' / 'gateway.log'}")
    if failed or has_traceback or not verdicts:
        _say(f"{len(failed)} of {len(verdicts)} cases failed; the reports are in {folder}")
        return 1
    shutil.rmtree(folder)
    _say(f"{len(verdicts)} cases, none failed.")
    return 0


def _say(text: str) -> None:
    print(text)  # noqa: T201 - a command's output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
