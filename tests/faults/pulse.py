"""Feels a worker's pulse from outside: a WebSocket ping every 50 ms, from a process of its own.

A pong that comes late is a stall of the worker's event loop, or the machine had no processor to spare. Linux counts how
long a process was runnable and had to wait (``/proc/<pid>/schedstat``); that time is nobody's fault and is taken off.

    python -m tests.faults.pulse HOST PORT PID      until its stdin ends, then beats as JSON
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.clients import Endpoint, RawClient

__all__ = ["Address", "Beat", "Pulse", "starved"]

INTERVAL: Final = 0.05
KEPT: Final = 0.1
"""Quicker beats are only counted."""


class Beat(NamedTuple):
    """``at``: ``time.monotonic()`` of the ping; the rest in seconds. ``starved``: of ``seconds``, without a processor."""

    at: float
    seconds: float
    starved: float

    @property
    def stall(self) -> float:
        return max(0.0, self.seconds - self.starved)


class Pulse:
    """Measures while its context lasts. ``pid``: the worker whose socket it is, which has to be the only one."""

    def __init__(self, endpoint: Endpoint, pid: int) -> None:
        self._command = [sys.executable, "-m", "tests.faults.pulse", endpoint.host, str(endpoint.port), str(pid)]
        self._process: subprocess.Popen[str] | None = None
        self._started_at = 0.0
        self._count = 0
        self.slow: list[Beat] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._started_at = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        try:
            answer, _ = self._process.communicate(timeout=30)
        finally:
            self._process.kill()
            self._process.wait()
        if kind is not None:
            return
        result = json.loads(answer)
        self._count = result["count"]
        self.slow = [Beat(*beat) for beat in result["slow"]]
        assert self._count > 0.2 * (time.monotonic() - self._started_at) / INTERVAL, f"only {self._count} pings"

    @property
    def worst(self) -> float:
        """Seconds of the longest stall; 0.1 if all were shorter."""
        return max((beat.stall for beat in self.slow), default=KEPT)

    def __str__(self) -> str:
        least = "under " if self.worst <= KEPT else ""
        return f"longest stall of the event loop {least}{max(self.worst, KEPT) * 1000:.0f} ms ({self._count:,} pings)"


@dataclass(frozen=True)
class Address:
    host: str
    port: int


def starved(*pids: int) -> float:
    """Seconds for which the processes' main threads, and this one's, could have run and had no processor."""
    waits = [int(Path(f"/proc/{each}/schedstat").read_text().split()[1]) for each in (*pids, os.getpid())]
    return sum(waits) / 1e9


def _measure(host: str, port: int, pid: int) -> None:
    count, slow = 0, []
    with RawClient(Address(host, port)) as client:
        client.socket.settimeout(60)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not select.select([sys.stdin], [], [], INTERVAL)[0]:
            before, at = starved(pid), time.monotonic()
            client.echo()
            seconds = time.monotonic() - at
            count += 1
            if seconds > KEPT:
                slow.append(Beat(at, seconds, starved(pid) - before))
    json.dump({"count": count, "slow": slow}, sys.stdout)


if __name__ == "__main__":
    _measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
