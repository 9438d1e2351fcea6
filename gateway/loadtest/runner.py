"""A run, from the first connection to the report."""

from __future__ import annotations

import gc
import http.client
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from types import FrameType, TracebackType
from typing import Self, TypeVar

from gateway.loadtest.ledger import Ledger, SentTick
from gateway.loadtest.limits import parts
from gateway.loadtest.loop import Loop
from gateway.loadtest.options import Options
from gateway.loadtest.proof import fetch_latest, forgotten
from gateway.loadtest.publisher import Publisher
from gateway.loadtest.report import Cost, Deliveries, Latency, Proof, Report, Step, Subscribers, Ticks
from gateway.loadtest.share import TURN_SECONDS, Begun, Books, Helper, Share
from gateway.loadtest.target import Target

__all__ = ["Interrupts", "LoadTest"]

T = TypeVar("T")


class Interrupts:
    """Counts Ctrl-C instead of raising: an exception between reading a tick and counting it would falsify a report."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:  # no other thread may set a handler
            self._previous = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._previous)

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        self.count += 1


class Stopwatch:
    """Wall-clock and CPU seconds from the moment it is made until it is stopped."""

    def __init__(self) -> None:
        self.started_at = time.monotonic_ns()
        self._cpu = time.process_time_ns()
        self.seconds = self.cpu_seconds = 0.0

    def stop(self) -> None:
        self.seconds = (time.monotonic_ns() - self.started_at) / 1e9
        self.cpu_seconds = (time.process_time_ns() - self._cpu) / 1e9


class LoadTest:
    """Runs once. ``on_settled`` is called after each connection opened or refused, ``on_connected`` after the last.

    A run of more clients than one process can hold, or one source address has ports for, is shared out: ``parts``, each
    in a process of its own but for the first (share.py).

    After a first Ctrl-C nothing more is opened or published, a second one ends the grace period too.
    """

    def __init__(
        self,
        options: Options,
        on_settled: Callable[[], None] = lambda: None,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        """:class:`LoadTestError` if there is no room for the sockets."""
        self._target = target = Target.from_url(options.url, options.key)
        self.parts = parts(options.connections, target.is_ipv4_loopback)
        self._options = options
        self._on_settled = on_settled
        self._on_connected = on_connected
        self._interrupts = Interrupts()
        self._loop = Loop()
        self._share = Share(self._loop, target, options, self.parts[0], on_settled=on_settled)
        self._helpers: list[Helper] = []
        tally = self._share.tally
        self._publisher = self._publishes(options, tally) if isinstance(tally, Ledger) else None

    def run(self) -> Report:
        """:class:`LoadTestError` if there is nothing to measure, since there is no connection at all."""
        with closing(self), self._interrupts:
            connecting = self._timed(self._connect)
            self._on_connected()
            begun = self._begin()
            running = Stopwatch()
            publishing = self._timed(self._publish)
            self._await_grace()
            running.stop()
            books = self._books()
            connecting.cpu_seconds += sum(each.cpu for each in begun[1:])
            running.cpu_seconds += books.cpu - sum(each.cpu for each in begun)
            return self._report(books, _subscribers(begun), connecting, publishing, running)

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        self._share.crowd.close()
        for helper in self._helpers:
            helper.close()
        self._helpers.clear()
        self._loop.close()
        gc.unfreeze()

    def _timed(self, phase: Callable[[], None]) -> Stopwatch:
        watch = Stopwatch()
        phase()
        watch.stop()
        return watch

    def _publishes(self, options: Options, ledger: Ledger) -> Publisher:
        return Publisher(self._loop, self._target, options, ledger, self._announce if len(self.parts) > 1 else None)

    def _announce(self, ticks: Sequence[SentTick], stamps: Sequence[str]) -> None:
        """Tells the helpers what is about to be published."""
        entered = [(tick.symbol, stamp) for tick, stamp in zip(ticks, stamps, strict=True)]
        for helper in self._helpers:
            helper.tell(partial(Share.enter, sent_at=ticks[0].sent_at, ticks=entered))

    def _of_all(self, function: Callable[[Share], T]) -> list[T]:
        """What ``function`` returns for each share."""
        for helper in self._helpers:
            helper.ask(function)
        return [function(self._share), *(helper.answer() for helper in self._helpers)]

    def _connect(self) -> None:
        for part in self.parts[1:]:
            self._helpers.append(Helper(self._loop, self._target, self._options, part, self._on_settled))
        while not self._is_settled and not self._interrupts.count:
            self._share.crowd.advance()
            self._loop.turn(TURN_SECONDS)
        self._share.crowd.check_hope()

    @property
    def _is_settled(self) -> bool:
        return self._share.crowd.is_settled and all(helper.is_settled for helper in self._helpers)

    def _begin(self) -> list[Begun]:
        return self._of_all(Share.begin)

    def _publish(self) -> None:
        if self._publisher is not None:
            self._publisher.start()
        self._of_all(partial(Share.schedule_drops, seconds=self._options.seconds))
        end = time.monotonic() + self._options.seconds
        while (left := end - time.monotonic()) > 0 and not self._interrupts.count:
            self._turn(max(0.0, min(left, TURN_SECONDS, self._advance())))
        if not self._interrupts.count:
            self._advance()

    def _advance(self) -> float:
        """Publishes what is due; seconds until there is more to publish."""
        if self._publisher is None:
            return TURN_SECONDS
        self._publisher.advance()
        return self._publisher.wait()

    def _await_grace(self) -> None:
        """Gives ticks that are under way the time to arrive."""
        end = time.monotonic() + self._options.grace
        while (left := end - time.monotonic()) > 0 and self._interrupts.count < 2:
            self._turn(min(left, TURN_SECONDS))

    def _turn(self, seconds: float) -> None:
        self._loop.turn(self._share.crowd.wait(seconds))
        if self._options.reconnect is not None:
            self._share.crowd.turn()

    def _books(self) -> Books:
        """Of all shares, added up."""
        own, *others = self._of_all(Share.books)
        for other in others:
            own.merge(other)
        return own

    def _prove(self, books: Books) -> Proof | None:
        """Compares what all clients hold in the end with what the gateway and the publisher say."""
        if books.findings is None:
            return None
        try:
            latest = fetch_latest(self._target, self._options.symbols)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return Proof.of(books.findings, [], [], f"GET /api/v1/ticks: {error}")
        late: list[str] = []
        if isinstance(books.tally, Ledger):
            late = forgotten(books.tally, latest, books.findings.unmeasured)
        stale = self._of_all(partial(Share.stale, latest=latest))
        return Proof.of(books.findings, [problem for some in stale for problem in some], late, "")

    def _report(
        self,
        books: Books,
        subscribers: Mapping[str, int],
        connecting: Stopwatch,
        publishing: Stopwatch,
        running: Stopwatch,
    ) -> Report:
        tally = books.tally
        until_last = max(publishing.seconds, (tally.last_delivery - publishing.started_at) / 1e9)
        deliveries = Deliveries.of(tally, subscribers, until_last)
        return Report(
            subscribers=Subscribers.of(books.counts, self._options.connections, connecting.seconds),
            ticks=Ticks.of(self._publisher, publishing.seconds) if self._publisher else None,
            deliveries=deliveries,
            latency_ms=Latency.of(tally),
            cost=Cost.of(
                connecting.cpu_seconds, running.cpu_seconds, running.seconds, deliveries.count, len(self.parts)
            ),
            interrupted=self._interrupts.count > 0,
            proof=self._prove(books),
            trace_ms=[] if books.traces is None else Step.all_of(books.traces),
        )


def _subscribers(begun: Sequence[Begun]) -> Counter[str]:
    return sum((each.subscribers for each in begun), Counter())
