"""Writes published ticks to the database, off the publishers' path.

``offer`` puts ticks into a bounded queue and returns; one thread takes them out in chunks and writes them. The two
sides share no lock: a deque's ``extend`` and ``popleft`` are atomic, so a writer that is stuck in a slow database does
not hold up the event loop. ``offer`` may be called from several threads, which is what its own lock is for; the writer
never takes it.

What does not fit into the queue, and what the database refused, is gone, and counted as dropped.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TypedDict

from django.conf import settings
from django.db import close_old_connections, connection

from ticks.tick import Placed

__all__ = ["Counts", "Recorder", "counts", "flush", "offer"]

logger = logging.getLogger(__name__)

_EXIT_SECONDS = 3.0
_IDLE_SECONDS = 10.0


class Counts(TypedDict):
    recorded: int
    dropped: int
    waiting: int


class Recorder:
    """A bounded queue of ticks and the thread that writes them.

    :param capacity: most ticks that may wait.
    :param write: stores a chunk or raises; called on the recorder's thread only.
    :param release: gives back what ``write`` holds on to; called on that thread when there has been nothing to do.
    :param chunk: most ticks in one call of ``write``.
    :param interval: seconds in which ticks gather before they are written.
    :param idle: seconds without ticks after which ``release`` is called.
    """

    def __init__(
        self,
        capacity: int,
        write: Callable[[list[Placed]], None],
        *,
        release: Callable[[], None] = lambda: None,
        chunk: int = 1_000,
        interval: float = 0.25,
        idle: float = _IDLE_SECONDS,
    ) -> None:
        self._capacity = capacity
        self._write = write
        self._release = release
        self._chunk = chunk
        self._interval = interval
        self._idle = idle
        self._queue: deque[Placed] = deque()
        self._offering = threading.Lock()
        self._offered = threading.Event()
        self._flushing = threading.Event()
        self._progress = threading.Condition()
        self._thread: threading.Thread | None = None
        # Each counter has one writer: the offering side, under its lock, or the thread.
        self._accepted = 0
        self._overflowed = 0
        self._recorded = 0
        self._failed = 0
        # Written or dropped, and logged: under the condition.
        self._settled = 0
        self._overflowing = False
        self._failing = False

    def counts(self) -> Counts:
        recorded, failed = self._recorded, self._failed
        # Accepted is read after them, so that nothing can look written before it was accepted.
        return {
            "recorded": recorded,
            "dropped": self._overflowed + failed,
            "waiting": self._accepted - recorded - failed,
        }

    def offer(self, ticks: Sequence[Placed]) -> None:
        """Queues what fits of ``ticks``. Does not block or raise: the event loop calls this for every batch."""
        with self._offering:
            taken = ticks[: max(0, self._capacity - len(self._queue))]
            self._queue.extend(taken)
            self._accepted += len(taken)
            if len(taken) < len(ticks):
                self._overflow(len(ticks) - len(taken))
            if self._thread is None or not self._thread.is_alive():
                self._start()
        if not self._offered.is_set():
            self._offered.set()

    def flush(self, timeout: float) -> bool:
        """Waits until what was offered so far is written or dropped; False if ``timeout`` seconds did not suffice."""
        target = self._accepted
        with self._progress:
            self._flushing.set()
            try:
                return self._progress.wait_for(lambda: self._settled >= target, timeout)
            finally:
                self._flushing.clear()

    def _overflow(self, lost: int) -> None:
        self._overflowed += lost
        if not self._overflowing:
            self._overflowing = True
            logger.warning("%d ticks wait to be recorded: the database is too slow, ticks are dropped", self._capacity)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="tick-recorder", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: what is queued waits for the next offer
            logger.exception("The recorder's thread did not start")
        else:
            self._thread = thread

    def _run(self) -> None:
        while True:
            if not self._offered.wait(self._idle):
                self._rest()
                self._offered.wait()
            self._flushing.wait(self._interval)
            # Cleared before the queue is emptied: ticks that arrive meanwhile set it again.
            self._offered.clear()
            self._drain()

    def _rest(self) -> None:
        try:
            self._release()
        except Exception:
            logger.exception("The recorder could not release its connection")

    def _drain(self) -> None:
        while ticks := self._take():
            self._store(ticks)
            self._end_overflow()
            with self._progress:
                self._settled += len(ticks)
                self._progress.notify_all()
            if self._failing:
                # The rest can wait a moment for the database to come back.
                self._flushing.wait(self._interval)

    def _take(self) -> list[Placed]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), self._chunk))]

    def _store(self, ticks: list[Placed]) -> None:
        try:
            self._write(ticks)
        except Exception:
            self._failed += len(ticks)
            if not self._failing:
                self._failing = True
                logger.exception("Ticks could not be recorded and are dropped until it works again")
        else:
            self._recorded += len(ticks)
            if self._failing:
                self._failing = False
                logger.warning("Ticks are recorded again; %d were dropped so far", self.counts()["dropped"])

    def _end_overflow(self) -> None:
        # Half empty, not merely one chunk below full: one line an outage, not one a chunk.
        if self._overflowing and len(self._queue) <= self._capacity // 2:
            self._overflowing = False
            logger.warning("Ticks fit the recorder's queue again; %d were dropped so far", self.counts()["dropped"])


def offer(ticks: Iterable[Placed]) -> None:
    """Records ``ticks`` some time soon, if recording is on; else does not even iterate over them."""
    if settings.MARKETMUX_RECORD:
        _recorder().offer(list(ticks))


def counts() -> Counts:
    return _recorder().counts()


def flush(timeout: float) -> bool:
    """Waits until what was offered so far is in the database or dropped; False if it took over ``timeout`` seconds."""
    return _recorder().flush(timeout)


@cache
def _recorder() -> Recorder:
    recorder = Recorder(settings.MARKETMUX_RECORD_QUEUE, _write, release=_release)
    atexit.register(recorder.flush, _EXIT_SECONDS)
    return recorder


def _write(ticks: list[Placed]) -> None:
    # ticks.publish, and with it this module, is also imported before Django has loaded its models.
    from ticks.models import RecordedTick  # noqa: PLC0415

    close_old_connections()
    RecordedTick.objects.record(ticks)


def _release() -> None:
    connection.close()
