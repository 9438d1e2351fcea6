"""Which clients of this process take which symbols, at which rate, and the streams that these symbols have."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import NO_ROOM, Room
from gateway.fanout.stream import Stream
from gateway.fanout.writer import Writer
from gateway.protocol.values import EVERYTHING

__all__ = ["Subscriptions"]


class Subscriptions:
    """The clients and the streams of one process, each in the tables of the other.

    A subscription to everything stands behind those by name: what a client chose for a symbol comes before what it
    chose for all. At a rate it is in the tables of every stream; without one it is in ``everything`` only, so that a
    new stream costs nothing.
    """

    def __init__(self, writer: Writer, room: Room = NO_ROOM) -> None:
        """``room`` is what the streams may keep between them."""
        self._writer = writer
        self._room = room
        self.streams: dict[str, Stream] = {}
        self.clients: dict[Outbox, dict[str, float | None]] = {}
        """What each client subscribed to, in that order, and at which rate; None is every tick."""
        self.everything: dict[Outbox, None] = {}
        self.keeps_all = False
        """Whether a client takes everything, so that symbols matter that were not asked for by name."""
        self._skipped = 0

    # Streams

    def open(self, symbols: Iterable[str]) -> None:
        """Makes streams for symbols whose groups are about to be joined, so that nothing that arrives is overlooked."""
        for symbol in symbols:
            if symbol == EVERYTHING:
                self.keeps_all = True
            elif symbol not in self.streams:
                self.discover(symbol)

    def drop(self, symbols: Iterable[str], joined: Collection[str]) -> None:
        """Lets go of the streams of symbols whose groups are left; ``joined``: those that are not."""
        for symbol in symbols:
            if symbol == EVERYTHING:
                self.keeps_all = False
                for other in [other for other in self.streams if other not in joined]:
                    del self.streams[other]
            elif not self.keeps_all:
                self.streams.pop(symbol, None)
        self._room.divide(len(self.streams))

    def discover(self, symbol: str) -> Stream:
        """A new stream."""
        stream = self.streams[symbol] = Stream(symbol, self._writer, self._room)
        self._room.divide(len(self.streams))
        if self.keeps_all:
            for outbox, held in self.clients.items():
                rate = held.get(EVERYTHING)
                if rate is not None:
                    stream.attach(outbox, rate)
        return stream

    @property
    def unplaced(self) -> list[str]:
        """The streams of which the bus has not told yet where they are."""
        return [symbol for symbol, stream in self.streams.items() if not stream.epoch]

    # Clients

    def set(self, outbox: Outbox, symbol: str, rate: float | None) -> set[str]:
        """Subscribes a client, or changes its rate; returns the symbols of which ticks waited that are void now."""
        held = self.clients[outbox]
        if symbol in held:
            self._detach(outbox, symbol, changes=True)
        elif symbol != EVERYTHING and EVERYTHING in held:
            self.streams[symbol].detach(outbox, held[EVERYTHING], stays=True)
        held[symbol] = rate
        if symbol != EVERYTHING:
            streams = [self.streams[symbol]]
        else:
            streams = [stream for stream in self.streams.values() if stream.symbol not in held]
        if symbol == EVERYTHING and rate is None:
            self.everything[outbox] = None
        else:
            for stream in streams:
                stream.attach(outbox, rate)
        return {stream.symbol for stream in streams if outbox.waiting.forget(stream.symbol)}

    def end(self, outbox: Outbox, symbol: str) -> None:
        """Ends a subscription, and drops what waits of it."""
        held = self.clients[outbox]
        self._detach(outbox, symbol)
        if symbol == EVERYTHING:
            for other in self.streams.keys() - held.keys():
                outbox.waiting.forget(other)
        elif EVERYTHING not in held:
            outbox.waiting.forget(symbol)

    def remove(self, outbox: Outbox) -> list[str]:
        """Lets go of a client that is gone; returns what it was subscribed to."""
        symbols = list(self.clients[outbox])
        for symbol in symbols:
            self._detach(outbox, symbol)
        del self.clients[outbox]
        self._skipped += outbox.waiting.skipped
        return symbols

    def _detach(self, outbox: Outbox, symbol: str, changes: bool = False) -> None:
        """Takes a client out of the streams of a subscription. ``changes``: it is about to be put in again."""
        held = self.clients[outbox]
        rate = held[symbol]
        if not changes:
            del held[symbol]
        if symbol == EVERYTHING:
            self.everything.pop(outbox, None)
            if rate is not None:
                for other in self.streams.values():
                    if other.symbol not in held:
                        other.detach(outbox, rate, stays=changes)
            return
        self.streams[symbol].detach(outbox, rate, stays=changes or EVERYTHING in held)
        overall = held.get(EVERYTHING)
        if not changes and overall is not None:
            self.streams[symbol].attach(outbox, overall)

    # Who gets what

    def audience(self, stream: Stream) -> list[Outbox]:
        """All who get the symbol's ticks."""
        return [*stream.subscribers(), *self.others(stream)]

    def others(self, stream: Stream) -> list[Outbox]:
        """Those who get every tick of the symbol because they take everything."""
        return [outbox for outbox in self.everything if stream.symbol not in self.clients[outbox]]

    def move(self, outbox: Outbox) -> None:
        """A client has fallen behind, or is back."""
        for symbol, rate in self.clients.get(outbox, {}).items():
            if rate is None and symbol != EVERYTHING:
                self.streams[symbol].move_subscriber(outbox)

    def counts(self) -> dict[str, int]:
        return {
            "connections": len(self.clients),
            "subscriptions": sum(map(len, self.clients.values())),
            "symbols": len(self.streams),
            "behind": sum(outbox.behind for outbox in self.clients),
            "skipped_total": self._skipped + sum(outbox.waiting.skipped for outbox in self.clients),
            "rates": sum(len(stream.paces) for stream in self.streams.values()),
        }
