"""The end of a server: a delay in which it serves, and clients that are sent away one after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any
from unittest import mock

import pytest

from gateway.protocol.codes import SERVICE_RESTART, Closure
from gateway.server.drain import LEAST_PER_SECOND, Drain, drain
from gateway.server.websocket import GatewayProtocol
from tests.gateway.server.conftest import GuestReactor, Serve
from tests.gateway.server.test_worker import REQUEST, Script, connected, port_of


class Client(GatewayProtocol):
    """One that goes as soon as it is told."""

    def __init__(self, server: Any, told: list[Closure]) -> None:
        self._server = server
        self._told = told
        self.state = self.STATE_OPEN

    def close_with(self, closure: Closure) -> None:
        self.state = self.STATE_CLOSED
        self._told.append(closure)
        self._server.visitors.open -= 1


def crowded(size: int) -> tuple[mock.Mock, list[Closure]]:
    """A server with so many clients, and what they are told."""
    told: list[Closure] = []
    server = mock.Mock(connections={})
    server.visitors.open = size
    server.housekeeping.http_connections = set()
    server.connections = {Client(server, told): {} for _ in range(size)}
    return server, told


@pytest.mark.parametrize("size", [1, 20, 1_000])
async def test_clients_are_told_one_after_the_other_and_to_wait_as_long_again(size: int) -> None:
    server, told = crowded(size)
    spread = 0.5
    began = asyncio.get_running_loop().time()
    await drain(server, SERVICE_RESTART, spread)
    took = asyncio.get_running_loop().time() - began
    gap = min(spread / size, 1 / LEAST_PER_SECOND)
    assert [each.wait for each in told] == [round(number * gap, 2) for number in range(size)]
    assert {each.code for each in told} == {1012}
    assert took >= (size - 1) * gap


async def test_without_time_all_are_told_at_once() -> None:
    server, told = crowded(500)
    await drain(server, SERVICE_RESTART, 0.0)
    assert {each.wait for each in told} == {0.0}


async def test_during_the_delay_the_server_says_that_it_drains_and_serves(serve: Serve, reactor: GuestReactor) -> None:
    on_drain = mock.Mock()
    server = serve(Script(), ending=Drain(delay=1.0), on_drain=on_drain)
    port = port_of(server)
    server.shut_down()
    on_drain.assert_called_once_with()
    async with connected(server) as (reader, writer):
        writer.write(REQUEST)
        answer = await reader.read()
        assert b"200 OK" in answer
        assert b"connection: close" in answer.lower()
    await asyncio.wait_for(reactor.stopped.wait(), 30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
async def test_ctrl_c_and_a_successor_have_no_delay(
    serve: Serve, reactor: GuestReactor, signum: signal.Signals
) -> None:
    serve(Script(), ending=Drain(delay=600.0))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signum)
    await asyncio.wait_for(reactor.stopped.wait(), 30)
