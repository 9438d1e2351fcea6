"""Who in this process subscribed to what, and the passes that bring the ticks to them.

A symbol that somebody in this process wants has a :class:`~gateway.fanout.stream.Stream`, which knows its place in the
sequence. What arrives from the bus is held against that place: what was there already is dropped, what follows is
delivered, and where something is missing the subscribers are told how much before they get what comes behind it. So
whatever a client holds is the newest tick, or it knows better.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from bus.contract import Since
from gateway.fanout.memberships import Memberships
from gateway.fanout.outbox import Outbox, write_each
from gateway.fanout.pace import Tally
from gateway.fanout.stream import Resumption, Send, Stream
from gateway.protocol.messages import EVERYTHING, bus_frame, gap_frame, heartbeat_frame, position
from gateway.wires.io_uring import ROOM, Ring

__all__ = ["Arrival", "Hub", "Place", "Reception"]

_SLICE = 250
"""Clients written to in one go where it is not urgent."""


class Arrival(NamedTuple):
    """Consecutive ticks of one symbol, from ``seq`` on; a body is what ``Tick.json`` gives."""

    symbol: str
    epoch: str
    seq: int
    bodies: list[str]


class Place(NamedTuple):
    """Where the bus says that a stream is: its last seq, and that tick, if it ever had one."""

    epoch: str
    seq: int
    body: str | None


class Reception(NamedTuple):
    """What a client that subscribed is to be told: where each stream is, and then these frames."""

    positions: dict[str, dict[str, Any]]
    frames: bytes


History: TypeAlias = Callable[[Mapping[str, Since]], Awaitable[Mapping[str, list[tuple[int, str]] | None]]]


class Hub:
    """Fans ticks out to the outboxes of their symbols' subscribers."""

    def __init__(self, memberships: Memberships, history: History, ring: Ring | None = None) -> None:
        """``history`` gives all ticks after a place of each symbol as ``(seq, body)``, or None where it has not all.

        ``ring``: writes to many sockets at once, where the system can.
        """
        self._memberships = memberships
        self._history = history
        self._ring = ring
        self._streams: dict[str, Stream] = {}
        # What each client subscribed to, in that order, and at which rate (None: every tick).
        self._subscriptions: dict[Outbox, dict[str, float | None]] = {}
        self._everything: dict[Outbox, None] = {}
        self._worried: set[Outbox] = set()
        self._keeps_all = False
        self._is_writing = False
        self._moved: list[tuple[Outbox, bool]] = []
        self.is_connected = True
        self.tally = Tally()
        self.parked = 0
        self.passes = 0
        self.skipped = 0
        self.gaps = 0
        self.missed = 0
        self.recovered = 0
        self.not_recovered = 0
        self.heartbeats = 0

    # Clients

    def add(self, outbox: Outbox) -> None:
        """Takes in a client, with no subscription yet."""
        self._subscriptions[outbox] = {}

    def symbols(self, outbox: Outbox) -> Collection[str]:
        """What the client subscribed to, in that order."""
        return self._subscriptions[outbox].keys()

    async def subscribe(
        self,
        outbox: Outbox,
        symbols: Iterable[str],
        *,
        snapshot: bool = True,
        rate: float | None = None,
        since: Mapping[str, Since] | None = None,
    ) -> Reception:
        """Subscribes the client to ``symbols``, again if it is already; all of them or, on an error, none.

        Ticks behind the positions that are returned reach the outbox from the moment this returns, so what is returned
        must be sent at once. Raises what the bus raised.
        """
        wanted = list(dict.fromkeys(symbols))
        new = [symbol for symbol in wanted if symbol not in self._subscriptions[outbox]]
        await self._memberships.acquire(new)
        resumptions = {}
        try:
            resumptions = self._resume(since or {})
            history = await self._missed_by(resumptions)
        except BaseException:
            self._memberships.release(new)
            raise
        finally:
            for symbol, resumption in resumptions.items():
                self._streams[symbol].resuming.remove(resumption)
        positions: dict[str, dict[str, Any]] = {}
        frames: list[bytes] = []
        forgotten: set[str] = set()
        for symbol in wanted:
            forgotten |= self._set_rate(outbox, symbol, rate)
        for symbol in self._concerned(outbox, wanted):
            stream = self._streams[symbol]
            recovered = None
            if since and symbol in since:
                missed = self._recovered(stream, resumptions.get(symbol), history.get(symbol))
                recovered = missed is not None
                frames.append(stream.snapshot if missed is None else missed)
            elif snapshot or symbol in forgotten:
                frames.append(stream.snapshot)
            positions[symbol] = position(stream.seq, stream.epoch, recovered)
        for symbol in (since or {}).keys() - self._streams.keys():
            # Of everything, what has not ticked in this epoch: the client must not take its old price for the last.
            positions[symbol] = position(0, "", False)
            self.not_recovered += 1
        return Reception(positions, b"".join(frames))

    def unsubscribe(self, outbox: Outbox, symbols: Iterable[str]) -> None:
        """Ends the client's subscriptions to those of ``symbols`` that it has."""
        held = self._subscriptions[outbox]
        leaving = [symbol for symbol in dict.fromkeys(symbols) if symbol in held]
        for symbol in leaving:
            self._end(outbox, symbol)
            if symbol == EVERYTHING:
                for other in self._streams.keys() - held.keys():
                    outbox.forget(other)
            elif EVERYTHING not in held:
                outbox.forget(symbol)
        self._memberships.release(leaving)

    def remove(self, outbox: Outbox) -> None:
        """Lets go of a client that is gone."""
        symbols = list(self._subscriptions[outbox])
        for symbol in symbols:
            self._end(outbox, symbol)
        del self._subscriptions[outbox]
        self._worried.discard(outbox)
        self._memberships.release(symbols)
        self.skipped += outbox.skipped
        outbox.discard()

    @property
    def connections(self) -> int:
        return len(self._subscriptions)

    def _concerned(self, outbox: Outbox, wanted: list[str]) -> list[str]:
        """The symbols whose subscription is new or begins anew: what was asked for by name stays as it is."""
        if EVERYTHING not in wanted:
            return wanted
        held = self._subscriptions[outbox]
        # A stream whose place is not known yet introduces itself later.
        return [
            symbol
            for symbol, stream in self._streams.items()
            if symbol in wanted or (symbol not in held and stream.epoch)
        ]

    def _set_rate(self, outbox: Outbox, symbol: str, rate: float | None) -> set[str]:
        """Puts the client into the streams of ``symbol``; returns those of which something waited that is void now."""
        held = self._subscriptions[outbox]
        if symbol in held:
            self._end(outbox, symbol, changes=True)
        elif symbol != EVERYTHING and EVERYTHING in held:
            # What it chose for this symbol comes before what it chose for all.
            self._streams[symbol].detach(outbox, held[EVERYTHING], stays=True)
        held[symbol] = rate
        if symbol != EVERYTHING:
            self._streams[symbol].attach(outbox, rate)
            return {symbol} if outbox.forget(symbol) else set()
        if rate is None:
            self._everything[outbox] = None
        others = [stream for stream in self._streams.values() if stream.symbol not in held]
        if rate is not None:
            for stream in others:
                stream.attach(outbox, rate)
        return {stream.symbol for stream in others if outbox.forget(stream.symbol)}

    def _end(self, outbox: Outbox, symbol: str, changes: bool = False) -> None:
        """Takes the client out of the streams of a subscription. ``changes``: it is about to be put in again."""
        held = self._subscriptions[outbox]
        rate = held[symbol]
        if not changes:
            del held[symbol]
        if symbol == EVERYTHING:
            self._everything.pop(outbox, None)
            if rate is not None:
                for other in self._streams.values():
                    if other.symbol not in held:
                        other.detach(outbox, rate, stays=changes)
            return
        stays = changes or EVERYTHING in held
        self._streams[symbol].detach(outbox, rate, stays)
        overall = held.get(EVERYTHING)
        if not changes and overall is not None:
            self._streams[symbol].attach(outbox, overall)

    # Resuming

    def _resume(self, since: Mapping[str, Since]) -> dict[str, Resumption]:
        """Begins to keep what comes of streams that a client comes back to, before the bus is asked for the rest."""
        resumptions = {}
        for symbol, place in since.items():
            stream = self._streams.get(symbol)
            if stream is not None and place.epoch == stream.epoch:
                resumptions[symbol] = Resumption(place)
                stream.resuming.append(resumptions[symbol])
        return resumptions

    async def _missed_by(self, resumptions: Mapping[str, Resumption]) -> dict[str, list[tuple[int, str]]]:
        """What the bus has for those who resume; brings the streams up to it as well.

        A client may have come from another gateway and be ahead of this one, so the bus is asked from the earlier of
        the two places, and what this process has not seen yet goes to everybody.
        """
        asked = {
            symbol: Since(resumption.since.epoch, min(resumption.since.seq, self._streams[symbol].seq))
            for symbol, resumption in resumptions.items()
            if resumption.since.seq != self._streams[symbol].seq
        }
        if not asked:
            return {}
        known = {symbol: ticks for symbol, ticks in (await self._history(asked)).items() if ticks}
        self.deliver(
            Arrival(symbol, asked[symbol].epoch, ticks[0][0], [body for _, body in ticks])
            for symbol, ticks in known.items()
            if self._streams[symbol].epoch == asked[symbol].epoch  # it may have changed meanwhile
        )
        return known

    def _recovered(
        self, stream: Stream, resumption: Resumption | None, history: list[tuple[int, str]] | None
    ) -> bytes | None:
        """The frames of what was missed, or None if that cannot be had whole."""
        missed = None if resumption is None else resumption.missed(history or [], stream.seq)
        if missed is None:
            self.not_recovered += 1
        else:
            self.recovered += 1
        return missed

    # Streams

    def open(self, symbols: Iterable[str]) -> None:
        """Makes streams for symbols whose groups are about to be joined, so that nothing that arrives is overlooked."""
        for symbol in symbols:
            if symbol == EVERYTHING:
                self._keeps_all = True
            elif symbol not in self._streams:
                self._discover(symbol)

    def drop(self, symbols: Iterable[str]) -> None:
        """Lets go of the streams of symbols whose groups are left."""
        for symbol in symbols:
            if symbol == EVERYTHING:
                self._keeps_all = False
                for other in [other for other in self._streams if other not in self._memberships.joined]:
                    del self._streams[other]
            elif not self._keeps_all:
                self._streams.pop(symbol, None)

    @property
    def streams(self) -> Collection[str]:
        return self._streams.keys()

    @property
    def keeps_all(self) -> bool:
        """Whether somebody takes everything, so that symbols nobody has asked for by name matter too."""
        return self._keeps_all

    @property
    def unplaced(self) -> list[str]:
        """The streams of which the bus has not told yet where they are."""
        return [symbol for symbol, stream in self._streams.items() if not stream.epoch]

    def settle(self, places: Mapping[str, Place]) -> None:
        """Holds the streams against what the bus says of them, and tells the subscribers of what was missed.

        What the bus has that has not arrived comes as a snapshot: it may be old.
        """
        for symbol, (epoch, seq, body) in places.items():
            stream = self._streams.get(symbol)
            if stream is None:
                continue
            if epoch == stream.epoch and seq <= stream.seq:
                continue  # arrived meanwhile
            if not stream.epoch:
                stream.place(epoch, seq, body)
                if body is not None:
                    self._introduce(stream)
                continue
            before = seq if body is None else seq - 1
            if epoch != stream.epoch:
                self._report_gap(stream, None, epoch, before)
            elif before > stream.seq:
                self._report_gap(stream, before - stream.seq, epoch, before)
            stream.move(epoch, seq, body)
            if body is not None:
                for resumption in stream.resuming:
                    resumption.is_broken = True
                self._deliver_one(stream, [stream.snapshot])

    def _report_gap(self, stream: Stream, missed: int | None, epoch: str, seq: int) -> None:
        for pace in list(stream.paces.values()):
            pace.flush()
        frame = gap_frame(stream.symbol, missed, seq, epoch)
        audience = self._audience(stream)
        for outbox in audience:
            outbox.report(stream.symbol, frame)
        for resumption in stream.resuming:
            resumption.is_broken = True
        stream.move(epoch, seq, stream.body)
        if audience:
            self.gaps += 1
            self.missed += missed or 0

    def _audience(self, stream: Stream) -> list[Outbox]:
        """Everybody who gets the symbol's ticks."""
        everything = [outbox for outbox in self._everything if stream.symbol not in self._subscriptions[outbox]]
        return [*stream.subscribers(), *everything]

    def _discover(self, symbol: str) -> Stream:
        """A new stream, which those who take everything at a rate join; those who take every tick are looked up."""
        stream = self._streams[symbol] = Stream(symbol, self.tally, self._ring)
        if self._keeps_all:
            for outbox, held in self._subscriptions.items():
                rate = held.get(EVERYTHING)
                if rate is not None:
                    stream.attach(outbox, rate)
        return stream

    def _introduce(self, stream: Stream) -> None:
        """Sends the first tick of a symbol as a snapshot: whoever takes everything was not told its epoch."""
        for outbox in self._audience(stream):
            outbox.report(stream.symbol, stream.snapshot)

    # Passes

    def deliver(self, arrivals: Iterable[Arrival]) -> None:
        """One pass: brings ticks to their subscribers, each client in at most one write.

        The ticks of a symbol stay in order and next to each other; symbols come in the order of their first tick.
        """
        due: dict[Stream, list[bytes]] = {}
        for arrival in list(arrivals):  # first of all: what the iterator may raise must not cost what it gave before
            symbol, epoch, seq, bodies = arrival
            stream = self._streams.get(symbol)
            if stream is None or epoch != stream.epoch or seq != stream.seq + 1 or stream.body is None:
                stream = self._catch_up(stream, arrival, due)
                if stream is None:
                    continue
                bodies = bodies[stream.seq + 1 - seq :]
            frames = stream.advance(bodies)
            if stream in due:
                due[stream] += frames
            else:
                due[stream] = frames
        self.passes += 1
        if len(due) == 1:
            ((one, frames),) = due.items()
            self._deliver_one(one, frames)
        elif due:
            self._deliver_many(due)

    def _catch_up(self, stream: Stream | None, arrival: Arrival, due: dict[Stream, list[bytes]]) -> Stream | None:
        """The stream of an arrival that does not simply follow, made ready to take in what is new of it; or None."""
        symbol, epoch, seq, bodies = arrival
        if stream is None:
            if not self._keeps_all:
                return None
            stream = self._discover(symbol)
        if not stream.epoch:
            stream.move(epoch, seq - 1, None)
        elif epoch != stream.epoch or seq > stream.seq + 1:
            missed = seq - stream.seq - 1 if epoch == stream.epoch else None
            if stream in due:  # what came before the gap is not to come behind its report
                self._deliver_one(stream, due.pop(stream))
            self._report_gap(stream, missed, epoch, seq - 1)
        if stream.body is None and self._keeps_all and seq == stream.seq + 1:
            stream.move(epoch, seq, bodies[0])
            self._introduce(stream)
        return stream if seq + len(bodies) > stream.seq + 1 else None

    def _deliver_one(self, stream: Stream, frames: list[bytes]) -> None:
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        ready = stream.ready
        if stream.behind:  # first, or whoever falls behind now would get the frames twice
            self._park(stream, frames)
        if ready:
            self.tally.delivered += len(frames) * len(ready)
            self._write(stream, data)
        if stream.resuming or self._everything:
            for outbox in self._others(stream, frames):
                outbox.write(data)
        for pace in list(stream.paces.values()):
            pace.offer(frames[-1], len(frames))

    def _write(self, stream: Stream, data: bytes) -> None:
        ready = stream.ready
        if self._ring is None or len(ready) < self._ring.worth or len(data) > ROOM:
            short = self._send(ready, data)
        else:
            descriptors, sends, others = stream.crowd
            short = [(sends[index], sent) for index, sent in self._ring.send(descriptors, data)]
            if others:
                short += self._send(others, data)
        for send, sent in short:
            ready[send].took(data, sent)
        if self._moved:
            moved, self._moved = self._moved, []
            for outbox, is_behind in moved:
                self._move(outbox, is_behind)

    def _send(self, sends: Iterable[Send], data: bytes) -> list[tuple[Send, int]]:
        """Calls each; returns which took less than all, and how much."""
        # The inner loop of a hot symbol: what stands here is paid for every client and pass. It touches nothing of a
        # client but its socket; the table must stay as it is meanwhile, so who falls behind is moved afterwards.
        size = len(data)
        short: list[tuple[Send, int]] = []
        self._is_writing = True
        sends = iter(sends)
        is_done = False
        try:
            while not is_done:
                try:
                    for send in sends:
                        sent = send(data)
                        if sent != size:
                            short.append((send, sent))
                    is_done = True
                except BlockingIOError:
                    short.append((send, 0))
                except OSError:
                    pass  # the connection is gone; the server finds out when it reads
        finally:
            self._is_writing = False
        return short

    def _park(self, stream: Stream, frames: list[bytes]) -> None:
        newest, count = frames[-1], len(frames)
        for outbox in stream.behind:
            outbox.park(stream.symbol, newest, count)
        self.parked += count * len(stream.behind)

    def _deliver_many(self, due: dict[Stream, list[bytes]]) -> None:
        touched: list[Outbox] = []
        for stream, frames in due.items():
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            self._gather(stream.ready.values(), data, touched)
            self.tally.delivered += len(frames) * len(stream.ready)
            if stream.behind:
                self._park(stream, frames)
            if stream.resuming or self._everything:
                self._gather(self._others(stream, frames), data, touched)
        write_each(touched, [outbox.collect() for outbox in touched], self._ring)
        # Only now: a client that falls behind has nothing gathered any more.
        for stream, frames in due.items():
            for pace in list(stream.paces.values()):
                pace.offer(frames[-1], len(frames))

    def _gather(self, outboxes: Iterable[Outbox], data: bytes, touched: list[Outbox]) -> None:
        for outbox in outboxes:
            gathered = outbox.gathered
            if not gathered:
                touched.append(outbox)
            gathered.append(data)

    def _others(self, stream: Stream, frames: list[bytes]) -> list[Outbox]:
        """Sees to those who are not in the stream's own tables; returns whom the frames are to be written to."""
        newest, count = frames[-1], len(frames)
        for resumption in stream.resuming:
            resumption.passed.update(zip(range(stream.seq - count + 1, stream.seq + 1), frames, strict=True))
        ready = []
        for outbox in self._everything:
            if stream.symbol in self._subscriptions[outbox]:
                continue
            if outbox.behind:
                outbox.park(stream.symbol, newest, count)
                self.parked += count
            else:
                ready.append(outbox)
        self.tally.delivered += count * len(ready)
        return ready

    # Clients that fall behind

    def fell_behind(self, outbox: Outbox) -> None:
        self._move(outbox, is_behind=True)

    def came_back(self, outbox: Outbox) -> None:
        self._move(outbox, is_behind=False)

    def _move(self, outbox: Outbox, is_behind: bool) -> None:
        if self._is_writing:
            self._moved.append((outbox, is_behind))
            return
        for symbol, rate in self._subscriptions.get(outbox, {}).items():
            if rate is not None or symbol == EVERYTHING:
                continue
            if is_behind:
                self._streams[symbol].fell_behind(outbox)
            else:
                self._streams[symbol].came_back(outbox)

    # Heartbeats, and the state of the bus

    def beat(self, period: float) -> Iterator[None]:
        """Sends heartbeats, ``period`` seconds after the last ones, a slice of the clients at a time.

        May be laid aside between the slices.
        """
        active: dict[str, Stream] = {}
        resting: dict[str, Stream] = {}
        for symbol, stream in self._streams.items():
            if stream.seq != stream.beat:
                stream.beat = stream.seq
                stream.is_quiet = False
                active[symbol] = stream
            elif not stream.is_quiet and stream.is_settled:
                stream.is_quiet = True
                if stream.seq:
                    resting[symbol] = stream
        plain = heartbeat_frame({})
        latest: dict[str, int] = {}
        frame = plain
        concerned = list(self._subscriptions) if resting else self._maybe_idle(active.values())
        for start in range(0, len(concerned), _SLICE):
            if start:
                yield
            outboxes, frames = [], []
            for outbox in concerned[start : start + _SLICE]:
                held = self._subscriptions.get(outbox)
                if held is None or outbox.behind:
                    continue
                seqs = self._seqs(held, resting) if resting else {}
                if seqs:
                    if seqs != latest:  # most often clients of the same symbols follow each other
                        latest, frame = seqs, heartbeat_frame(seqs)
                    outboxes.append(outbox)
                    frames.append(frame)
                elif not _is_kept_busy(held, active, period):
                    outboxes.append(outbox)
                    frames.append(plain)
            write_each(outboxes, frames, self._ring)
            self.heartbeats += len(outboxes)

    def _maybe_idle(self, active: Iterable[Stream]) -> list[Outbox]:
        """All clients but those who are seen at a glance to get ticks from ``active``.

        To look at what each of thousands is subscribed to takes longer than to go over the tables of a few streams, the
        largest first, which between them have most clients of a busy process.
        """
        busy: set[Outbox] = set()
        most = 2 * len(self._subscriptions)
        for stream in sorted(active, key=lambda stream: len(stream.ready), reverse=True):
            most -= len(stream.ready)
            if most < 0:
                break
            busy.update(stream.ready.values())
        return [outbox for outbox in self._subscriptions if outbox not in busy]

    def _seqs(self, held: Mapping[str, float | None], resting: Mapping[str, Stream]) -> dict[str, int]:
        """Where those of a client's streams are now that have come to rest."""
        symbols = resting if EVERYTHING in held else resting.keys() & held.keys()
        return {symbol: resting[symbol].seq for symbol in symbols if resting[symbol].is_settled}

    def connect(self, is_connected: bool) -> Iterator[None]:
        """Tells the clients that the bus went away or came back, a slice of them at a time.

        A round may be broken off, so who has been told that it is away is known for each.
        """
        self.is_connected = is_connected
        concerned = [outbox for outbox in self._subscriptions if (outbox in self._worried) is is_connected]
        for index, outbox in enumerate(concerned):
            if index % _SLICE == _SLICE - 1:
                yield
            if is_connected and outbox in self._worried:
                self._worried.remove(outbox)
                outbox.reply(bus_frame(True))
            elif not is_connected:
                self.worry(outbox)

    def worry(self, outbox: Outbox) -> None:
        """Tells a client that the bus is away, if it is."""
        if not self.is_connected and outbox in self._subscriptions and outbox not in self._worried:
            self._worried.add(outbox)
            outbox.reply(bus_frame(False))

    # State

    def counts(self) -> dict[str, int]:
        """What the hub holds now and has done so far, by metric name."""
        outboxes = self._subscriptions
        return {
            "connections": len(outboxes),
            "subscriptions": sum(map(len, outboxes.values())),
            "symbols": len(self._streams),
            "memberships": len(self._memberships.joined),
            "behind": sum(outbox.behind for outbox in outboxes),
            "passes_total": self.passes,
            "delivered_total": self.tally.delivered,
            "parked_total": self.parked,
            "skipped_total": self.skipped + sum(outbox.skipped for outbox in outboxes),
            "rates": sum(len(stream.paces) for stream in self._streams.values()),
            "rate_skipped_total": self.tally.skipped,
            "gaps_total": self.gaps,
            "missed_total": self.missed,
            "recovered_total": self.recovered,
            "not_recovered_total": self.not_recovered,
            "heartbeats_total": self.heartbeats,
            "io_uring": int(self._ring is not None),
            "bus_connected": int(self.is_connected),
        }


def _is_kept_busy(held: Mapping[str, float | None], active: Collection[str], period: float) -> bool:
    """Whether a client gets a tick every ``period`` seconds anyway, ``active`` being the symbols that tick."""
    for symbol, rate in held.items():
        if rate is not None and rate * period < 1:
            continue
        if symbol in active or (symbol == EVERYTHING and any(other not in held for other in active)):
            return True
    return False
