"""What happens where a stream does not simply go on: a tick is missing, the bus was away, a client comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from bus.contract import Packet, Position, Since
from gateway.fanout.delivery import Delivery
from gateway.fanout.doubts import Doubts, Positions
from gateway.fanout.replay import History, Missed, Replay
from gateway.fanout.stream import Resumption, Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.protocol.messages import gap_frame

__all__ = ["Recovery"]

_NOWHERE: Final = Since("", 0)
_EPOCHS: Final = 100
"""How many are known: the first packet of any other is asked for."""
_TRIES: Final = 3
"""How often the bus is asked for what a client missed, if its stream jumps meanwhile."""


class Recovery:
    """Tells clients what they missed, and brings them what can be had of it.

    What a packet says that does not simply follow is not believed: the bus is asked where the stream is.
    """

    def __init__(
        self, subscriptions: Subscriptions, delivery: Delivery, history: History, positions: Positions
    ) -> None:
        """``history`` is asked for what clients missed, ``positions`` where the streams of symbols are."""
        self._subscriptions = subscriptions
        self._delivery = delivery
        self.replay = Replay(history)
        self.doubts = Doubts(positions, self.settle)
        self._epochs: dict[str, None] = {}
        """Those that the bus has named lately."""
        self.counts = dict.fromkeys(("gaps_total", "missed_total", "recovered_total", "not_recovered_total"), 0)

    # What arrives

    def catch_up(self, stream: Stream | None, packet: Packet) -> Stream | None:
        """The stream of a packet that does not simply follow, made ready to take in what is new of it; or None."""
        symbol, epoch, seq, bodies, _, _ = packet
        last = seq + len(bodies) - 1
        if stream is None:
            if not self._subscriptions.keeps_all:
                return None
            if seq != 1 or epoch not in self._epochs:
                self.doubts.add(packet, Since("", 0))
                return None
            stream = self._subscriptions.discover(symbol)
            self._subscriptions.place(stream, epoch, 0, None)
        elif epoch != stream.epoch or seq > stream.seq + 1:
            self.doubts.add(packet, stream.at)
            return None
        elif last <= stream.seq:
            is_newest = last == stream.seq and stream.body is not None
            if (is_newest and bodies[-1] != stream.body) or stream.recent.contradicts(seq, bodies):
                self.doubts.add(packet, stream.at)  # one of the two is not what the bus has
            return None
        if stream.body is None and seq == stream.seq + 1:
            self._begin(stream, bodies[0])
        return stream if last > stream.seq else None

    def _begin(self, stream: Stream, body: str) -> None:
        """The first tick of a symbol: those who take everything were not told its epoch, and get it as a snapshot."""
        if self._subscriptions.keeps_all:
            stream.move(stream.epoch, stream.seq + 1, body)
            self._introduce(stream)

    def _report_gap(self, stream: Stream, epoch: str, seq: int) -> None:
        """Tells the subscribers that the stream goes on behind ``seq``."""
        missed = seq - stream.seq if epoch == stream.epoch and seq > stream.seq else None
        for pace in list(stream.paces.values()):
            pace.flush()
        frame = gap_frame(stream.symbol, missed, seq, epoch)
        audience = self._subscriptions.audience(stream)
        for outbox in audience:
            outbox.report(stream.symbol, frame)
        stream.jump(epoch, seq, stream.body)
        if audience:
            self.counts["gaps_total"] += 1
            self.counts["missed_total"] += missed or 0

    def _introduce(self, stream: Stream) -> None:
        """Sends the last tick as a snapshot."""
        for outbox in self._subscriptions.audience(stream):
            outbox.report(stream.symbol, stream.snapshot)

    # What the bus says

    def settle(self, positions: Mapping[str, Position], asked: Mapping[str, Since] | None = None) -> None:
        """Holds the streams against what the bus says of them, and tells the subscribers of what was missed.

        What the bus has that has not arrived comes as a snapshot: it may be old. ``asked``: where the streams were when
        it was asked; a stream that was ahead of it then has believed a packet that was not the bus's.
        """
        for symbol, position in positions.items():
            self._know(position.epoch)
            stream = self._subscriptions.streams.get(symbol)
            if stream is None:
                if not self._subscriptions.keeps_all or not position.seq:
                    continue
                stream = self._subscriptions.discover(symbol)
            self._place(stream, position, (asked or {}).get(symbol, _NOWHERE))
            if not position.seq and self._subscriptions.forget(symbol):
                continue
            for packet in self.doubts.following(symbol, stream):
                self._follow(stream, packet)

    def _know(self, epoch: str) -> None:
        self._epochs[epoch] = None
        if len(self._epochs) > _EPOCHS:
            del self._epochs[next(iter(self._epochs))]

    def _place(self, stream: Stream, position: Position, asked: Since) -> None:
        epoch, seq, body = position
        if not stream.epoch:
            self._subscriptions.place(stream, epoch, seq, body)
            if body is not None:
                self._introduce(stream)
        elif epoch != stream.epoch or seq > stream.seq or _is_refuted(stream, position, asked):
            before = seq if body is None else seq - 1
            if epoch != stream.epoch or before != stream.seq:
                self._report_gap(stream, epoch, before)
            stream.jump(epoch, seq, body)
            if body is not None:
                self._delivery.deliver_one(stream, [stream.snapshot])

    def _follow(self, stream: Stream, packet: Packet) -> None:
        """Delivers what came while the bus was asked."""
        if stream.body is None and packet.seq == stream.seq + 1:
            self._begin(stream, packet.messages[0])
        rest = packet.messages[stream.seq + 1 - packet.seq :]
        if rest:
            self._delivery.deliver_one(stream, stream.advance(rest))

    # Clients that come back

    async def resume(self, since: Mapping[str, Since], deliver: Callable[[Iterable[Packet]], None]) -> dict[str, bytes]:
        """The frames of all ticks after a place of each symbol, up to where its stream is when this returns.

        A symbol is left out if not all can be had. ``deliver``: makes a pass.
        """
        resuming: dict[Stream, Resumption] = {}
        asked: dict[str, Since] = {}
        for symbol, place in since.items():
            stream = self._subscriptions.streams.get(symbol)
            if stream is None or place.epoch != stream.epoch:
                continue
            own = stream.since(place.seq)
            if own is None:
                # A client may have come from another gateway and be ahead of this one.
                asked[symbol] = Since(stream.epoch, min(place.seq, stream.seq))
                resuming[stream] = Resumption(place)
            else:
                resuming[stream] = Resumption(stream.at, own)
        missed = await self._ask(since, asked, resuming, deliver) if asked else {}
        frames = {
            stream.symbol: resumption.missed(missed.get(stream.symbol, {}), stream.seq)
            for stream, resumption in resuming.items()
        }
        return {symbol: joined for symbol, joined in frames.items() if joined is not None}

    async def _ask(
        self,
        since: Mapping[str, Since],
        asked: Mapping[str, Since],
        resuming: Mapping[Stream, Resumption],
        deliver: Callable[[Iterable[Packet]], None],
    ) -> dict[str, Mapping[int, bytes]]:
        """What the bus has for those who resume; what this process has not seen of it yet goes to all subscribers.

        A worker that has just started asks where streams are while they go on, and jumps to there: what was jumped over
        meanwhile is asked for again.
        """
        for stream, resumption in resuming.items():
            stream.resuming.append(resumption)  # what comes from now on is kept
        found: dict[str, Missed] = {}
        try:
            for _ in range(_TRIES):
                answer = await self.replay.after(asked)
                found |= answer
                deliver(list(_unseen(resuming, asked, answer)))
                asked = {
                    stream.symbol: Since(stream.epoch, min(place.seq, stream.seq))
                    for stream, resumption in resuming.items()
                    if resumption.begins_again(place := since[stream.symbol], stream.epoch)
                }
                if not asked:
                    break
        finally:
            for stream, resumption in resuming.items():
                stream.resuming.remove(resumption)
        return {symbol: missed.frames for symbol, missed in found.items()}

    def count(self, asked: int, recovered: int) -> None:
        """Counts the symbols that clients asked to resume, and those of them that they got whole."""
        self.counts["recovered_total"] += recovered
        self.counts["not_recovered_total"] += asked - recovered


def _unseen(resuming: Iterable[Stream], asked: Mapping[str, Since], answer: Mapping[str, Missed]) -> Iterator[Packet]:
    """What the bus has told for those who resume, and this process has not had."""
    for stream in resuming:
        missed = answer.get(stream.symbol)
        if missed is None or asked[stream.symbol].epoch != stream.epoch:
            continue
        if stream.seq < missed.first + len(missed.bodies) - 1:
            yield Packet(stream.symbol, stream.epoch, missed.first, missed.bodies)


def _is_refuted(stream: Stream, position: Position, asked: Since) -> bool:
    """Whether the stream holds what the bus, asked when it was at ``asked``, has no record of, or another one."""
    epoch, seq, body = position
    is_ahead = epoch == asked.epoch and seq < asked.seq
    return is_ahead or (seq == stream.seq and body is not None and body != stream.body)
