"""What this process holds and has done, in Prometheus' text format.

Each worker reports its own figures; the label ``worker`` tells them apart.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from django.conf import settings

from bus.contract import BusUnavailable, Reason
from bus.layers import get_bus
from gateway.edge.process import get_node
from gateway.edge.watch import get_watch
from gateway.server.refusals import refusals
from gateway.server.visitors import turned_away
from ticks import logins, lookups, recorder
from ticks.access import journal
from ticks.access.shares import limited

__all__ = ["collect", "held", "render"]

_HELD_SECONDS: Final = 0.5
"""How long the bus may take to say what it holds; the other figures do not wait longer for it."""

_HELP = {
    "connections": "Clients connected to /ws.",
    "subscriptions": "Symbols subscribed to, summed over all clients.",
    "symbols": "Symbols whose stream this process follows.",
    "memberships": "Groups of the bus that this process has joined.",
    "behind": "Clients that do not keep up.",
    "passes_total": "Batches of ticks taken from the bus.",
    "delivered_total": "Ticks written to clients, counted once for each client.",
    "parked_total": "Ticks that had to wait because their client did not keep up.",
    "skipped_total": "Ticks left out because a client read too slowly; the client was told how many.",
    "rates": "Pairs of a symbol and a rate that a client chose for it.",
    "rate_skipped_total": "Ticks left out because of the rate a client chose; the client was told how many.",
    "replay_asked_total": "Symbols of clients that came back whose missed ticks the bus was asked for.",
    "refuted_total": "Packets that did not follow and that the bus knew nothing of: somebody else published them.",
    "gaps_total": "Gaps that the subscribers of a symbol were told of, after this process had missed ticks.",
    "missed_total": "Ticks that this process missed on the bus, where their number is known.",
    "recovered_total": "Subscriptions that went on where the client had stopped.",
    "not_recovered_total": "Subscriptions that could not go on where the client had stopped.",
    "heartbeats_total": "Heartbeats sent to clients.",
    "handshakes_refused_total": "WebSocket handshakes that were refused, for whatever reason.",
    "limited_total": "What was refused or ended because somebody had more than a share, by reason.",
    "pings_total": "Pings sent among ticks, to find out how far clients have read.",
    "stale_total": "Times a client fell behind because it had not read what it was sent long before.",
    "io_uring": "1 if this process writes to many clients in one system call (io_uring), else 0.",
    "bus_connected": "1 if this process hears from the bus, from each of its hosts, else 0.",
    "bus_hosts_away": "Hosts of the bus that this process does not hear from; the symbols of the others are served.",
    "bus_lost_total": "Times this process lost the bus, or one of its hosts.",
    "bus_refused_total": "What the bus did not do for this process, by reason: publications, questions, subscriptions.",
    "malformed_total": "Messages on the bus that were not ticks or could not be read.",
    "queue_dropped_total": "Messages dropped because the queue of an ordinary Channels consumer was full.",
    "full_collections_total": "Runs of the garbage collector over the whole heap.",
    "tasks": "Asyncio tasks that are not done.",
    "open_files": "File descriptors that this process has open.",
    "resident_bytes": "Memory that this process holds (resident set), in bytes.",
    "cpu_seconds_total": "Processor time that this process has used, in seconds.",
    "logins_refused_total": "Logins refused unseen: too many at a time, or too many wrong passwords before.",
    "lookups_refused_total": "Requests and handshakes refused because the database did not say who was asking.",
    "access_changed_total": "Connections that were told that what they may do has changed.",
    "access_revoked_total": "Connections that were closed because what they stood on is no more.",
    "journal_dropped_total": "Uses of keys and new symbols that were not written to the database: too many waited.",
    "recorded_total": "Ticks written to the database.",
    "record_dropped_total": "Ticks that were not written to the database: the queue was full, or it refused them.",
    "record_waiting": "Ticks waiting to be written to the database.",
    "streams": "Symbols that the bus keeps, at most MARKETMUX_MAX_STREAMS; the same for all workers.",
    "idempotency_keys": "Idempotency keys that came lately, those that the bus still keeps among them.",
    "stream_bytes": "Memory that the bus takes for symbols and their history, in bytes, estimated from some of them.",
}
"""What Grafana shows beside each metric, and docs/reference/api.md."""


Value: TypeAlias = float | Mapping[str, float]
"""A number, or numbers by ``reason``."""


def collect() -> dict[str, Value]:
    """Every metric's value by its name, without the prefix. Called on the event loop."""
    recorded = recorder.counts()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **get_node().counts(),
        "handshakes_refused_total": refusals.count,
        "limited_total": {**turned_away, **limited},
        "bus_refused_total": {reason: get_bus().refused.get(reason, 0) for reason in Reason},
        "tasks": len(asyncio.all_tasks()),
        "open_files": _open_files(),
        "resident_bytes": _resident_bytes(),
        "cpu_seconds_total": usage.ru_utime + usage.ru_stime,
        "logins_refused_total": logins.refused(),
        "lookups_refused_total": lookups.refused(),
        "access_changed_total": get_watch().changed,
        "access_revoked_total": get_watch().revoked,
        "journal_dropped_total": journal.dropped(),
        "recorded_total": recorded["recorded"],
        "record_dropped_total": recorded["dropped"],
        "record_waiting": recorded["waiting"],
    }


async def held() -> dict[str, float]:
    """What the bus holds, in the same way; nothing if it does not say."""
    try:
        async with asyncio.timeout(_HELD_SECONDS):
            what = await get_bus().held(settings.MARKETMUX_IDEMPOTENCY_SECONDS)
    except (BusUnavailable, TimeoutError):
        return {}
    return {"streams": what.streams, "idempotency_keys": what.keys, "stream_bytes": what.bytes}


def render(values: Mapping[str, Value]) -> str:
    """The values as Prometheus reads them."""
    return "\n".join(_lines(values)) + "\n"


def _lines(values: Mapping[str, Value]) -> Iterator[str]:
    for name, value in values.items():
        yield f"# HELP marketmux_{name} {_HELP[name]}"
        yield f"# TYPE marketmux_{name} {'counter' if name.endswith('_total') else 'gauge'}"
        if not isinstance(value, Mapping):
            yield f'marketmux_{name}{{worker="{os.getpid()}"}} {value}'
            continue
        for reason, number in value.items():
            yield f'marketmux_{name}{{worker="{os.getpid()}",reason="{reason}"}} {number}'


def _open_files() -> int:
    directory = Path("/proc/self/fd")
    return len(os.listdir(directory)) if directory.exists() else 0  # noqa: PTH208 - a third of the time, on the loop


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
