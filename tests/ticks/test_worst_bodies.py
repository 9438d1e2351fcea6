"""What a body costs is bounded in processor time and not only in bytes."""

from __future__ import annotations

import contextlib
import time

import pytest
from rest_framework.exceptions import APIException

from tests.worst import BODIES, HONEST, LINES, SLOWNESS, VALID, batch, fields
from ticks.decode import decode
from ticks.errors import MAX_ERRORS, InvalidTicks
from ticks.tick import MAX_BODY_BYTES

LIMIT = 0.3 * SLOWNESS
"""Seconds of a processor. It takes some 0.05 at most on a machine that has nothing else to do."""


def cost(body: bytes, lines: bool = False) -> float:
    """The processor time of this thread that the body takes, at best: a cold cache is not the body's fault."""
    assert len(body) <= MAX_BODY_BYTES
    times = []
    for _ in range(3):
        began = time.thread_time()
        with contextlib.suppress(APIException):
            decode(body, lines)
        times.append(time.thread_time() - began)
        if times[-1] < LIMIT:
            break
    return min(times)


def errors_of(body: bytes) -> InvalidTicks:
    with pytest.raises(InvalidTicks) as caught:
        decode(body)
    return caught.value


@pytest.mark.parametrize("name", ["honest", *BODIES])
def test_no_body_takes_long(name: str) -> None:
    assert cost(HONEST if name == "honest" else BODIES[name]) < LIMIT


@pytest.mark.parametrize("name", LINES)
def test_no_lines_take_long(name: str) -> None:
    assert cost(LINES[name], lines=True) < LIMIT


@pytest.mark.parametrize("name", VALID)
def test_what_is_slow_and_valid_is_taken(name: str) -> None:
    assert len(decode(VALID[name])) in {0, 1000}


def test_an_answer_names_the_first_mistakes_and_counts_all() -> None:
    error = errors_of(batch(fields(22)))
    assert (len(error.errors), error.count) == (MAX_ERRORS, 1000 * (22 + 2))
    assert [(each["index"], each["field"], each["code"]) for each in error.errors[:2]] == [
        (0, f"k{number}", "unknown") for number in range(2)
    ]


def test_an_object_of_too_many_fields_is_one_mistake() -> None:
    [error] = errors_of(fields(16_000)).errors
    assert (error["index"], error["code"]) == (0, "too_many")
    assert error["message"] == "An object has at most 64 fields: this one has 16000."


def test_a_body_of_too_many_values_is_one_mistake() -> None:
    [error] = errors_of(batch(fields(130), 950)).errors
    assert (error["index"], error["code"]) == (1000, "too_many")
    assert "24000 values" in error["message"]


def test_values_are_counted_where_they_are_none() -> None:
    symbols = b",".join(
        b'{"symbol":"A","pr\\u0069ce":1,"extra":{"a":"%s","\\\\\\"":"[{"}}' % (b"," * 100) for _ in range(1000)
    )
    assert len(decode(b"[" + symbols + b"]")) == 1000
