"""The forms of a line of the log: for people, or a JSON object. All loggers go through structlog's formatter.

A line says of which request or connection it is (gateway/edge/requests.py), where it is of one. What clients send may
be in it, so nothing in a message begins another line, moves a cursor or turns writing around.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from structlog.stdlib import ProcessorFormatter

__all__ = ["FORMATS", "LEVELS", "json_lines", "levels", "text"]

FORMATS: Final = ("text", "json")
LEVELS: Final = ("INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL")

_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTEXT: Final = ("request_id", "connection_id")

_TIME: Final = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
_COMMON: Final[list[structlog.types.Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
]


def text() -> ProcessorFormatter:
    """``2026-05-12 15:04:05,678 WARNING gateway.edge.access: message [request_id=...]``."""
    return ProcessorFormatter(foreign_pre_chain=_COMMON, processors=[structlog.processors.format_exc_info, _line])


def json_lines() -> ProcessorFormatter:
    """One object a line, with ``time``, ``level``, ``logger``, ``event``, and what else is known."""
    return ProcessorFormatter(
        foreign_pre_chain=[*_COMMON, _TIME],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
    )


def levels(words: list[str]) -> dict[str, str]:
    """``["gateway.edge=DEBUG"]`` as a dictionary; ValueError about what is none."""
    named = dict(word.partition("=")[::2] for word in words)
    for name, level in named.items():
        if not name or level.upper() not in LEVELS:
            raise ValueError(f"write logger=LEVEL, such as gateway.edge=DEBUG, with a level of {', '.join(LEVELS)}")
    return {name: level.upper() for name, level in named.items()}


def _line(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    record: logging.LogRecord = event["_record"]
    context = " ".join(f"{name}={event[name]}" for name in _CONTEXT if name in event)
    line = f"{_clock.formatTime(record)} {record.levelname} {record.name}: {_escaped(str(event['event']))}"
    if context:
        line += f" [{_escaped(context)}]"
    if event.get("exception"):
        # A line of the traceback may be a client's too; none of them looks like one of the log.
        line += "".join(f"\n  {_escaped(part)}" for part in str(event["exception"]).splitlines())
    return line


_clock: Final = logging.Formatter()


def _escaped(line: str) -> str:
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), line)
