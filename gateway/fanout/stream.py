"""One symbol's stream in this process: where it is, and who gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TypeAlias

from bus.contract import Since
from gateway.fanout.outbox import Outbox
from gateway.fanout.pace import Pace
from gateway.fanout.recent import NO_ROOM, Recent, Room
from gateway.fanout.writer import Crowd, Writer
from gateway.protocol.messages import Position, snapshot_frame, subscribed_frame, tick_frame

__all__ = ["Resumption", "Stream"]


class Resumption:
    """A client that is about to join a stream again: keeps what comes while the bus is asked for what it missed."""

    __slots__ = ("head", "is_broken", "passed", "since")

    def __init__(self, since: Since, head: bytes = b"") -> None:
        """``head``: the frames up to ``since``, where it had to be told what came before that."""
        self.since = since
        self.head = head
        self.passed: dict[int, bytes] = {}
        self.is_broken = False

    def begins_again(self, place: Since, epoch: str) -> bool:
        """Whether the stream jumped, in the epoch of ``place``: what came after that is to be asked for then."""
        if self.is_broken and place.epoch == epoch:
            self.since, self.head, self.passed, self.is_broken = place, b"", {}, False
            return True
        return False

    def missed(self, history: Mapping[int, bytes], upto: int) -> bytes | None:
        """The frames of all ticks up to ``upto`` that it has not, or None if one is missing.

        ``history``: what the bus had, by seq.
        """
        if self.is_broken or self.since.seq > upto:
            return None
        passed = self.passed
        try:
            rest = [passed.get(seq) or history[seq] for seq in range(self.since.seq + 1, upto + 1)]
        except KeyError:
            return None
        return b"".join([self.head, *rest])


def _nobody(*_: object) -> list[Outbox]:
    return []


Followers: TypeAlias = "Callable[[Stream, float], Sequence[Outbox]]"


class Stream:
    """A symbol's place in its sequence, its last tick, and its subscribers.

    ``ready`` has those that keep up and take every tick, ``behind`` those that do not keep up, ``paces`` those that
    chose a rate, ``resuming`` those that are not quite there yet. Who takes everything is in none of them
    (gateway/fanout/everything.py).
    """

    __slots__ = (
        "_answer",
        "_followers",
        "_snapshot",
        "_writer",
        "asked",
        "beat",
        "behind",
        "body",
        "epoch",
        "host",
        "number",
        "paces",
        "ready",
        "recent",
        "resuming",
        "seq",
        "symbol",
        "ticked",
    )

    def __init__(
        self,
        symbol: str,
        writer: Writer,
        room: Room = NO_ROOM,
        number: int = 0,
        followers: Followers = _nobody,
        *,
        host: int = 0,
    ) -> None:
        """``room``: how much of what it delivers is kept for clients that come back. ``number``: higher than those of
        all streams before it. ``followers``: who gets it at a rate without being in its tables. ``host``: where the
        bus has it.
        """
        self.symbol = symbol
        self.number = number
        self.host = host
        self.recent = Recent(room)
        self._followers = followers
        self._writer = writer
        self.epoch = ""
        """Empty until the bus has told it."""
        self.seq = 0
        self.body: str | None = None
        self.ready = Crowd()
        self.behind: dict[Outbox, None] = {}
        self.paces: dict[float, Pace] = {}
        self.resuming: list[Resumption] = []
        self.asked = 0
        """The turn in which its subscribers were asked last how far they have read."""
        self.beat = 0
        """The seq at the last round of heartbeats."""
        self.ticked = 0
        """The round of heartbeats before which it ticked last; 0 when it has come to rest, and all know where."""
        self._snapshot = self._answer = b""

    def advance(self, bodies: Sequence[str]) -> list[bytes]:
        """Takes the next ticks in; returns their frames."""
        seq = self.seq
        frames = [tick_frame(body, seq) for seq, body in enumerate(bodies, seq + 1)]
        self.recent.add(monotonic(), seq + 1, frames)
        self.seq = seq + len(bodies)
        self.body = bodies[-1]
        self._snapshot = self._answer = b""
        return frames

    def place(self, epoch: str, seq: int, body: str | None) -> None:
        """Begins where the bus says that the stream is; nothing has ticked here yet."""
        self.move(epoch, seq, body)
        self.beat = seq

    def move(self, epoch: str, seq: int, body: str | None) -> None:
        """Goes on from another place."""
        self.epoch, self.seq, self.body = epoch, seq, body
        self.recent.clear()
        self._snapshot = self._answer = b""

    def jump(self, epoch: str, seq: int, body: str | None) -> None:
        """Moves past ticks that did not come, so that those who resume cannot be given all of them."""
        for resumption in self.resuming:
            resumption.is_broken = True
        self.move(epoch, seq, body)

    def since(self, seq: int) -> bytes | None:
        """The frames of all ticks after ``seq``, if it has them itself."""
        return b"" if seq == self.seq else self.recent.after(seq, monotonic())

    @property
    def snapshot(self) -> bytes:
        """The frame of the last tick; empty if there is none."""
        if not self._snapshot and self.body is not None:
            self._snapshot = snapshot_frame(self.body, self.seq, self.epoch)
        return self._snapshot

    @property
    def answer(self) -> bytes:
        """The frames that answer a plain subscription to this symbol alone: where it is, and the last tick."""
        if not self._answer:
            positions = {self.symbol: Position(self.seq, self.epoch)}
            self._answer = subscribed_frame((self.symbol,), positions) + self.snapshot
        return self._answer

    @property
    def at(self) -> Since:
        return Since(self.epoch, self.seq)

    @property
    def is_settled(self) -> bool:
        """Whether no rate keeps a tick back."""
        return not self.paces or all(pace.is_settled for pace in self.paces.values())

    def subscribers(self) -> Iterator[Outbox]:
        yield from list(self.ready.outboxes.values())
        yield from list(self.behind)
        for pace in list(self.paces.values()):
            yield from list(pace.members)

    @property
    def held_by(self) -> int:
        """How many clients subscribed to it by name."""
        return len(self.ready.outboxes) + len(self.behind) + sum(len(pace.members) for pace in self.paces.values())

    def attach(self, outbox: Outbox, rate: float | None) -> None:
        """Adds a subscriber that holds the last tick."""
        if rate is not None:
            self.pace([rate])
            self.paces[rate].add(outbox)
        elif outbox.behind:
            self.behind[outbox] = None
        else:
            self.ready.add(outbox)

    def detach(self, outbox: Outbox, rate: float | None, stays: bool = False) -> None:
        """``stays``: it goes on another way, and must hold the last tick first."""
        if rate is None:
            self.ready.remove(outbox)
            self.behind.pop(outbox, None)
        elif rate in self.paces:
            if stays:
                self.paces[rate].release(outbox)
            else:
                self.paces[rate].remove(outbox)

    def pace(self, rates: Iterable[float]) -> None:
        """Somebody gets the next tick at these rates."""
        for rate in rates:
            if rate not in self.paces:
                retired = partial(self.paces.pop, rate)
                self.paces[rate] = Pace(self.symbol, rate, self._writer, partial(self._followers, self, rate), retired)

    def close(self) -> None:
        """Nobody is left who wants it."""
        for pace in list(self.paces.values()):
            pace.retire()

    def move_subscriber(self, outbox: Outbox) -> None:
        """One that takes every tick has fallen behind, or is back."""
        if outbox.behind:
            if self.ready.remove(outbox):
                self.behind[outbox] = None
        elif outbox in self.behind:
            del self.behind[outbox]
            self.ready.add(outbox)
