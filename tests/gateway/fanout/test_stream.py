"""A stream knows its place, its last tick and its subscribers; a resumption puts together what was missed."""

from __future__ import annotations

import json

import pytest

from bus.contract import Since
from gateway.fanout.outbox import Outbox
from gateway.fanout.recent import Recent, Room
from gateway.fanout.stream import Resumption, Stream
from gateway.fanout.writer import Writer
from gateway.protocol.frames import texts
from gateway.protocol.messages import tick_frame
from tests.gateway.fakes import NEVER, FakeRing, FakeWire

EPOCH = "e0000001"


@pytest.fixture
def stream() -> Stream:
    return Stream("A", Writer())


def body(number: int) -> str:
    return f'"symbol":"A","price":{number}'


def seqs(frames: bytes | None) -> list[int] | None:
    """The ticks in frames; their prices must be their seqs."""
    if frames is None:
        return None
    messages = [json.loads(text) for text in texts(frames)]
    assert all(message["price"] == message["seq"] for message in messages)
    return [message["seq"] for message in messages]


def test_ticks_are_numbered_from_where_the_stream_is(stream: Stream) -> None:
    stream.place(EPOCH, 41, body(41))
    assert seqs(b"".join(stream.advance([body(42), body(43)]))) == [42, 43]
    assert (stream.seq, stream.body) == (43, body(43))


def test_a_snapshot_is_always_the_last_tick(stream: Stream) -> None:
    assert stream.snapshot == b""
    stream.place(EPOCH, 0, None)
    assert stream.snapshot == b""
    stream.advance([body(1)])
    assert [json.loads(text) for text in texts(stream.snapshot)] == [
        {"type": "snapshot", "symbol": "A", "price": 1, "seq": 1, "epoch": EPOCH}
    ]
    stream.advance([body(2), body(3)])
    assert b'"seq":3' in stream.snapshot
    stream.move("e0000002", 7, body(7))
    assert b'"seq":7,"epoch":"e0000002"' in stream.snapshot
    stream.move("e0000003", 0, None)
    assert stream.snapshot == b""


async def test_a_subscriber_stands_where_it_belongs(stream: Stream) -> None:
    ready, slow, rated = [Outbox(FakeWire(), patience=60) for _ in range(3)]
    slow.behind = True
    for outbox, rate in ((ready, None), (slow, None), (rated, NEVER)):
        stream.attach(outbox, rate)
    assert list(stream.ready.outboxes.values()) == [ready]
    assert list(stream.behind) == [slow]
    assert list(stream.paces[NEVER].members) == [rated]
    assert list(stream.subscribers()) == [ready, slow, rated]
    for outbox, rate in ((ready, None), (slow, None), (rated, NEVER), (ready, None), (rated, NEVER)):
        stream.detach(outbox, rate)
    assert not stream.ready.outboxes
    assert not stream.behind
    assert not stream.paces


async def test_the_crowd_is_always_who_is_there_now(stream: Stream) -> None:
    ring = FakeRing()
    bare = [Outbox(FakeWire(ring), patience=60) for _ in range(3)]
    other = Outbox(FakeWire(), patience=60)

    def crowd(*numbers: int) -> None:
        forms, others = stream.ready.sockets
        ((form, (descriptors, sends)),) = forms.items()
        assert form is None
        assert list(descriptors) == list(numbers)
        assert sends == [bare[number].send for number in numbers]
        assert others == [other.send]

    def move(outbox: Outbox, is_behind: bool) -> None:
        outbox.behind = is_behind
        stream.move_subscriber(outbox)

    for outbox in (*bare, other):
        stream.attach(outbox, None)
    crowd(0, 1, 2)
    move(bare[1], True)
    crowd(0, 2)
    stream.detach(bare[0], None)
    crowd(2)
    move(bare[1], False)
    crowd(2, 1)
    stream.attach(bare[0], NEVER)
    crowd(2, 1)
    bare[2].let_go()
    move(bare[2], True)
    crowd(1)


async def test_a_stream_is_settled_when_no_rate_keeps_a_tick_back(stream: Stream) -> None:
    rated, other = Outbox(FakeWire(), patience=60), Outbox(FakeWire(), patience=60)
    stream.attach(rated, NEVER)
    stream.attach(other, 0.02)
    assert stream.is_settled
    for seq in (1, 2):
        stream.paces[NEVER].offer(tick_frame(body(seq), seq), 1)
    assert not stream.is_settled
    stream.detach(rated, NEVER)
    assert stream.is_settled


def test_what_was_missed_is_what_the_history_has_and_what_came_meanwhile() -> None:
    resumption = Resumption(Since(EPOCH, 3))
    resumption.passed = {seq: tick_frame(body(seq), seq) for seq in (6, 7)}
    history = {seq: tick_frame(body(seq), seq) for seq in (2, 3, 4, 5, 6)}
    assert seqs(resumption.missed(history, 7)) == [4, 5, 6, 7]
    for nowhere in (5, 4):
        del history[nowhere]
        assert seqs(resumption.missed(history, 7)) is None
    assert seqs(resumption.missed({}, 3)) == []


def test_what_is_ahead_or_has_a_gap_cannot_be_resumed() -> None:
    resumption = Resumption(Since(EPOCH, 3))
    assert resumption.missed({}, 2) is None
    resumption.is_broken = True
    assert resumption.missed({4: tick_frame(body(4), 4)}, 4) is None


# What a stream keeps


def kept(*sizes: int, room: Room) -> Recent:
    """After packets of so many ticks, a second apart."""
    recent = Recent(room)
    seq = 1
    for now, size in enumerate(sizes):
        recent.add(float(now), seq, [tick_frame(body(number), number) for number in range(seq, seq + size)])
        seq += size
    return recent


@pytest.mark.parametrize("sizes", [[1] * 9, [3, 3, 3], [9], [2, 1, 4, 2]])
def test_a_stream_has_what_came_after_any_place_that_it_has_seen(sizes: list[int]) -> None:
    recent = kept(*sizes, room=Room(100, 60.0, 10_000))
    for seq in range(9):
        assert seqs(recent.after(seq, 9.0)) == list(range(seq + 1, 10))
    assert recent.after(9, 9.0) is None
    recent.clear()
    assert recent.after(5, 9.0) is None


def test_a_stream_keeps_so_many_ticks_seconds_and_bytes() -> None:
    assert kept(*[1] * 20, room=Room(5, 60.0, 10_000)).after(14, 20.0) is None
    assert seqs(kept(*[1] * 20, room=Room(5, 60.0, 10_000)).after(15, 20.0)) == [16, 17, 18, 19, 20]
    assert kept(*[1] * 20, room=Room(100, 4.5, 10_000)).after(14, 20.0) is None
    assert seqs(kept(*[1] * 20, room=Room(100, 4.5, 10_000)).after(16, 20.0)) == [17, 18, 19, 20]
    room = Room(100, 60.0, 1_000)
    room.divide(2)
    frame = tick_frame(body(20), 20)
    assert kept(*[1] * 20, room=room).after(20 - 500 // len(frame) - 1, 20.0) is None
    assert kept(*[1] * 20, room=room).after(20 - 500 // len(frame), 20.0) is not None
    assert kept(1, 1, room=Room(100, 60.0, 10)).after(1, 2.0) is None
    assert kept(1, 1, room=Room(0, 60.0, 10_000)).after(1, 2.0) is None


def test_a_tick_that_was_another_one_contradicts() -> None:
    recent = kept(1, 3, 1, room=Room(100, 60.0, 10_000))
    assert not recent.contradicts(2, [body(2), body(3), body(4)])
    assert recent.contradicts(2, [body(2), body(77)])
    assert not recent.contradicts(77, [body(1)])  # nobody knows
