"""What the workers hold and have done, for Prometheus.

Whichever worker is asked answers for all (workers.py). Each is known by its number, so that a series goes on when
another process takes its place.
"""

from __future__ import annotations

import asyncio
import platform
import resource
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import ProcessCollector

from bus import stall
from bus.contract import BusUnavailable, Reason
from bus.histogram import COUNTS, FINE_SECONDS, SECONDS
from bus.layers import get_bus
from bus.redis.pipe import round_trips
from gateway import VERSION
from gateway.edge.figures import Figures, Kind, Value, common, families, text
from gateway.edge.process import get_node
from gateway.edge.sse import open_streams
from gateway.edge.subscriber import carried_out
from gateway.edge.watch import get_watch
from gateway.server.exchange import Place
from gateway.server.refusals import refusals
from gateway.server.visitors import turned_away
from ticks import intake, logins, lookups, recorder
from ticks.access import journal
from ticks.access.shares import limited
from ticks.conf import conf

__all__ = ["ANSWER_SECONDS", "answer", "collect", "explained", "held", "render"]

ANSWER_SECONDS: Final = 1.0
"""How long a worker may take; who is scraped does not wait longer for one that hangs."""

_HELD_SECONDS: Final = 0.5
"""How long the bus may take to say what it holds; the other figures do not wait longer for it."""

_KINDS: Final = {
    "worker_up": Kind("1 if the worker answered in time when it was asked for its figures, else 0.", is_state=True),
    "build_info": Kind(
        "1, with the versions of the gateway and of Python that the worker runs.", ("version", "python"), is_state=True
    ),
    "ticks_total": Kind("Ticks that were to be published, by way and result.", ("way", "result")),
    "publications_total": Kind(
        "Requests and messages of publishers, by way and result: published, repeated, or an error's code.",
        ("way", "result"),
    ),
    "received_bytes_total": Kind("Bytes of the bodies that publishers sent, by way.", ("way",)),
    "delivered_bytes_total": Kind("Bytes of ticks written at once to clients that keep up and take every tick."),
    "ingest_age_seconds": Kind(
        "Age of the last tick of each publication when it came in, by its own timestamp.", bounds=FINE_SECONDS
    ),
    "bus_age_seconds": Kind(
        "Age of the last tick of each packet when it came from the bus, by its own timestamp.", bounds=FINE_SECONDS
    ),
    "send_age_seconds": Kind(
        "Age of ticks when they had been written to clients that keep up, by their own timestamps.", bounds=FINE_SECONDS
    ),
    "pass_seconds": Kind(
        "Time that a pass took: all ticks that arrived together, to all their clients.", bounds=SECONDS
    ),
    "pass_ticks": Kind("Ticks in a pass.", bounds=COUNTS),
    "loop_lag_seconds": Kind(
        "How late the event loop came to a timer that is due four times a second.", bounds=SECONDS
    ),
    "command_seconds": Kind("Time from a client's command to its answer, the bus included.", bounds=SECONDS),
    "redis_seconds": Kind(
        "Time from a command to Redis to its reply; those that were not answered are left out.", bounds=SECONDS
    ),
    "record_queue": Kind("Ticks that waited to be written to the database whenever more came.", bounds=COUNTS),
    "connections": Kind("Clients connected to /ws or /api/v1/stream."),
    "event_streams": Kind("Clients connected to /api/v1/stream, which connections has too."),
    "subscriptions": Kind("Symbols subscribed to, summed over all clients."),
    "symbols": Kind("Symbols whose stream the worker follows."),
    "memberships": Kind("Groups of the bus that the worker has joined."),
    "behind": Kind("Clients that do not keep up."),
    "passes_total": Kind("Batches of ticks taken from the bus."),
    "delivered_total": Kind("Ticks written to clients, counted once for each client."),
    "parked_total": Kind("Ticks that had to wait because their client did not keep up."),
    "skipped_total": Kind("Ticks left out because a client read too slowly; the client was told how many."),
    "rates": Kind("Pairs of a symbol and a rate that a client chose for it."),
    "rate_skipped_total": Kind("Ticks left out because of the rate a client chose; the client was told how many."),
    "replay_asked_total": Kind("Symbols of clients that came back whose missed ticks the bus was asked for."),
    "refuted_total": Kind(
        "Packets that did not follow and that the bus knew nothing of: somebody else published them."
    ),
    "gaps_total": Kind("Gaps that the subscribers of a symbol were told of, after the worker had missed ticks."),
    "missed_total": Kind("Ticks that the worker missed on the bus, where their number is known."),
    "recovered_total": Kind("Subscriptions that went on where the client had stopped."),
    "not_recovered_total": Kind("Subscriptions that could not go on where the client had stopped."),
    "heartbeats_total": Kind("Heartbeats sent to clients."),
    "handshakes_refused_total": Kind("WebSocket handshakes that were refused, for whatever reason."),
    "limited_total": Kind(
        "What was refused or ended because somebody had more than a share, or showed what does not exist, by reason.",
        ("reason",),
    ),
    "pings_total": Kind("Pings sent among ticks, to find out how far clients have read."),
    "stale_total": Kind("Times a client fell behind because it had not read what it was sent long before."),
    "io_uring": Kind("1 if the worker writes to many clients in one system call (io_uring), else 0.", is_state=True),
    "bus_connected": Kind("1 if the worker hears from the bus, from each of its hosts, else 0.", is_state=True),
    "bus_hosts_away": Kind(
        "Hosts of the bus, or buckets of its cluster, that the worker does not hear from; "
        "the symbols of the others are served.",
        is_state=True,
    ),
    "bus_lost_total": Kind("Times the worker lost the bus, or one of its hosts."),
    "bus_refused_total": Kind(
        "What the bus did not do for the worker, by reason: publications, questions, subscriptions.", ("reason",)
    ),
    "malformed_total": Kind("Messages on the bus that were not ticks or could not be read."),
    "queue_dropped_total": Kind("Messages dropped because the queue of an ordinary Channels consumer was full."),
    "full_collections_total": Kind("Runs of the garbage collector over the whole heap."),
    "tasks": Kind("Asyncio tasks that are not done."),
    "open_files": Kind("File descriptors that the worker has open."),
    "resident_bytes": Kind("Memory that the worker holds (resident set), in bytes."),
    "cpu_seconds_total": Kind("Processor time that the worker has used, in seconds."),
    "logins_refused_total": Kind("Logins refused unseen: too many at a time, or too many wrong passwords before."),
    "lookups_refused_total": Kind("Requests and handshakes refused because the database did not say who was asking."),
    "access_changed_total": Kind("Connections that were told that what they may do has changed."),
    "access_revoked_total": Kind("Connections that were closed because what they stood on is no more."),
    "journal_dropped_total": Kind(
        "Uses of keys and new symbols that were not written to the database: too many waited."
    ),
    "recorded_total": Kind("Ticks written to the database."),
    "record_dropped_total": Kind(
        "Ticks that were not written to the database: the queue was full, or it refused them."
    ),
    "record_waiting": Kind("Ticks waiting to be written to the database."),
}
"""What each worker answers, and docs/reference/api.md."""

_COMMON: Final = {
    "streams": Kind("Symbols that the bus keeps, at most MARKETMUX_MAX_STREAMS; the same for all workers."),
    "idempotency_keys": Kind("Idempotency keys that came lately, those that the bus still keeps among them."),
    "stream_bytes": Kind(
        "Memory that the bus takes for symbols and their history, in bytes, estimated from some of them."
    ),
}
"""What is the same for all workers."""

_process = ProcessCollector(registry=None)
_PROCESS: Final = {
    family.samples[0].name: Kind(
        family.documentation, is_state=family.name in {"process_start_time_seconds", "process_max_fds"}
    )
    for family in _process.collect()
}
"""Prometheus' own figures of a process, where the system has /proc."""


def explained() -> dict[str, str]:
    """What Grafana shows beside each metric, and docs/reference/api.md."""
    return {name: kind.help for name, kind in (_KINDS | _COMMON).items()}


def collect() -> dict[str, Value]:
    """Every metric's value by its name, without the prefix. Called on the event loop."""
    recorded = recorder.counts()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    process = {family.samples[0].name: family.samples[0].value for family in _process.collect()}
    return {
        **get_node().counts(),
        **get_node().hub.histograms(),
        "event_streams": open_streams(),
        "build_info": {f"{VERSION}|{platform.python_version()}": 1},
        "ticks_total": intake.ticks,
        "publications_total": intake.publications,
        "received_bytes_total": intake.received_bytes,
        "ingest_age_seconds": intake.age,
        "loop_lag_seconds": stall.lag,
        "command_seconds": carried_out,
        "redis_seconds": round_trips,
        "record_queue": recorder.queued(),
        "handshakes_refused_total": refusals.count,
        "limited_total": {**turned_away, **limited},
        "bus_refused_total": {reason: get_bus().refused.get(reason, 0) for reason in Reason},
        "tasks": len(asyncio.all_tasks()),
        "open_files": process.get("process_open_fds", 0),
        "resident_bytes": process.get("process_resident_memory_bytes", usage.ru_maxrss * 1024),
        "cpu_seconds_total": usage.ru_utime + usage.ru_stime,
        "logins_refused_total": logins.refused(),
        "lookups_refused_total": lookups.refused(),
        "access_changed_total": get_watch().changed,
        "access_revoked_total": get_watch().revoked,
        "journal_dropped_total": journal.dropped(),
        "recorded_total": recorded["recorded"],
        "record_dropped_total": recorded["dropped"],
        "record_waiting": recorded["waiting"],
        **process,
    }


async def answer(_: bytes) -> bytes:
    """The figures of this worker, for the one that is scraped."""
    return Figures.of(collect()).encode()


async def held() -> dict[str, float]:
    """What the bus holds, in the same way; nothing if it does not say."""
    try:
        async with asyncio.timeout(_HELD_SECONDS):
            what = await get_bus().held(conf.MARKETMUX_IDEMPOTENCY_SECONDS)
    except (BusUnavailable, TimeoutError):
        return {}
    return {"streams": what.streams, "idempotency_keys": what.keys, "stream_bytes": what.bytes}


async def render(places: Iterable[Place], held: Mapping[str, float]) -> str:
    """What the workers have answered, and what the bus holds, as Prometheus reads it."""
    lines = []
    for family in (*families(_KINDS | _PROCESS, places), *common(_COMMON, held)):
        lines.append(text(family))
        await asyncio.sleep(0)  # ticks come in between
    return "".join(lines)
