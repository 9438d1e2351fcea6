"""What stands in for the outside in tests of the gateway's core: a client's socket, its books, and the bus."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bus.contract import BusUnavailable, Packet, Position, Since
from gateway.fanout.hub import Hub
from gateway.fanout.memberships import Memberships
from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import NO_ROOM, Room
from gateway.protocol.codes import Closure
from gateway.protocol.frames import texts
from gateway.protocol.messages import subscribed_frame, unsubscribed_frame
from gateway.protocol.values import EVERYTHING
from gateway.wires.io_uring import Ring
from gateway.wires.wire import Form, Queue, Sender

__all__ = ["NEVER", "Books", "FakeBus", "FakeClient", "FakeRing", "FakeWire", "until"]

NEVER = 0.01
"""A rate whose interval no test lives to see the end of: 100 s."""


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Returns when the condition holds; TimeoutError if that takes too long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing signals what a test waits for
            await asyncio.sleep(0.001)


class FakeWire:
    """A client's socket in memory, which takes as much as the test allows.

    It holds the outbox to what a wire is promised: nothing comes between what the socket did not take and ``drained``,
    and nothing after the end.
    """

    is_tidy = True
    form: Form | None = None

    def __init__(self, ring: FakeRing | None = None, answers_pings: bool = False) -> None:
        """``ring``: which is given a descriptor for it. ``answers_pings``: when the test says so."""
        self.answers_pings = answers_pings
        self.state: Queue | None = None
        """What its system says of it."""
        self._answered = 0
        self.asks_along = False
        """Whether its server wants pings that go along with heartbeats."""
        self.writes: list[bytes] = []
        self.full = False
        self.closure: Closure | None = None
        self.reading = True
        self.released = False
        self.is_lost = False
        self.refused = 0
        """Writes to a connection that was lost."""
        self.on_send: Callable[[], None] | None = None
        """Called in the middle of every write."""
        self._is_stuffed = False
        self._sender: Sender | None = None
        self._ring = ring
        self.send = self._take

    def open(self, sender: Sender, /) -> None:
        self._sender = sender

    def fileno(self) -> int:
        return -1 if self._ring is None else self._ring.number(self)

    def queue(self) -> Queue | None:
        return self.state

    def ask_along(self) -> bool:
        return self.asks_along

    def _take(self, frames: bytes) -> int:
        """A full socket takes half of what it is given, and ``finish`` the other half."""
        assert not self._is_stuffed, "written to before it had drained"
        assert self.closure is None, "written to after the close"
        assert not self.released, "written to after it was let go of"
        if self.on_send is not None:
            self.on_send()
        if self.is_lost:
            self.refused += 1
            raise BrokenPipeError
        taken = len(frames) // 2 if self.full else len(frames)
        self.writes.append(frames[:taken])
        return taken

    def finish(self, rest: bytes) -> None:
        self.writes[-1] += rest
        self._is_stuffed = True

    def close(self, closure: Closure) -> None:
        assert self.closure is None, "closed twice"
        self.closure = closure

    def release(self) -> None:
        self.released = True
        if self._ring is not None:
            self._ring.close(self)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def drain(self, full: bool = False) -> None:
        """The socket has taken everything; ``full``: the next write fills it again."""
        self.full = full
        if self._is_stuffed and self._sender is not None:
            self._is_stuffed = False
            self._sender.drained()

    def lose(self) -> None:
        """The connection is lost."""
        self.is_lost = True
        if self._sender is not None:
            self._sender.let_go()
        if self._ring is not None:
            self._ring.close(self)

    def answer(self, count: int = sys.maxsize) -> int:
        """Answers so many of the pings that were not answered; returns how many there were."""
        pings = self.pings[self._answered :][:count]
        for number in pings:
            self._answered += 1
            if self._sender is not None and not self.released:
                self._sender.answered(number)
        return len(pings)

    @property
    def pings(self) -> list[int]:
        """The numbers of all pings that were written."""
        return [int.from_bytes(frame[2:], "big") for frame in self._frames if frame[0] == 0x89]

    @property
    def texts(self) -> list[str]:
        return [text for frame in self._frames if frame[0] == 0x81 for text in texts(frame)]

    @property
    def _frames(self) -> list[bytes]:
        """Whole frames, in order; the rest of one that was cut comes with ``finish``."""
        data, found, at = b"".join(self.writes), [], 0
        while len(data) >= at + 2:
            size, start = data[at + 1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[at + 2 : at + start], "big")
            found.append(data[at : at + start + size])
            at += start + size
        return found


class FakeRing(Ring):
    """Writes to fakes by their descriptors. Like a system it gives the lowest one that is free."""

    worth = 1

    def __init__(self) -> None:
        self.writes = 0
        self._wires: dict[int, FakeWire] = {}

    def number(self, wire: FakeWire) -> int:
        number = next(number for number in itertools.count() if number not in self._wires)
        self._wires[number] = wire
        return number

    def close(self, wire: FakeWire) -> None:
        self._wires = {number: other for number, other in self._wires.items() if other is not wire}

    def send(self, descriptors: array[int], data: bytes) -> list[tuple[int, int]]:
        return self.send_each(descriptors, [data] * len(descriptors))

    def send_each(self, descriptors: array[int], messages: Sequence[bytes]) -> list[tuple[int, int]]:
        short = []
        for index, (descriptor, message) in enumerate(zip(descriptors, messages, strict=True)):
            self.writes += 1
            try:
                taken = self._wires[descriptor].send(message)
            except BlockingIOError:
                taken = 0
            except OSError:
                continue
            if taken != len(message):
                short.append((index, taken))
        return short


class Books:
    """What a client knows from the messages it got: fails at the first that does not follow from those before.

    Between two ticks of a symbol every tick in between is accounted for: ``next.seq - last.seq - 1`` is what receipts
    and gaps said since the last one.
    """

    def __init__(
        self, places: Mapping[str, Since] | None = None, prices: Mapping[tuple[str, str, int], int] | None = None
    ) -> None:
        """``places``: where a client that comes back stopped. ``prices``: what each symbol, epoch and seq really was."""
        self.places = dict(places or {})
        self.prices: dict[str, int] = {}
        self.skipped: Counter[str] = Counter()
        """By reason."""
        self.missed = 0
        self._held: set[str] = set()
        self._prices = prices
        self._owed: Counter[str] = Counter()
        self._promised: dict[str, int] = {}

    def read(self, texts: Iterable[str]) -> list[str]:
        """Enters the messages; returns each in a word or two."""
        words = []
        for text in texts:
            message = json.loads(text)
            kind = message.pop("type")
            enter = getattr(self, f"_on_{kind}", None)
            words.append(enter(message) if enter is not None else kind)
        for symbol, seq in self._promised.items():
            assert self.places[symbol].seq >= seq, f"{symbol} was said to be recovered up to {seq}"
        self._promised.clear()
        return words

    def _on_subscribed(self, message: dict[str, Any]) -> str:
        self._held.update(message.get("symbols", ()))
        for symbol, position in message["positions"].items():
            assert len(position["epoch"]) >= 8
            self._owed.pop(symbol, None)
            if position.get("recovered"):
                assert position["epoch"] == self.places[symbol].epoch
                self._promised[symbol] = position["seq"]
            else:
                self.places[symbol] = Since(position["epoch"], position["seq"])
                self.prices.pop(symbol, None)
        recovered = {symbol: position.get("recovered") for symbol, position in message["positions"].items()}
        return " ".join(
            ["subscribed", *(f"{symbol}:{is_so}" for symbol, is_so in recovered.items() if is_so is not None)]
        )

    def _on_introduced(self, message: dict[str, Any]) -> str:
        self._on_subscribed(message)
        return " ".join(["introduced", *message["positions"]])

    def _on_unsubscribed(self, message: dict[str, Any]) -> str:
        self._held.difference_update(message["symbols"])
        if EVERYTHING not in self._held:
            for symbol in self.places.keys() - self._held:
                del self.places[symbol]
                self.prices.pop(symbol, None)
                self._owed.pop(symbol, None)
        return "unsubscribed"

    def _on_snapshot(self, message: dict[str, Any]) -> str:
        symbol, seq, epoch = message["symbol"], message["seq"], message["epoch"]
        place = self.places.get(symbol)
        if place is not None:
            owed = self._owed.pop(symbol, 0)
            assert epoch == place.epoch
            assert seq == place.seq + owed + 1 or (seq == place.seq and not owed), f"{message} after {place} and {owed}"
        self._hold(symbol, Since(epoch, seq), message["price"])
        return f"={symbol}{seq}"

    def _on_tick(self, message: dict[str, Any]) -> str:
        symbol, seq = message["symbol"], message["seq"]
        place = self.places[symbol]
        skipped = message.get("skipped", 0)
        self.skipped["rate"] += skipped
        owed = self._owed.pop(symbol, 0) + skipped
        assert seq - place.seq - 1 == owed, f"{symbol}{seq} after {place}, with {owed} accounted for"
        self._hold(symbol, Since(place.epoch, seq), message["price"])
        return f"{symbol}{seq}+{skipped}" if skipped else f"{symbol}{seq}"

    def _hold(self, symbol: str, place: Since, price: int) -> None:
        self.places[symbol] = place
        self.prices[symbol] = price
        if self._prices is not None:
            assert price == self._prices[symbol, place.epoch, place.seq], f"not what {symbol} was at {place}"

    def _on_gap(self, message: dict[str, Any]) -> str:
        symbol, missed, seq, epoch = message["symbol"], message["missed"], message["seq"], message["epoch"]
        place = self.places.get(symbol)
        owed = self._owed.pop(symbol, 0)
        if missed is not None:
            assert missed > 0
            self.missed += missed
            assert place is None or Since(epoch, seq) == Since(place.epoch, place.seq + owed + missed)
        else:
            assert place is None or epoch != place.epoch or seq < place.seq + owed
        self.places[symbol] = Since(epoch, seq)
        return f"{symbol} gap {'?' if missed is None else missed}"

    def _on_conflated(self, message: dict[str, Any]) -> str:
        for symbol, count in message["skipped"].items():
            assert count > 0
            self._owed[symbol] += count
            self.skipped[message["reason"]] += count
        return " ".join([message["reason"], *(f"{symbol}+{count}" for symbol, count in message["skipped"].items())])

    def _on_heartbeat(self, message: dict[str, Any]) -> str:
        seqs = message.get("seqs", {})
        for symbol, seq in seqs.items():
            assert self.places[symbol].seq == seq, (
                f"a heartbeat says {seq} where the client is at {self.places[symbol]}"
            )
            assert not self._owed[symbol]
        return " ".join(["beat", *(f"{symbol}{seq}" for symbol, seq in sorted(seqs.items()))])

    def _on_bus(self, message: dict[str, Any]) -> str:
        return " ".join(["bus back" if message["connected"] else "bus away", *message.get("symbols", ())])


class FakeClient:
    """A client of a hub: asks as its consumer would, and keeps books of what it is told."""

    def __init__(
        self, hub: Hub, open_outbox: Callable[[FakeWire], Outbox], books: Books, ring: FakeRing | None = None
    ) -> None:
        self.hub = hub
        self.wire = FakeWire(ring, answers_pings=True)
        self.outbox = open_outbox(self.wire)
        self.books = books
        self._read = 0

    async def subscribe(self, *symbols: str, **options: Any) -> dict[str, dict[str, Any]]:
        """Returns the positions."""
        reception = await self.hub.subscribe(self.outbox, symbols, **options)
        frame = subscribed_frame(symbols, reception.positions, None)
        self.outbox.reply(frame + reception.frames)
        positions: dict[str, dict[str, Any]] = msgspec.to_builtins(reception.positions)
        return positions

    def unsubscribe(self, *symbols: str) -> None:
        self.outbox.reply(unsubscribed_frame(self.hub.unsubscribe(self.outbox, symbols), None))

    def news(self) -> list[str]:
        """What came since this was last asked, checked: ``A7`` a tick, ``A7+2`` one that stands for
        two others, ``=A7`` a snapshot, and so on."""
        read, self._read = self._read, len(self.wire.texts)
        return self.books.read(self.wire.texts[read:])

    def drain(self, full: bool = False) -> list[str]:
        """Reads what was written; returns what comes then."""
        self.wire.drain(full)
        return self.news()

    @property
    def places(self) -> dict[str, Since]:
        """Where it would go on if it had to come back now."""
        return self.books.places


class FakeBus:
    """A bus in memory with a hub on it: numbers the ticks, keeps them all, and lets the hub join as a node does.

    A tick that is published is delivered; one that is only accepted is not, or not yet.
    """

    def __init__(
        self,
        leave_delay: float = 0.01,
        ring: FakeRing | None = None,
        room: Room = NO_ROOM,
        staleness: float = 0.0,
    ) -> None:
        """``ring``: by which the hub writes to its clients; ``room``: what it may keep itself. ``staleness``: how old
        what they read may be.
        """
        self.epoch = "e0000001"
        self.is_away = False
        self.keeps = 100
        """Ticks of history."""
        self.answers = asyncio.Event()
        """Cleared: the bus has been asked for its history, and the answer is on its way."""
        self.answers.set()
        self.asked: list[dict[str, Since]] = []
        self.questions = 0
        """How often the hub asked where streams are."""
        self.is_silent = False
        self.prices: dict[tuple[str, str, int], int] = {}
        self._bodies: dict[str, list[str]] = {}
        self.memberships = Memberships(self._join, self._leave, leave_delay)
        self.ring = ring
        self.hub = Hub(self.memberships, self._history, self._positions, ring, room=room, staleness=staleness)

    def client(self, places: Mapping[str, Since] | None = None) -> FakeClient:
        """``places``: where it stopped, if it comes back."""
        return FakeClient(self.hub, self._open, Books(places, self.prices), self.ring)

    async def subscriber(self, *symbols: str, **options: Any) -> FakeClient:
        """A client that has read what it was told when it subscribed."""
        client = self.client(options.get("since"))
        await client.subscribe(*symbols, **options)
        client.news()
        return client

    def accept(self, symbol: str, count: int = 1) -> Packet:
        """The next ticks of the symbol, as they will arrive."""
        bodies = self._bodies.setdefault(symbol, [])
        first = len(bodies) + 1
        for seq in range(first, first + count):
            price = self.prices[symbol, self.epoch, seq] = len(self.prices) + 1
            bodies.append(f'"symbol":"{symbol}","price":{price},"timestamp":"2026-05-12T15:04:05Z"')
        return Packet(symbol, self.epoch, first, bodies[first - 1 :])

    def publish(self, *symbols: str) -> None:
        """One pass with a tick of each."""
        self.hub.deliver([self.accept(symbol) for symbol in symbols])

    def newest(self, symbol: str) -> int:
        """The last price."""
        return self.prices[symbol, self.epoch, len(self._bodies[symbol])]

    def forget(self) -> None:
        """The bus loses its memory: a new epoch begins, and nothing has ticked in it."""
        self.epoch = f"e{int(self.epoch[1:]) + 1:07}"
        self._bodies.clear()

    def place(self, symbol: str) -> Position:
        bodies = self._bodies.get(symbol, [])
        return Position(self.epoch, len(bodies), bodies[-1] if bodies else None)

    def settle(self) -> None:
        """The hub hears where its streams are, as it does when the bus is back."""
        self.hub.recovery.settle({symbol: self.place(symbol) for symbol in self.hub.subscriptions.streams})

    async def answered(self) -> None:
        """The hub has asked where streams are of which it could not believe a packet."""
        await until(lambda: self.hub.recovery.doubts.is_over)

    async def _positions(self, symbols: Collection[str]) -> dict[str, Position]:
        self.questions += 1
        if self.is_silent:
            raise BusUnavailable("silent")
        answer = {symbol: self.place(symbol) for symbol in symbols}
        await self.answers.wait()
        return answer

    def _open(self, wire: FakeWire) -> Outbox:
        outbox = Outbox(wire, 60, self.hub.delivery.moved, staleness=self.hub.freshness.staleness)
        self.hub.add(outbox)
        return outbox

    async def _join(self, symbols: Sequence[str]) -> None:
        self.hub.subscriptions.open(symbols)
        if self.is_away:
            list(self.hub.subscriptions.drop(symbols))
            raise ConnectionError("away")
        new: Iterable[str] = symbols
        if EVERYTHING in symbols:
            self.hub.subscriptions.open(self._bodies)
            new = list(self.hub.subscriptions.unplaced)
        unplaced = self.hub.subscriptions.unplaced
        self.hub.recovery.settle({symbol: self.place(symbol) for symbol in new if symbol in unplaced})

    async def _leave(self, symbols: Sequence[str]) -> None:
        list(self.hub.subscriptions.drop(symbols))

    async def _history(self, since: Mapping[str, Since]) -> dict[str, list[tuple[int, str]] | None]:
        self.asked.append(dict(since))
        answer = {symbol: self._after(symbol, place) for symbol, place in since.items()}
        await self.answers.wait()
        return answer

    def _after(self, symbol: str, place: Since) -> list[tuple[int, str]] | None:
        bodies = self._bodies.get(symbol, [])
        if self.is_away or place.epoch != self.epoch or not len(bodies) - self.keeps <= place.seq <= len(bodies):
            return None
        return list(enumerate(bodies[place.seq :], place.seq + 1))
