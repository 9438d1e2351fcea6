"""The books of a run: what should have been delivered, and what was."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gateway.loadtest.histogram import Histogram
from gateway.loadtest.instants import nanoseconds

__all__ = ["Cursor", "Ledger", "Listener", "SentTick", "Tally"]


class Cursor:
    """Where one subscriber stands in the sequence of one symbol."""

    __slots__ = ("_missing", "next")

    def __init__(self) -> None:
        self.next = 1
        self._missing: set[int] | None = None

    def skip_to(self, sequence: int) -> None:
        """Takes a tick that came ahead of others; these are missing until they come after all."""
        self._missing = self._missing or set()
        self._missing.update(range(self.next, sequence))
        self.next = sequence + 1

    def fill(self, sequence: int) -> bool:
        """Takes a tick from before the newest; False if it had come already."""
        if self._missing is None or sequence not in self._missing:
            return False
        self._missing.remove(sequence)
        return True


Cursors = Mapping[str, Cursor]


class Tally:
    """What is counted for ticks of any publisher. Times are nanoseconds of the monotonic clock."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Starts from zero: what came while the connections were opened does not count."""
        self.latencies = Histogram()
        self.last_delivery = 0
        self.conflated = 0
        self.errors: Counter[str] = Counter()

    def tick(self, cursors: Cursors, stamp: bytes, now: int) -> None:
        """A tick with this timestamp was read at ``now`` by the subscriber that has these cursors."""
        raise NotImplementedError

    def merge(self, other: Any) -> None:
        """Adds what was counted elsewhere, by one of the same kind."""
        self.latencies.merge(other.latencies)
        self.last_delivery = max(self.last_delivery, other.last_delivery)
        self.conflated += other.conflated
        self.errors += other.errors

    def message(self, message: Mapping[str, Any]) -> None:
        """A message that is no tick was read."""
        if message.get("type") == "conflated":
            self.conflated += sum(message.get("skipped", {}).values())
        elif message.get("type") == "error":
            self.errors[str(message.get("code"))] += 1


class SentTick:
    """``sent_at`` is just before its POST was written; ``delivered`` counts subscribers, each once."""

    __slots__ = ("accepted", "delivered", "sent_at", "sequence", "symbol")

    def __init__(self, symbol: str, sequence: int) -> None:
        self.symbol = symbol
        self.sequence = sequence
        self.sent_at = 0
        self.accepted = False
        self.delivered = 0


class Ledger(Tally):
    """For ticks of our own: each is known by its timestamp, has its place, and is owed to every subscriber.

    ``hear`` is called for a tick that is not known, where another process publishes: it is entered then, if it is ours.
    """

    def __init__(self, hear: Callable[[], None] | None = None) -> None:
        self._hear = hear
        self._sent: dict[bytes, SentTick] = {}
        self._sequences: Counter[str] = Counter()
        super().__init__()

    def begin(self) -> None:
        super().begin()
        self.duplicates = 0
        self.foreign = 0
        self.out_of_order = 0
        self.unasked = 0

    def enter(self, symbol: str, stamp: str) -> SentTick:
        """Books a tick that is about to be published."""
        self._sequences[symbol] += 1
        tick = self._sent[stamp.encode()] = SentTick(symbol, self._sequences[symbol])
        return tick

    def tick(self, cursors: Cursors, stamp: bytes, now: int) -> None:
        tick = self._sent.get(stamp)
        if tick is None and self._hear is not None:
            self._hear()
            tick = self._sent.get(stamp)
        if tick is None:
            self.foreign += 1
        elif cursor := cursors.get(tick.symbol):
            if tick.sequence == cursor.next:
                cursor.next += 1
            elif not self._take_misplaced(cursor, tick.sequence):
                return
            tick.delivered += 1
            self.last_delivery = now
            self.latencies.add(now - tick.sent_at)
        else:
            self.unasked += 1

    def _take_misplaced(self, cursor: Cursor, sequence: int) -> bool:
        if sequence > cursor.next:
            cursor.skip_to(sequence)
            return True
        if cursor.fill(sequence):
            self.out_of_order += 1
            return True
        self.duplicates += 1
        return False

    def merge(self, other: Ledger) -> None:
        """``other`` has been told of the same ticks, in their order."""
        super().merge(other)
        self.duplicates += other.duplicates
        self.foreign += other.foreign
        self.out_of_order += other.out_of_order
        self.unasked += other.unasked
        for tick, theirs in zip(self._sent.values(), other._sent.values(), strict=False):
            tick.delivered += theirs.delivered

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_hear": None}

    def sent(self, stamp: str) -> SentTick | None:
        """The tick of ours with this timestamp."""
        return self._sent.get(stamp.encode())

    def last_accepted(self) -> dict[str, int]:
        """By symbol, the place in its sequence of the last tick that was accepted."""
        return {tick.symbol: tick.sequence for tick in self._sent.values() if tick.accepted}

    @property
    def deliveries(self) -> int:
        return sum(tick.delivered for tick in self._sent.values())

    def expected(self, subscribers: Mapping[str, int]) -> int:
        """Deliveries owed: every accepted tick to each of its symbol's subscribers."""
        return sum(subscribers[tick.symbol] for tick in self._sent.values() if tick.accepted)

    def lost(self, subscribers: Mapping[str, int]) -> int:
        """Deliveries owed that have not come."""
        return sum(subscribers[tick.symbol] - tick.delivered for tick in self._sent.values() if tick.accepted)


class Listener(Tally):
    """For ticks of others: how many come, and how old they are by their own timestamp and this machine's clock."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()
        self._instants: dict[bytes, int | None] = {}
        super().__init__()

    def begin(self) -> None:
        super().begin()
        self.deliveries = 0

    def merge(self, other: Listener) -> None:
        super().merge(other)
        self.deliveries += other.deliveries

    def tick(self, cursors: Cursors, stamp: bytes, now: int) -> None:
        self.deliveries += 1
        self.last_delivery = now
        if (instant := self._instant(stamp)) is not None:
            self.latencies.add(max(0, now - instant))

    def _instant(self, stamp: bytes) -> int | None:
        """The timestamp in monotonic nanoseconds. Every subscriber brings the same one, so it is worked out once."""
        if stamp not in self._instants:
            try:
                self._instants[stamp] = nanoseconds(stamp.decode()) - self._offset
            except ValueError:
                self._instants[stamp] = None
        return self._instants[stamp]
