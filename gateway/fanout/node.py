"""What one process of the gateway consists of: its hub, its memberships in the bus's groups, its counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from bus.contract import Bus, BusUnavailable, Losses, Packet, Position, Since
from bus.stall import STALL_SECONDS, boottime
from gateway.fanout.heartbeat import ROUNDS
from gateway.fanout.hub import Hub
from gateway.fanout.memberships import Memberships, Turn
from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import NO_ROOM, Room
from gateway.protocol.values import EVERYTHING
from gateway.wires.io_uring import Ring
from gateway.wires.wire import Wire
from ticks.groups import GROUP_PREFIX, group_name, learn, symbol_in, symbol_of
from ticks.tick import Tick

__all__ = ["Collector", "Node"]

logger = logging.getLogger(__name__)

_CHUNK: Final = 1_000
"""Symbols asked for at once."""
_RETRY_SECONDS: Final = 0.25
_FIRST_SECONDS: Final = 0.5
"""How long the bus may take to be there at first before clients are told that it is not."""


class Collector(Protocol):
    """Looks after the garbage collector (gateway/server/collector.py)."""

    collections: int
    """How often it walked the whole heap."""

    def arrived(self) -> None: ...

    def departed(self, remaining: int, is_tidy: bool = True) -> None: ...


class Node:
    """Connects a hub to the bus."""

    def __init__(
        self,
        bus: Bus,
        leave_delay: float,
        patience: float,
        linger: float = 0.0,
        heartbeat: float = 0.0,
        *,
        staleness: float = 0.0,
        ring: Ring | None = None,
        collector: Collector | None = None,
        room: Room = NO_ROOM,
        turn: Turn | None = None,
    ) -> None:
        """In seconds: how long a group without subscribers is kept, how long a client may be behind, how long a
        pass waits for more ticks, and the time between heartbeats, 0 for none. ``staleness``: how old what a client
        reads may be, 0 for as old as it likes. ``ring`` and ``room`` are the hub's; ``collector`` is told of clients
        that come and go; ``turn`` is what clients wait for after the bus.
        """
        self._bus = bus
        self._linger = linger
        self._lingering: list[Packet] = []
        self._lingering_since = 0.0
        self._patience = patience
        self._heartbeat = heartbeat
        self._beating: asyncio.Task[None] | None = None
        self._staleness = staleness
        self._looking: asyncio.Task[None] | None = None
        self._syncing: dict[int, asyncio.Task[None]] = {}
        """What is being told of each of the bus's hosts."""
        self.memberships = Memberships(self._join, self._leave, leave_delay, turn, self._lane)
        self.hub = Hub(
            self.memberships,
            self._history,
            self._positions,
            ring,
            room=room,
            staleness=staleness,
            hosts=bus.hosts,
            host_of=self._host_of,
        )
        self._collector = collector
        self.losses = Losses()
        """Messages that are no ticks."""
        self.lost = 0
        bus.tap(self)
        self._unheard = set(bus.away)
        """Hosts of which nothing was heard since the start."""
        for host in self._unheard:
            self._sync(host, self._tell_unless_heard(host))

    def open(self, wire: Wire) -> Outbox:
        """Takes in a client that is reached through ``wire``."""
        outbox = Outbox(wire, self._patience, self.hub.delivery.moved, staleness=self._staleness)
        self.hub.add(outbox)
        if self._collector is not None:
            self._collector.arrived()
        if self._beating is None and self._heartbeat:
            self._beating = asyncio.get_running_loop().create_task(self._beat())
        if self._looking is None and self._staleness:
            self._looking = asyncio.get_running_loop().create_task(self.hub.look_after_freshness())
        return outbox

    def close(self, outbox: Outbox) -> None:
        """Lets go of a client that is gone."""
        self.hub.remove(outbox)
        if self._collector is not None:
            self._collector.departed(self.hub.connections, outbox.is_tidy)
        if self._beating is not None and not self.hub.connections:
            self._beating.cancel()
            self._beating = None
        if self._looking is not None and not self.hub.connections:
            self._looking.cancel()
            self._looking = None

    async def _beat(self) -> None:
        loop, step = asyncio.get_running_loop(), self._heartbeat / ROUNDS
        due = loop.time()
        while True:
            due = max(due + step, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                await _in_slices(self.hub.heartbeat.beat(self._heartbeat), self.hub.heartbeat.pause(step), step)
            except Exception:
                logger.exception("A heartbeat failed.")

    # Memberships

    def _host_of(self, symbol: str) -> int:
        return self._bus.host_of(group_name(symbol))

    def _lane(self, symbol: str) -> int:
        if self._bus.hosts == 1:
            return 0
        return -1 if symbol == EVERYTHING else self._host_of(symbol)

    async def _join(self, symbols: Sequence[str]) -> None:
        """Joins the groups and learns where their streams are; what arrives in between finds its stream already."""
        self.hub.subscriptions.open(symbols)
        groups = [_group(symbol) for symbol in symbols]
        try:
            await self._bus.join(groups)
            new: Iterable[str] = symbols
            if EVERYTHING in symbols:
                await self._open_all()
                new = list(self.hub.subscriptions.unplaced)
            # A stream that has been running all along is ahead of what the bus answers.
            unplaced = self.hub.subscriptions.unplaced
            await self._settle([symbol for symbol in new if symbol in unplaced])
        except BaseException:
            await _in_slices(self.hub.subscriptions.drop(symbols))
            await self._bus.leave(groups)
            raise

    async def _leave(self, symbols: Sequence[str]) -> None:
        await _in_slices(self.hub.subscriptions.drop(symbols))
        await self._bus.leave([_group(symbol) for symbol in symbols])

    async def _open_all(self) -> None:
        """A page at a time; what is published first meanwhile comes as a packet."""
        page = [""]
        while page and self.hub.subscriptions.keeps_all:
            _, page = await self._bus.page(0, _CHUNK, page[-1])
            await learn(self._bus, page)
            symbols = map(self._symbol, page)
            self.hub.subscriptions.open(symbol for symbol in symbols if symbol is not None)
            await asyncio.sleep(0)

    async def _settle(self, symbols: Sequence[str]) -> None:
        """Asks where streams are; those on a host that is away, while others are there, are placed when it is back."""
        for start in range(0, len(symbols), _CHUNK):
            if asked := self._present(symbols[start : start + _CHUNK]):
                positions = await self._positions(asked)
                self.hub.recovery.settle(positions)
                if missing := self._present([symbol for symbol in asked if symbol not in positions]):
                    raise BusUnavailable(f"It is not known where {len(missing)} streams are.")
            await asyncio.sleep(0)

    def _present(self, symbols: Sequence[str]) -> Sequence[str]:
        """Those whose hosts are not away, or all if all hosts are."""
        away = self._bus.away
        if not away or len(away) == self._bus.hosts:
            return symbols
        return [symbol for symbol in symbols if self._host_of(symbol) not in away]

    async def _positions(self, symbols: Collection[str]) -> dict[str, Position]:
        """Where the streams of symbols are; what arrived before the answer has been delivered."""
        positions = await self._bus.positions([group_name(symbol) for symbol in symbols])
        if self._lingering:
            self._deliver_lingering()
        return {symbol_of(group): self._place(group, position) for group, position in positions.items()}

    def _place(self, group: str, position: Position) -> Position:
        body = None if position.message is None else self._body(symbol_of(group), position.message)
        return position._replace(message=body)

    async def _history(self, since: Mapping[str, Since]) -> dict[str, list[tuple[int, str]] | None]:
        """All ticks after a place of each symbol, as ``(seq, body)``; None where the bus has not all of them."""
        try:
            answer = await self._bus.history({group_name(symbol): place for symbol, place in since.items()})
        except BusUnavailable as error:
            logger.warning("Could not ask the bus for the history of %d symbols: %s", len(since), error)
            return dict.fromkeys(since)
        return {symbol_of(group): self._ticks(packets) for group, packets in answer.items()}

    def _ticks(self, packets: Iterable[Packet] | None) -> list[tuple[int, str]] | None:
        """The ticks of packets, None unless all of them are whole."""
        if packets is None:
            return None
        ticks = []
        for packet in packets:
            for seq, message in enumerate(packet.messages, packet.seq):
                body = self._body(symbol_of(packet.group), message)
                if body is None:
                    return None
                ticks.append((seq, body))
        return ticks

    # What the bus tells

    def arrived(self, packets: Sequence[Packet]) -> None:
        if self.hub.traces:
            self.hub.traces.arrived(packets)
        if not self._linger:
            self.hub.deliver(self._arrivals(packets))
            return
        if not self._lingering:
            asyncio.get_running_loop().call_later(self._linger, self._deliver_lingering)
            self._lingering_since = boottime()
        self._lingering.extend(packets)

    def bus_lost(self, host: int = 0) -> None:
        self.lost += 1
        self._sync(host, self._tell_lost(host))

    def bus_restored(self, host: int = 0) -> None:
        self._sync(host, self._catch_up(host))

    def _sync(self, host: int, work: Coroutine[Any, Any, None]) -> None:
        """Only the latest news of a host is worth telling."""
        if host in self._syncing:
            self._syncing[host].cancel()
        self._syncing[host] = asyncio.get_running_loop().create_task(work)

    async def _tell_unless_heard(self, host: int) -> None:
        """Begins as cut off. Where the first client makes the node it need not be told: most often the bus is there."""
        await asyncio.sleep(_FIRST_SECONDS)
        await self._tell_lost(host)

    async def _tell_lost(self, host: int) -> None:
        await _in_slices(self.hub.outage.begin(host))

    async def _catch_up(self, host: int) -> None:
        """Tells the clients what they missed while a host was away, and then that it is back."""
        streams = self.hub.subscriptions.streams
        while True:
            try:
                if self.hub.subscriptions.keeps_all:
                    await self._open_all()
                await self._settle([symbol for symbol, stream in streams.items() if stream.host == host])
                break
            except BusUnavailable as error:
                logger.warning("The bus is back but does not say where its streams are, trying again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
        self._unheard.discard(host)
        await _in_slices(self.hub.outage.end(host))

    def _deliver_lingering(self) -> None:
        packets, self._lingering = self._lingering, []
        if packets and boottime() - self._lingering_since > self._linger + STALL_SECONDS:
            # The loop stood still, and they are as old as that was long.
            for host in set(range(self._bus.hosts)).difference(self._bus.away):
                self.bus_lost(host)
                self.bus_restored(host)
        elif packets:
            self.hub.deliver(self._arrivals(packets))

    def _arrivals(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        for packet in packets:
            symbol = self._symbol(packet.group, packet.messages)
            if symbol is None:
                continue
            if not packet.epoch:
                self.losses.refuse(symbol, ValueError("it was not published as a tick, and has no place in a sequence"))
                continue
            bodies = [self._body(symbol, message) for message in packet.messages]
            if None not in bodies:
                if bodies:
                    self.hub.gauges.arrived(packet.messages[-1]["timestamp"])
                yield Packet(symbol, packet.epoch, packet.seq, bodies)
                continue
            # What is skipped keeps its place in the sequence, and so shows as a gap.
            for seq, body in enumerate(bodies, packet.seq):
                if body is not None:
                    yield Packet(symbol, packet.epoch, seq, [body])

    def _symbol(self, group: str, messages: Sequence[Any] = ()) -> str | None:
        """The symbol of a group; None for one that has another use, or was made up."""
        if not group.startswith(GROUP_PREFIX):
            return None
        try:
            return symbol_of(group)
        except ValueError:
            pass  # its name may be one that does not go back
        try:
            return symbol_in(group, messages)
        except ValueError as error:
            self.losses.refuse(group, error)
            return None

    def _body(self, symbol: str, message: Any) -> str | None:
        """The tick in a message as JSON, or None if it is no tick of that symbol."""
        try:
            tick = Tick.from_message(message)
            if tick.symbol != symbol:
                raise ValueError(f"a tick of {tick.symbol}")
        except ValueError as error:
            self.losses.refuse(symbol, error)
            return None
        return tick.json()

    def counts(self) -> dict[str, int]:
        away = self._unheard | self.hub.outage.away
        return {
            **self.hub.counts(),
            "bus_connected": int(not away),
            "bus_hosts_away": len(away),
            "bus_lost_total": self.lost,
            "malformed_total": self.losses.malformed + self._bus.losses.malformed,
            "queue_dropped_total": self._bus.losses.overflowed,
            "full_collections_total": 0 if self._collector is None else self._collector.collections,
        }


async def _in_slices(steps: Iterable[None], pause: float = 0.0, most: float = 0.0) -> None:
    """Goes through ``steps`` and lets everything else on the loop come in between: for ``pause`` seconds each time, and
    ``most`` in all."""
    for _ in steps:
        most -= pause
        await asyncio.sleep(pause if most > 0 else 0)


def _group(symbol: str) -> str:
    return f"{GROUP_PREFIX}*" if symbol == EVERYTHING else group_name(symbol)
