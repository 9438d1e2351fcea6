"""What clients are told while no ticks come: heartbeats, and that the bus is away."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from gateway.fanout.outbox import Outbox
from gateway.fanout.stream import Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.fanout.writer import Writer
from gateway.protocol.frames import PING
from gateway.protocol.messages import bus_frame, heartbeat_frame
from gateway.protocol.values import EVERYTHING
from ticks.grammar import now as timestamp_now

__all__ = ["ASK_SECONDS", "ROUNDS", "SPREAD", "Heartbeat", "Outage"]

ROUNDS: Final = 5
"""In a period. A client hears nothing for a period and a round at most."""
ASK_SECONDS: Final = 20.0
"""Between two heartbeats that take a ping along: a little less than the silence after which the server itself asks."""
SPREAD: Final = 3
"""Over how many heartbeats the first pings of a crowd are spread; the last comes before the server itself asks."""
_SLICE: Final = 500
"""Clients written to in one go where it is not urgent: two milliseconds."""
_MOST: Final = 500
"""Symbols of a message."""
_LOOKS: Final = 5_000
"""Streams or clients looked at in one go."""
_FEW: Final = 100
"""Streams that are looked at for a client that takes everything."""


class Heartbeat:
    """Tells a client that hears nothing that there is nothing, and where its streams have come to rest.

    It comes in rounds, a few a period, so that who was told something at any time is told again a period later, and not
    at all while ticks come more often than that.
    """

    def __init__(self, subscriptions: Subscriptions, writer: Writer) -> None:
        self._subscriptions = subscriptions
        self._everything = subscriptions.everything
        self._writer = writer
        self._round = ROUNDS
        self._beats = 1
        """Heartbeats of a client of which one takes a ping along."""
        self.sent = 0

    def beat(self, period: float) -> Iterator[None]:
        """One round, of which there are ``ROUNDS`` in ``period`` seconds, a slice of streams and clients at a time.

        May be laid aside between the slices.
        """
        self._round += 1
        self._beats = max(1, int(ASK_SECONDS / period))
        active, resting = yield from self._sort_streams()
        silent = yield from self._find_silent()
        now = timestamp_now()
        if resting:
            yield from self._tell_all(now, resting)
            yield from self._tell_holders(now, resting)
            silent = [outbox for outbox in silent if outbox.silent >= ROUNDS]
        clients, plain = self._subscriptions.clients, heartbeat_frame(now)
        for start in range(0, len(silent), _SLICE):
            if start:
                yield
            outboxes = []
            for outbox in silent[start : start + _SLICE]:
                held = clients.get(outbox)
                if held is None or outbox.behind or outbox.silent < ROUNDS:
                    continue
                if active:
                    outbox.silent = self._rounds_since_a_tick(outbox, held, active, period)
                if outbox.silent >= ROUNDS:
                    outboxes.append(outbox)
            self._tell(outboxes, [plain] * len(outboxes))

    def pause(self, seconds: float) -> float:
        """Between the steps of a round, so that most rounds take half of ``seconds``.

        Thousands of heartbeats in one go keep all cores busy, ours and the clients', and ticks wait meanwhile.
        """
        clients = len(self._subscriptions.clients)
        return seconds / 2 / (1 + clients / _LOOKS + clients / ROUNDS / _SLICE)

    def _tell(self, outboxes: Sequence[Outbox], frames: list[bytes]) -> None:
        for index, outbox in enumerate(outboxes):
            outbox.silent = 0
            outbox.beats -= 1
            if outbox.beats < 0:
                outbox.beats = self._beats - 1
                if outbox.ask_along():
                    frames[index] = PING + frames[index]
        self._writer.write_each(outboxes, frames)
        self.sent += len(outboxes)

    def _sort_streams(self) -> Generator[None, None, tuple[Sequence[Stream], Sequence[Stream]]]:
        """A few streams that have ticked within the period, and all that have come to rest."""
        now, earliest = self._round, self._round - ROUNDS
        active: list[Stream] = []
        resting: list[Stream] = []
        for count, stream in enumerate(list(self._subscriptions.streams.values()), 1):
            if stream.seq != stream.beat:
                stream.beat, stream.ticked = stream.seq, now
            if stream.ticked > earliest:
                if len(active) < _FEW:
                    active.append(stream)
            elif stream.ticked and stream.is_settled:
                stream.ticked = 0
                if stream.seq:
                    resting.append(stream)
            if not count % _LOOKS:
                yield
        return active, resting

    def _find_silent(self) -> Generator[None, None, list[Outbox]]:
        """Counts the round for all clients; returns those that may have been told nothing for a period."""
        silent = []
        for count, outbox in enumerate(list(self._subscriptions.clients), 1):
            outbox.silent += 1
            if outbox.silent >= ROUNDS:
                silent.append(outbox)
            if not count % _LOOKS:
                yield
        return silent

    def _tell_all(self, now: str, resting: Sequence[Stream]) -> Iterator[None]:
        """Tells those who take everything where streams have come to rest."""
        outboxes = list(self._everything)
        for first in range(0, len(resting), _MOST):
            for start in range(0, len(outboxes), _SLICE):
                yield
                self._tell_some(now, resting[first : first + _MOST], outboxes[start : start + _SLICE])

    def _tell_some(self, now: str, resting: Sequence[Stream], outboxes: Sequence[Outbox]) -> None:
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
        self._tell(list(frames), list(frames.values()))

    def _tell_holders(self, now: str, resting: Iterable[Stream]) -> Iterator[None]:
        """Tells those who hold streams by name, and not everything besides, where these have come to rest."""
        concerned: dict[Outbox, list[Stream]] = {}
        count = 0
        for stream in resting:
            for outbox in stream.subscribers():
                concerned.setdefault(outbox, []).append(stream)
            count += 1 + stream.held_by
            if count >= _LOOKS:
                count = 0
                yield
        latest: dict[str, int] = {}
        frame = b""
        clients, waiting = self._subscriptions.clients, list(concerned.items())
        for start in range(0, len(waiting), _SLICE):
            if start:
                yield
            outboxes, frames = [], []
            for outbox, streams in waiting[start : start + _SLICE]:
                held = clients.get(outbox, {})
                if EVERYTHING in held or outbox.behind:
                    continue
                seqs = self._seqs(stream for stream in streams if stream.symbol in held)
                # Most often clients of the same symbols follow each other.
                if seqs != latest:
                    latest, frame = seqs, _frames(now, seqs)
                if seqs:
                    outboxes.append(outbox)
                    frames.append(frame)
            self._tell(outboxes, frames)

    def _seqs(self, resting: Iterable[Stream]) -> dict[str, int]:
        """Where streams are now; not of those that have ticked meanwhile, and keep it back for a rate, or are gone."""
        streams = self._subscriptions.streams
        return {
            stream.symbol: stream.seq
            for stream in resting
            if stream.is_settled and streams.get(stream.symbol) is stream
        }

    def _rounds_since_a_tick(
        self, outbox: Outbox, held: Mapping[str, float | None], active: Sequence[Stream], period: float
    ) -> int:
        """How many rounds ago a client was sent a tick; any within the period will do. ``ROUNDS``: there was none."""
        streams = self._subscriptions.streams
        for symbol, rate in held.items():
            if rate is not None and rate * period < 1:
                continue
            if symbol != EVERYTHING:
                rounds = self._round - streams[symbol].ticked
            else:
                covered = (stream.ticked for stream in active if self._everything.covers(outbox, stream))
                rounds = self._round - next(covered, 0)
            if rounds < ROUNDS:
                return rounds
        return ROUNDS


class Outage:
    """Tells each client of which of its symbols the bus is away, once, and once that it is back.

    A round goes over the clients a slice at a time and may be broken off, so it is known of each what it was told.
    """

    def __init__(self, subscriptions: Subscriptions, hosts: int = 1) -> None:
        """``hosts``: how many the bus has."""
        self._clients = subscriptions.clients
        self._streams = subscriptions.streams
        self._limits = subscriptions.everything.limits
        self._hosts = hosts
        self.away: set[int] = set()
        """The hosts that are."""
        self._told: dict[Outbox, tuple[str, ...]] = {}
        self._everything: tuple[str, ...] | None = None
        """What who takes everything is told; None: to be made."""
        self._newest = ""
        """The last of the streams that this was made of."""

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
        concerned = self._concerned(outbox)
        if concerned == self._told.get(outbox):
            return
        if concerned is None:
            del self._told[outbox]
            outbox.reply(bus_frame(True))
        else:
            self._told[outbox] = concerned
            outbox.reply(bus_frame(False, concerned))

    def _concerned(self, outbox: Outbox) -> tuple[str, ...] | None:
        """Those of a client's symbols that are away: none of them by name if it may be all, None if it is none."""
        if not self.away:
            return None
        held = self._clients[outbox]
        if len(self.away) == self._hosts:
            return ()
        if EVERYTHING not in held:
            return tuple(symbol for symbol in held if self._streams[symbol].host in self.away) or None
        everything, limit = self._all_that_is_away(), self._limits.get(outbox)
        if limit is None or not everything:
            return everything
        return tuple(filter(limit.covers, everything)) or None

    def _all_that_is_away(self) -> tuple[str, ...]:
        newest = next(reversed(self._streams), "")
        if self._everything is None or newest != self._newest:
            self._everything = tuple(symbol for symbol, stream in self._streams.items() if stream.host in self.away)
            self._newest = newest
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
