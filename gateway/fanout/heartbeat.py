"""What clients are told while no ticks come: heartbeats, and that the bus is away."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
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
_STREAMS: Final = 5_000
"""Streams looked at in one go."""
_FEW: Final = 100
"""Streams that are looked at for a client that need not hear anything."""


class Heartbeat:
    """Tells a client that hears nothing that there is nothing, and where its streams have come to rest."""

    def __init__(self, subscriptions: Subscriptions, writer: Writer) -> None:
        self._subscriptions = subscriptions
        self._everything = subscriptions.everything
        self._writer = writer
        self.sent = 0

    def beat(self, period: float) -> Iterator[None]:
        """Sends heartbeats, ``period`` seconds after the last ones, a slice of streams and clients at a time.

        May be laid aside between the slices.
        """
        active, resting = yield from self._sort_streams()
        clients = self._subscriptions.clients
        now = timestamp_now()
        told = yield from self._tell_all(now, list(resting.values()))
        plain = frame = heartbeat_frame(now)
        latest: dict[str, int] = {}
        concerned = list(clients) if resting else self._maybe_idle(active.values())
        for start in range(0, len(concerned), _SLICE):
            if start:
                yield
            outboxes, frames = [], []
            for outbox in concerned[start : start + _SLICE]:
                held = clients.get(outbox)
                if held is None or outbox.behind or outbox in told:
                    continue
                seqs = (
                    {} if EVERYTHING in held else self._seqs([resting[each] for each in resting.keys() & held.keys()])
                )
                if seqs:
                    # Most often clients of the same symbols follow each other.
                    if seqs != latest:
                        latest, frame = seqs, _frames(now, seqs)
                    outboxes.append(outbox)
                    frames.append(frame)
                elif not self._is_kept_busy(outbox, held, active, period):
                    outboxes.append(outbox)
                    frames.append(plain)
            self._writer.write_each(outboxes, frames)
            self.sent += len(outboxes)

    def _sort_streams(self) -> Generator[None, None, tuple[dict[str, Stream], dict[str, Stream]]]:
        """The streams that have ticked since the last heartbeat, and those that have come to rest."""
        active: dict[str, Stream] = {}
        resting: dict[str, Stream] = {}
        for count, stream in enumerate(list(self._subscriptions.streams.values()), 1):
            if stream.seq != stream.beat:
                stream.beat = stream.seq
                stream.is_quiet = False
                active[stream.symbol] = stream
            elif not stream.is_quiet and stream.is_settled:
                stream.is_quiet = True
                if stream.seq:
                    resting[stream.symbol] = stream
            if not count % _STREAMS:
                yield
        return active, resting

    def _tell_all(self, now: str, resting: Sequence[Stream]) -> Generator[None, None, set[Outbox]]:
        """Tells those who take everything where streams have come to rest; returns whom it told of any."""
        told: set[Outbox] = set()
        outboxes = list(self._everything)
        for first in range(0, len(resting), _MOST):
            for start in range(0, len(outboxes), _SLICE):
                yield
                told |= self._tell_some(now, resting[first : first + _MOST], outboxes[start : start + _SLICE])
        return told

    def _tell_some(self, now: str, resting: Sequence[Stream], outboxes: Sequence[Outbox]) -> set[Outbox]:
        everything, clients = self._everything, self._subscriptions.clients
        all_seqs = self._seqs(resting)
        frame = heartbeat_frame(now, all_seqs) if all_seqs else b""
        frames: dict[Outbox, bytes] = {}
        for outbox in outboxes:
            held = clients.get(outbox, {})
            if EVERYTHING not in held or outbox.behind:
                continue
            if everything.takes_all(outbox):
                frames[outbox] = frame
            else:
                seqs = self._seqs(
                    [stream for stream in resting if stream.symbol in held or everything.covers(outbox, stream)]
                )
                frames[outbox] = heartbeat_frame(now, seqs) if seqs else b""
        frames = {outbox: frame for outbox, frame in frames.items() if frame}
        self._writer.write_each(list(frames), list(frames.values()))
        self.sent += len(frames)
        return set(frames)

    def _seqs(self, resting: Iterable[Stream]) -> dict[str, int]:
        """Where streams are now; not of those that have ticked meanwhile, and keep it back for a rate, or are gone."""
        streams = self._subscriptions.streams
        return {
            stream.symbol: stream.seq
            for stream in resting
            if stream.is_settled and streams.get(stream.symbol) is stream
        }

    def _maybe_idle(self, active: Iterable[Stream]) -> list[Outbox]:
        """All clients but those who are seen at a glance to get ticks from ``active``.

        To look at what each of thousands is subscribed to takes longer than to go over the tables of a few streams, the
        largest first, which between them have most clients of a busy process.
        """
        clients = self._subscriptions.clients
        busy: set[Outbox] = set()
        most = 2 * len(clients)
        for stream in nlargest(_FEW, active, key=lambda stream: len(stream.ready.outboxes)):
            most -= len(stream.ready.outboxes)
            if most < 0:
                break
            busy.update(stream.ready.outboxes.values())
        return [outbox for outbox in clients if outbox not in busy]

    def _is_kept_busy(
        self, outbox: Outbox, held: Mapping[str, float | None], active: Mapping[str, Stream], period: float
    ) -> bool:
        """Whether a client gets a tick every ``period`` seconds anyway, ``active`` being the streams that tick."""
        for symbol, rate in held.items():
            if rate is not None and rate * period < 1:
                continue
            some = islice(active.values(), _FEW) if symbol == EVERYTHING else ()
            if symbol in active or any(self._everything.covers(outbox, stream) for stream in some):
                return True
        return False


class Outage:
    """Tells each client of which of its symbols the bus is away, once, and once that it is back.

    A round goes over the clients a slice at a time and may be broken off, so it is known of each what it was told.
    """

    def __init__(self, subscriptions: Subscriptions, hosts: int = 1) -> None:
        """``hosts``: how many the bus has."""
        self._clients = subscriptions.clients
        self._streams = subscriptions.streams
        self._hosts = hosts
        self.away: set[int] = set()
        """The hosts that are."""
        self._told: dict[Outbox, tuple[str, ...]] = {}
        self._everything: tuple[str, ...] | None = None
        """What who takes everything is told; None: to be made."""

    @property
    def is_on(self) -> bool:
        return bool(self.away)

    @property
    def is_news(self) -> bool:
        """Whether there may be a client that is to be told something."""
        return bool(self.away or self._told)

    def begin(self, host: int = 0) -> Iterator[None]:
        """A host went away."""
        self._everything = None
        self.away.add(host)
        return self._round()

    def end(self, host: int = 0) -> Iterator[None]:
        """A host is back."""
        self._everything = None
        self.away.discard(host)
        return self._round()

    def _round(self) -> Iterator[None]:
        for index, outbox in enumerate(list(self._clients)):
            if index % _SLICE == _SLICE - 1:
                yield
            if outbox in self._clients:
                self.tell(outbox)

    def tell(self, outbox: Outbox) -> None:
        """Tells a client what is away of its symbols, unless it knows."""
        concerned = self._concerned(self._clients[outbox])
        if concerned == self._told.get(outbox):
            return
        if concerned is None:
            del self._told[outbox]
            outbox.reply(bus_frame(True))
        else:
            self._told[outbox] = concerned
            outbox.reply(bus_frame(False, concerned))

    def _concerned(self, held: Mapping[str, float | None]) -> tuple[str, ...] | None:
        """Those of a client's symbols that are away: none of them by name if it may be all, None if it is none."""
        if not self.away:
            return None
        if len(self.away) == self._hosts:
            return ()
        if EVERYTHING not in held:
            return tuple(symbol for symbol in held if self._streams[symbol].host in self.away) or None
        if self._everything is None:
            self._everything = tuple(symbol for symbol, stream in self._streams.items() if stream.host in self.away)
        return self._everything

    def forget(self, outbox: Outbox) -> None:
        """The client is gone."""
        self._told.pop(outbox, None)


def _frames(now: str, seqs: Mapping[str, int]) -> bytes:
    """One heartbeat or, where many streams have come to rest, several."""
    places = iter(seqs.items())
    return b"".join(
        heartbeat_frame(now, some) for _ in range(0, len(seqs), _MOST) if (some := dict(islice(places, _MOST)))
    )
