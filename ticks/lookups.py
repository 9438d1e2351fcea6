"""Questions to the database, asked from the event loop: on threads of its own, each for a bounded time.

A database that hangs holds a thread for every question. In the pools that everything else uses, a few such questions
would stop what has nothing to do with the database: name resolution, other handshakes, other requests. So they have
threads of their own, few of them, and who has waited too long is told that the database does not answer.

What anybody can have asked by making something up, whose key or session that is, is asked of many at once
(:class:`Gathered`): a flood of such questions is a few queries a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Generic, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, close_old_connections

__all__ = ["LOOKUP_SECONDS", "DatabaseUnavailable", "Gathered", "Lookups", "ask", "ask_from_thread", "refused"]

logger = logging.getLogger(__name__)

LOOKUP_SECONDS: Final = 3.0
"""From the question to its answer, or to the error."""

_THREADS: Final = 4
_MOST_WAITING: Final = 10_000
PAUSE_SECONDS: Final = 0.05
"""From one question of :class:`Gathered` to the next, and so the longest wait before an unhurried database is asked."""
_MOST_TOGETHER: Final = 400
"""SQLite may take 999 values a statement, and each name is looked for in two columns."""

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseUnavailable(Exception):
    """The database did not answer in time, or cannot be reached."""


class Lookups:
    """At most ``threads`` questions at a time and ``most`` that wait for one, each answered within ``seconds``."""

    def __init__(self, threads: int = _THREADS, seconds: float = LOOKUP_SECONDS, most: int = _MOST_WAITING) -> None:
        self._wanted = threads
        self._seconds = seconds
        self._most = most
        self._questions: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._failing = False
        self.refused = 0

    async def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``question`` returns or raises; :class:`DatabaseUnavailable` if that takes too long."""
        with self._judging():
            answer = self._put(partial(question, *args, **kwargs))
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(answer)  # cancelled, if it comes to that, and then not asked any more

    def ask_from_thread(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same, for who may wait where they are."""
        with self._judging():
            answer = self._put(partial(question, *args, **kwargs))
            try:
                return answer.result(self._seconds)
            finally:
                answer.cancel()

    def _put(self, question: Callable[[], T]) -> Future[T]:
        if self._questions.qsize() >= self._most:
            raise TimeoutError  # so many wait that its turn would come too late
        answer: Future[T] = Future()
        self._questions.put((answer, question))
        self._start()
        return answer

    @contextlib.contextmanager
    def _judging(self) -> Iterator[None]:
        """Around a question: what its failure says of the database."""
        try:
            yield
        except TimeoutError:
            raise self._refusal(f"no answer within {self._seconds:g} s") from None
        except (OperationalError, InterfaceError) as error:
            raise self._refusal(str(error)) from error
        if self._failing:
            self._failing = False
            logger.warning("The database answers again")

    def _refusal(self, reason: str) -> DatabaseUnavailable:
        self.refused += 1
        if not self._failing:
            self._failing = True
            logger.error("The database cannot be asked, so who needs it is refused: %s", reason)
        return DatabaseUnavailable(reason)

    def _start(self) -> None:
        if len(self._threads) < self._wanted:
            # Daemons: a thread that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._work, name="lookup", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while True:
            answer, question = self._questions.get()
            if answer.set_running_or_notify_cancel():
                _reply(answer, question)
            del answer, question  # not kept until the next one


def _reply(answer: Future[Any], question: Callable[[], Any]) -> None:
    try:
        close_old_connections()
        found = question()
        close_old_connections()
    except BaseException as error:
        answer.set_exception(error)
    else:
        answer.set_result(found)


_lookups = Lookups()
ask = _lookups.ask
ask_from_thread = _lookups.ask_from_thread


class Gathered(Generic[T]):
    """A kind of question that is asked about many names at once, from the event loop.

    The first is asked at once. Those that come within ``pause`` seconds of it are asked together when these are over,
    so however many names are made up the database is asked ``1 / pause`` times a second.

    :param question: what is known of some names, by name; without those of which nothing is.
    """

    def __init__(self, question: Callable[[Sequence[str]], Mapping[str, T]], pause: float = PAUSE_SECONDS) -> None:
        self._question = question
        self._pause = pause
        self._free_at = 0.0
        self._names: dict[str, None] = {}
        self._round: asyncio.Task[Mapping[str, T]] | None = None
        """Will ask about the names; None while there are none."""

    async def ask(self, name: str) -> T | None:
        """None if nothing is known of it. :class:`DatabaseUnavailable`."""
        return (await asyncio.shield(self._join(name))).get(name)

    def _join(self, name: str) -> asyncio.Task[Mapping[str, T]]:
        loop = asyncio.get_running_loop()
        if self._round is None or len(self._names) >= _MOST_TOGETHER or self._round.get_loop() is not loop:
            self._names = {}
            self._round = loop.create_task(self._ask(self._names))
        self._names[name] = None
        return self._round

    async def _ask(self, names: dict[str, None]) -> Mapping[str, T]:
        now = time.monotonic()
        begins_at = max(now, self._free_at)
        self._free_at = begins_at + self._pause
        await asyncio.sleep(begins_at - now)
        if self._names is names:
            self._round = None
        return await ask(self._question, list(names))


def refused() -> int:
    """How many questions the database did not answer."""
    return _lookups.refused
