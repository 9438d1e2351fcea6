"""What happens where a stream does not simply go on: a tick is missing, the bus was away, a client comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

from bus.contract import Packet, Position, Since
from gateway.fanout.delivery import Delivery
from gateway.fanout.doubts import Doubts, Positions
from gateway.fanout.stream import Resumption, Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.protocol.messages import gap_frame

__all__ = ["History", "Recovery"]

Ticks: TypeAlias = list[tuple[int, str]]
History: TypeAlias = Callable[[Mapping[str, Since]], Awaitable[Mapping[str, Ticks | None]]]

_NOWHERE: Final = Since("", 0)


class Recovery:
    """Tells clients what they missed, and brings them what can be had of it.

    What a packet says that does not simply follow is not believed: the bus is asked where the stream is.
    """

    def __init__(
        self, subscriptions: Subscriptions, delivery: Delivery, history: History, positions: Positions
    ) -> None:
        """``history`` gives all ticks after a place of each symbol as ``(seq, body)``, or None where it has not all;
        ``positions`` where the streams of symbols are.
        """
        self._subscriptions = subscriptions
        self._delivery = delivery
        self._history = history
        self.doubts = Doubts(positions, self.settle)
        self._epochs: set[str] = set()
        """Those that the bus has named."""
        self.counts = dict.fromkeys(("gaps_total", "missed_total", "recovered_total", "not_recovered_total"), 0)

    # What arrives

    def catch_up(self, stream: Stream | None, packet: Packet) -> Stream | None:
        """The stream of a packet that does not simply follow, made ready to take in what is new of it; or None."""
        symbol, epoch, seq, bodies = packet
        last = seq + len(bodies) - 1
        if stream is None:
            if not self._subscriptions.keeps_all:
                return None
            if seq != 1 or epoch not in self._epochs:
                self.doubts.add(packet, Since("", 0))
                return None
            stream = self._subscriptions.discover(symbol)
            stream.place(epoch, 0, None)
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
            self._epochs.add(position.epoch)
            stream = self._subscriptions.streams.get(symbol)
            if stream is None:
                if not self._subscriptions.keeps_all or not position.seq:
                    continue
                stream = self._subscriptions.discover(symbol)
            self._place(stream, position, (asked or {}).get(symbol, _NOWHERE))
            for packet in self.doubts.following(symbol, stream):
                self._follow(stream, packet)

    def _place(self, stream: Stream, position: Position, asked: Since) -> None:
        epoch, seq, body = position
        if not stream.epoch:
            stream.place(epoch, seq, body)
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
        # What comes from now on is kept, until the bus has said what came before.
        resuming: dict[str, tuple[Stream, Resumption]] = {}
        for symbol, place in since.items():
            stream = self._subscriptions.streams.get(symbol)
            if stream is not None and place.epoch == stream.epoch:
                resuming[symbol] = stream, Resumption(place)
                stream.resuming.append(resuming[symbol][1])
        try:
            history = await self._missed_by(resuming, deliver)
        finally:
            for stream, resumption in resuming.values():
                stream.resuming.remove(resumption)
        frames = {
            symbol: resumption.missed(history.get(symbol, []), stream.seq)
            for symbol, (stream, resumption) in resuming.items()
        }
        return {symbol: missed for symbol, missed in frames.items() if missed is not None}

    async def _missed_by(
        self, resuming: Mapping[str, tuple[Stream, Resumption]], deliver: Callable[[Iterable[Packet]], None]
    ) -> dict[str, Ticks]:
        """What the bus has for those who resume; brings the streams up to it as well.

        A client may have come from another gateway and be ahead of this one, so the bus is asked from the earlier of
        the two places, and what this process has not seen yet goes to all subscribers.
        """
        asked = {
            symbol: Since(stream.epoch, min(resumption.since.seq, stream.seq))
            for symbol, (stream, resumption) in resuming.items()
            if resumption.since.seq != stream.seq
        }
        if not asked:
            return {}
        known = {symbol: ticks for symbol, ticks in (await self._history(asked)).items() if ticks}
        deliver(
            Packet(symbol, asked[symbol].epoch, ticks[0][0], [body for _, body in ticks])
            for symbol, ticks in known.items()
            if resuming[symbol][0].epoch == asked[symbol].epoch  # it may have changed meanwhile
        )
        return known

    def count(self, asked: int, recovered: int) -> None:
        """Counts the symbols that clients asked to resume, and those of them that they got whole."""
        self.counts["recovered_total"] += recovered
        self.counts["not_recovered_total"] += asked - recovered


def _is_refuted(stream: Stream, position: Position, asked: Since) -> bool:
    """Whether the stream holds what the bus, asked when it was at ``asked``, has no record of, or another one."""
    epoch, seq, body = position
    is_ahead = epoch == asked.epoch and seq < asked.seq
    return is_ahead or (seq == stream.seq and body is not None and body != stream.body)
