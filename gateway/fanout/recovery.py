"""What happens where a stream does not simply go on: a tick is missing, the bus was away, a client comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from bus.contract import Packet, Position, Since
from gateway.fanout.delivery import Delivery
from gateway.fanout.stream import Resumption, Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.protocol.messages import gap_frame

__all__ = ["History", "Recovery"]

Ticks: TypeAlias = list[tuple[int, str]]
History: TypeAlias = Callable[[Mapping[str, Since]], Awaitable[Mapping[str, Ticks | None]]]


class Recovery:
    """Tells clients what they missed, and brings them what can be had of it."""

    def __init__(self, subscriptions: Subscriptions, delivery: Delivery, history: History) -> None:
        """``history`` gives all ticks after a place of each symbol as ``(seq, body)``, or None where it has not all."""
        self._subscriptions = subscriptions
        self._delivery = delivery
        self._history = history
        self.counts = dict.fromkeys(("gaps_total", "missed_total", "recovered_total", "not_recovered_total"), 0)

    # What arrives

    def catch_up(self, stream: Stream | None, packet: Packet, due: dict[Stream, list[bytes]]) -> Stream | None:
        """The stream of a packet that does not simply follow, made ready to take in what is new of it; or None.

        ``due`` has what is to be delivered of packets before this one.
        """
        symbol, epoch, seq, bodies = packet
        keeps_all = self._subscriptions.keeps_all
        if stream is None:
            if not keeps_all:
                return None
            stream = self._subscriptions.discover(symbol)
        if not stream.epoch:
            stream.move(epoch, seq - 1, None)
        elif epoch != stream.epoch or seq > stream.seq + 1:
            if stream in due:  # what came before the gap is not to come behind its report
                self._delivery.deliver_one(stream, due.pop(stream))
            self._report_gap(stream, epoch, seq - 1)
        if stream.body is None and keeps_all and seq == stream.seq + 1:
            stream.move(epoch, seq, bodies[0])
            self._introduce(stream)
        return stream if seq + len(bodies) > stream.seq + 1 else None

    def _report_gap(self, stream: Stream, epoch: str, seq: int) -> None:
        """Tells the subscribers that the stream goes on behind ``seq``."""
        missed = seq - stream.seq if epoch == stream.epoch else None
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
        """Sends the first tick of a symbol as a snapshot: those who take everything were not told its epoch."""
        for outbox in self._subscriptions.audience(stream):
            outbox.report(stream.symbol, stream.snapshot)

    # What the bus says

    def settle(self, positions: Mapping[str, Position]) -> None:
        """Holds the streams against what the bus says of them, and tells the subscribers of what was missed.

        What the bus has that has not arrived comes as a snapshot: it may be old.
        """
        for symbol, (epoch, seq, body) in positions.items():
            stream = self._subscriptions.streams.get(symbol)
            if stream is None or (epoch == stream.epoch and seq <= stream.seq):
                continue  # it arrived meanwhile
            if not stream.epoch:
                stream.place(epoch, seq, body)
                if body is not None:
                    self._introduce(stream)
                continue
            before = seq if body is None else seq - 1
            if epoch != stream.epoch or before > stream.seq:
                self._report_gap(stream, epoch, before)
            stream.jump(epoch, seq, body)
            if body is not None:
                self._delivery.deliver_one(stream, [stream.snapshot])

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
