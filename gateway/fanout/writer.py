"""Writes to many clients at once: by a ring where the system has one and it is worth it, else by a call for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress
from operator import not_

from gateway.fanout.freshness import Freshness
from gateway.fanout.gauges import Gauges
from gateway.fanout.outbox import Outbox
from gateway.fanout.schedule import Schedule
from gateway.wires.io_uring import ROOM, Ring
from gateway.wires.wire import Form, Send

__all__ = ["Crowd", "Writer", "gather"]


class Crowd:
    """Clients that keep up and get the same, by their ``send``.

    To write to them all touches nothing of a client but its socket, which is what makes a hot symbol cheap.
    """

    __slots__ = ("_sockets", "outboxes")

    def __init__(self) -> None:
        self.outboxes: dict[Send, Outbox] = {}
        self._sockets: tuple[dict[Form | None, tuple[array[int], list[Send]]], list[Send]] | None = None

    def add(self, outbox: Outbox) -> None:
        self.outboxes[outbox.send] = outbox
        self._sockets = None

    def remove(self, outbox: Outbox) -> bool:
        """Says whether it was there."""
        self._sockets = None
        return self.outboxes.pop(outbox.send, None) is not None

    @property
    def sockets(self) -> tuple[dict[Form | None, tuple[array[int], list[Send]]], list[Send]]:
        """For each form the descriptors of bare sockets and their sends in the same order; and the sends of all others.

        Kept until a client comes or goes: the descriptor of one that is gone may be another's.
        """
        if self._sockets is None:
            bare: dict[Form | None, tuple[array[int], list[Send]]] = {}
            others: list[Send] = []
            for send, outbox in self.outboxes.items():
                if outbox.descriptor < 0:
                    others.append(send)
                    continue
                descriptors, sends = bare.setdefault(outbox.form, (array("I"), []))
                descriptors.append(outbox.descriptor)
                sends.append(send)
            self._sockets = bare, others
        return self._sockets


class Writer:
    """Also counts what is written, since streams and paces come and go."""

    def __init__(self, ring: Ring | None = None, staleness: float = 0.0) -> None:
        """``ring``: writes to many sockets in one system call, where the system can. ``staleness``: how old what a
        client reads may be, in seconds; 0 for as old as it likes.
        """
        self._ring = ring
        self.freshness = Freshness(staleness)
        self.gauges = Gauges()
        self.delivered = 0
        """Ticks written to clients."""
        self.bytes = 0
        """Of these ticks, without those that waited or came at a rate."""
        self.skipped = 0
        """Ticks left out because of the rate a client chose."""
        self.paces = 0
        self._schedules: dict[float, Schedule] = {}

    def schedule(self, rate: float) -> Schedule:
        """Of all that goes out at a rate, of which there are few."""
        if rate not in self._schedules:
            self._schedules[rate] = Schedule(rate, self.write_gathered)
        return self._schedules[rate]

    def write_all(self, crowd: Crowd, data: bytes) -> list[tuple[Send, bytes, int]]:
        """Writes the same to a whole crowd, which must not change meanwhile.

        Returns which took less than all, of what, and how much: their outboxes are to be told.
        """
        ring = self._ring
        if ring is None or len(crowd.outboxes) < ring.worth or len(data) > ROOM:
            return _call(crowd.outboxes, data)
        bare, others = crowd.sockets
        short: list[tuple[Send, bytes, int]] = []
        for form, (descriptors, sends) in bare.items():
            formed = data if form is None else form(data)
            short += [(sends[index], formed, sent) for index, sent in ring.send(descriptors, formed)]
        return short + _call(others, data) if others else short

    def write_each(self, outboxes: Sequence[Outbox], messages: Sequence[bytes]) -> None:
        """Writes to each client, none of which is behind, a message of its own."""
        ring = self._ring
        if ring is None or len(outboxes) < ring.worth:
            for outbox, message in zip(outboxes, messages, strict=True):
                outbox.write(message)
            return
        if min(outbox.descriptor for outbox in outboxes) < 0 or max(map(len, messages)) > ROOM:
            outboxes, messages = _write_alone(outboxes, messages)
        forms = [outbox.form for outbox in outboxes]
        if any(forms):
            messages = [form(each) if form else each for form, each in zip(forms, messages, strict=True)]
        descriptors = array("I", [outbox.descriptor for outbox in outboxes])
        for index, sent in ring.send_each(descriptors, messages):
            outboxes[index].took(messages[index], sent)

    def write_gathered(self, touched: list[Outbox], asks: bool) -> None:
        """Writes to each what was gathered for it; ``asks``: also how far they have read."""
        self.write_each(touched, [outbox.collect() for outbox in touched])
        if asks:
            self.freshness.ask(touched)

    def counts(self) -> dict[str, int]:
        return {
            "delivered_total": self.delivered,
            "delivered_bytes_total": self.bytes,
            "rate_skipped_total": self.skipped,
            "rates": self.paces,
            "pings_total": self.freshness.asked,
            "stale_total": self.freshness.stale,
            "io_uring": int(self._ring is not None),
        }


def gather(outboxes: Iterable[Outbox], data: bytes, touched: list[Outbox]) -> None:
    """Adds to what is written to each at the end of a pass; ``touched``: who gets anything."""
    for outbox in outboxes:
        gathered = outbox.gathered
        if not gathered:
            touched.append(outbox)
        gathered.append(data)


def _call(sends: Iterable[Send], data: bytes) -> list[tuple[Send, bytes, int]]:
    # The inner loop of a hot symbol: what stands here is paid for every client and pass.
    size = len(data)
    short: list[tuple[Send, bytes, int]] = []
    sends = iter(sends)
    while True:
        try:
            for send in sends:
                sent = send(data)
                if sent != size:
                    short.append((send, data, sent))
            return short
        except BlockingIOError:
            short.append((send, data, 0))
        except OSError:
            pass  # the connection is gone; the server finds out when it reads


def _write_alone(outboxes: Sequence[Outbox], messages: Sequence[bytes]) -> tuple[list[Outbox], list[bytes]]:
    """Writes to clients without a bare socket, and what is more than a ring can carry; returns the rest."""
    alone = [outbox.descriptor < 0 or len(message) > ROOM for outbox, message in zip(outboxes, messages, strict=True)]
    for outbox, message in zip(compress(outboxes, alone), compress(messages, alone), strict=True):
        outbox.write(message)
    return list(compress(outboxes, map(not_, alone))), list(compress(messages, map(not_, alone)))
