"""Passes: the frames of several streams go to their clients, each client in at most one write."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.fanout.outbox import Outbox
from gateway.fanout.stream import Stream
from gateway.fanout.subscriptions import Subscriptions
from gateway.fanout.writer import Writer, gather

__all__ = ["Delivery"]


class Delivery:
    """Writes to the clients that keep up, parks for those that are behind, and so knows who is which."""

    def __init__(self, subscriptions: Subscriptions, writer: Writer) -> None:
        self._subscriptions = subscriptions
        self._everything = subscriptions.everything
        self._writer = writer
        self._is_writing = False
        self._moved: list[Outbox] = []
        self.passes = 0
        self.parked = 0

    def deliver(self, due: Mapping[Stream, list[bytes]]) -> None:
        """One pass. The frames of a stream stay next to each other."""
        self.passes += 1
        if len(due) == 1:
            ((stream, frames),) = due.items()
            self.deliver_one(stream, frames)
        elif due:
            self._deliver_many(due)

    def deliver_one(self, stream: Stream, frames: list[bytes]) -> None:
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        asks = stream.asked != self._writer.freshness.turn
        stream.asked = self._writer.freshness.turn
        if stream.behind:  # first, or a client that falls behind now would get the frames twice
            self._park(stream, frames)
        if stream.ready.outboxes:
            self._writer.delivered += len(frames) * len(stream.ready.outboxes)
            self._writer.bytes += len(data) * len(stream.ready.outboxes)
            self._write(stream, data)
        if stream.resuming or self._everything.has_unrated:
            others = self._others(stream, frames)
            self._writer.bytes += len(data) * len(others)
            for outbox in others:
                outbox.write(data)
            if asks:
                self._writer.freshness.ask(others)
        if asks:
            self._writer.freshness.ask(stream.ready.outboxes.values())
        self._offer(stream, frames)

    def _park(self, stream: Stream, frames: list[bytes]) -> None:
        symbol = stream.symbol
        for outbox in stream.behind:
            outbox.park(symbol, frames)
        self.parked += len(frames) * len(stream.behind)

    def _write(self, stream: Stream, data: bytes) -> None:
        # The crowd must stay as it is meanwhile, so a client that falls behind or comes back is moved afterwards.
        self._is_writing = True
        try:
            short = self._writer.write_all(stream.ready, data)
        finally:
            self._is_writing = False
        for send, written, sent in short:
            stream.ready.outboxes[send].took(written, sent)
        if self._moved:
            moved, self._moved = self._moved, []
            for outbox in moved:
                self._subscriptions.move(outbox)

    def _others(self, stream: Stream, frames: list[bytes]) -> list[Outbox]:
        """Sees to those who are not in the stream's own tables; returns whom the frames are to be written to."""
        count = len(frames)
        for resumption in stream.resuming:
            resumption.passed.update(zip(range(stream.seq - count + 1, stream.seq + 1), frames, strict=True))
        ready = []
        for outbox in self._everything.who_takes(stream, None):
            if outbox.behind:
                outbox.park(stream.symbol, frames)
                self.parked += count
            else:
                ready.append(outbox)
        self._writer.delivered += count * len(ready)
        return ready

    def _deliver_many(self, due: Mapping[Stream, list[bytes]]) -> None:
        touched: list[Outbox] = []
        turn = self._writer.freshness.turn
        asks = False
        delivered = size = 0
        for stream, frames in due.items():
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            if stream.asked != turn:
                stream.asked = turn
                asks = True
            ready = stream.ready.outboxes
            gather(ready.values(), data, touched)
            delivered += len(frames) * len(ready)
            size += len(data) * len(ready)
            if stream.behind:
                self._park(stream, frames)
            if stream.resuming or self._everything.has_unrated:
                others = self._others(stream, frames)
                size += len(data) * len(others)
                gather(others, data, touched)
        self._writer.delivered += delivered
        self._writer.bytes += size
        self._writer.write_gathered(touched, asks)
        # Only now: a client that falls behind has nothing gathered any more.
        for stream, frames in due.items():
            self._offer(stream, frames)

    def _offer(self, stream: Stream, frames: list[bytes]) -> None:
        """To those who get them at a rate."""
        if self._everything.rates:
            stream.pace(self._everything.rates)
        for pace in list(stream.paces.values()):
            pace.offer(frames[-1], len(frames))

    def moved(self, outbox: Outbox) -> None:
        """A client has fallen behind, or is back; its outbox calls this."""
        if self._is_writing:
            self._moved.append(outbox)
        else:
            self._subscriptions.move(outbox)
