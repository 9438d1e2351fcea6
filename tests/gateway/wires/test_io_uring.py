"""A ring does what a call of ``send`` on each socket does, on real sockets and a real kernel."""

from __future__ import annotations

import gc
import logging
import resource
import secrets
import socket
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from channels.layers import get_channel_layer
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.process import get_node
from gateway.loadtest.limits import raise_file_limit
from gateway.wires.io_uring import ROOM, Ring

MANY = 1_300
"""Not a multiple of what a ring has entries."""


def open_ring() -> Ring:
    try:
        return Ring()
    except OSError as error:
        pytest.skip(f"no io_uring: {error}")


@pytest.fixture
def ring() -> Ring:
    return open_ring()


class Line:
    """A TCP connection: a ring writes into one end, and the test reads at the other."""

    def __init__(self, listening: socket.socket) -> None:
        self.theirs = socket.create_connection(listening.getsockname())
        self.ours, _ = listening.accept()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.read = bytearray()

    def receive(self) -> bytes:
        """All that was written since this was last asked."""
        received = bytearray()
        try:
            while data := self.theirs.recv(1 << 20):
                received += data
        except BlockingIOError:
            pass
        return bytes(received)

    def stuff(self) -> int:
        """Fills the socket up; returns with how many bytes."""
        written = 0
        try:
            while True:
                written += self.ours.send(bytes(ROOM))
        except BlockingIOError:
            return written

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@contextmanager
def opened(count: int) -> Iterator[list[Line]]:
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=count) as listening:
        # Small, so that a socket is full soon.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        lines = [Line(listening) for _ in range(count)]
        for line in lines:
            stack.callback(line.close)
        yield lines


def descriptors(lines: list[Line]) -> array[int]:
    return array("I", [line.ours.fileno() for line in lines])


@pytest.fixture
def many() -> Iterator[list[Line]]:
    raise_file_limit(2 * MANY)
    with opened(MANY) as lines:
        yield lines


@pytest.mark.parametrize("size", [1, 105, 5_000])
def test_everybody_gets_the_same(ring: Ring, many: list[Line], size: int) -> None:
    for number in range(3):
        data = secrets.token_bytes(size)
        assert ring.send(descriptors(many), data) == []
        assert all(line.receive() == data for line in many), number


def test_everybody_gets_what_is_its_own(ring: Ring, many: list[Line]) -> None:
    # More in all than the ring has room for.
    messages = [secrets.token_bytes(100 + 3 * number % 2_000) for number in range(MANY)]
    assert sum(map(len, messages)) > ROOM
    assert ring.send_each(descriptors(many), messages) == []
    assert [line.receive() for line in many] == messages
    assert ring.send(descriptors(many), b"and all the same again") == []
    assert {line.receive() for line in many} == {b"and all the same again"}


def test_nobody_is_nobody(ring: Ring) -> None:
    assert ring.send(array("I"), b"x") == []
    assert ring.send_each(array("I"), []) == []


def test_a_full_socket_is_reported_with_what_it_took_and_gets_nothing_more(ring: Ring) -> None:
    with opened(3) as lines:
        _, slow, _ = lines
        data = secrets.token_bytes(ROOM)
        taken = bytearray()
        while True:
            ((index, count),) = ring.send(descriptors([slow]), data)
            assert index == 0
            if not count:
                break
            taken += data[:count]
        assert ring.send(descriptors(lines), b"next") == [(1, 0)]
        received = bytearray()
        while len(received) < len(taken):
            received += slow.receive()
        assert received == taken
        # Room enough now, and nothing comes that was not sent.
        assert ring.send(descriptors(lines), b"last") == []
        assert [line.receive() for line in lines] == [b"nextlast", b"last", b"nextlast"]


def test_what_a_socket_with_little_room_takes_is_the_beginning(ring: Ring) -> None:
    with opened(2) as lines:
        data = secrets.token_bytes(ROOM)
        short = dict(ring.send_each(descriptors(lines), [data, b"whole"]))
        assert short.keys() == {0}
        assert 0 < short[0] < ROOM
        received = b""
        while len(received) < short[0]:
            received += lines[0].receive()
        assert received == data[: short[0]]
        assert lines[1].receive() == b"whole"


def test_a_connection_that_is_gone_is_passed_over(ring: Ring) -> None:
    with opened(4) as lines:
        first, reset, shut, last = lines
        reset.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reset.theirs.close()
        shut.ours.shutdown(socket.SHUT_WR)
        assert ring.send(descriptors(lines), b"x") == []
        assert ring.send(array("I", [first.ours.fileno(), 999_999, last.ours.fileno()]), b"y") == []
        assert first.receive() == last.receive() == b"xy"


class Starved(Ring):
    """On a kernel that has no memory for more than ``left`` sends at a time."""

    left: int | None = None

    def _submit(self, count: int) -> int:
        return super()._submit(count if self.left is None else min(count, self.left)) if self.left != 0 else 0


@pytest.mark.parametrize("left", [0, 1, 5])
def test_what_the_kernel_has_no_memory_for_was_not_taken(left: int) -> None:
    open_ring()
    ring = Starved()
    with opened(12) as lines:
        assert ring.send(descriptors(lines[:7]), b"a") == []
        ring.left = left
        assert ring.send(descriptors(lines), b"b") == [(index, 0) for index in range(left, 12)]
        ring.left = None
        assert ring.send(descriptors(lines), b"c") == []
        assert [line.receive() for line in lines] == [
            b"a" * (index < 7) + b"b" * (index < left) + b"c" for index in range(12)
        ]


steps = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=6, unique=True),
        st.sampled_from(["same", "own", "stuff", "read"]),
        st.integers(1, 60_000),
    ),
    max_size=20,
)


@settings(max_examples=100)
@given(steps)
def test_whatever_is_sent_to_whom_what_was_taken_arrives_in_order(script: list[tuple[list[int], str, int]]) -> None:
    ring = open_ring()
    with opened(6) as lines:
        taken = [bytearray() for _ in lines]
        for who, what, size in script:
            audience = [lines[index] for index in who]
            messages = [secrets.token_bytes(size + 100 * index) for index in who]
            if what == "stuff":
                for index in who:
                    taken[index] += bytes(lines[index].stuff())
            elif what == "read":
                for line in audience:
                    line.read += line.receive()
            else:
                if what == "same":
                    messages = messages[:1] * len(who)
                    short = dict(ring.send(descriptors(audience), messages[0] if messages else b"x"))
                else:
                    short = dict(ring.send_each(descriptors(audience), messages))
                for place, index in enumerate(who):
                    taken[index] += messages[place][: short.get(place, len(messages[place]))]
        for line, expected in zip(lines, taken, strict=True):
            while len(line.read) < len(expected):
                line.read += line.receive()
            line.read += line.receive()
            assert line.read == expected


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_ring_that_is_let_go_of_leaves_nothing(ring: Ring) -> None:
    gc.collect()
    before = open_files()
    another = open_ring()
    assert open_files() > before
    del another
    gc.collect()
    assert open_files() == before


async def test_a_node_without_a_ring_says_why(caplog: pytest.LogCaptureFixture) -> None:
    get_channel_layer()  # which opens files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with caplog.at_level(logging.INFO, "gateway"):
        # The kernel gives us none, for a reason that can be had anywhere.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            node = get_node()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert node.counts()["io_uring"] == 0
    assert "since there is no io_uring" in caplog.text
