from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from django.db import OperationalError

from ticks.lookups import DatabaseUnavailable, Gathered, Lookups


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


# Questions that are asked together


class Known:
    """Knows the names that are in capitals, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, names: Sequence[str]) -> dict[str, int]:
        self.asked.append(list(names))
        return {name: len(name) for name in names if name.isupper()}


@pytest.mark.django_db(transaction=True)  # which the threads of all lookups may have a connection to
async def test_questions_that_come_together_are_one() -> None:
    known = Known()
    gathered = Gathered(known)
    assert await asyncio.gather(*map(gathered.ask, ["A", "b", "CC", "A"])) == [1, None, 2, 1]
    assert known.asked == [["A", "b", "CC"]]


@pytest.mark.django_db(transaction=True)
async def test_however_many_come_the_database_is_asked_now_and_then() -> None:
    known = Known()
    gathered = Gathered(known, pause=0.1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = []
    for number in range(300):
        waiting.append(asyncio.create_task(gathered.ask(f"n{number}")))
        await asyncio.sleep(0.001)
    await asyncio.wait(waiting)
    assert sum(map(len, known.asked)) == 300
    assert 2 <= len(known.asked) <= (loop.time() - began) / 0.1 + 1


@pytest.mark.django_db(transaction=True)
async def test_a_query_has_only_so_many_names() -> None:
    known = Known()
    gathered = Gathered(known, pause=0.01)
    await asyncio.gather(*(gathered.ask(str(number)) for number in range(1_000)))
    assert [len(names) for names in known.asked] == [400, 400, 200]


@pytest.mark.django_db(transaction=True)
async def test_who_leaves_takes_nobody_along() -> None:
    gathered = Gathered(Known())
    leaving, staying = (asyncio.create_task(gathered.ask(name)) for name in "AB")
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 1


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_fails_is_told_to_all_who_asked() -> None:
    def fail(_: Sequence[str]) -> dict[str, int]:
        raise OperationalError("connection refused")

    gathered = Gathered(fail)
    answers = await asyncio.gather(gathered.ask("A"), gathered.ask("B"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 2
    with pytest.raises(DatabaseUnavailable):
        await gathered.ask("C")
