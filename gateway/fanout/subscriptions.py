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
        self._thinned: dict[Outbox, float] = {}
        """Those who take everything at a rate."""
        self.withheld: dict[Outbox, set[str]] = {}
        """Of those who begin to take everything, the streams they were not told of yet, of which they get nothing."""
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
            for outbox, rate in self._thinned.items():
                stream.attach(outbox, rate)
        return stream

    @property
    def unplaced(self) -> list[str]:
        """The streams of which the bus has not told yet where they are."""
        return [symbol for symbol, stream in self.streams.items() if not stream.epoch]

    # Clients

    def set(self, outbox: Outbox, symbol: str, rate: float | None) -> None:
        """Subscribes a client, or changes its rate. Streams of everything that are new to it are withheld."""
        held = self.clients[outbox]
        if symbol in held:
            self._detach(outbox, symbol, changes=True)
        elif symbol == EVERYTHING:
            if new := self.streams.keys() - held.keys():
                self.withheld[outbox] = new
        elif EVERYTHING in held and not self._release(outbox, symbol):
            self.streams[symbol].detach(outbox, held[EVERYTHING], stays=True)
        held[symbol] = rate
        if symbol != EVERYTHING:
            self.streams[symbol].attach(outbox, rate)
        elif rate is None:
            self.everything[outbox] = None
        else:
            self._thinned[outbox] = rate
            for stream in self._covered(outbox):
                stream.attach(outbox, rate)

    def admit(self, outbox: Outbox, symbol: str) -> Stream | None:
        """The stream of which the client is told now, and gets what follows; None if there is none to be told of."""
        stream = self.streams.get(symbol)
        if stream is None:
            return None
        held = self.clients[outbox]
        if self._release(outbox, symbol) and (rate := held[EVERYTHING]) is not None:
            stream.attach(outbox, rate)
        # A stream whose place is not known yet introduces itself later.
        return stream if stream.epoch or symbol in held else None

    def _release(self, outbox: Outbox, symbol: str) -> bool:
        """Takes a stream out of those that are withheld; says whether it was one."""
        withheld = self.withheld.get(outbox, ())
        if symbol not in withheld:
            return False
        self.withheld[outbox].remove(symbol)
        if not withheld:
            del self.withheld[outbox]
        return True

    def _covered(self, outbox: Outbox) -> list[Stream]:
        """The streams that a client gets because it takes everything."""
        held, withheld = self.clients[outbox], self.withheld.get(outbox, ())
        return [stream for symbol, stream in self.streams.items() if symbol not in held and symbol not in withheld]

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
            self._thinned.pop(outbox, None)
            if rate is not None:
                for stream in self._covered(outbox):
                    stream.detach(outbox, rate, stays=changes)
            if not changes:
                self.withheld.pop(outbox, None)
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
        symbol = stream.symbol
        others = [outbox for outbox in self.everything if symbol not in self.clients[outbox]]
        if self.withheld:
            others = [outbox for outbox in others if symbol not in self.withheld.get(outbox, ())]
        return others

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
