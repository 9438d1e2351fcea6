"""The bus within one process: streams, taps, history and idempotency keys in its memory."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bus.contract import (
    HISTORY_SECONDS,
    HISTORY_TICKS,
    Held,
    Idempotency,
    IdempotencyConflict,
    LimitReached,
    Limits,
    Losses,
    Packet,
    Position,
    Reason,
    Since,
    Tap,
    Wish,
)
from bus.stall import STALL_SECONDS, boottime

__all__ = ["MemoryBus"]

logger = logging.getLogger(__name__)

_LIMITS = Limits()


_SLICE: Final = 100
_SLICE_SECONDS: Final = 1.0
"""Streams that are looked at whether they are to be dropped, and how often."""
_SAMPLE: Final = 20
"""Streams that are looked at to say how much memory all of them take."""


@dataclass
class _Stream:
    epoch: str
    seq: int = 0
    message: Any = None
    at: float = 0.0
    """When it had its last message."""
    # When it was published, the seq of its first message, and its messages.
    history: deque[tuple[float, int, Sequence[Any]]] = field(default_factory=deque)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(repr(self.message)) * (1 + sum(len(messages) for _, _, messages in self.history))


class MemoryBus:
    """What the scripts in bus/redis/lua keep in Redis, for any thread of one process.

    The tap is told on the event loop that was running when it was set; there, too, streams are dropped that have had no
    message for a time. ``enqueue`` gets every packet of a stream, for ordinary consumers. ``clock`` is in seconds.
    """

    def __init__(
        self,
        enqueue: Callable[[Packet], None] = lambda _: None,
        losses: Losses | None = None,
        *,
        history_ticks: int = HISTORY_TICKS,
        history_seconds: float = HISTORY_SECONDS,
        limits: Limits = _LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.losses = losses or Losses()
        self._enqueue = enqueue
        self._history_ticks = history_ticks if history_seconds > 0 else 0
        self._history_seconds = history_seconds
        self._limits = limits
        self._clock = clock
        self._lock = threading.RLock()
        self._tap: Tap | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: deque[Packet] = deque()
        self._due_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._leave_all()
        self.forget()

    def forget(self) -> None:
        """Begins a new epoch, with nothing in it."""
        with self._lock:
            self._epoch = secrets.token_hex(6)
            """Of streams that begin now."""
            self._looked_at = ""
            self._streams: dict[str, _Stream] = {}
            self._names: list[str] = []
            """In order."""
            self._keys: dict[str, tuple[str, float]] = {}
            self._accounts: dict[str, tuple[int, float]] = {}
            self._records: dict[str, tuple[bytes, float]] = {}

    def flush(self) -> None:
        """Makes it like new, except for its tap."""
        self.forget()
        self._leave_all()
        self._due.clear()

    def _leave_all(self) -> None:
        self._joined: set[str] = set()
        self._patterns: tuple[str, ...] = ()

    hosts: Final = 1
    away: Final[Collection[int]] = ()
    refused: Final[Mapping[Reason, int]] = {}

    def host_of(self, group: str) -> int:
        return 0

    async def ping(self) -> None:
        """It can always be used."""

    async def check(self, patterns: Sequence[str] = ()) -> Sequence[str]:
        return ()

    # Taps

    def tap(self, tap: Tap) -> None:
        self._tap = tap
        self._loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()  # it may be another loop's
        if self._limits.seconds:
            self._timer = self._loop.call_later(_SLICE_SECONDS, self._retain)

    def _retain(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(_SLICE_SECONDS, self._retain)
        self.retain()

    def retain(self) -> int:
        """Looks at a slice of the streams, and drops those that have had no message for a time; how many."""
        with self._lock:  # a message comes before it, and keeps its stream, or after it
            start = bisect_right(self._names, self._looked_at)
            groups = self._names[start : start + _SLICE]
            self._looked_at = groups[-1] if len(groups) == _SLICE else ""
            oldest = self._clock() - self._limits.seconds
            dropped = [group for group in groups if self._streams[group].at < oldest]
            if dropped:
                # A stream that begins again is not to be taken for the one that was dropped.
                self._epoch = secrets.token_hex(6)
                self._names[start : start + _SLICE] = [group for group in groups if self._streams[group].at >= oldest]
            for group in dropped:
                del self._streams[group]
            self.hand_over([Packet(group, self._epoch, 0, []) for group in dropped])
            return len(dropped)

    async def join(self, groups: Sequence[str]) -> None:
        self._follow(self._joined.union(groups))

    async def leave(self, groups: Sequence[str]) -> None:
        self._follow(self._joined.difference(groups))

    def _follow(self, joined: set[str]) -> None:
        self._joined = joined
        self._patterns = tuple(group[:-1] for group in joined if group.endswith("*"))

    def hand_over(self, packets: Iterable[Packet]) -> None:
        """Hands the tap those of joined groups."""
        if self._tap is None or self._loop is None or self._loop.is_closed():
            return
        if not self._due:
            self._due_since = boottime()
        self._due.extend(packet for packet in packets if self._is_joined(packet.group))
        if not self._due:
            return
        if self._loop is asyncio.get_running_loop():
            self._hand_over_due()
        else:
            # Sent from another thread's loop, as async_to_sync makes one for a plain thread. What is sent on this loop
            # meanwhile does not overtake it.
            self._loop.call_soon_threadsafe(self._hand_over_due)

    def _hand_over_due(self) -> None:
        due = []
        while self._due:
            due.append(self._due.popleft())
        if not due or self._tap is None:
            return
        if boottime() - self._due_since > STALL_SECONDS:
            self._tap.bus_lost(0)  # the loop stood still, and they are as old as that was long
            self._tap.bus_restored(0)
            return
        try:
            self._tap.arrived(due)
        except Exception:  # the publisher is not to blame
            logger.exception("Delivering %d packets failed.", len(due))

    def _is_joined(self, group: str) -> bool:
        return group in self._joined or (bool(self._patterns) and group.startswith(self._patterns))

    # Streams

    async def publish(
        self, batch: Mapping[str, Sequence[Any]], idempotency: Idempotency | None = None, note: bytes = b""
    ) -> dict[str, Since] | None:
        with self._lock:  # also while packets are handed over: no other batch may come in between
            now = self._clock()
            new = sum(group not in self._streams for group in batch)
            if new and len(self._streams) + new > self._limits.streams:
                raise LimitReached("streams")
            if idempotency is not None and not self._is_first(idempotency, now):
                return None
            at = time.time_ns() // 1_000
            packets = [
                Packet(group, *self._append(group, messages, now), messages, at, note)
                for group, messages in batch.items()
            ]
            for packet in packets:
                self._enqueue(packet)
            self.hand_over(packets)
            return {group: Since(self._streams[group].epoch, self._streams[group].seq) for group in batch}

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        with self._lock:
            streams = ((group, self._streams.get(group) or _Stream(self._epoch)) for group in groups)
            return {group: Position(stream.epoch, stream.seq, stream.message) for group, stream in streams}

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        with self._lock:
            return {group: self._missed(group, place) for group, place in since.items()}

    async def names(self) -> list[str]:
        with self._lock:
            return list(self._streams)

    async def held(self, seconds: float) -> Held:
        with self._lock:
            sample = self._names[:: len(self._names) // _SAMPLE + 1]
            size = sum(self._streams[group].size for group in sample) * len(self._names) // max(1, len(sample))
            return Held(len(self._streams), len(self._keys), size)

    async def page(self, first: int, most: int, after: str = "") -> tuple[int, list[str]]:
        with self._lock:
            start = bisect_right(self._names, after) if after else first
            return len(self._names), self._names[start : start + most]

    async def lease(self, worker: str, wishes: Sequence[Wish], seconds: float) -> tuple[int, list[int]]:
        """There is one worker, which may have it all."""
        return 1, [wish.limit if wish.spare else min(wish.amount, wish.limit) for wish in wishes]

    async def spend(self, account: str, amount: int, most: int, seconds: float) -> float:
        with self._lock:
            now = self._clock()
            self._accounts = {name: entry for name, entry in self._accounts.items() if entry[1] > now}
            spent, until = self._accounts.get(account, (0, now + seconds))
            if spent + amount > most:
                return until - now
            self._accounts[account] = spent + amount, until
            return 0.0

    async def announce(self, worker: str, record: bytes, seconds: float) -> None:
        with self._lock:
            self._records[worker] = record, self._clock() + seconds

    async def announced(self) -> dict[str, bytes]:
        with self._lock:
            now = self._clock()
            self._records = {name: entry for name, entry in self._records.items() if entry[1] > now}
            return {name: record for name, (record, _) in self._records.items()}

    def _missed(self, group: str, since: Since) -> list[Packet] | None:
        stream = self._streams.get(group) or _Stream(self._epoch)
        if since.epoch != stream.epoch or since.seq > stream.seq:
            return None
        if since.seq == stream.seq:
            return []
        oldest = self._clock() - self._history_seconds
        entries = [
            (time, max(seq, since.seq + 1), messages[max(0, since.seq + 1 - seq) :])
            for time, seq, messages in stream.history
            if seq + len(messages) > since.seq + 1
        ]
        if not entries or entries[0][1] != since.seq + 1 or entries[0][0] < oldest:
            return None
        return [Packet(group, stream.epoch, seq, messages) for _, seq, messages in entries]

    def _is_first(self, idempotency: Idempotency, now: float) -> bool:
        for key, (_, expiry) in list(self._keys.items()):
            if expiry > now:
                break  # all keys live equally long, so the oldest come first
            del self._keys[key]
        known = self._keys.get(idempotency.key)
        if known is None:
            if len(self._keys) >= self._limits.keys:
                raise LimitReached("keys")
            self._keys[idempotency.key] = (idempotency.digest, now + idempotency.seconds)
            return True
        if known[0] != idempotency.digest:
            raise IdempotencyConflict
        return False

    def _append(self, group: str, messages: Sequence[Any], now: float) -> tuple[str, int]:
        """The epoch, and the seq of the first message."""
        stream = self._streams.get(group)
        if stream is None:
            stream = self._streams[group] = _Stream(self._epoch)
            insort(self._names, group)
        first = stream.seq + 1
        stream.seq += len(messages)
        stream.message = messages[-1]
        stream.at = now
        if self._history_ticks:
            stream.history.append((now, first, messages))
            while stream.seq - stream.history[0][1] - len(stream.history[0][2]) + 1 >= self._history_ticks:
                stream.history.popleft()
        return stream.epoch, first
