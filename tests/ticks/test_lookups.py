from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest
from django.db import OperationalError

from ticks.lookups import DatabaseUnavailable, Lookups


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """What a question waits for that the database does not answer."""
    event = threading.Event()
    yield event
    event.set()


def where(one: int, two: int) -> tuple[str, int, int]:
    return threading.current_thread().name, one, two


async def test_a_question_is_answered_from_another_thread() -> None:
    assert await Lookups(seconds=30).ask(where, 1, two=2) == ("lookup", 1, 2)


async def test_what_a_question_raises_is_raised() -> None:
    with pytest.raises(KeyError):
        await Lookups(seconds=30).ask({"AAPL": 1}.__getitem__, "MSFT")


async def test_who_has_waited_too_long_is_told(hanging: threading.Event) -> None:
    lookups = Lookups(seconds=0.05)
    with pytest.raises(DatabaseUnavailable, match=r"no answer within 0.05 s"):
        await lookups.ask(hanging.wait)
    assert lookups.refused == 1


async def test_a_database_that_cannot_be_reached_is_no_error_of_ours() -> None:
    def fail() -> None:
        raise OperationalError("connection refused")

    with pytest.raises(DatabaseUnavailable, match="connection refused"):
        await Lookups(seconds=30).ask(fail)


def test_a_thread_may_ask_too(hanging: threading.Event) -> None:
    lookups = Lookups(seconds=0.05)
    with pytest.raises(DatabaseUnavailable):
        lookups.ask_from_thread(hanging.wait)
    assert Lookups(seconds=30).ask_from_thread(where, 1, 2) == ("lookup", 1, 2)


async def test_questions_that_hang_take_no_more_threads_than_there_are(hanging: threading.Event) -> None:
    before = threading.active_count()
    lookups = Lookups(threads=3, seconds=0.1)
    answers = await asyncio.gather(*(lookups.ask(hanging.wait) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)
    assert threading.active_count() == before + 3


async def test_a_question_that_was_given_up_is_not_asked_later(hanging: threading.Event) -> None:
    asked = []
    lookups = Lookups(threads=1, seconds=0.05)
    with pytest.raises(DatabaseUnavailable):
        await lookups.ask(hanging.wait)
    with pytest.raises(DatabaseUnavailable):
        await lookups.ask(lambda: asked.append("late"))
    hanging.set()
    lookups._seconds = 30
    await lookups.ask(lambda: asked.append("now"))
    assert asked == ["now"]


async def test_only_so_many_may_wait(hanging: threading.Event) -> None:
    lookups = Lookups(threads=1, seconds=0.3, most=2)
    first = asyncio.create_task(lookups.ask(hanging.wait))
    await asyncio.sleep(0.1)
    waiting = [asyncio.create_task(lookups.ask(hanging.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable):
        async with asyncio.timeout(0.1):
            await lookups.ask(hanging.wait)
    await asyncio.wait([first, *waiting])
    assert [type(task.exception()) for task in (first, *waiting)] == [DatabaseUnavailable] * 3


async def test_an_outage_is_logged_once_and_so_is_its_end(
    hanging: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    lookups = Lookups(threads=1, seconds=0.05)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            await lookups.ask(hanging.wait)
    hanging.set()
    lookups._seconds = 30
    for _ in range(2):
        await lookups.ask(hanging.wait)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
