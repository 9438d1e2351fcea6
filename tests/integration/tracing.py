"""What the main thread of a page did, by Chromium's own trace: how long each of its tasks took."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import httpx
from selenium import webdriver
from websockets.sync.client import ClientConnection, connect

__all__ = ["Tasks", "quantile", "traced"]

Json = dict[str, Any]

_TRACE: Final = {
    "recordMode": "recordAsMuchAsPossible",
    "traceBufferSizeInKb": 400_000,
    "includedCategories": ["toplevel", "devtools.timeline"],
}


class Tasks(NamedTuple):
    """The tasks of a page's main thread, the shortest first, in seconds."""

    lengths: list[float]
    work: list[float]
    """Of these the processor time: on a machine that does other things too a task takes longer."""

    def __str__(self) -> str:
        told = [
            f"p{100 * part:g} {1_000 * quantile(self.lengths, part):.1f} ms ({1_000 * quantile(self.work, part):.1f})"
            for part in (0.5, 0.99, 0.999, 1)
        ]
        long = sum(length >= 0.05 for length in self.lengths)
        return (
            f"{len(self.lengths):,} tasks, by the clock (of processor time): {', '.join(told)}; 50 ms or more: {long}"
        )


def quantile(lengths: list[float], part: float) -> float:
    return lengths[min(len(lengths) - 1, int(part * len(lengths)))]


@contextmanager
def traced(driver: webdriver.Chrome) -> Iterator[list[Tasks]]:
    """Traces the driver's page while the block runs; afterwards the list has its tasks."""
    address = driver.capabilities["goog:chromeOptions"]["debuggerAddress"]
    targets: list[Json] = httpx.get(f"http://{address}/json", timeout=30).json()
    [page] = [target for target in targets if target["type"] == "page"]
    found: list[Tasks] = []
    with connect(page["webSocketDebuggerUrl"], max_size=None, compression=None, proxy=None) as socket:
        _call(socket, "Tracing.start", {"traceConfig": _TRACE})
        yield found
        _call(socket, "Tracing.end", {})
        found.append(_tasks(_events(socket)))


def _call(socket: ClientConnection, method: str, params: Json) -> None:
    socket.send(json.dumps({"id": 1, "method": method, "params": params}))
    while "id" not in (answer := json.loads(socket.recv())):
        pass
    assert "error" not in answer, answer


def _events(socket: ClientConnection) -> list[Json]:
    events: list[Json] = []
    while (message := json.loads(socket.recv()))["method"] != "Tracing.tracingComplete":
        if message["method"] == "Tracing.dataCollected":
            events += message["params"]["value"]
    return events


def _tasks(events: list[Json]) -> Tasks:
    """Those of the thread that painted most."""
    [(thread, _)] = Counter(_thread(event) for event in events if event["name"] == "FireAnimationFrame").most_common(1)
    tasks = [event for event in events if _is_task(event) and _thread(event) == thread]
    assert tasks, "Chromium names its tasks otherwise"
    return Tasks(*(sorted(task.get(kind, 0) / 1e6 for task in tasks) for kind in ("dur", "tdur")))


def _is_task(event: Json) -> bool:
    """Chromium has called them RunTask and ThreadControllerImpl::RunTask."""
    return event["name"].rpartition(":")[2] == "RunTask" and "dur" in event


def _thread(event: Json) -> tuple[int, int]:
    return event["pid"], event["tid"]
