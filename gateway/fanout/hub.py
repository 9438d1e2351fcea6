"""The fan-out of one process: what arrives from the bus goes to all clients that subscribed to it.

A symbol that a client of this process wants has a :class:`~gateway.fanout.stream.Stream`, which knows its place in the
sequence. What arrives is held against that place: what was there already is dropped, what follows is delivered, and
where something is missing the subscribers are told how much before they get what comes behind it. So a client holds
the newest tick, or it knows that it does not.

Here a group is known by its symbol, and a message by its body, which is what ``Tick.json`` gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from time import perf_counter
from types import MappingProxyType
from typing import NamedTuple

from bus.contract import Packet, Since
from bus.histogram import Histogram
from gateway.fanout.delivery import Delivery
from gateway.fanout.doubts import Positions
from gateway.fanout.heartbeat import SPREAD, Heartbeat, Outage
from gateway.fanout.introductions import Introductions
from gateway.fanout.memberships import Memberships
from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import NO_ROOM, Room
from gateway.fanout.recovery import Recovery
from gateway.fanout.replay import History
from gateway.fanout.stream import Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.fanout.traces import Traces
from gateway.fanout.writer import Writer
from gateway.protocol.messages import Position
from gateway.protocol.values import EVERYTHING
from gateway.wires.io_uring import Ring
from ticks.access.patterns import ALL, Patterns

__all__ = ["Hub", "Reception"]


class Reception(NamedTuple):
    """What a client that subscribed is to be told: where each stream is, and then these frames."""

    positions: dict[str, Position]
    frames: bytes
    rest: int = 0
    """Streams that it will be told of then."""


class Hub:
    """Takes in what arrives, and the clients that want it; its parts do the rest."""

    def __init__(
        self,
        memberships: Memberships,
        history: History,
        positions: Positions,
        ring: Ring | None = None,
        *,
        room: Room = NO_ROOM,
        staleness: float = 0.0,
        hosts: int = 1,
        host_of: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """``history`` is asked for what clients missed, and ``positions`` where streams are; ``ring`` writes to many
        sockets at once, where there is one; ``room`` is what streams may keep for clients that come back.
        ``staleness``: how old what a client reads may be, in seconds; 0 for as old as it likes. ``hosts``: how many
        the bus has, and ``host_of`` on which of them a symbol is.
        """
        self._writer = writer = Writer(ring, staleness)
        self._memberships = memberships
        self.freshness = writer.freshness
        self.gauges = writer.gauges
        self.subscriptions = Subscriptions(writer, memberships.is_wanted, room, host_of)
        self.delivery = Delivery(self.subscriptions, writer)
        self.recovery = Recovery(self.subscriptions, self.delivery, history, positions)
        self.heartbeat = Heartbeat(self.subscriptions, writer)
        self.introductions = Introductions(self.subscriptions)
        self._widenings: dict[Outbox, asyncio.Task[None]] = {}
        self.outage = Outage(self.subscriptions, hosts)
        self.traces = Traces(self.subscriptions)

    def deliver(self, packets: Iterable[Packet]) -> None:
        """One pass: brings ticks to their subscribers, each client in at most one write.

        The ticks of a symbol stay in order and next to each other; symbols come in the order of their first tick.
        """
        began = perf_counter()
        streams = self.subscriptions.streams
        due: dict[Stream, list[bytes]] = {}
        for packet in list(packets):  # first of all: what the iterator may raise must not cost what it gave before
            symbol, epoch, seq, bodies, _, _ = packet
            stream = streams.get(symbol)
            if stream is None or epoch != stream.epoch or seq != stream.seq + 1 or stream.body is None:
                stream = self.recovery.catch_up(stream, packet)
                if stream is None:
                    continue
                bodies = bodies[stream.seq + 1 - seq :]
            frames = stream.advance(bodies)
            if stream in due:
                due[stream] += frames
            else:
                due[stream] = frames
        self.delivery.deliver(due)
        self.gauges.made(began, due, self._writer.delivered)

    # Clients

    def add(self, outbox: Outbox) -> None:
        """Takes in a client, with no subscription yet, that may see everything."""
        outbox.beats = self.connections % SPREAD
        self.subscriptions.clients[outbox] = {}

    def remove(self, outbox: Outbox) -> None:
        """Lets go of a client that is gone."""
        self.introductions.end(outbox)
        self.traces.forget(outbox)
        self._widenings.pop(outbox, None)
        self._memberships.release(self.subscriptions.remove(outbox))
        self.outage.forget(outbox)
        outbox.discard()

    async def look_after_freshness(self) -> None:
        """Finds clients that do not read what is new, for as long as it runs."""
        await self.freshness.run(lambda: self._writer.delivered)

    @property
    def connections(self) -> int:
        return len(self.subscriptions.clients)

    def symbols(self, outbox: Outbox) -> Collection[str]:
        """What the client subscribed to, in that order."""
        return self.subscriptions.clients[outbox].keys()

    def rates(self, outbox: Outbox) -> Collection[float | None]:
        """The rate that the client chose for each of them."""
        return self.subscriptions.clients[outbox].values()

    async def subscribe(
        self,
        outbox: Outbox,
        symbols: Iterable[str],
        *,
        snapshot: bool = True,
        rate: float | None = None,
        since: Mapping[str, Since] = MappingProxyType({}),
        trace: bool = False,
    ) -> Reception:
        """Subscribes the client to ``symbols``, again if it is already; all of them or, on an error, none.

        Ticks behind the positions that are returned reach the outbox from the moment this returns, so what is returned
        must be sent at once. Of everything it is told of the rest then, a slice at a time. Raises what the bus raised.
        """
        may_see = self.subscriptions.everything.may_see
        asked, since = since, {symbol: place for symbol, place in since.items() if may_see(outbox, symbol)}
        wanted = dict.fromkeys(symbols)
        await self._memberships.acquire(wanted)
        try:
            while True:
                if EVERYTHING in wanted:
                    await self._told(outbox)
                missed = await self.recovery.resume(since, self.deliver)
                if EVERYTHING not in wanted or not self._is_telling(outbox):
                    break
        except BaseException:
            self._memberships.release(wanted)
            raise
        reception = self._take_in(outbox, wanted, snapshot, rate, trace, since=since, missed=missed)
        positions = reception.positions
        for symbol in asked:
            if symbol not in since or symbol not in self.subscriptions.streams:
                # Of everything, what has not ticked in this epoch, or may be seen no more: the client must not take its
                # old price for the last.
                positions[symbol] = Position(0, "", False)
        resumed = since.keys() & positions.keys()
        self.recovery.count(len(resumed), len(resumed & missed.keys()))
        return reception

    def subscribe_at_once(
        self, outbox: Outbox, symbols: Iterable[str], *, snapshot: bool, rate: float | None, trace: bool
    ) -> Reception | None:
        """The same for a client that was not here before; None, and nothing has been done, if it would have to wait."""
        wanted = dict.fromkeys(symbols)
        if EVERYTHING in wanted or not self._memberships.acquire_at_once(wanted):
            return None
        return self._take_in(outbox, wanted, snapshot, rate, trace)

    def is_at_hand(self, symbol: str) -> bool:
        """Whether who subscribes to it need not wait for the bus."""
        return symbol in self._memberships.joined

    def subscribe_plainly(self, outbox: Outbox, symbols: Collection[str]) -> bool:
        """The same without what the client is to be told: see :meth:`answers`. ``symbols``: each once, by name."""
        if outbox.behind or not self._memberships.acquire_at_once(symbols):
            return False
        self._subscribe(outbox, symbols, None, trace=False)
        return True

    def answers(self, symbols: Iterable[str]) -> bytes:
        """What plain subscriptions to each of these are answered, by a client that has just subscribed to them."""
        streams = self.subscriptions.streams
        return b"".join([streams[symbol].answer for symbol in symbols])

    def _take_in(
        self,
        outbox: Outbox,
        wanted: Collection[str],
        snapshot: bool,
        rate: float | None,
        trace: bool,
        *,
        since: Mapping[str, Since] = MappingProxyType({}),
        missed: Mapping[str, bytes] = MappingProxyType({}),
    ) -> Reception:
        self._subscribe(outbox, wanted, rate, trace=trace)
        told = self.introductions.first(outbox, wanted, since)
        positions, frames = self.introductions.introduce(outbox, told, snapshot=snapshot, since=since, missed=missed)
        return Reception(positions, b"".join(frames), self.introductions.rest(outbox, snapshot=snapshot))

    def _subscribe(self, outbox: Outbox, wanted: Collection[str], rate: float | None, *, trace: bool) -> None:
        # Only now: it may have lost some of them meanwhile, as its grant was narrowed.
        held = self.symbols(outbox)
        if again := [symbol for symbol in wanted if symbol in held]:
            self._memberships.release(again)
        for symbol in wanted:
            self.subscriptions.set(outbox, symbol, rate)
        (self.traces.choose if trace else self.traces.end)(outbox, wanted)

    def unsubscribe(self, outbox: Outbox, symbols: Iterable[str]) -> list[str]:
        """Ends the client's subscriptions to those of ``symbols`` that it has; returns these."""
        held = self.symbols(outbox)
        leaving = [symbol for symbol in dict.fromkeys(symbols) if symbol in held]
        for symbol in leaving:
            self.subscriptions.end(outbox, symbol)
        self.traces.end(outbox, leaving)
        if EVERYTHING in leaving:
            self.introductions.end(outbox)
        self._memberships.release(leaving)
        return leaving

    def limit(self, outbox: Outbox, patterns: Patterns) -> list[str]:
        """The client may see what the patterns cover, and nothing else: ends its other subscriptions; returns those.

        Of everything it is told what it may see from now on, behind this.
        """
        everything = self.subscriptions.everything
        self._widenings.pop(outbox, None)
        before = everything.limits.get(outbox, ALL)
        everything.limit(outbox, before & patterns)
        lost = [symbol for symbol in self.symbols(outbox) if symbol != EVERYTHING and not patterns.covers(symbol)]
        self.unsubscribe(outbox, lost)
        outbox.waiting.keep(patterns)
        if before & patterns != patterns:
            if EVERYTHING in self.symbols(outbox):
                self._widenings[outbox] = asyncio.get_running_loop().create_task(self._widen(outbox, patterns))
            else:
                everything.limit(outbox, patterns)
        return lost

    def _is_telling(self, outbox: Outbox) -> bool:
        """Whether the client is being told of everything, or is about to be told what else it may see of it."""
        return outbox in self._widenings or self.introductions.is_telling(outbox)

    async def _told(self, outbox: Outbox) -> None:
        while self._is_telling(outbox):
            if outbox in self._widenings:
                await asyncio.wait([self._widenings[outbox]])
            await self.introductions.over(outbox)

    async def _widen(self, outbox: Outbox, patterns: Patterns) -> None:
        """One after the other: a client is told of everything before it is told of what it may see besides."""
        await asyncio.sleep(0)
        await self.introductions.over(outbox)
        if self._widenings.get(outbox) is not asyncio.current_task():
            return  # what it may see has changed again, or it is gone
        del self._widenings[outbox]
        if EVERYTHING not in self.symbols(outbox):
            self.subscriptions.everything.limit(outbox, patterns)
            return
        self.subscriptions.widen(outbox, patterns)
        self.introductions.rest(outbox, snapshot=True)

    # State

    def counts(self) -> dict[str, int]:
        """What the hub holds now and has done so far, by metric name."""
        return {
            **self.subscriptions.counts(),
            "memberships": len(self._memberships.joined),
            "passes_total": self.delivery.passes,
            "parked_total": self.delivery.parked,
            **self.recovery.counts,
            "replay_asked_total": self.recovery.replay.asked,
            "refuted_total": self.recovery.doubts.refuted,
            "heartbeats_total": self.heartbeat.sent,
            **self._writer.counts(),
        }

    def histograms(self) -> dict[str, Histogram]:
        """How its passes were, by metric name."""
        gauges = self.gauges
        return {
            "bus_age_seconds": gauges.arrival_age,
            "send_age_seconds": gauges.send_age,
            "pass_seconds": gauges.pass_seconds,
            "pass_ticks": gauges.pass_ticks,
        }
