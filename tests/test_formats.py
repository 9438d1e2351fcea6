"""A line of the log: for people and for machines, and what a client may have written into it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.contextvars import bind_contextvars, clear_contextvars

from marketmux.env import Environment
from marketmux.formats import FORMATS, json_lines, levels, text

EVIL = "x\n2026-01-01 00:00:00,000 ERROR forged\r\x1b[2J\x85\u2028\u202e"


@pytest.fixture(autouse=True)
def own_context() -> Iterator[None]:
    clear_contextvars()
    yield
    clear_contextvars()


def record(message: str, *args: object, error: bool = False) -> logging.LogRecord:
    return logging.LogRecord(
        "gateway.x", logging.WARNING, __file__, 1, message, args, sys.exc_info() if error else None
    )


def test_a_line_for_people_is_as_ever() -> None:
    line = text().format(record("%d clients", 3))
    assert line.endswith(" WARNING gateway.x: 3 clients")
    assert len(line.split(",")[0]) == len("2026-05-12 15:04:05")


def test_a_line_for_machines_is_an_object() -> None:
    bind_contextvars(request_id="r1", connection_id="c:1")
    line = json.loads(json_lines().format(record("%d clients", 3)))
    assert line.pop("time").endswith("Z")
    about = {"request_id": "r1", "connection_id": "c:1"}
    assert line == {"level": "warning", "logger": "gateway.x", "event": "3 clients", **about}


def test_people_see_of_which_request_it_is() -> None:
    bind_contextvars(request_id="r1")
    assert text().format(record("oh")).endswith(": oh [request_id=r1]")


@pytest.mark.parametrize("form", [text, json_lines])
def test_nothing_begins_another_line_or_moves_the_cursor(form: type) -> None:
    line = form().format(record("Refused %s", EVIL))
    assert line.isprintable()
    assert "forged" in line


def test_a_traceback_is_there_and_forges_no_line() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError:
        lines = text().format(record("failed", error=True)).splitlines()
        line = json.loads(json_lines().format(record("failed", error=True)))
    assert lines[1] == "  Traceback (most recent call last):"
    assert all(each.startswith("  ") and each.isprintable() for each in lines[1:])
    assert "ValueError" in line["exception"]


def test_levels_are_named_by_logger() -> None:
    assert levels(["gateway.edge=debug", "django=INFO"]) == {"gateway.edge": "DEBUG", "django": "INFO"}


@pytest.mark.parametrize("word", ["gateway", "=INFO", "gateway=LOUD", "gateway="])
def test_what_is_no_level_is_a_problem(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETMUX_LOG_LEVELS", word)
    monkeypatch.setenv("MARKETMUX_LOG_FORMAT", "xml")
    environment = Environment(tmp_path / ".env")
    assert environment.words("MARKETMUX_LOG_LEVELS", [], levels) == []
    assert environment.choice("MARKETMUX_LOG_FORMAT", FORMATS) == "text"
    assert environment.problems.keys() == {"MARKETMUX_LOG_LEVELS", "MARKETMUX_LOG_FORMAT"}
