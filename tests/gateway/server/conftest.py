"""A ``GatewayServer`` on the event loop of the test that asks for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, Protocol
from unittest import mock

import daphne.server
import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from gateway.protocol.codes import SERVICE_RESTART
from gateway.server import worker
from gateway.server.reactor import GatewayReactor
from gateway.server.worker import GatewayServer


class GuestReactor(GatewayReactor):
    """A reactor on a loop that runs already, and that goes on when the reactor has stopped."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.stopped = asyncio.Event()

    def run(self, installSignalHandlers: bool = True) -> None:  # noqa: N803 - Twisted's name
        self.startRunning(installSignalHandlers=installSignalHandlers)

    def crash(self) -> None:
        super(AsyncioSelectorReactor, self).crash()
        self.stopped.set()


def dispose(reactor: GatewayReactor) -> None:
    """Closes what a reactor that has stopped still holds open."""
    for reader in (*reactor.removeAll(), reactor.waker):
        reader.connectionLost(None)


class Serve(Protocol):
    """Starts a server; the arguments are those of ``GatewayServer``, with defaults."""

    def __call__(self, application: Any, **arguments: Any) -> GatewayServer: ...


@pytest.fixture
async def reactor(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GuestReactor]:
    """The reactor of the servers of one test."""
    reactor = GuestReactor()
    monkeypatch.setattr(daphne.server, "reactor", reactor)
    monkeypatch.setattr(daphne.server, "globalLogBeginner", mock.Mock())
    monkeypatch.setattr(worker, "reactor", reactor)
    monkeypatch.setattr("txaio.config.loop", reactor)  # Autobahn's timers
    yield reactor
    dispose(reactor)


@pytest.fixture
async def serve(reactor: GuestReactor) -> AsyncIterator[Serve]:
    servers: list[GatewayServer] = []

    def serve(application: Any, **arguments: Any) -> GatewayServer:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        options: dict[str, Any] = {
            "max_message_bytes": 65_536,
            "max_body_bytes": 1_000_000,
            "restart": SERVICE_RESTART,
        } | arguments
        server = GatewayServer(application, listener, **options)
        servers.append(server)
        daphne.server.Server.run(server)  # returns, as the reactor's does
        return server

    yield serve
    for server in servers:
        server.shut_down()
        async with asyncio.timeout(30):
            await reactor.stopped.wait()
