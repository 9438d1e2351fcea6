"""The tests of the demo page's scripts that need no browser: each file beside this one runs in node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.test.js"))


@pytest.fixture(scope="module")
def node() -> str:
    """The node that requirements-dev.txt brings, else one that is installed."""
    beside_python = Path(sys.executable).parent
    found = shutil.which("node", path=f"{beside_python}{os.pathsep}{os.environ['PATH']}")
    assert found is not None, "no node: run `make test`, which installs one"
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_scripts_tests_pass(node: str, file: Path) -> None:
    # A time zone and a language of its own: times are written for people.
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    command = [node, "--test", "--test-reporter=tap", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\nok " in run.stdout, f"{file.name} has no tests"
