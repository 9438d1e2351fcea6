"""A server on the test's own event loop: who is let in, what becomes of their applications, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import daphne.server
import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.protocol.codes import SERVICE_RESTART
from gateway.server import drain, worker
from gateway.server.lifeline import READY
from gateway.server.reactor import GatewayReactor
from gateway.server.timeouts import Timeouts
from gateway.server.worker import GatewayServer, raise_open_file_limit
from tests.gateway.server.conftest import GuestReactor, Serve, dispose
from tests.gateway.server.memory import until

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Script:
    """An application: answers requests and takes WebSockets' messages, as far as the test lets it."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.was_cancelled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.began.set()
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
        else:
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass


@pytest.fixture
async def script() -> Script:
    return Script()


def port_of(server: GatewayServer) -> int:
    [(_, port)] = server.listening_addresses
    return int(port)


@contextlib.asynccontextmanager
async def connected(server: GatewayServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection, after the server has accepted it."""
    before = len(server.housekeeping.http_connections)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    try:
        await until(lambda: len(server.housekeeping.http_connections) > before)
        yield reader, writer
    finally:
        writer.close()


def client_of(server: GatewayServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}", timeout=30)


def websocket_of(server: GatewayServer) -> connect:
    return connect(f"ws://127.0.0.1:{port_of(server)}/", proxy=None)


async def close_code(client: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(30):
            await client.recv()
    return client.close_code


# Connections and their applications


async def test_a_request_is_answered(serve: Serve, script: Script) -> None:
    async with client_of(serve(script)) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (200, "ok")
    assert response.headers["server"] == "marketmux"


async def test_a_request_that_was_answered_leaves_nothing_behind(serve: Serve, script: Script) -> None:
    server = serve(script)
    async with client_of(server) as client:
        await client.get("/")
        await until(lambda: not server.connections)


async def test_a_websocket_that_has_ended_leaves_nothing_behind(serve: Serve, script: Script) -> None:
    server = serve(script)
    async with websocket_of(server):
        assert len(server.housekeeping.websockets) == 1
        assert not server.housekeeping.http_connections
    await until(lambda: not server.connections)
    assert len(server.housekeeping.websockets) == 0


async def test_connections_are_refused_when_there_is_no_room_left(
    serve: Serve, script: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "_room_for_clients", lambda: 1)
    server = serve(script)
    await asyncio.sleep(0)  # it looks for room when the loop runs
    async with websocket_of(server):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            assert await reader.read() == b""
            writer.close()
    await until(lambda: "There is room for connections again" in caplog.text)
    assert caplog.text.count("has room for") == 1
    async with client_of(server) as client:
        assert (await client.get("/")).text == "ok"


async def test_an_idle_connection_makes_room_for_the_next(
    serve: Serve, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_room_for_clients", lambda: 1)
    server = serve(script)
    await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    async with websocket_of(server):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_an_exception_before_the_response_is_a_500(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("before the response")

    async with client_of(serve(failing)) as client:
        assert (await client.get("/")).status_code == 500
    assert "Exception inside application: before the response" in caplog.text


async def test_an_exception_in_the_middle_of_a_response_cuts_it(serve: Serve) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        raise RuntimeError

    async with client_of(serve(failing)) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")


async def test_an_exception_in_a_handshake_is_a_500(serve: Serve) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    with pytest.raises(InvalidStatus, match="500"):
        async with websocket_of(serve(failing)):
            pass


async def test_an_exception_behind_an_open_websocket_closes_it_as_an_error(serve: Serve) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise RuntimeError

    async with websocket_of(serve(failing)) as client:
        assert await close_code(client) == 1011


async def test_a_client_that_cannot_be_told_of_an_exception_is_cut(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    protocol = mock.Mock()
    protocol.handle_exception.side_effect = ValueError

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    server = serve(failing)
    server.protocol_connected(protocol)
    server.create_application(protocol, {})
    await until(lambda: protocol.transport.abortConnection.called)
    assert "Could not tell the client" in caplog.text
    server.protocol_disconnected(protocol)
    assert protocol not in server.connections


async def test_an_application_that_outlives_its_client_is_cancelled(serve: Serve, script: Script) -> None:
    script.may_go_on.clear()
    server = serve(script, timeouts=Timeouts(leave=0.0, round=0.001))
    async with connected(server) as (_, writer):
        writer.write(REQUEST)
        await script.began.wait()
        server.application_checker()  # Daphne starts it after a second
    await until(lambda: script.was_cancelled)
    await until(lambda: not server.connections)


# Start


async def test_the_supervisor_is_told_when_the_server_is_ready(serve: Serve, script: Script) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        serve(script, lifeline=theirs)
        assert await asyncio.to_thread(ours.recv, 10) == READY


async def test_jobs_run_until_the_server_stops(serve: Serve, script: Script, reactor: GuestReactor) -> None:
    states: list[str] = []

    async def job() -> None:
        states.append("running")
        try:
            await asyncio.Event().wait()
        finally:
            states.append("ended")

    server = serve(script, jobs=[job])
    await until(lambda: states == ["running"])
    server.shut_down()
    await until(lambda: states == ["running", "ended"])


async def test_a_job_that_fails_leaves_the_server_running(
    serve: Serve, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    async def job() -> None:
        raise RuntimeError("no feed")

    server = serve(script, jobs=[job])
    await until(lambda: "A background job ended" in caplog.text)
    async with client_of(server) as client:
        assert (await client.get("/")).status_code == 200


def test_a_server_that_cannot_listen_exits_with_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daphne.server.Server, "run", lambda self: self.stop())
    listener = mock.Mock(spec=socket.socket)
    server = GatewayServer(mock.Mock(), listener, max_message_bytes=1, max_body_bytes=1, restart=SERVICE_RESTART)
    with pytest.raises(SystemExit) as exit_:
        server.run()
    assert exit_.value.code == 1


def test_a_process_takes_all_the_files_it_may_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        raise_open_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("limit", "room"), [(1_024, 1_024 - 10 - 64), (128, 128 - 10 - 32), (8, 1), (resource.RLIM_INFINITY, sys.maxsize)]
)
def test_some_open_files_are_kept_for_what_is_no_client(limit: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(worker, "Path", lambda _: mock.Mock(**{"iterdir.return_value": range(10)}))  # open already
    assert worker._room_for_clients() == room


# End


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_stops_the_server(
    signum: signal.Signals, serve: Serve, script: Script, reactor: GuestReactor
) -> None:
    serve(script)
    await asyncio.sleep(0)
    os.kill(os.getpid(), signum)
    await asyncio.wait_for(reactor.stopped.wait(), 30)


async def test_a_worker_stops_in_any_case_when_its_supervisor_is_gone(
    serve: Serve, script: Script, reactor: GuestReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = mock.Mock()
    monkeypatch.setattr(signal, "alarm", alarm)
    ours, theirs = socket.socketpair()
    with theirs:
        serve(script, lifeline=theirs)
        ours.close()
        await asyncio.wait_for(reactor.stopped.wait(), 30)
    alarm.assert_called_once_with(worker.LONGEST_STOP_SECONDS)


def test_a_server_that_has_stopped_leaves_no_task_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    async def job() -> None:
        tasks.append(asyncio.create_task(work()))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)

    tasks: list[asyncio.Task[None]] = []
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        own_reactor = GatewayReactor(loop)
        for module in (daphne.server, worker):
            monkeypatch.setattr(module, "reactor", own_reactor)
        monkeypatch.setattr(daphne.server, "globalLogBeginner", mock.Mock())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            server = GatewayServer(
                Script, listener, max_message_bytes=1, max_body_bytes=1, restart=SERVICE_RESTART, jobs=[job]
            )
            server.run()
        dispose(own_reactor)
    asyncio.set_event_loop(None)
    assert cancelled


async def test_a_request_in_flight_is_answered_before_the_end(
    serve: Serve, script: Script, reactor: GuestReactor
) -> None:
    script.may_go_on.clear()
    server = serve(script)
    async with connected(server) as (reader, writer):
        writer.write(REQUEST)
        await script.began.wait()
        server.shut_down()
        await asyncio.sleep(0)
        assert not reactor.stopped.is_set()
        script.may_go_on.set()
        response = await reader.read()
    assert b"connection: close" in response.lower()
    assert response.endswith(b"ok")
    await asyncio.wait_for(reactor.stopped.wait(), 30)


async def test_idle_connections_are_closed_after_the_grace_for_requests_under_way(
    serve: Serve, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(script)
    async with connected(server) as (idle, _), connected(server) as (late, writer):
        server.shut_down()
        await asyncio.sleep(0)
        writer.write(REQUEST)  # within the grace
        assert b"200 OK" in await late.read()
        assert await idle.read() == b""


async def test_websockets_are_told_that_the_server_restarts(serve: Serve, script: Script) -> None:
    server = serve(script)
    async with websocket_of(server) as client:
        server.shut_down()
        assert await close_code(client) == SERVICE_RESTART.code


async def test_a_websocket_that_cannot_be_closed_is_cut(serve: Serve, script: Script) -> None:
    server = serve(script)
    async with websocket_of(server) as client:
        [protocol] = server.connections
        with mock.patch.object(protocol, "close_with", side_effect=ValueError):
            server.shut_down()
            assert await close_code(client) == 1006


async def test_connections_in_the_backlog_are_served_and_later_ones_refused(serve: Serve, script: Script) -> None:
    server = serve(script)
    with socket.create_connection(("127.0.0.1", port_of(server))) as waiting:  # the loop has not accepted it yet
        server.shut_down()
        waiting.sendall(REQUEST)
        waiting.settimeout(30)
        assert b"200 OK" in await asyncio.to_thread(waiting.recv, 1_000)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(server)))


async def test_what_takes_longer_than_a_drain_may_is_cut(
    serve: Serve,
    script: Script,
    reactor: GuestReactor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(drain, "DRAIN_SECONDS", 0.01)
    script.may_go_on.clear()
    server = serve(script)
    async with connected(server) as (reader, writer):
        writer.write(REQUEST)
        await script.began.wait()
        server.shut_down()
        assert await reader.read() == b""
    await asyncio.wait_for(reactor.stopped.wait(), 30)
    assert script.was_cancelled
    assert "1 connections were not done" in caplog.text
