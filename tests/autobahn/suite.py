"""Finds the Autobahn TestSuite's ``wstest``, installs it where it can, and runs its fuzzing client.

It is of Python 2.7 and stays outside the tests' own environment: in a folder of its own that ``make clean`` removes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.environment import clean_environment

__all__ = ["FAILURES", "PACKAGE", "SECTIONS", "Unavailable", "Verdict", "find", "run"]

PACKAGE: Final = "autobahntestsuite==25.10.1"
SECTIONS: Final = tuple(f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 10))
"""Framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing, and auto-fragmentation."""

FAILURES: Final = frozenset({"FAILED", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "UNIMPLEMENTED"})
_TIMEOUT: Final = 900
_START: Final = "import site; site.addsitedir({folder!r}); from autobahntestsuite.wstest import run; run()"
"""A folder of packages whose ``.pth`` files count, as those of zope.interface must."""


class Unavailable(Exception):
    """The suite is not to be had on this machine; says why."""


class Verdict(NamedTuple):
    """What the suite says of one case at one address, in its own words."""

    agent: str
    case: str
    behavior: str
    closing: str

    @property
    def has_failed(self) -> bool:
        return not FAILURES.isdisjoint({self.behavior, self.closing})


def find(folder: Path) -> list[str]:
    """The command without its arguments: ``wstest`` on PATH, else that of a Python 2.7, installed into ``folder`` if it is not there yet."""
    if found := shutil.which("wstest"):
        return [found]
    python = _python2()
    if python is None:
        raise Unavailable("there is no wstest on PATH, and no Python 2.7 to install it for (set PYTHON2 to one)")
    if not (folder / "autobahntestsuite").exists():
        _install(python, folder)
    return [python, "-c", _START.format(folder=str(folder))]


def _python2() -> str | None:
    candidates = [os.environ.get("PYTHON2"), "python2.7", "pypy", "python2"]
    candidates += map(str, sorted(Path.home().glob(".pyenv/versions/*2.7*/bin/python2.7")))
    return next((each for each in candidates if each and _is_python2(each)), None)


def _is_python2(command: str) -> bool:
    """Tried, not looked up: a version manager's stand-ins exist for versions that are not installed."""
    try:
        probe = [command, "-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"]
        return subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _install(python: str, folder: Path) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    try:
        done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{PACKAGE} was not installed within {_TIMEOUT} seconds") from None
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise Unavailable(f"{PACKAGE} cannot be installed for {python}: {last[0][:300]}")


def run(wstest: Sequence[str], addresses: Mapping[str, str], cases: Sequence[str], folder: Path) -> list[Verdict]:
    """What the fuzzing client says of the servers at ``addresses``, by name; reports and log are left in ``folder``."""
    spec: dict[str, Any] = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": agent, "url": url} for agent, url in addresses.items()],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    with (folder / "wstest.log").open("wb") as log:
        subprocess.run(
            [*wstest, "--mode=fuzzingclient", f"--spec={folder / 'spec.json'}"],
            cwd=folder,
            env=clean_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=True,
        )
    index = json.loads((folder / "reports" / "index.json").read_text())
    return [
        Verdict(agent, case, verdict["behavior"], verdict["behaviorClose"])
        for agent, verdicts in index.items()
        for case, verdict in verdicts.items()
    ]
