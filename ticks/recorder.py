"""Records published ticks in the database, off the publishers' path.

``offer`` puts ticks into a bounded queue and returns. One thread takes them out in chunks and hands each to the process
that writes (ticks/recording.py): it alone talks to the database, so that nothing of it can hold up the event loop. A
database that is locked, away or full is tried again with the same chunk until it works, and the queue fills meanwhile.

The two sides of the queue share no lock: a deque's ``extend`` and ``popleft`` are atomic. ``offer`` may be called from
several threads, which is what its own lock is for; the thread that writes never takes it.

What does not fit into the queue, and what the database refuses for what it is, is gone, and counted as dropped.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final, TypedDict

from bus.histogram import COUNTS, Histogram
from ticks.conf import conf
from ticks.recording import RecordingProcess, Refused, is_in_memory, record
from ticks.tick import Placed

__all__ = ["Counts", "Recorder", "counts", "flush", "offer", "queued"]

logger = logging.getLogger(__name__)

_EXIT_SECONDS: Final = 3.0
_LONGEST_PAUSE: Final = 5.0


class Counts(TypedDict):
    recorded: int
    dropped: int
    waiting: int


class Recorder:
    """A bounded queue of ticks and the thread that writes them.

    :param capacity: most ticks that may wait.
    :param write: stores a chunk as a whole; called on the recorder's thread only. It raises ``Refused`` if the chunk
        can never be stored, and anything else if it should be tried again. Its second argument says that this is such
        a try: the one before may have succeeded.
    :param chunk: most ticks in one call of ``write``.
    :param interval: seconds in which ticks gather before they are written.
    :param pause: seconds before a chunk is tried again; they double with each try.
    """

    def __init__(
        self,
        capacity: int,
        write: Callable[[Sequence[Placed], bool], None],
        *,
        chunk: int = 1_000,
        interval: float = 0.25,
        pause: float = 0.25,
    ) -> None:
        self._capacity = capacity
        self._write = write
        self._chunk = chunk
        self._interval = interval
        self._pause = pause
        self._queue: deque[Placed] = deque()
        self.queued = Histogram(COUNTS)
        """How many ticks waited whenever more came."""
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
            self.queued.add(len(self._queue))
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
            self._offered.wait()
            self._flushing.wait(self._interval)
            # Cleared before the queue is emptied: ticks that arrive meanwhile set it again.
            self._offered.clear()
            self._drain()

    def _drain(self) -> None:
        while ticks := self._take():
            self._store(ticks)
            self._end_overflow()
            with self._progress:
                self._settled += len(ticks)
                self._progress.notify_all()

    def _take(self) -> list[Placed]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), self._chunk))]

    def _store(self, ticks: Sequence[Placed]) -> None:
        """Returns when ``ticks`` are written, or refused."""
        pause, again = self._pause, False
        while True:
            try:
                self._write(ticks, again)
            except Refused as error:
                self._refuse(ticks, error)
                return
            except Exception as error:
                self._fail(error)
            else:
                self._succeed(len(ticks))
                return
            time.sleep(pause)
            pause, again = min(2 * pause, _LONGEST_PAUSE), True

    def _succeed(self, count: int) -> None:
        self._recorded += count
        if self._failing:
            self._failing = False
            logger.warning("Ticks are recorded again; %d wait, %d were dropped so far", *self._waiting_and_dropped())

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.error("Ticks cannot be recorded; up to %d wait until they can: %s", self._capacity, error)

    def _refuse(self, ticks: Sequence[Placed], error: Exception) -> None:
        """Looks for those that are to blame: the others can be written."""
        if len(ticks) > 1:
            half = len(ticks) // 2
            self._store(ticks[:half])
            self._store(ticks[half:])
            return
        if not self._failed:
            logger.error("The database refuses a tick, which is dropped; from now on they are only counted: %s", error)
        self._failed += 1

    def _waiting_and_dropped(self) -> tuple[int, int]:
        counts = self.counts()
        return counts["waiting"], counts["dropped"]

    def _end_overflow(self) -> None:
        # Half empty, not merely one chunk below full: one line an outage, not one a chunk.
        if self._overflowing and len(self._queue) <= self._capacity // 2:
            self._overflowing = False
            logger.warning("Ticks fit the recorder's queue again; %d were dropped so far", self.counts()["dropped"])


def offer(ticks: Iterable[Placed]) -> None:
    """Records ``ticks`` some time soon, if recording is on; else does not even iterate over them."""
    if conf.MARKETMUX_RECORD:
        _recorder().offer(list(ticks))


def counts() -> Counts:
    return _recorder().counts()


def queued() -> Histogram:
    return _recorder().queued


def flush(timeout: float) -> bool:
    """Waits until what was offered so far is in the database or dropped; False if it took over ``timeout`` seconds."""
    return _recorder().flush(timeout)


@cache
def _recorder() -> Recorder:
    if is_in_memory():  # only this process has it
        return Recorder(conf.MARKETMUX_RECORD_QUEUE, record)
    process = RecordingProcess()
    recorder = Recorder(conf.MARKETMUX_RECORD_QUEUE, process.write)
    atexit.register(_end, recorder, process, os.getpid())
    return recorder


def _end(recorder: Recorder, process: RecordingProcess, owner: int) -> None:
    """Writes what waits, for a bounded time. A fork of the process that owns them has nothing to end."""
    if os.getpid() != owner:
        return
    if not recorder.flush(_EXIT_SECONDS):
        logger.error("%d ticks that waited to be recorded are lost: the process ends", recorder.counts()["waiting"])
    process.close()


os.register_at_fork(after_in_child=_recorder.cache_clear)
