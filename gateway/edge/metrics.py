"""What this process holds and has done, in Prometheus' text format.

Every worker counts for itself and answers for itself: the label tells them apart.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.edge.process import get_node
from ticks import recorder

__all__ = ["collect", "render"]

_HELP = {
    "connections": "WebSocket clients of /ws",
    "subscriptions": "symbols subscribed to, summed over clients",
    "symbols": "symbols whose stream this process follows",
    "memberships": "groups this process is a member of",
    "behind": "clients whose socket is full",
    "passes_total": "batches taken from the bus",
    "delivered_total": "ticks written to clients",
    "parked_total": "ticks that met a client that was behind",
    "skipped_total": "ticks that clients who were behind did not get, as their receipts say",
    "rates": "pairs of a symbol and a rate that clients chose for it",
    "rate_skipped_total": "ticks that clients did not get because of the rate they chose, as their receipts say",
    "gaps_total": "times the subscribers of a symbol were told of ticks this process had missed",
    "missed_total": "ticks missed, as far as their number is known",
    "recovered_total": "subscriptions that went on where the client had stopped",
    "not_recovered_total": "subscriptions that could not, and began with a snapshot",
    "heartbeats_total": "heartbeats sent",
    "io_uring": "whether a tick goes to the many clients of its symbol by io_uring",
    "bus_connected": "whether this process hears from the bus",
    "bus_lost_total": "times it did not any more",
    "malformed_total": "messages on the bus that were no ticks",
    "queue_dropped_total": "messages that met the full queue of an ordinary consumer",
    "full_collections_total": "times the garbage collector walked the whole heap",
    "tasks": "asyncio tasks",
    "open_files": "file descriptors in use",
    "resident_bytes": "memory",
    "cpu_seconds_total": "processor time",
    "recorded_total": "ticks written to the database",
    "record_dropped_total": "ticks the database was too slow for",
    "record_waiting": "ticks waiting to be written to the database",
}


def collect() -> dict[str, float]:
    """Every metric's value by its name, without the prefix. Called on the event loop."""
    recorded = recorder.counts()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **get_node().counts(),
        "tasks": len(asyncio.all_tasks()),
        "open_files": _open_files(),
        "resident_bytes": _resident_bytes(),
        "cpu_seconds_total": usage.ru_utime + usage.ru_stime,
        "recorded_total": recorded["recorded"],
        "record_dropped_total": recorded["dropped"],
        "record_waiting": recorded["waiting"],
    }


def render(values: Mapping[str, float]) -> str:
    """The values as Prometheus reads them."""
    return "\n".join(_lines(values)) + "\n"


def _lines(values: Mapping[str, float]) -> Iterator[str]:
    for name, value in values.items():
        yield f"# HELP marketmux_{name} {_HELP[name]}"
        yield f"# TYPE marketmux_{name} {'counter' if name.endswith('_total') else 'gauge'}"
        yield f'marketmux_{name}{{worker="{os.getpid()}"}} {value}'


def _open_files() -> int:
    directory = Path("/proc/self/fd")
    return len(list(directory.iterdir())) if directory.exists() else 0


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
