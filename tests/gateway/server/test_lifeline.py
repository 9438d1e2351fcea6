"""Signs of life: who is given up, and who must not be."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from unittest import mock

import pytest

from gateway.server import lifeline
from gateway.server.lifeline import ALIVE, ENDING, READY, Heartbeat, Watch, lend
from tests.gateway.server.memory import until

BEAT = 0.02


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "BEAT_SECONDS", BEAT)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def watch(
    own: socket.socket,
    on_ready: mock.Mock | None = None,
    *,
    start: float = 30.0,
    silence: float = 30.0,
    end: float = 30.0,
) -> Watch:
    return Watch(own, mock.Mock(), on_ready or mock.Mock(), start=start, silence=silence, end=end)


async def test_a_worker_whose_loop_turns_is_never_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ready = mock.Mock()
    watching = asyncio.create_task(watch(ours, ready, silence=50 * BEAT).silent())
    heartbeat = Heartbeat(theirs, mock.Mock(), mock.Mock())
    heartbeat.start()
    heartbeat.say(READY)
    await until(lambda: ready.called)
    await asyncio.sleep(100 * BEAT)
    assert not watching.done()
    watching.cancel()


@pytest.mark.parametrize(("signs", "which"), [(b"", "start"), (READY, "silence"), (READY + ENDING, "end")])
async def test_how_long_silence_is_borne(signs: bytes, which: str, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(signs)
    seconds = {"start": 30.0, "silence": 30.0, "end": 30.0, which: 2 * BEAT}
    assert await asyncio.wait_for(Watch(ours, mock.Mock(), mock.Mock(), **seconds).silent(), 10) == 2 * BEAT


async def test_after_a_pause_of_the_supervisor_what_came_meanwhile_is_heard_first(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    watching = asyncio.create_task(watch(ours, silence=3 * BEAT).silent())
    for _ in range(3):
        theirs.send(ALIVE)
        await asyncio.sleep(0)
        time.sleep(10 * BEAT)  # noqa: ASYNC251 - what a suspended machine does to the clock
        theirs.send(ALIVE)
        await asyncio.sleep(BEAT)
        assert not watching.done()
    watching.cancel()


async def test_a_jump_of_the_clock_is_one_look_in_vain(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    watching = asyncio.create_task(watch(ours, start=5 * BEAT).silent())
    await asyncio.sleep(0)
    time.sleep(20 * BEAT)  # noqa: ASYNC251
    await asyncio.sleep(BEAT / 2)
    assert not watching.done()
    watching.cancel()


async def test_a_supervisor_that_reads_nothing_does_not_stop_the_worker(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    _, theirs = pair
    heartbeat = Heartbeat(theirs, mock.Mock(), mock.Mock())
    for _ in range(100_000):
        heartbeat.say(ALIVE)


async def test_the_worker_notices_that_the_supervisor_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    gone = mock.Mock()
    Heartbeat(theirs, gone, mock.Mock()).start()
    ours.close()
    await until(lambda: gone.called)
    heartbeats = gone.call_count
    await asyncio.sleep(3 * BEAT)
    assert gone.call_count == heartbeats == 1


async def test_a_worker_is_lent_the_socket_of_another() -> None:
    ours, theirs = socket.socketpair()
    lent: list[tuple[int, object]] = []
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        gone = mock.Mock()
        Heartbeat(theirs, gone, lambda *what: lent.append(what)).start()
        lend(ours, 300, listener)
        lend(ours, 300, None)
        await until(lambda: len(lent) == 2)
        (place, borrowed), back = lent
        assert (place, back) == (300, (300, None))
        assert isinstance(borrowed, socket.socket)
        with borrowed:
            assert borrowed.getsockname() == listener.getsockname()
        assert not gone.called
