"""What the sequence proves: that a client got every tick, or was told which it did not get.

Every client of a run that verifies keeps a :class:`Book`: where it stands in each symbol's stream. The seq that must
come next is one more than the last; a receipt (``conflated``, or ``skipped`` in a tick) moves it on by what was skipped
on purpose, a ``gap`` by what the gateway lost and announced. A tick beyond it means an unannounced loss, one before it
a duplicate or one out of order. So the books balance only if the gateway's account of what it did not deliver is exact.

What all books find goes into one :class:`Findings`. At the end, when the market is quiet, every client's last seq and
price are compared with the gateway's own last tick, and that with the last one accepted from the publisher.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from gateway.loadtest.ledger import Ledger
from gateway.loadtest.messages import EVERYTHING, Since, decode, is_tick, place_of, price_of, skipped_by
from gateway.loadtest.target import Target
from gateway.loadtest.websocket import TEXT, Frame

__all__ = ["Book", "Findings", "Latest", "Place", "fetch_latest", "forgotten"]

EXAMPLES = 10
"""Flaws that are described one by one; the rest is counted."""

REMEMBERED = 10_000
"""Missing ticks remembered for one jump at most, so that a late one is not taken for a duplicate."""

FETCH_TIMEOUT = 10.0
PAGE_SIZE = 1_000


@dataclass(slots=True)
class Findings:
    """What the books of all clients found, in ticks unless said otherwise.

    Explained: ``conflated`` by reason; ``gaps`` are messages, ``missed`` the ticks they announce, ``unmeasured`` those
    of them that do not know how many; ``resumed`` and ``restarted`` count streams taken up again with and without the
    ticks in between, ``replayed`` those ticks. ``bus_lost`` and ``announced`` count messages (``bus``, ``closing``).

    Flaws: ``lost`` (unannounced), ``duplicates``, ``reordered``, and ``breaches`` of the protocol by kind; the first
    few of them are described in ``examples``.
    """

    ticks: int = 0
    replayed: int = 0
    snapshots: int = 0
    heartbeats: int = 0
    conflated: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    missed: int = 0
    unmeasured: int = 0
    resumed: int = 0
    restarted: int = 0
    bus_lost: int = 0
    announced: int = 0
    lost: int = 0
    duplicates: int = 0
    reordered: int = 0
    breaches: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def merge(self, other: Findings) -> None:
        for each in fields(self):
            # Numbers and counters are added up; of the examples there are enough at some point.
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        del self.examples[EXAMPLES:]

    @property
    def flawless(self) -> bool:
        return not (self.lost or self.duplicates or self.reordered or self.breaches)

    def breach(self, kind: str, detail: str) -> None:
        self.breaches[kind] += 1
        self.example(f"{kind}: {detail}")

    def example(self, text: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


class Latest(NamedTuple):
    """The last tick of a symbol by the gateway's own account; ``price`` as its digits."""

    epoch: str
    seq: int
    price: bytes
    timestamp: str


class Place:
    """Where a client stands in one symbol's stream.

    ``seq`` is of the last tick it has or was told about, ``next`` what the next one must have, ``last`` the newest tick
    or snapshot itself: None while the first value is due, empty after a gap, when the value is not known. Ticks up to
    ``replayed`` are from the past.
    """

    __slots__ = ("epoch", "last", "missing", "next", "replayed", "seq")

    def __init__(self, epoch: str, seq: int, last: bytes | None = None) -> None:
        self.epoch = epoch
        self.seq = seq
        self.next = seq + 1
        self.last = last
        self.replayed = 0
        self.missing: set[int] | None = None

    def move(self, seq: int, last: bytes) -> None:
        self.seq = seq
        self.next = seq + 1
        self.last = last


class Book:
    """One client's places, over all its connections."""

    __slots__ = ("_asked", "_findings", "_places", "symbols")

    def __init__(self, findings: Findings, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        self._findings = findings
        self._places: dict[bytes, Place] = {}
        self._asked: Collection[str] = ()

    def since(self) -> Since:
        """Opens the book for a new connection: the positions from which its streams are to be taken up again.

        A stream whose value is not known restarts with a snapshot. Receipts that no tick followed are void.
        """
        for place in self._places.values():
            place.next = place.seq + 1
        positions = {
            symbol.decode(): {"seq": place.seq, "epoch": place.epoch}
            for symbol, place in self._places.items()
            if place.last and place.epoch
        }
        self._asked = positions.keys()
        return positions

    def read(self, frames: Iterable[Frame]) -> list[Frame]:
        """Books what one read brought; gives back all but ticks that were replayed."""
        return [frame for frame in frames if frame[0] != TEXT or self._take(frame[1])]

    def _take(self, payload: bytes) -> bool:
        if not is_tick(payload):
            self._take_other(payload)
            return True
        symbol, seq = place_of(payload)
        place = self._places.get(symbol)
        if skipped := skipped_by(payload):
            self._take_receipt("rate", {symbol.decode(): skipped})
        if place is None or seq != place.next or place.last is None:
            place = self._check(symbol, seq, place)
            if place is None:
                return True
        place.seq = seq
        place.next = seq + 1
        place.last = payload
        self._findings.ticks += 1
        if seq > place.replayed:
            return True
        self._findings.replayed += 1
        return False

    def _check(self, symbol: bytes, seq: int, place: Place | None) -> Place | None:
        """Books a tick that is not simply the next one; its place if that is to move on to it."""
        if not seq:
            self._findings.breach("tick without a seq", symbol.decode())
            return None
        if place is None:
            self._findings.breach("tick of a stream without a position", f"{symbol.decode()} {seq}")
            place = self._places[symbol] = Place("", seq - 1)
        elif place.last is None and place.seq:
            self._findings.breach("tick before its snapshot", f"{symbol.decode()} {seq}")
        return place if self._compare(symbol, seq, place) else None

    def _compare(self, symbol: bytes, seq: int, place: Place) -> bool:
        """Whether the stream moves forward to ``seq``; what is not as it must be is booked."""
        findings = self._findings
        if seq == place.next:
            return True
        if seq > place.next:
            findings.lost += seq - place.next
            findings.example(f"lost: {symbol.decode()} {place.next} to {seq - 1}")
            place.missing = place.missing or set()
            place.missing.update(range(place.next, min(seq, place.next + REMEMBERED)))
            return True
        if seq > place.seq:
            findings.breach("receipts of more than was skipped", f"{symbol.decode()} {place.next} due, {seq} came")
            return True
        if place.missing and seq in place.missing:
            place.missing.remove(seq)
            findings.lost -= 1
            findings.reordered += 1
            findings.example(f"reordered: {symbol.decode()} {seq} after {place.seq}")
        else:
            findings.duplicates += 1
            findings.example(f"duplicate: {symbol.decode()} {seq} after {place.seq}")
        return False

    # Messages other than ticks

    def _take_other(self, payload: bytes) -> None:
        try:
            self._take_message(decode(payload), payload)
        except (KeyError, TypeError, AttributeError) as error:
            self._findings.breach("message without what belongs to it", f"{error!r} in {payload[:200]!r}")

    def _take_message(self, message: Mapping[str, Any], payload: bytes) -> None:
        match message.get("type"):
            case "snapshot":
                self._take_snapshot(message, payload)
            case "conflated":
                self._take_receipt(str(message.get("reason")), message.get("skipped", {}))
            case "gap":
                self._take_gap(message)
            case "heartbeat":
                self._take_heartbeat(message.get("seqs", {}))
            case "subscribed":
                self._take_positions(message.get("positions"))
            case "bus":
                self._findings.bus_lost += not message.get("connected")
            case "closing":
                self._findings.announced += 1

    def _take_positions(self, positions: Mapping[str, Mapping[str, Any]] | None) -> None:
        if positions is None:
            self._findings.breach("acknowledgement without positions", ", ".join(self.symbols[:3]))
            return
        for symbol, position in positions.items():
            self._take_position(symbol, position)
        for symbol in set(self._asked) - positions.keys():
            self._forget(symbol)
        self._asked = ()

    def _forget(self, symbol: str) -> None:
        """Drops a symbol that the bus has forgotten; a subscriber of everything gets it again as a new one."""
        if symbol in self.symbols:
            self._findings.breach("resumption without an answer", symbol)
        del self._places[symbol.encode()]
        self._findings.restarted += 1

    def _take_position(self, symbol: str, position: Mapping[str, Any]) -> None:
        epoch, seq, recovered = position["epoch"], position["seq"], position.get("recovered")
        if (recovered is None) is (symbol in self._asked):
            self._findings.breach("resumption and answer do not match", f"{symbol} recovered: {recovered}")
        place = self._places.get(symbol.encode())
        if not recovered or place is None:
            self._findings.restarted += recovered is False
            self._places[symbol.encode()] = Place(epoch, seq)
            return
        if place.epoch != epoch or seq < place.seq:
            self._findings.breach("recovered to where the client was not", f"{symbol} {place.seq} to {seq}")
        place.replayed = seq
        self._findings.resumed += 1

    def _take_snapshot(self, message: Mapping[str, Any], payload: bytes) -> None:
        """A value for the place where the client is, or for the next one: the snapshot may be a tick in disguise."""
        self._findings.snapshots += 1
        symbol, epoch, seq = str(message["symbol"]).encode(), message["epoch"], message["seq"]
        place = self._places.get(symbol)
        if place is None:  # a symbol that is new to a subscriber of everything
            if EVERYTHING not in self.symbols:
                self._findings.breach("snapshot of a symbol not asked for", f"{symbol.decode()} {seq}")
            self._places[symbol] = Place(epoch, seq, payload)
        elif place.epoch != epoch:
            self._findings.breach("another epoch without a gap", f"{symbol.decode()} {seq}")
            self._places[symbol] = Place(epoch, seq, payload)
        elif seq == place.next - 1 or self._compare(symbol, seq, place):
            place.move(seq, payload)

    def _take_receipt(self, reason: str, skipped: Mapping[str, int]) -> None:
        for symbol, count in skipped.items():
            self._findings.conflated[reason] += count
            if place := self._places.get(symbol.encode()):
                place.next += count
            else:
                self._findings.breach("receipt for a stream without a position", symbol)

    def _take_gap(self, message: Mapping[str, Any]) -> None:
        symbol, epoch, seq, missed = (
            str(message["symbol"]).encode(),
            message["epoch"],
            message["seq"],
            message["missed"],
        )
        self._findings.gaps += 1
        self._findings.missed += missed or 0
        self._findings.unmeasured += missed is None
        place = self._places.get(symbol)
        if missed is not None and place is not None:
            if place.epoch != epoch:
                self._findings.breach("another epoch with a gap of known length", f"{symbol.decode()} {seq}")
            else:
                place.next += missed
                self._compare_end(symbol, seq, place)
        self._places[symbol] = Place(epoch, seq, b"")

    def _compare_end(self, symbol: bytes, seq: int, place: Place) -> None:
        """A gap ends where the client's last tick, the receipts and the gap itself lead to."""
        if seq >= place.next:
            self._findings.lost += seq - place.next + 1
            self._findings.example(f"lost before a gap: {symbol.decode()} {place.next} to {seq}")
        elif seq < place.next - 1:
            self._findings.breach("gap of more than was missed", f"{symbol.decode()} {place.next - 1} due, {seq} came")

    def _take_heartbeat(self, seqs: Mapping[str, int]) -> None:
        self._findings.heartbeats += 1
        for symbol, seq in seqs.items():
            place = self._places.get(symbol.encode())
            if place is None or place.seq != seq:
                has = "none" if place is None else place.seq
                self._findings.breach("heartbeat of another seq", f"{symbol} {seq}, the client has {has}")

    # The end

    def stale(self, latest: Mapping[str, Latest]) -> list[str]:
        """The symbols whose last tick this client does not hold, each with what it has and what it should have.

        What ticks after ``latest`` was asked for does not make a client stale.
        """
        symbols = latest if EVERYTHING in self.symbols else self.symbols
        return [problem for symbol in symbols if (problem := self._problem(symbol, latest.get(symbol)))]

    def _problem(self, symbol: str, latest: Latest | None) -> str:
        place = self._places.get(symbol.encode())
        if latest is None:
            return f"{symbol}: {place.seq}, of which the gateway knows nothing" if place and place.seq else ""
        if place is None:
            return f"{symbol}: no position, where {latest.seq} is the last"
        if place.epoch != latest.epoch or place.seq < latest.seq:
            return f"{symbol}: {place.epoch} {place.seq}, where {latest.epoch} {latest.seq} is the last"
        if place.seq == latest.seq and price_of(place.last or b"") != latest.price:
            return f"{symbol}: {latest.seq} at {price_of(place.last or b'')!r}, which is {latest.price!r}"
        return ""


def fetch_latest(target: Target, symbols: Collection[str]) -> dict[str, Latest]:
    """The last tick of each of ``symbols`` (all of them for "*"), as GET /api/v1/ticks has it.

    ``OSError`` or ``http.client.HTTPException`` if there is no answer, ``ValueError`` if it is not that list.
    """
    latest: dict[str, Latest] = {}
    page: int | None = 1
    connection = http.client.HTTPConnection(*target.address[:2], timeout=FETCH_TIMEOUT)
    try:
        while page is not None:
            found, page = _fetch_page(connection, target, page)
            latest |= found
    finally:
        connection.close()
    everything = EVERYTHING in symbols
    return {symbol: tick for symbol, tick in latest.items() if everything or symbol in symbols}


def _fetch_page(
    connection: http.client.HTTPConnection, target: Target, page: int
) -> tuple[dict[str, Latest], int | None]:
    headers = {"Host": target.host, "Accept": "application/json"}
    if target.key:
        headers["Authorization"] = f"Api-Key {target.key}"
    connection.request("GET", f"{target.prefix}/api/v1/ticks?page_size={PAGE_SIZE}&page={page}", headers=headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != http.client.OK:
        raise ValueError(f"{response.status} {response.reason}")
    try:
        listing = json.loads(body, parse_float=str, parse_int=str)
        ticks = {
            tick["symbol"]: Latest(tick["epoch"], int(tick["seq"]), tick["price"].encode(), tick["timestamp"])
            for tick in listing["results"]
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a list of ticks with their positions: {error!r}") from None
    return ticks, page + 1 if listing.get("next") else None


def forgotten(ledger: Ledger, latest: Mapping[str, Latest], unmeasured: int) -> list[str]:
    """The symbols whose last accepted tick, or a newer one of the same publisher, the gateway does not call the last.

    A symbol whose last tick is another publisher's is left out, since the ticks cannot be compared; so is one without a
    tick, if there were gaps of unknown length.
    """
    late = []
    for symbol, sequence in ledger.last_accepted().items():
        if symbol not in latest:
            if not unmeasured:
                late.append(symbol)
        elif (tick := ledger.sent(latest[symbol].timestamp)) is not None and tick.sequence < sequence:
            late.append(symbol)
    return late
