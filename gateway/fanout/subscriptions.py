"""Which clients of this process take which symbols, at which rate, and the streams that these symbols have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from gateway.fanout.everything import NOTHING, Everything
from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import NO_ROOM, Room
from gateway.fanout.stream import Stream
from gateway.fanout.writer import Writer
from gateway.protocol.values import EVERYTHING
from gateway.wires.wire import Wire
from ticks.access.patterns import Patterns

__all__ = ["Subscriptions"]

_SLICE: Final = 2_000
"""Streams let go of at once: three milliseconds."""


class Subscriptions:
    """The clients and the streams of one process, each in the tables of the other.

    A subscription to everything stands behind those by name: what a client chose for a symbol comes before what it
    chose for all. It is in no stream's tables (gateway/fanout/everything.py).
    """

    def __init__(
        self,
        writer: Writer,
        is_wanted: Callable[[str], bool],
        room: Room = NO_ROOM,
        host_of: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """``is_wanted``: whether the process is in a symbol's own group, or about to join it. ``room`` is what the
        streams may keep between them; ``host_of`` says where a symbol is on the bus.
        """
        self._is_wanted = is_wanted
        self._host_of = host_of
        self._writer = writer
        self._room = room
        self.streams: dict[str, Stream] = {}
        """In the order of their numbers."""
        self._number = 0
        """Of the newest stream."""
        self.unplaced: dict[str, None] = {}
        """The streams of which the bus has not told yet where they are."""
        self.clients: dict[Outbox, dict[str, float | None]] = {}
        """What each client subscribed to, in that order, and at which rate; None is every tick."""
        self.everything = Everything(self.clients)
        self.keeps_all = False
        """Whether a client takes everything, so that symbols matter that were not asked for by name."""
        self._slow: dict[Outbox, None] = {}
        """The clients that have ever fallen behind."""
        self._skipped = 0
        self._held = 0
        """Subscriptions of all clients."""

    # Streams

    def open(self, symbols: Iterable[str]) -> None:
        """Makes streams for symbols whose groups are about to be joined, so that nothing that arrives is overlooked."""
        for symbol in symbols:
            if symbol == EVERYTHING:
                self.keeps_all = True
            elif symbol not in self.streams:
                self.discover(symbol)

    def drop(self, symbols: Iterable[str]) -> Iterator[None]:
        """Lets go of the streams of symbols whose groups are left, a slice at a time.

        Until it is done none of these groups may be joined.
        """
        left = set(symbols)
        leaving = list(left)
        if EVERYTHING in left:
            self.keeps_all = False
            leaving = list(self.streams)
        elif self.keeps_all:
            return
        for count, symbol in enumerate(leaving, 1):
            if symbol in left or not self._is_wanted(symbol):  # looked at now: others are joined meanwhile
                self._let_go(symbol)
            if not count % _SLICE:
                yield
        self._room.divide(len(self.streams))

    def discover(self, symbol: str) -> Stream:
        """A new stream."""
        self._number += 1
        host = self._host_of(symbol)
        stream = Stream(symbol, self._writer, self._room, self._number, self.everything.who_takes, host=host)
        self.streams[symbol] = stream
        self.unplaced[symbol] = None
        self._room.divide(len(self.streams))
        return stream

    def place(self, stream: Stream, epoch: str, seq: int, body: str | None) -> None:
        """The bus has told where a stream is."""
        stream.place(epoch, seq, body)
        self.unplaced.pop(stream.symbol, None)

    def forget(self, symbol: str) -> bool:
        """Lets go of a stream that has no tick any more, if only those who take everything had it; says whether."""
        if not self.keeps_all or self._is_wanted(symbol):
            return False
        self._let_go(symbol)
        self._room.divide(len(self.streams))
        return True

    def _let_go(self, symbol: str) -> None:
        self.unplaced.pop(symbol, None)
        if stream := self.streams.pop(symbol, None):
            stream.close()

    # Clients

    def set(self, outbox: Outbox, symbol: str, rate: float | None) -> None:
        """Subscribes a client, or changes its rate. Of everything it gets a stream when it was told of it."""
        held = self.clients[outbox]
        self._held += symbol not in held
        if symbol == EVERYTHING:
            self.everything.begin(outbox, rate, held.get(EVERYTHING, NOTHING), self._number)
            held[EVERYTHING] = rate
            return
        stream = self.streams[symbol]
        if symbol in held:
            stream.detach(outbox, held[symbol], stays=True)
        elif EVERYTHING in held:
            self.everything.release(outbox, stream)
            self.everything.skip(outbox, stream)
        held[symbol] = rate
        stream.attach(outbox, rate)

    def end(self, outbox: Outbox, symbol: str) -> None:
        """Ends a subscription, and drops what waits of it."""
        held = self.clients[outbox]
        rate = held.pop(symbol)
        self._held -= 1
        if symbol == EVERYTHING:
            self.everything.end(outbox)
            outbox.waiting.keep(held)
            return
        stream = self.streams[symbol]
        stays = EVERYTHING in held and self.everything.may_see(outbox, symbol)
        stream.detach(outbox, rate, stays=stays)
        if stays:
            self.everything.skip(outbox, stream)
            self.everything.hold(outbox, stream)
        else:
            outbox.waiting.forget(symbol)

    def widen(self, outbox: Outbox, patterns: Patterns) -> None:
        """A client of everything may see more than before."""
        self.everything.widen(outbox, patterns, self._number)

    def remove(self, outbox: Outbox) -> list[str]:
        """Lets go of a client that is gone; returns what it was subscribed to."""
        held = self.clients[outbox]
        self.everything.forget(outbox)
        for symbol, rate in held.items():
            if symbol != EVERYTHING:
                self.streams[symbol].detach(outbox, rate)
        del self.clients[outbox]
        self._held -= len(held)
        self._slow.pop(outbox, None)
        self._skipped += outbox.waiting.skipped
        return list(held)

    # Who gets what

    def audience(self, stream: Stream) -> list[Outbox]:
        """All who get the symbol's ticks."""
        return [*stream.subscribers(), *self.everything.audience(stream)]

    def move(self, outbox: Outbox) -> None:
        """A client has fallen behind, or is back."""
        held = self.clients.get(outbox)
        if held is None:
            return  # it is gone
        self._slow[outbox] = None
        for symbol, rate in held.items():
            if rate is None and symbol != EVERYTHING:
                self.streams[symbol].move_subscriber(outbox)

    def reroute(self, outbox: Outbox, change: Callable[[Wire], Wire]) -> None:
        """A client's frames go another way from now on: its wire is what ``change`` makes of it."""
        streams = [self.streams[symbol] for symbol in self.clients[outbox] if symbol != EVERYTHING]
        crowds = [stream.ready for stream in streams if stream.ready.remove(outbox)]
        outbox.reroute(change)
        for crowd in crowds:
            crowd.add(outbox)

    @property
    def behind(self) -> int:
        """How many clients do not keep up."""
        return sum(outbox.behind for outbox in self._slow)

    def counts(self) -> dict[str, int]:
        return {
            "connections": len(self.clients),
            "subscriptions": self._held,
            "symbols": len(self.streams),
            "behind": self.behind,
            "skipped_total": self._skipped + sum(outbox.waiting.skipped for outbox in self._slow),
        }
