"""The tests of the JavaScript client that need no gateway: each file beside the package runs in node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.javascript.node import PACKAGE, node, run

FILES = sorted((PACKAGE / "tests").glob("*.test.js"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_clients_tests_pass(file: Path) -> None:
    printed = run(node(), "--test", "--test-timeout=60000", "--test-reporter=tap", file)
    assert "\nok " in printed, f"{file.name} has no tests"
