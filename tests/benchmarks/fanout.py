"""The fan-out alone: hub and outboxes, with sockets that only count.

A pass begins with ticks that have their place in a sequence, and so includes the making of each tick's frame, once for
all its subscribers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from bus.contract import Packet, Position, Since
from gateway.fanout.hub import Hub
from gateway.fanout.memberships import Memberships
from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import Room
from gateway.protocol.codes import Closure
from gateway.protocol.messages import tick_frame
from gateway.wires.io_uring import Ring
from gateway.wires.wire import Sender
from tests.benchmarks.measure import Benchmark, Effort, Work, finished
from ticks.tick import Tick

__all__ = ["BENCHMARKS", "Audience", "CountingWire", "names_of"]

PATIENCE = 86_400.0
"""Nobody is closed for being slow while the clock runs."""

EPOCH = "5f3a9c1e"
FIRST = 1_000_000_000
"""Where the sequences begin: with as many digits as they will ever have here."""


class CountingWire:
    """A socket that takes everything at once; or, while ``full``, only after the outbox has been told that it is."""

    is_tidy = True
    answers_pings = False
    form = None

    def __init__(self) -> None:
        self.bytes = 0
        self.full = False
        self._sender: Sender | None = None

    def open(self, sender: Sender, /) -> None:
        self._sender = sender

    def fileno(self) -> int:
        return -1

    def queue(self) -> None: ...

    def ask_along(self) -> bool:
        return False

    def send(self, frames: bytes) -> int:
        if self.full:
            return 0
        self.bytes += len(frames)
        return len(frames)

    def finish(self, rest: bytes) -> None:
        self.bytes += len(rest)

    def drain(self) -> None:
        if self._sender is not None:
            self._sender.drained()

    def close(self, closure: Closure) -> None: ...

    def release(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Audience:
    """A hub and its clients, each subscribed to ``per_client`` of ``symbols``; every ``slow_every``-th never keeps up."""

    def __init__(
        self,
        wires: Sequence[CountingWire],
        symbols: int,
        per_client: int,
        slow_every: int = 0,
        ring: Ring | None = None,
    ) -> None:
        self.names = names_of(0, symbols, symbols)
        self._per_client = per_client
        self.wires = wires
        self.slow = self.wires[::slow_every] if slow_every else []
        memberships = Memberships(self._join, _nothing, 1.0)
        self.hub = Hub(memberships, _no_history, _no_positions, ring, room=Room(500, 300.0, 67_108_864))
        self._bodies = {name: [Tick(name, "150.25", "2026-05-12T15:04:05.123456Z").json()] for name in self.names}
        self._seqs = dict.fromkeys(self.names, FIRST)
        # All frames are of one length: bytes written divided by it is frames written.
        self.frame_size = len(tick_frame(self._bodies[self.names[0]][0], FIRST))

    async def _join(self, symbols: Sequence[str]) -> None:
        self.hub.subscriptions.open(symbols)
        self.hub.recovery.settle({symbol: Position(EPOCH, FIRST, self._bodies[symbol][0]) for symbol in symbols})

    async def gather(self) -> None:
        """Brings in the clients. Slow ones fall behind with their first frame."""
        for index, wire in enumerate(self.wires):
            outbox = Outbox(wire, PATIENCE, self.hub.delivery.moved)
            self.hub.add(outbox)
            await self.hub.subscribe(outbox, self._symbols_of(index))
        for wire in self.slow:
            wire.full = True
        if self.slow:
            self.hub.deliver(self.ticks(self.names))

    def ticks(self, symbols: Sequence[str]) -> Iterator[Packet]:
        """The next tick of each of ``symbols``, one after the other."""
        seqs, bodies = self._seqs, self._bodies
        for symbol in symbols:
            seqs[symbol] = seq = seqs[symbol] + 1
            yield Packet(symbol, EPOCH, seq, bodies[symbol])

    def _symbols_of(self, index: int) -> list[str]:
        return names_of(index, len(self.names), self._per_client)

    def subscribers(self, symbol: str) -> int:
        return sum(symbol in self._symbols_of(index) for index in range(len(self.wires)))

    def frames_written(self) -> int:
        return sum(wire.bytes for wire in self.wires) // self.frame_size

    def deliver(self, passes: Sequence[Sequence[str]], due: int) -> int:
        """Makes the passes, each with a tick of each of its symbols.

        ``due`` deliveries, and each must have been written, or parked where the client is behind.
        """
        hub = self.hub
        written, parked = self.frames_written(), hub.delivery.parked
        for symbols in passes:
            hub.deliver(self.ticks(symbols))
        return finished(due, self.frames_written() - written + hub.delivery.parked - parked)


def names_of(client: int, symbols: int, count: int) -> list[str]:
    """The symbols of a client: so many of all, beginning with that of its number."""
    return [f"S{(client + step) % symbols:03}" for step in range(count)]


def _counting(clients: int) -> list[CountingWire]:
    return [CountingWire() for _ in range(clients)]


async def _nothing(symbols: Sequence[str]) -> None: ...


async def _no_positions(symbols: Collection[str]) -> dict[str, Position]:
    return {}


async def _no_history(since: Mapping[str, Since]) -> dict[str, list[tuple[int, str]] | None]:
    return dict.fromkeys(since)


@asynccontextmanager
async def hot(effort: Effort, *, ticks: int, slow_every: int = 0) -> AsyncIterator[Work]:
    """1,000 clients of one symbol, of which ``ticks`` ticks come in each pass."""
    audience = Audience(_counting(effort.of(1_000)), 1, 1, slow_every)
    await audience.gather()
    passes = [audience.names * ticks] * effort.of(20)
    due = sum(map(len, passes)) * len(audience.wires)

    async def work() -> int:
        return audience.deliver(passes, due)

    yield work


@asynccontextmanager
async def lists(effort: Effort, *, ticks: int, slow_every: int = 0) -> AsyncIterator[Work]:
    """500 clients, each with 20 of 100 symbols; the symbols tick in turn, ``ticks`` of them in each pass."""
    audience = Audience(_counting(effort.of(500)), 100, 20, slow_every)
    await audience.gather()
    turn = audience.names * max(1, ticks // len(audience.names))
    passes = [turn[start : start + ticks] for start in range(0, len(turn), ticks)]
    due = sum(audience.subscribers(symbol) for some in passes for symbol in some)

    async def work() -> int:
        return audience.deliver(passes, due)

    yield work


@asynccontextmanager
async def park_and_drain(effort: Effort) -> AsyncIterator[Work]:
    """A client of 20 symbols that is behind: 10 ticks of each are parked, then the newest ones and a receipt go out."""
    audience = Audience(_counting(1), 20, 20, slow_every=1)
    await audience.gather()
    symbols = audience.names * 10
    (wire,) = audience.wires
    rounds = effort.of(50)

    async def work() -> int:
        done = 0
        for _ in range(rounds):
            parked, skipped, written = audience.hub.delivery.parked, audience.hub.counts()["skipped_total"], wire.bytes
            audience.hub.deliver(audience.ticks(symbols))
            wire.drain()
            skipped = audience.hub.counts()["skipped_total"] - skipped
            newest = len(audience.names) if wire.bytes > written else 0
            done += min(audience.hub.delivery.parked - parked, skipped + newest)
        return finished(rounds * len(symbols), done)

    yield work


def _benchmark(name: str, prepare: Callable[[Effort], AbstractAsyncContextManager[Work]]) -> Benchmark:
    return Benchmark(name, "delivery", prepare)


BENCHMARKS = [
    _benchmark("hub, 1,000 clients of 1 symbol, 1 tick a pass", partial(hot, ticks=1)),
    _benchmark("hub, 1,000 clients of 1 symbol, 10 ticks a pass", partial(hot, ticks=10)),
    _benchmark("hub, 1,000 clients of 1 symbol, 1 tick a pass, 10 % behind", partial(hot, ticks=1, slow_every=10)),
    _benchmark("hub, 500 clients of 20 in 100 symbols, 10 ticks a pass", partial(lists, ticks=10)),
    _benchmark("hub, 500 clients of 20 in 100 symbols, 100 ticks a pass", partial(lists, ticks=100)),
    _benchmark(
        "hub, 500 clients of 20 in 100 symbols, 10 ticks a pass, 10 % behind", partial(lists, ticks=10, slow_every=10)
    ),
    _benchmark("outbox, 10 ticks of 20 symbols parked, then drained", park_and_drain),
]
