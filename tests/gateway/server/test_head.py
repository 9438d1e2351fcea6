"""What the head of a request must be, and what becomes of one that is not so."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gateway.server.head import split_target
from gateway.server.http import LINGER_SECONDS
from gateway.server.refusals import RefusedHandshakes
from gateway.server.timeouts import Timeouts
from gateway.server.worker import GatewayServer
from tests.gateway.server.memory import HANDSHAKE, Client, idle_server, until


class Application:
    """Answers a request with 200, and keeps its scope."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": ""})
            await send({"type": "websocket.send", "bytes": b""})
            await send({"type": "websocket.send", "text": "last"})
            await asyncio.Event().wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application) -> GatewayServer:
    return idle_server(application, Timeouts())


@pytest.fixture
async def client(server: GatewayServer) -> Client:
    return Client(server)


async def answer(client: Client) -> bytes:
    """The first line of what comes back."""
    received = b""

    def has_come() -> bool:
        nonlocal received
        received += client.received()
        return b"\r\n" in received

    await until(has_come)
    return received.partition(b"\r\n")[0]


# What is read in two ways


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"X-Long: a\r\n b\r\n", b"400"),
        (b"X-Long: a\r\n\tb\r\n", b"400"),
        (b" X-First: a\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"Transfer-Encoding: identity\r\n", b"400"),
        (b"Transfer-Encoding: chunked, identity\r\n", b"400"),
        (b"Transfer-Encoding: xchunked\r\n", b"400"),
        (b"transfer-encoding: chunked\r\nContent-Length: 3\r\n", b"400"),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"X-Long: " + b"a" * 60_000 + b"\r\n", b"431"),
        ((b"X-Many: " + b"a" * 1_000 + b"\r\n") * 60, b"431"),
    ],
)
async def test_a_head_that_could_be_read_in_two_ways_is_refused(
    client: Client, application: Application, headers: bytes, status: bytes
) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await answer(client)).split()[1] == status
    client.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.sleep(0.01)
    assert not application.scopes
    assert b"200" not in client.received()


async def test_a_refused_connection_is_closed_when_its_client_does_not(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\n folded\r\n\r\n")
    client.http.check_timeouts()
    assert not client.transport.aborted
    client.http._deadline -= LINGER_SECONDS
    client.http.check_timeouts()
    assert client.transport.aborted


async def test_a_target_that_is_too_long_is_told_so(client: Client) -> None:
    client.send(b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n\r\n")
    assert (await answer(client)).split()[1] == b"414"


async def test_one_coding_is_taken(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n")
    assert await answer(client) == b"HTTP/1.1 200 OK"


async def test_heads_are_measured_one_by_one(client: Client) -> None:
    for _ in range(3):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 10_000 + b"\r\n\r\n")
        assert await answer(client) == b"HTTP/1.1 200 OK"


async def test_http_1_0_has_no_transfer_encoding(client: Client) -> None:
    client.send(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert (await answer(client)).split()[1] == b"400"


# Targets


async def test_an_absolute_target_is_served_like_any_other(client: Client, application: Application) -> None:
    client.send(b"GET http://desk.example:8000/a?b=c HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert await answer(client) == b"HTTP/1.1 200 OK"
    (scope,) = application.scopes
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a", b"/a", b"b=c")
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"desk.example:8000"]


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"http://h", (b"h", b"/")),
        (b"HTTPS://h:1/x?y=z://q", (b"h:1", b"/x?y=z://q")),
        (b"/http://h/", None),
        (b"/x?u=http://h/", None),
        (b"*", None),
    ],
)
def test_targets(target: bytes, parts: object) -> None:
    assert split_target(target) == parts


@pytest.mark.parametrize("target", [b"ftp://h/", b"http:///x", b"http://a@h/", b"http://[/", b"http://?x"])
async def test_a_target_elsewhere_is_refused(client: Client, application: Application, target: bytes) -> None:
    client.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await answer(client)).split()[1] == b"400"
    assert not application.scopes


@pytest.mark.parametrize("request_line", [b"GET /a HTTP/1.1\r\n", HANDSHAKE.partition(b"Host")[0]])
async def test_a_client_does_not_say_where_the_application_is_mounted(
    client: Client, application: Application, request_line: bytes
) -> None:
    head = HANDSHAKE if request_line in HANDSHAKE else request_line + b"Host: a\r\n\r\n"
    client.send(head[:-2] + b"Daphne-Root-Path: /\xc3\xa9\r\n\r\n")
    await until(lambda: application.scopes)
    assert application.scopes[0]["root_path"] == ""


# Bodies over the limit


async def test_a_body_that_is_too_long_is_refused_before_it_is_sent(client: Client, application: Application) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
    received = await answer(client)
    assert received == b"HTTP/1.1 200 OK"  # the application's answer, which sees the length
    assert dict(application.scopes[0]["headers"])[b"content-length"] == b"1001"
    assert client.has_ended


async def test_a_body_within_the_limit_is_asked_for(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    assert await answer(client) == b"HTTP/1.1 100 Continue"


# Handshakes


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> RefusedHandshakes:
    counted = RefusedHandshakes()
    monkeypatch.setattr("gateway.server.request.refusals", counted)
    monkeypatch.setattr("gateway.server.websocket.refusals", counted)
    return counted


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Version: 13", b"Version: 12", b"400"),
        (b"Version: 13", b"Version: x", b"400"),
        (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"", b"400"),
        (b"GET", b"POST", b"405"),
        (b"HTTP/1.1", b"HTTP/1.0", b"400"),
        (b"Connection: Upgrade", b"Connection: close", b"400"),
        (b"Host: localhost\r\n", b"", b"400"),
        (b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: \xc3\xa9\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"\r\nOrigin: http://[\r\n\r\n", b"400"),
        (b"GET / ", b"GET /#x ", b"400"),
    ],
)
async def test_a_handshake_that_is_refused_leaves_a_line_in_the_log_and_nothing_else(
    counted: RefusedHandshakes, caplog: pytest.LogCaptureFixture, old: bytes, new: bytes, status: bytes
) -> None:
    server = idle_server(Application(), Timeouts())
    client = Client(server)
    client.send(HANDSHAKE.replace(old, new))
    assert (await answer(client)).split()[1] == status
    client.leave()
    assert not server.connections
    assert counted.count == 1
    assert [record.getMessage().count("\n") for record in caplog.records] == [0]


async def test_a_page_without_an_origin_comes_to_the_application(client: Client, application: Application) -> None:
    client.send(HANDSHAKE[:-2] + b"Origin: null\r\n\r\n")
    assert b" 101 " in await answer(client)


def test_one_refusal_a_second_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("gateway.server.refusals.time.monotonic", lambda: now)
    counted = RefusedHandshakes()
    for _ in range(3_000):
        counted.add("::1", "no key")
    now += 1
    counted.add("::1", "no key")
    assert counted.count == 3_001
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "2999 others" in caplog.text


async def test_the_application_is_given_the_whole_path(client: Client, application: Application) -> None:
    client.send(HANDSHAKE.replace(b"GET / ", b"GET /ws/publish;x?y=1 "))
    await until(lambda: application.scopes)
    assert application.scopes[0]["path"] == "/ws/publish;x"


async def test_empty_messages_are_sent(client: Client) -> None:
    client.send(HANDSHAKE)
    received = b""

    def has_come() -> bool:
        nonlocal received
        received += client.received()
        return received.endswith(b"last")

    await until(has_come)
    assert received.partition(b"\r\n\r\n")[2] == b"\x81\x00" + b"\x82\x00" + b"\x81\x04last"
