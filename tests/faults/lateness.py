"""How late a bystander gets its ticks: one is posted every 50 ms, and taken by a client, in a process of its own.

The time for which the processes on the way, or this one, were runnable and had no processor is nobody's fault and is
taken off (tests/faults/pulse.py).

    python -m tests.faults.lateness HOST PORT PID ...      until its stdin ends, then what it saw as JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Final, Self

import httpx

from tests.clients import Endpoint, RawClient, tick
from tests.faults.pulse import Address, starved

__all__ = ["Lateness"]

INTERVAL: Final = 0.05
SYMBOL: Final = "BYSTANDER"


class Lateness:
    """Measures while its context lasts. ``pids``: the processes on the way of a tick, the only worker among them."""

    def __init__(self, endpoint: Endpoint, *pids: int) -> None:
        arguments = [endpoint.host, str(endpoint.port), *map(str, pids)]
        self._command = [sys.executable, "-m", "tests.faults.lateness", *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.seconds: list[float] = []
        """From each post to its tick, the shortest first."""
        self.refused = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        try:
            answer, _ = self._process.communicate(timeout=60)
        finally:
            self._process.kill()
            self._process.wait()
        if kind is None:
            result = json.loads(answer)
            self.seconds, self.refused = sorted(result["seconds"]), result["refused"]

    def __str__(self) -> str:
        if not self.seconds:
            return "no tick of a bystander, as it was over before"
        return (
            f"of {len(self.seconds)} ticks of a bystander the latest {self.seconds[-1] * 1000:.0f} ms, 99 % "
            f"{self.p99 * 1000:.0f} ms, the median {self.seconds[len(self.seconds) // 2] * 1000:.0f} ms late"
        )

    @property
    def p99(self) -> float:
        return self.seconds[int(0.99 * len(self.seconds))] if self.seconds else 0.0


class Bystander:
    """Posts in a thread, and takes where it is run."""

    def __init__(self, address: Address, pids: list[int]) -> None:
        self._address = address
        self._pids = pids
        self._is_over = threading.Event()
        self._posted: dict[int, tuple[float, float]] = {}
        self._statuses = Counter[int]()

    def run(self) -> None:
        posting = threading.Thread(target=self._post)
        with RawClient(self._address, SYMBOL) as client:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            threading.Thread(target=self._wait, daemon=True).start()
            posting.start()
            seconds = self._take(client)
        posting.join()
        json.dump({"seconds": seconds, "refused": sum(self._statuses.values()) - self._statuses[202]}, sys.stdout)

    def _wait(self) -> None:
        sys.stdin.read()
        self._is_over.set()

    def _post(self) -> None:
        with httpx.Client(base_url=f"http://{self._address.host}:{self._address.port}", timeout=60) as http:
            number = 0
            while not self._is_over.wait(INTERVAL):
                number += 1
                self._posted[number] = time.monotonic(), starved(*self._pids)
                self._statuses[http.post("/api/v1/ticks", json=tick(SYMBOL, number)).status_code] += 1
            http.post("/api/v1/ticks", json=tick(SYMBOL, -1))

    def _take(self, client: RawClient) -> list[float]:
        seconds: list[float] = []
        while True:
            message = client.read()
            if message["type"] != "tick":
                continue
            if message["price"] == -1:
                return seconds
            at, without = self._posted[message["price"]]
            seconds.append(max(0.0, time.monotonic() - at - (starved(*self._pids) - without)))


if __name__ == "__main__":
    Bystander(Address(sys.argv[1], int(sys.argv[2])), [int(pid) for pid in sys.argv[3:]]).run()
