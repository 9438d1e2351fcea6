"""The wire of a client that asked for traces, before another one."""

from __future__ import annotations

from gateway.protocol.codes import SLOW_CONSUMER
from gateway.protocol.frames import PING, text_frame
from gateway.wires.rewriting import RewritingWire
from tests.gateway.fakes import FakeRing, FakeWire


def longer(frames: bytes) -> bytes:
    return frames + text_frame(b"more")


FRAME = text_frame(b"a tick")


def test_what_is_sent_is_what_was_made_of_the_frames() -> None:
    socket = FakeWire()
    assert RewritingWire(socket, longer).send(FRAME) == len(FRAME)
    assert socket.writes == [longer(FRAME)]


def test_what_the_socket_did_not_take_is_finished() -> None:
    socket = FakeWire()
    socket.full = True
    wire = RewritingWire(socket, longer)
    assert wire.send(FRAME) == 0
    wire.finish(FRAME)
    assert socket.writes == [longer(FRAME)]


def test_a_socket_that_would_block_takes_all_of_it_later() -> None:
    class Blocked(FakeWire):
        def _take(self, frames: bytes) -> int:
            self.writes.append(b"")
            raise BlockingIOError

    socket = Blocked()
    wire = RewritingWire(socket, longer)
    assert wire.send(FRAME) == 0
    wire.finish(FRAME)
    assert socket.writes == [longer(FRAME)]


def test_all_else_is_the_other_wires() -> None:
    socket = FakeWire(answers_pings=True)
    wire = RewritingWire(socket, lambda frames: frames)
    assert (wire.answers_pings, wire.is_tidy, wire.fileno(), wire.queue()) == (True, True, -1, None)
    wire.send(PING)
    wire.pause_reading()
    assert not socket.reading
    wire.resume_reading()
    assert socket.reading
    wire.close(SLOW_CONSUMER)
    wire.release()
    assert (socket.closure, socket.released) == (SLOW_CONSUMER, True)


def test_a_form_of_many_is_theirs_who_write_to_the_socket() -> None:
    socket = FakeWire(FakeRing())
    wire = RewritingWire(socket, longer, is_shared=True)
    assert (wire.form, wire.fileno()) == (longer, 0)
    assert RewritingWire(socket, longer).fileno() == -1
    traced = RewritingWire(wire, longer)
    assert (traced.form, traced.fileno()) == (None, -1)
    socket.full = True
    frames = longer(FRAME)
    sent = socket.send(frames)
    wire.finish(frames[sent:])
    assert socket.writes == [frames]
