"""`make autobahn` runs the Autobahn TestSuite where it is to be had, and says so where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.autobahn.__main__ import main
from tests.autobahn.suite import Unavailable, Verdict, find
from tests.servers import ROOT


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without the suite, and without a Python that it runs on."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYTHON2", raising=False)
    return tmp_path


@pytest.mark.usefixtures("bare")
def test_without_the_suite_it_says_that_no_case_was_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "SKIPPED, no case was run: there is no wstest on PATH, and no Python 2.7" in capsys.readouterr().out


def test_a_wstest_on_path_is_taken(bare: Path) -> None:
    wstest = bare / "wstest"
    wstest.touch(0o755)
    assert find(bare) == [str(wstest)]


@pytest.mark.parametrize("word", ["FAILED", "UNIMPLEMENTED", "WRONG CODE", "UNCLEAN"])
def test_each_word_of_the_suite_for_a_failure_is_one(word: str) -> None:
    assert Verdict("a", "1.1.1", word, "OK").has_failed
    assert Verdict("a", "1.1.1", "OK", word).has_failed
    assert not Verdict("a", "3.2", "NON-STRICT", "INFORMATIONAL").has_failed


@pytest.mark.soak
def test_no_case_of_sections_1_to_7_and_10_fails(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        find(ROOT / ".autobahn")
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert main([]) == 0
    assert "none failed" in capsys.readouterr().out
