"""What clients are told while no ticks come: heartbeats, and that the bus is away."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from gateway.fanout.outbox import Outbox
from gateway.fanout.stream import Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.fanout.writer import Writer
from gateway.protocol.messages import bus_frame, heartbeat_frame
from gateway.protocol.values import EVERYTHING
from ticks.grammar import now as timestamp_now

__all__ = ["Heartbeat", "Outage"]

_SLICE: Final = 250
"""Clients written to in one go where it is not urgent."""
_MOST: Final = 500
"""Symbols of a message."""


class Heartbeat:
    """Tells a client that hears nothing that there is nothing, and where its streams have come to rest."""

    def __init__(self, subscriptions: Subscriptions, writer: Writer) -> None:
        self._subscriptions = subscriptions
        self._writer = writer
        self.sent = 0

    def beat(self, period: float) -> Iterator[None]:
        """Sends heartbeats, ``period`` seconds after the last ones, a slice of the clients at a time.

        May be laid aside between the slices.
        """
        active, resting = self._sort_streams()
        clients = self._subscriptions.clients
        now = timestamp_now()
        plain = frame = heartbeat_frame(now)
        latest: dict[str, int] = {}
        concerned = list(clients) if resting else self._maybe_idle(active.values())
        for start in range(0, len(concerned), _SLICE):
            if start:
                yield
            outboxes, frames = [], []
            everything = _seqs(resting) if self._subscriptions.keeps_all else {}
            for outbox in concerned[start : start + _SLICE]:
                held = clients.get(outbox)
                if held is None or outbox.behind:
                    continue
                seqs = self._seqs(outbox, held, resting, everything) if resting else {}
                if seqs:
                    # Most often clients of the same symbols follow each other.
                    if seqs is not latest and seqs != latest:
                        latest, frame = seqs, _frames(now, seqs)
                    outboxes.append(outbox)
                    frames.append(frame)
                elif not _is_kept_busy(held, active, period):
                    outboxes.append(outbox)
                    frames.append(plain)
            self._writer.write_each(outboxes, frames)
            self.sent += len(outboxes)

    def _seqs(
        self,
        outbox: Outbox,
        held: Mapping[str, float | None],
        resting: Mapping[str, Stream],
        everything: dict[str, int],
    ) -> dict[str, int]:
        """Where those of a client's streams are that have come to rest; ``everything``: where all such are.

        Of a stream it was not told of yet it need not hear.
        """
        if EVERYTHING not in held:
            return _seqs({symbol: resting[symbol] for symbol in resting.keys() & held.keys()})
        withheld = self._subscriptions.withheld.get(outbox)
        if withheld is None:
            return everything
        return {symbol: seq for symbol, seq in everything.items() if symbol not in withheld}

    def _sort_streams(self) -> tuple[dict[str, Stream], dict[str, Stream]]:
        """The streams that have ticked since the last heartbeat, and those that have come to rest."""
        active: dict[str, Stream] = {}
        resting: dict[str, Stream] = {}
        for symbol, stream in self._subscriptions.streams.items():
            if stream.seq != stream.beat:
                stream.beat = stream.seq
                stream.is_quiet = False
                active[symbol] = stream
            elif not stream.is_quiet and stream.is_settled:
                stream.is_quiet = True
                if stream.seq:
                    resting[symbol] = stream
        return active, resting

    def _maybe_idle(self, active: Iterable[Stream]) -> list[Outbox]:
        """All clients but those who are seen at a glance to get ticks from ``active``.

        To look at what each of thousands is subscribed to takes longer than to go over the tables of a few streams, the
        largest first, which between them have most clients of a busy process.
        """
        clients = self._subscriptions.clients
        busy: set[Outbox] = set()
        most = 2 * len(clients)
        for stream in sorted(active, key=lambda stream: len(stream.ready.outboxes), reverse=True):
            most -= len(stream.ready.outboxes)
            if most < 0:
                break
            busy.update(stream.ready.outboxes.values())
        return [outbox for outbox in clients if outbox not in busy]


class Outage:
    """Tells each client once that the bus is away and once that it is back.

    A round goes over the clients a slice at a time and may be broken off, so it is known of each what it was told.
    """

    def __init__(self, clients: Collection[Outbox]) -> None:
        self._clients = clients
        self._told: set[Outbox] = set()
        self.is_on = False

    def begin(self) -> Iterator[None]:
        """The bus went away."""
        self.is_on = True
        for index, outbox in enumerate([outbox for outbox in self._clients if outbox not in self._told]):
            if index % _SLICE == _SLICE - 1:
                yield
            if outbox in self._clients:
                self.tell(outbox)

    def end(self) -> Iterator[None]:
        """The bus is back."""
        self.is_on = False
        for index, outbox in enumerate([outbox for outbox in self._clients if outbox in self._told]):
            if index % _SLICE == _SLICE - 1:
                yield
            if outbox in self._told:
                self._told.remove(outbox)
                outbox.reply(bus_frame(True))

    def tell(self, outbox: Outbox) -> None:
        """Tells a client that the bus is away, if it is."""
        if self.is_on and outbox not in self._told:
            self._told.add(outbox)
            outbox.reply(bus_frame(False))

    def forget(self, outbox: Outbox) -> None:
        """The client is gone."""
        self._told.discard(outbox)


def _seqs(resting: Mapping[str, Stream]) -> dict[str, int]:
    """Where streams are now; not of those that have ticked meanwhile, and keep it back for a rate."""
    return {symbol: stream.seq for symbol, stream in resting.items() if stream.is_settled}


def _frames(now: str, seqs: Mapping[str, int]) -> bytes:
    """One heartbeat or, where many streams have come to rest, several."""
    places = iter(seqs.items())
    return b"".join(
        heartbeat_frame(now, some) for _ in range(0, len(seqs), _MOST) if (some := dict(islice(places, _MOST)))
    )


def _is_kept_busy(held: Mapping[str, float | None], active: Collection[str], period: float) -> bool:
    """Whether a client gets a tick every ``period`` seconds anyway, ``active`` being the symbols that tick."""
    for symbol, rate in held.items():
        if rate is not None and rate * period < 1:
            continue
        if symbol in active or (symbol == EVERYTHING and any(other not in held for other in active)):
            return True
    return False
