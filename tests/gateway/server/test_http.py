"""HTTP connections: how long each step of a request may take, and how a connection ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.server import http, request
from gateway.server.http import TIMED_OUT
from gateway.server.timeouts import Timeouts
from gateway.server.worker import GatewayServer
from tests.gateway.server.memory import HANDSHAKE, Client, Clock, idle_server, until

TIMEOUTS = Timeouts(head=10, body=30, answer=60, idle=50)
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
REQUEST = HEAD + b"body"


class Application:
    """Answers with the request's body, as far as the test lets it."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_finish = asyncio.Event()
        self.may_finish.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        body = (await receive())["body"]
        await self.may_answer.wait()
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        await self.may_finish.wait()
        await send({"type": "http.response.body", "body": body[1:]})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (http, request):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application) -> GatewayServer:
    return idle_server(application, TIMEOUTS)


@pytest.fixture
async def client(server: GatewayServer, clock: Clock) -> Client:
    return Client(server)


def pass_time(clock: Clock, client: Client, seconds: float) -> None:
    clock.now += seconds
    client.http.check_timeouts()


async def answered(client: Client) -> bytes:
    received = b""
    while not received.endswith(b"body"):
        await asyncio.sleep(0)
        received += client.received()
    return received


# Time


async def test_a_connection_without_a_request_is_closed(client: Client, clock: Clock) -> None:
    pass_time(clock, client, 9)
    assert not client.has_ended
    pass_time(clock, client, 2)
    assert client.has_ended
    assert client.received() == b""


async def test_a_head_has_its_time_from_the_first_byte_however_many_follow(client: Client, clock: Clock) -> None:
    for _ in range(4):
        client.send(b"G")
        pass_time(clock, client, 3)
    assert client.received() == TIMED_OUT
    assert client.has_ended


async def test_a_body_has_its_time_from_the_end_of_the_head(client: Client, clock: Clock) -> None:
    client.send(HEAD)
    pass_time(clock, client, 20)
    client.send(b"b")
    pass_time(clock, client, 9)
    assert not client.has_ended
    pass_time(clock, client, 2)
    assert client.received() == TIMED_OUT
    assert client.has_ended


async def test_an_application_that_does_not_answer_is_answered_for(
    client: Client, clock: Clock, application: Application
) -> None:
    application.may_answer.clear()
    client.send(REQUEST)
    pass_time(clock, client, 59)
    assert client.received() == b""
    pass_time(clock, client, 2)
    assert client.received().startswith(b"HTTP/1.1 503 ")


async def test_a_connection_may_be_idle_between_requests_for_longer_than_a_request_may_take(
    client: Client, clock: Clock
) -> None:
    for _ in range(2):
        client.send(REQUEST)
        await answered(client)
        pass_time(clock, client, 49)
    assert not client.has_ended
    pass_time(clock, client, 2)
    assert client.has_ended


async def test_a_connection_that_has_no_time_limit_stays(client: Client, clock: Clock) -> None:
    assert client.http.setTimeout(None) == TIMEOUTS.head
    pass_time(clock, client, 1_000_000)
    assert not client.has_ended


async def test_a_request_has_taken_no_time_until_it_is_complete(client: Client, clock: Clock) -> None:
    client.send(HEAD)
    clock.now += 5
    [request] = client.http.requests
    assert request.duration() == 0
    client.send(b"body")
    clock.now += 5
    assert request.duration() == 5


# End


async def test_a_request_in_flight_when_the_server_drains_is_the_last_one(
    client: Client, application: Application
) -> None:
    application.may_answer.clear()
    client.send(REQUEST)
    client.http.drain()
    application.may_answer.set()
    assert b"Connection: close" in await answered(client)
    assert client.has_ended


async def test_a_response_that_has_begun_when_the_server_drains_is_finished(
    client: Client, application: Application
) -> None:
    application.may_finish.clear()
    client.send(REQUEST)
    await until(lambda: client.transport.value().endswith(b"b"))
    client.http.drain()
    application.may_finish.set()
    assert b"Connection" not in await answered(client)
    assert client.has_ended


async def test_a_request_that_comes_while_the_server_drains_is_the_last_one(
    client: Client, server: GatewayServer
) -> None:
    server.draining = True
    client.send(REQUEST)
    assert b"Connection: close" in await answered(client)
    assert client.has_ended


async def test_an_idle_connection_leaves(client: Client) -> None:
    client.http.leave()
    assert client.has_ended


async def test_a_connection_on_which_something_has_come_in_stays(client: Client) -> None:
    client.transport.socket.recv.side_effect = [b"G"]
    client.http.leave()
    assert not client.has_ended


async def test_a_connection_with_a_request_stays(client: Client) -> None:
    client.send(HEAD)
    client.http.leave()
    assert not client.has_ended


async def test_a_connection_that_ends_is_not_checked_any_more(client: Client, server: GatewayServer) -> None:
    assert server.housekeeping.http_connections == {client.http}
    client.leave()
    assert not server.housekeeping.http_connections


async def test_a_connection_that_becomes_a_websocket_is_not_checked_as_http(
    client: Client, server: GatewayServer
) -> None:
    client.send(HANDSHAKE)
    assert not server.housekeeping.http_connections
    assert not client.http.requests


# Failures


async def test_an_exception_after_the_response_changes_nothing(client: Client) -> None:
    client.send(REQUEST)
    [request] = client.http.requests
    await answered(client)
    request.handle_exception(RuntimeError())
    assert client.received() == b""
    assert not client.has_ended


async def test_no_connection_is_made_without_room(server: GatewayServer) -> None:
    server.visitors.room = 0
    assert http.GatewayHTTPFactory(server).buildProtocol(None) is None


async def test_a_form_is_passed_on_unread(client: Client) -> None:
    form = b"Content-Type: application/x-www-form-urlencoded"
    client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n" + form + b"\r\n\r\n")
    [request] = client.http.requests
    client.send(b"body")
    await answered(client)
    assert request.args == {}
