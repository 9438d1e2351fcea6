"""A part of a run's clients with the books of what they read, in this process or in one of its own.

One process holds as many clients as it may have open files, and reads what comes to some thousands of them in time. So
a larger run has helpers: the same code in processes of their own, each with a part of the clients. The first process
publishes, and tells them of each tick before it writes the POST; so who reads the tick can look up when that was,
as the monotonic clock is one for all processes. In the end their books are added to those of the first.
"""

from __future__ import annotations

import gc
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, TypeVar

from gateway.loadtest.crowd import Counts, Crowd
from gateway.loadtest.ledger import Ledger, Listener
from gateway.loadtest.limits import Part
from gateway.loadtest.loop import READABLE, Loop
from gateway.loadtest.options import LoadTestError, Options
from gateway.loadtest.proof import Findings, Latest
from gateway.loadtest.target import Target
from gateway.loadtest.traces import Traces

__all__ = ["TURN_SECONDS", "Begun", "Books", "Helper", "Share"]

TURN_SECONDS: Final = 0.1
"""Longest wait for an event, and so the longest until an interrupt is noticed."""

STOP_SECONDS: Final = 10.0

T = TypeVar("T")


class Begun(NamedTuple):
    """Where a share was when publishing began: how many clients each symbol had, and the processor time used so far."""

    subscribers: Counter[str]
    cpu: float


@dataclass(slots=True)
class Books:
    """What a share has found, and the processor time it used so far."""

    counts: Counts
    tally: Ledger | Listener
    findings: Findings | None
    traces: Traces | None
    cpu: float

    def merge(self, other: Books) -> None:
        self.counts.merge(other.counts)
        self.tally.merge(other.tally)  # type: ignore[arg-type]  # a run has one kind
        if self.findings is not None and other.findings is not None:
            self.findings.merge(other.findings)
        if self.traces is not None and other.traces is not None:
            self.traces.merge(other.traces)
        self.cpu += other.cpu


class Share:
    """The clients of ``part``. ``hear``: see :class:`Ledger`."""

    def __init__(
        self,
        loop: Loop,
        target: Target,
        options: Options,
        part: Part,
        *,
        on_settled: Callable[[], None] = lambda: None,
        hear: Callable[[], None] | None = None,
    ) -> None:
        self.tally = Ledger(hear) if options.rate else Listener()
        self.findings = Findings() if options.verify else None
        self.traces = Traces() if options.trace else None
        self.has_begun = False
        self.crowd = Crowd(
            loop,
            target,
            options,
            self.tally,
            on_settled=on_settled,
            findings=self.findings,
            traces=self.traces,
            part=part,
        )

    def begin(self) -> Begun:
        """All are connected, or no more should be: starts counting."""
        self.has_begun = True
        gc.freeze()  # or the collector walks thousands of clients while ticks come
        self.tally.begin()
        if self.traces is not None:
            self.traces.begin()
        return Begun(self.crowd.subscribers(), time.process_time())

    def enter(self, sent_at: int, ticks: Iterable[tuple[str, str]]) -> None:
        """Ticks that another process is about to publish: symbol and timestamp."""
        if isinstance(self.tally, Ledger):
            for symbol, stamp in ticks:
                self.tally.enter(symbol, stamp).sent_at = sent_at

    def schedule_drops(self, seconds: float) -> None:
        self.crowd.schedule_drops(seconds)

    def books(self) -> Books:
        return Books(self.crowd.counts(), self.tally, self.findings, self.traces, time.process_time())

    def stale(self, latest: Mapping[str, Latest]) -> list[str]:
        return self.crowd.stale(latest)


class Helper:
    """A share in a process of its own. ``on_settled`` is called for each of its clients that was opened or refused."""

    def __init__(
        self, loop: Loop, target: Target, options: Options, part: Part, on_settled: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_settled = on_settled
        self._part = part
        self._settled = 0
        # The program may have threads, which a fork would cut off in the middle of what they do.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_help, args=(theirs, target, options, part), daemon=True)
        self._process.start()
        theirs.close()
        loop.add(self._connection.fileno(), READABLE, self._hear)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def is_settled(self) -> bool:
        return self._settled == len(self._part.numbers)

    def tell(self, function: Callable[[Share], object]) -> None:
        """Has ``function`` called with its share. It is pickled, and so is what :meth:`answer` returns."""
        self._send((False, function))

    def ask(self, function: Callable[[Share], Any]) -> None:
        self._send((True, function))

    def answer(self) -> Any:
        """What the function that was asked last returned."""
        while True:
            kind, value = self._receive()
            if kind == "answer":
                return value
            self._settle(value)

    def close(self) -> None:
        self._loop.remove(self._connection.fileno())
        self._connection.close()
        self._process.join(STOP_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise LoadTestError("A process that holds a part of the connections has ended") from None

    def _receive(self) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = self._connection.recv()
        except (EOFError, OSError):
            raise LoadTestError("A process that holds a part of the connections has ended") from None
        return message

    def _hear(self, _events: int) -> None:
        self._settle(self._receive()[1])

    def _settle(self, settled: int) -> None:
        for _ in range(settled - self._settled):
            self._on_settled()
        self._settled = settled


def _help(connection: Connection, target: Target, options: Options, part: Part) -> None:
    """A helper's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to handle
    with closing(Work(connection, target, options, part)) as work:
        work.run()


class Work:
    """What a helper does until the first process has closed the connection."""

    def __init__(self, connection: Connection, target: Target, options: Options, part: Part) -> None:
        self._connection = connection
        self._returns = options.reconnect is not None
        self._ended = False
        self._settled = 0
        self._loop = Loop()
        self._share = Share(self._loop, target, options, part, on_settled=self._count, hear=self._hear)
        self._loop.add(connection.fileno(), READABLE, lambda _events: self._hear())

    def run(self) -> None:
        said = 0
        while not self._ended:
            if not self._share.has_begun:
                self._share.crowd.advance()
                if self._settled > said:
                    said = self._settled
                    self._connection.send(("settled", said))
            self._loop.turn(self._share.crowd.wait(TURN_SECONDS))
            if self._returns and self._share.has_begun:
                self._share.crowd.turn()

    def close(self) -> None:
        self._share.crowd.close()
        self._loop.close()

    def _count(self) -> None:
        self._settled += 1

    def _hear(self) -> None:
        while not self._ended and self._connection.poll():
            try:
                wants_answer, function = self._connection.recv()
            except EOFError:
                self._ended = True
                return
            answer = function(self._share)
            if wants_answer:
                self._connection.send(("answer", answer))
