"""What is written to the database because somebody used an access: when a key was last used, and who published on a
symbol that never ticked before.

It is off the way of requests: they leave a line in a bounded queue, and one thread writes what has gathered. A database
that is locked, away or full is tried again with the same lines, and nobody waits for it but that thread.

On SQLite the thread waits for no lock inside the database: a connection that does holds its mutex, which the garbage
collector waits for when it frees a cursor on the event loop. Its connection is closed after every write.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from django.db import DataError, IntegrityError, connections, transaction
from django.db.models import Q

from ticks.access.grant import Grant
from ticks.access.models import ApiKey, AuditEntry
from ticks.conf import conf

__all__ = ["NEW_SYMBOL", "USED_SECONDS", "Beginning", "Journal", "Use", "began", "dropped", "used", "write"]

logger = logging.getLogger(__name__)

USED_SECONDS: Final = 60.0
"""How old the time is at most that the database has of a key's last use."""

NEW_SYMBOL: Final = "published on a new symbol"

_MOST_WAITING: Final = 20_000
_MOST_KEYS: Final = 10_000
_CHUNK: Final = 500
_INTERVAL: Final = 1.0
_LONGEST_PAUSE: Final = 10.0


class Use(NamedTuple):
    """Somebody used the key."""

    key: int
    at: datetime


class Beginning(NamedTuple):
    """Somebody published on a symbol that had no stream."""

    symbol: str
    who: str
    owner: str
    at: datetime


Line = Use | Beginning


class Journal:
    """A bounded queue of lines and the thread that writes them.

    :param write: stores some lines; called on the thread. ``DataError`` and ``IntegrityError`` say that they can never
        be stored, anything else that it should be tried again.
    :param interval: seconds in which lines gather before they are written, and the first pause before another try.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Line]], None],
        *,
        capacity: int = _MOST_WAITING,
        interval: float = _INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._capacity = capacity
        self._interval = interval
        self._clock = clock
        self._lines: deque[Line] = deque()
        self._due: dict[str, float] = {}
        self._offered = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = False
        self.dropped = 0

    def used(self, owner: str) -> None:
        """Notes that the owner of a grant, ``key:12``, is here. Called for every request: most come to nothing."""
        now = self._clock()
        if now < self._due.get(owner, 0.0):
            return
        if len(self._due) >= _MOST_KEYS:
            self._due.clear()
        self._due[owner] = now + USED_SECONDS
        kind, _, pk = owner.partition(":")
        if kind == "key":
            self._offer(Use(int(pk), datetime.now(UTC)))

    def began(self, grant: Grant | None, symbols: Iterable[str]) -> None:
        """Notes that the holder of a grant, or this process itself, published on symbols that had no stream."""
        who, owner = ("system", "") if grant is None else (grant.who, grant.owner)
        now = datetime.now(UTC)
        for symbol in symbols:
            self._offer(Beginning(symbol, f"key {who}" if owner.startswith("key:") else who, owner, now))

    def _offer(self, line: Line) -> None:
        """Does not block, and raises nothing."""
        if len(self._lines) >= self._capacity:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._offered.is_set():
            self._offered.set()
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="journal", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads: the lines wait for the next one
                    logger.exception("The journal's thread did not start")
                    self._offered.clear()
                else:
                    self._thread = thread

    def _run(self) -> None:
        while True:
            self._offered.wait()
            with contextlib.suppress(OSError):  # while the clock is being set
                time.sleep(self._interval)
            # Cleared before the queue is emptied: a line that comes meanwhile sets it again.
            self._offered.clear()
            while lines := self._take():
                self._store(lines)

    def _take(self) -> list[Line]:
        return [self._lines.popleft() for _ in range(min(len(self._lines), _CHUNK))]

    def _store(self, lines: Sequence[Line]) -> None:
        """Returns when the lines are written, or dropped."""
        pause = self._interval
        while True:
            try:
                self._write(lines)
            except (DataError, IntegrityError):
                logger.exception("The database refuses what somebody's use of an access is; it is dropped")
                self.dropped += len(lines)
                return
            except Exception as error:
                self._fail(error)
            else:
                self._succeed()
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("Who used which key cannot be written now, and waits: %s", error)

    def _succeed(self) -> None:
        if self._failing:
            self._failing = False
            logger.warning("It is written again who used which key; %d lines were dropped so far", self.dropped)


def write(lines: Sequence[Line]) -> None:
    """Stores lines in one transaction."""
    connection = _own_connection()
    try:
        with transaction.atomic(using=connection.alias):
            for use in {line.key: line for line in lines if isinstance(line, Use)}.values():
                _write_use(use)
            _write_beginnings([line for line in lines if isinstance(line, Beginning)])
    finally:
        connection.close()


def _write_use(use: Use) -> None:
    """Writes it unless another process did so within the last minute. No signal is sent: no grant changes."""
    stale = Q(last_used_at=None) | Q(last_used_at__lte=use.at - timedelta(seconds=USED_SECONDS))
    ApiKey.objects.filter(stale, pk=use.key).update(last_used_at=use.at)


def _write_beginnings(beginnings: Sequence[Beginning]) -> None:
    """Enters those symbols that are not in the audit log yet: every stream begins again with the bus's memory."""
    new = {f"symbol:{one.symbol}": one for one in reversed(beginnings)}
    known = AuditEntry.objects.filter(action=NEW_SYMBOL, subject__in=list(new)).values_list("subject", flat=True)
    for subject in known:
        del new[subject]
    AuditEntry.objects.bulk_create(
        AuditEntry(at=one.at, actor=one.who[:200], action=NEW_SYMBOL, subject=subject, detail={"owner": one.owner})
        for subject, one in reversed(new.items())
    )


def _own_connection() -> Any:
    """The connection of this thread. SQLite is told not to wait for locks."""
    connection = connections[ApiKey.objects.db]
    if connection.vendor == "sqlite":
        # A dict of its own: the threads' connections share theirs.
        options = {**connection.settings_dict["OPTIONS"], "timeout": 0}
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}
    return connection


def began(grant: Grant | None, symbols: Iterable[str]) -> None:
    """Notes that the holder of a grant, or this process itself, published on symbols that had no stream."""
    _journal().began(grant, symbols)


def dropped() -> int:
    """How many lines were not written: too many waited, or the database refused them."""
    return _journal().dropped


def used(owner: str) -> None:
    """Notes that the owner of a grant, such as ``key:12``, is here."""
    if conf.MARKETMUX_JOURNAL:
        _journal().used(owner)


@cache
def _journal() -> Journal:
    return Journal(write)


os.register_at_fork(after_in_child=_journal.cache_clear)
