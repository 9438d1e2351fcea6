"""The documents name what there is: every code, every variable, every metric; and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.edge import metrics
from gateway.protocol import codes as errors
from gateway.protocol.asyncapi import close_codes, error_codes, table
from gateway.protocol.codes import CLOSURES, ERRORS, Closure, ErrorCode

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
VARIABLES = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', (ROOT / "marketmux" / "settings.py").read_text()))


def section(document: str, heading: str) -> str:
    """What stands below a heading, as far as the next."""
    return (ROOT / document).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(text: str) -> set[str]:
    """The first words of a text's table rows, without the marks of code."""
    return {name for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for name in re.split("[`, ]+", row)}


def test_the_error_codes_are_those_of_the_code() -> None:
    assert ERRORS.keys() == set(ErrorCode) == rows(section("docs/reference/protocol.md", "Error codes")) - {"", "code"}
    assert table(error_codes()) in section("docs/reference/protocol.md", "Error codes")


def test_the_close_codes_are_those_of_the_code() -> None:
    assert {value for value in vars(errors).values() if isinstance(value, Closure)} <= set(CLOSURES)
    codes = rows(section("docs/reference/protocol.md", "Close codes")) - {"", "code"}
    assert {str(closure.code) for closure in CLOSURES} == codes
    assert table(close_codes()) in section("docs/reference/protocol.md", "Close codes")


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_is_explained(name: str) -> None:
    assert name in rows((ROOT / "docs/reference/configuration.md").read_text())
    assert re.search(rf"^#?{name}=", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_no_variable_is_explained_that_is_not_read() -> None:
    assert set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) == VARIABLES


def test_every_metric_is_explained() -> None:
    assert metrics._HELP.keys() == rows(section("docs/reference/api.md", "GET /metrics")) - {"", "marketmux_..."}


def anchors(document: Path) -> set[str]:
    """What a link into the document may name: its headings, as GitHub spells them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)", document.read_text()):
        found = (document.parent / target) if target else document
        assert found.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{document.name} links to {target}#{anchor}"
