"""One symbol's stream in this process: where it is, and who gets it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from bus.contract import Since
from gateway.fanout.outbox import Outbox
from gateway.fanout.pace import Pace, Tally
from gateway.protocol.messages import snapshot_frame, tick_frame
from gateway.wires.io_uring import Ring

__all__ = ["Crowd", "Resumption", "Stream"]

Send: TypeAlias = Callable[[bytes], int]


class Resumption:
    """A client that is about to join a stream again: keeps what comes while the bus is asked for what it missed."""

    __slots__ = ("is_broken", "passed", "since")

    def __init__(self, since: Since) -> None:
        self.since = since
        self.passed: dict[int, bytes] = {}
        self.is_broken = False

    def missed(self, history: list[tuple[int, str]], upto: int) -> bytes | None:
        """The frames of all ticks after ``since`` up to ``upto``, or None if one is missing.

        ``history``: what the bus had, as ``(seq, body)``.
        """
        if self.is_broken or self.since.seq > upto:
            return None
        frames = {seq: tick_frame(body, seq) for seq, body in history}
        frames.update(self.passed)
        try:
            return b"".join([frames[seq] for seq in range(self.since.seq + 1, upto + 1)])
        except KeyError:
            return None


class Crowd(NamedTuple):
    """The sends of ``Stream.ready``, those of bare sockets apart, in the order of their descriptors."""

    descriptors: array[int]
    sends: list[Send]
    others: list[Send]


class Stream:
    """A symbol's place in its sequence, its last tick, and its subscribers.

    ``ready`` maps the ``send`` of every subscriber that keeps up and takes every tick to its outbox: a pass goes over
    the sends, and touches nothing else of a client whose socket takes all. ``behind`` has those that do not keep up,
    ``paces`` those that chose a rate, ``resuming`` those that are not quite there yet.
    """

    __slots__ = (
        "_crowd",
        "_ring",
        "_snapshot",
        "_tally",
        "beat",
        "behind",
        "body",
        "epoch",
        "is_quiet",
        "paces",
        "ready",
        "resuming",
        "seq",
        "symbol",
    )

    def __init__(self, symbol: str, tally: Tally, ring: Ring | None = None) -> None:
        """``ring``: for paces to write to many clients by."""
        self.symbol = symbol
        self._tally = tally
        self._ring = ring
        self.epoch = ""
        """Empty until the bus has told it."""
        self.seq = 0
        self.body: str | None = None
        self.ready: dict[Send, Outbox] = {}
        self.behind: dict[Outbox, None] = {}
        self.paces: dict[float, Pace] = {}
        self.resuming: list[Resumption] = []
        self.beat = 0
        """The seq at the last heartbeat."""
        self.is_quiet = False
        self._snapshot = b""
        self._crowd: Crowd | None = None

    def advance(self, bodies: list[str]) -> list[bytes]:
        """Takes the next ticks in; returns their frames."""
        seq = self.seq
        frames = [tick_frame(body, seq) for seq, body in enumerate(bodies, seq + 1)]
        self.seq = seq + len(bodies)
        self.body = bodies[-1]
        self._snapshot = b""
        return frames

    def place(self, epoch: str, seq: int, body: str | None) -> None:
        """Begins where the bus says that the stream is; nothing has ticked here yet."""
        self.move(epoch, seq, body)
        self.beat = seq

    def move(self, epoch: str, seq: int, body: str | None) -> None:
        """Jumps to another place."""
        self.epoch, self.seq, self.body = epoch, seq, body
        self._snapshot = b""

    @property
    def snapshot(self) -> bytes:
        """The frame of the last tick; empty if there is none."""
        if not self._snapshot and self.body is not None:
            self._snapshot = snapshot_frame(self.body, self.seq, self.epoch)
        return self._snapshot

    @property
    def is_settled(self) -> bool:
        """Whether no rate keeps a tick back."""
        return not self.paces or all(pace.is_settled for pace in self.paces.values())

    @property
    def crowd(self) -> Crowd:
        """Who is in ``ready``, for those who do not call each.

        It is put together anew whenever one came or went: the descriptor of a client that is gone may be another's.
        """
        if self._crowd is None:
            descriptors, sends, others = array("I"), [], []
            for send, outbox in self.ready.items():
                descriptor = outbox.descriptor
                if descriptor < 0:
                    others.append(send)
                else:
                    descriptors.append(descriptor)
                    sends.append(send)
            self._crowd = Crowd(descriptors, sends, others)
        return self._crowd

    def subscribers(self) -> Iterator[Outbox]:
        yield from list(self.ready.values())
        yield from list(self.behind)
        for pace in list(self.paces.values()):
            yield from pace.members

    def attach(self, outbox: Outbox, rate: float | None) -> None:
        """Adds a subscriber that holds the last tick."""
        if rate is not None:
            if rate not in self.paces:
                self.paces[rate] = Pace(self.symbol, rate, self._tally, self._ring)
            self.paces[rate].add(outbox)
        elif outbox.behind:
            self.behind[outbox] = None
        else:
            self._admit(outbox)

    def detach(self, outbox: Outbox, rate: float | None, stays: bool = False) -> None:
        """``stays``: it goes on another way, and must hold the last tick first."""
        if rate is None:
            self._dismiss(outbox)
            self.behind.pop(outbox, None)
        elif rate in self.paces:
            if stays:
                self.paces[rate].release(outbox)
            else:
                self.paces[rate].remove(outbox)
            if not self.paces[rate]:
                del self.paces[rate]

    def fell_behind(self, outbox: Outbox) -> None:
        """A subscriber does not keep up any more."""
        if self._dismiss(outbox):
            self.behind[outbox] = None

    def came_back(self, outbox: Outbox) -> None:
        """It does again."""
        if outbox in self.behind:
            del self.behind[outbox]
            self._admit(outbox)

    def _admit(self, outbox: Outbox) -> None:
        self.ready[outbox.send] = outbox
        self._crowd = None

    def _dismiss(self, outbox: Outbox) -> bool:
        self._crowd = None
        return self.ready.pop(outbox.send, None) is not None
