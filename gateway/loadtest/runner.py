"""A run, from the first connection to the report."""

from __future__ import annotations

import http.client
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from types import FrameType, TracebackType
from typing import Self

from gateway.loadtest.crowd import Crowd
from gateway.loadtest.ledger import Ledger, Listener
from gateway.loadtest.limits import raise_file_limit
from gateway.loadtest.loop import Loop
from gateway.loadtest.options import Options
from gateway.loadtest.proof import Findings, fetch_latest, forgotten
from gateway.loadtest.publisher import Publisher
from gateway.loadtest.report import Cost, Deliveries, Latency, Proof, Report, Step, Subscribers, Ticks
from gateway.loadtest.target import Target
from gateway.loadtest.traces import Traces

__all__ = ["Interrupts", "LoadTest"]

TURN_SECONDS = 0.1
"""Longest wait for an event, and so the longest until an interrupt is noticed."""


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

    After a first Ctrl-C nothing more is opened or published, a second one ends the grace period too.
    """

    def __init__(
        self,
        options: Options,
        on_settled: Callable[[], None] = lambda: None,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        self._target = target = Target.from_url(options.url, options.key)
        self._options = options
        self._on_connected = on_connected
        self._interrupts = Interrupts()
        self._loop = Loop()
        self._tally = Ledger() if options.rate else Listener()
        self._publisher = (
            Publisher(self._loop, target, options, self._tally) if isinstance(self._tally, Ledger) else None
        )
        self._findings = Findings() if options.verify else None
        self._traces = Traces() if options.trace else None
        self._crowd = Crowd(
            self._loop,
            target,
            options,
            self._tally,
            on_settled=on_settled,
            findings=self._findings,
            traces=self._traces,
        )

    def run(self) -> Report:
        """:class:`LoadTestError` if there is nothing to measure: no room for the sockets, or no connection at all."""
        with closing(self), self._interrupts:
            raise_file_limit(self._options.connections)
            connecting = self._timed(self._connect)
            self._on_connected()
            self._tally.begin()
            if self._traces is not None:
                self._traces.begin()
            subscribers = self._crowd.subscribers()
            running = Stopwatch()
            publishing = self._timed(self._publish)
            self._await_grace()
            running.stop()
            return self._report(subscribers, connecting, publishing, running)

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        self._crowd.close()
        self._loop.close()

    def _timed(self, phase: Callable[[], None]) -> Stopwatch:
        watch = Stopwatch()
        phase()
        watch.stop()
        return watch

    def _connect(self) -> None:
        while not self._crowd.is_settled and not self._interrupts.count:
            self._crowd.advance()
            self._loop.turn(TURN_SECONDS)
        self._crowd.check_hope()

    def _publish(self) -> None:
        if self._publisher is not None:
            self._publisher.start()
        self._crowd.schedule_drops(self._options.seconds)
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
        self._loop.turn(seconds)
        if self._options.reconnect is not None:
            self._crowd.turn()

    def _prove(self) -> Proof | None:
        """Compares what all clients hold in the end with what the gateway and the publisher say."""
        if self._findings is None:
            return None
        try:
            latest = fetch_latest(self._target, self._options.symbols)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return Proof.of(self._findings, [], [], f"GET /api/v1/ticks: {error}")
        late: list[str] = []
        if isinstance(self._tally, Ledger):
            late = forgotten(self._tally, latest, self._findings.unmeasured)
        return Proof.of(self._findings, self._crowd.stale(latest), late, "")

    def _report(
        self, subscribers: Mapping[str, int], connecting: Stopwatch, publishing: Stopwatch, running: Stopwatch
    ) -> Report:
        until_last = max(publishing.seconds, (self._tally.last_delivery - publishing.started_at) / 1e9)
        deliveries = Deliveries.of(self._tally, subscribers, until_last)
        return Report(
            subscribers=Subscribers.of(self._crowd, self._options.connections, connecting.seconds),
            ticks=Ticks.of(self._publisher, publishing.seconds) if self._publisher else None,
            deliveries=deliveries,
            latency_ms=Latency.of(self._tally),
            cost=Cost.of(connecting.cpu_seconds, running.cpu_seconds, running.seconds, deliveries.count),
            interrupted=self._interrupts.count > 0,
            proof=self._prove(),
            trace_ms=[] if self._traces is None else Step.all_of(self._traces),
        )
