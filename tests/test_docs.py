"""The documents name what there is: every code, every variable, every metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import errors, metrics
from gateway.errors import Closure, ErrorCode
from gateway.server import SERVICE_RESTART

ROOT = Path(__file__).resolve().parent.parent
CLOSE_CODES = {SERVICE_RESTART, *(value.code for value in vars(errors).values() if isinstance(value, Closure))}
VARIABLES = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', (ROOT / "marketmux" / "settings.py").read_text()))


def section(document: str, heading: str) -> str:
    """What stands below a heading, as far as the next."""
    return (ROOT / document).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(text: str) -> set[str]:
    """The first words of a text's table rows, without the marks of code."""
    return {name for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for name in re.split("[`, ]+", row)}


def test_every_error_code_is_explained() -> None:
    assert set(ErrorCode) == rows(section("docs/protocol.md", "Error codes")) - {"", "code"}


def test_every_close_code_is_explained() -> None:
    assert {1008, 1009, 1012, 4001} == CLOSE_CODES
    assert {str(code) for code in CLOSE_CODES} <= rows(section("docs/protocol.md", "Close codes"))


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_is_explained(name: str) -> None:
    assert name in rows((ROOT / "docs/configuration.md").read_text())
    assert re.search(rf"^#?{name}=", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_no_variable_is_explained_that_is_not_read() -> None:
    assert set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) == VARIABLES


def test_every_metric_is_explained() -> None:
    assert metrics._HELP.keys() == rows(section("docs/api.md", "GET /metrics")) - {"", "marketmux_..."}
