"""The log: its lines are written, and nobody waits for their reader."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from marketmux.log import BackgroundHandler
from tests.servers import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("ticks", logging.WARNING, __file__, 1, text, None, None)


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer)
    for number in range(10):
        handler.handle(record(f"line {number}"))
    handler.flush()
    assert os.read(reader, 10_000).decode().splitlines() == [f"line {number}" for number in range(10)]
    handler.close()


def test_nobody_waits_for_a_reader_and_what_was_dropped_is_counted(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer, most=50)
    for number in range(1_000):
        handler.handle(record(f"{number} {'x' * 10_000}"))
    handler.flush()  # gives up
    lines: list[str] = []
    text = b""

    def has_read() -> bool:
        nonlocal text
        text += os.read(reader, 65_536)
        lines[:] = text.decode().splitlines()
        return "dropped" in lines[-1] and text.endswith(b"\n")

    wait_until(has_read)
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers[:-1] == sorted(set(numbers[:-1]))
    assert numbers[-1] + len(lines) - 1 == 1_000
    handler.close()


def test_a_reader_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    handler = BackgroundHandler(writer)
    handler.handle(record("to nobody"))
    handler.flush()
    assert not handler._lines
    os.close(writer)
    handler.close()
