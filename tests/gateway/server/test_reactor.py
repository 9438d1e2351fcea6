"""The server's reactor: its clock, its connections that write at the end of a turn, and ports without descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from unittest import mock

import pytest
from twisted.internet.protocol import Factory, Protocol

from gateway.server import reactor as module
from gateway.server.reactor import MOST_IN_LINE, GatewayConnection, GatewayPort, install
from gateway.server.turns import Turns
from tests.gateway.server.conftest import GuestReactor, dispose
from tests.gateway.server.memory import until


class Talk(Protocol):
    """A connection's protocol; it does nothing by itself."""

    transport: Any
    goes_on = False


class Listening(NamedTuple):
    port: GatewayPort
    protocols: list[Talk]

    @property
    def address(self) -> tuple[str, int]:
        host = self.port.getHost()
        return host.host, host.port


@pytest.fixture
async def listening(reactor: GuestReactor) -> AsyncIterator[Listening]:
    protocols: list[Talk] = []

    class Protocols(Factory):
        in_line = 0

        def buildProtocol(self, addr: object) -> Talk:  # noqa: N802 - Twisted's name
            protocols.append(Talk())
            return protocols[-1]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, Protocols())
    yield Listening(port, protocols)
    if port.connected:
        await port.stopListening().asFuture(asyncio.get_running_loop())


class Given(Turns):
    """All turns at once have been given."""

    def at_once(self) -> bool:
        return False


class Owing(Talk):
    """Waits for an answer, and may read nothing else for now."""

    appetite = 512

    def __init__(self) -> None:
        self.owes = True
        self.turns = Given()
        self.answers: list[bytes] = []
        self.read: list[bytes] = []

    def take_answer(self, data: bytes) -> bool:
        is_answer = data == b"answer"
        if is_answer:
            self.answers.append(data)
        return is_answer

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self.read.append(data)


class Pair(NamedTuple):
    ours: GatewayConnection
    theirs: socket.socket


@pytest.fixture
async def pair(listening: Listening) -> AsyncIterator[Pair]:
    """An accepted connection, and its client's end."""
    with socket.create_connection(listening.address) as theirs:
        theirs.setblocking(False)
        await until(lambda: listening.protocols and listening.protocols[0].transport)
        transport = listening.protocols[0].transport
        yield Pair(transport, theirs)
        transport.abortConnection()
        await until(lambda: not transport.connected)


async def all_received(theirs: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await asyncio.get_running_loop().sock_recv(theirs, 1_000_000)
    return received


# The clock


async def test_timers_do_not_follow_the_wall_clock(reactor: GuestReactor, monkeypatch: pytest.MonkeyPatch) -> None:
    called = asyncio.Event()
    reactor.callLater(0.01, called.set)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    await asyncio.wait_for(called.wait(), 30)


# Connections


def wait_for_an_answer(pair: Pair) -> Owing:
    asked = Owing()
    ours: Any = pair.ours
    ours.protocol = asked
    return asked


async def test_a_connection_that_is_accepted_is_one_of_ours(pair: Pair) -> None:
    assert isinstance(pair.ours, GatewayConnection)


async def test_an_answer_that_is_due_takes_no_turn(pair: Pair) -> None:
    asked = wait_for_an_answer(pair)
    pair.theirs.send(b"answer")
    await until(lambda: asked.answers)
    assert asked.answers == [b"answer"]
    assert not len(asked.turns)
    assert not pair.ours.is_in_line
    assert asked.read == []


@pytest.mark.parametrize("data", [b"command", b"answeranswer", b"answer" * 50], ids=["other", "two", "many"])
async def test_whatever_else_comes_from_who_owes_an_answer_is_read_whole_and_in_its_turn(
    data: bytes, pair: Pair
) -> None:
    asked = wait_for_an_answer(pair)
    pair.theirs.send(data)
    await until(lambda: asked.read)
    assert b"".join(asked.read) == data
    assert asked.answers == []


async def test_the_end_of_a_connection_that_owes_an_answer_is_noticed(pair: Pair) -> None:
    wait_for_an_answer(pair)
    pair.theirs.close()
    await until(lambda: not pair.ours.connected)


async def test_what_is_written_in_one_turn_is_sent_at_its_end(pair: Pair) -> None:
    pair.ours.write(b"one ")
    pair.ours.write(b"two")
    with pytest.raises(BlockingIOError):
        pair.theirs.recv(100)
    await asyncio.sleep(0)
    assert pair.theirs.recv(100) == b"one two"


async def test_the_selector_is_not_asked_for_what_the_socket_takes(pair: Pair, reactor: GuestReactor) -> None:
    with mock.patch.object(reactor, "addWriter") as asked:
        pair.ours.write(b"x")
        await asyncio.sleep(0)
    asked.assert_not_called()


async def test_what_was_written_meanwhile_is_not_written_again(pair: Pair) -> None:
    pair.ours.write(b"x")
    pair.ours.doWrite()
    with mock.patch.object(pair.ours, "writeSomeData") as again:
        await asyncio.sleep(0)
    again.assert_not_called()
    pair.ours.write(b"y")
    await asyncio.sleep(0)
    assert pair.theirs.recv(100) == b"xy"


async def test_a_protocol_that_goes_on_is_given_all_that_is_there_and_no_more(pair: Pair) -> None:
    ours: Any = pair.ours
    ours.protocol = protocol = Eager()
    pair.theirs.send(bytes(3 * Eager.appetite))
    await until(lambda: protocol.reads)
    assert protocol.reads == [Eager.appetite] * 3
    pair.theirs.send(b"x")
    await until(lambda: len(protocol.reads) == 4)
    assert protocol.turns.asked == 2


class Eager(Talk):
    """Goes on after a read that was as long as it may be."""

    appetite = 512

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.turns = Asked()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self.reads.append(len(data))
        self.goes_on = len(data) == self.appetite


class Asked:
    """Gives every turn at once."""

    asked = 0

    def at_once(self) -> bool:
        self.asked += 1
        return True


async def test_what_the_socket_does_not_take_follows_when_the_client_reads(pair: Pair) -> None:
    data = os.urandom(10_000_000)
    pair.ours.write(data)
    await asyncio.sleep(0)
    pair.ours.write(b"more")
    assert await all_received(pair.theirs, len(data) + 4) == data + b"more"


async def test_a_connection_that_is_cut_before_it_writes_sends_nothing(pair: Pair) -> None:
    pair.ours.write(b"x")
    pair.ours.abortConnection()
    await until(lambda: not pair.ours.connected)
    with pytest.raises(ConnectionResetError):
        pair.theirs.recv(100)


async def test_who_takes_turns_itself_is_read_at_once_and_stays_with_the_selector(
    pair: Pair, listening: Listening
) -> None:
    received, turns = list[bytes](), mock.Mock(spec=Turns)
    turns.at_once.return_value = False
    talk: Any = listening.protocols[0]
    talk.turns, talk.appetite, talk.dataReceived = turns, 100, received.append
    talk.has_own_turns = True
    pair.theirs.send(b"x")
    await until(lambda: received)
    turns.add.assert_not_called()
    talk.has_own_turns = False
    pair.theirs.send(b"y")
    await until(lambda: turns.add.called)
    assert received == [b"x"]
    turns.add.call_args.args[0]()
    assert received == [b"x", b"y"]


async def test_an_error_in_a_read_loses_the_connection(pair: Pair, listening: Listening) -> None:
    talk: Any = listening.protocols[0]
    talk.dataReceived = mock.Mock(side_effect=RuntimeError)
    pair.theirs.send(b"x")
    await until(lambda: not pair.ours.connected)


async def test_an_error_in_a_write_loses_the_connection(pair: Pair) -> None:
    with mock.patch.object(pair.ours, "writeSomeData", return_value=OSError()):
        pair.ours.write(b"x")
        await asyncio.sleep(0)
    assert not pair.ours.connected


async def test_the_system_is_asked_once_for_the_address(pair: Pair, listening: Listening) -> None:
    first = pair.ours.getHost()
    with mock.patch.object(pair.ours, "socket", None):
        assert pair.ours.getHost() is first
    assert (first.host, first.port) == listening.address


# Ports


async def test_a_port_pauses_while_the_process_has_no_descriptor_left(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_has_descriptor", lambda _: False)
    with mock.patch.object(listening.port, "stopReading", wraps=listening.port.stopReading) as paused:
        for count in (1, 2):
            with socket.create_connection(listening.address):
                await until(lambda count=count: len(listening.protocols) == count)  # type: ignore[misc] # it goes on
    assert paused.call_count >= 2


async def test_a_port_that_was_closed_meanwhile_does_not_go_on(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_has_descriptor", lambda _: False)
    listening.port.doRead()
    await listening.port.stopListening().asFuture(asyncio.get_running_loop())
    with mock.patch.object(listening.port, "startReading") as resumed:
        listening.port._resume()
    resumed.assert_not_called()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_process_or_system_may_have_no_descriptor_left(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "dup", mock.Mock(side_effect=OSError(number, "")))
    assert not module._has_descriptor(0)


def test_a_descriptor_that_can_be_had_is_given_back() -> None:
    before = os.dup(0)
    os.close(before)
    assert module._has_descriptor(0)
    again = os.dup(0)
    os.close(again)
    assert again == before


def test_another_error_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        module._has_descriptor(-1)


# Installation


def test_a_reactor_that_is_there_already_stays() -> None:
    before = sys.modules["twisted.internet.reactor"]
    install()
    assert sys.modules["twisted.internet.reactor"] is before


def test_our_reactor_has_as_many_threads_as_daphnes_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor")
    monkeypatch.setenv("ASGI_THREADS", "3")
    with (
        mock.patch.object(module, "installReactor") as installed,
        mock.patch.object(asyncio.BaseEventLoop, "set_default_executor") as set_executor,
    ):
        install()
    [reactor] = installed.call_args.args
    assert isinstance(reactor, module.GatewayReactor)
    [executor] = set_executor.call_args.args
    assert isinstance(executor, ThreadPoolExecutor)
    assert executor._max_workers == 3
    dispose(reactor)
    reactor._asyncioEventloop.close()


async def test_nobody_is_accepted_while_many_wait_to_be_read(listening: Listening) -> None:
    factory: Any = listening.port.factory
    factory.in_line = MOST_IN_LINE
    with socket.create_connection(listening.address):
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not listening.protocols
        factory.in_line = MOST_IN_LINE - 1
        await until(lambda: listening.protocols)
