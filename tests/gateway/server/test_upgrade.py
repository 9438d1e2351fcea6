"""Handshakes that the server reads itself: whatever it takes, Twisted, Daphne and Autobahn take the same way."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import pytest

from gateway.server.timeouts import Timeouts
from gateway.server.upgrade import upgrade_in
from gateway.server.worker import GatewayServer
from tests.gateway.server.memory import Client, frame, idle_server, until

LINE: Final = "GET /ws HTTP/1.1"
PLAIN: Final = {
    "Host": "localhost:8000",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
CHROME: Final = {
    **PLAIN,
    "Pragma": "no-cache",
    "Cache-Control": "no-cache",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    "Origin": "http://localhost:8000",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "de,en;q=0.9",
    "Cookie": "sessionid=abc; csrftoken=def",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
}
FIREFOX: Final = {**CHROME, "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Extensions": "permessage-deflate"}
PROXIED: Final = {
    **PLAIN,
    "Connection": "upgrade",
    "X-Forwarded-For": "1.2.3.4, 10.0.0.1",
    "X-Forwarded-Proto": "https",
}
TOKEN: Final = {**CHROME, "Sec-WebSocket-Protocol": "marketmux, marketmux.token.mmt_a.b-c_d~e"}

TIMEOUTS: Final = Timeouts(handshake=30)


def head(headers: Iterable[tuple[str, str]], line: str = LINE) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin1")


class Outcome(NamedTuple):
    """What became of a connection."""

    written: bytes
    has_ended: bool
    scope: dict[str, Any] | None


class Application:
    """Accepts with the first subprotocol that is offered, or refuses, or fails; keeps scopes and what it is sent."""

    def __init__(self, verdict: str = "accept") -> None:
        self.verdict = verdict
        self.decides = asyncio.Event()
        self.decides.set()
        self.scopes: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        assert await receive() == {"type": "websocket.connect"}
        await self.decides.wait()
        if self.verdict == "accept":
            await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
        elif self.verdict == "a subprotocol that was not offered":
            await send({"type": "websocket.accept", "subprotocol": "x"})
        elif self.verdict == "403":
            await send({"type": "websocket.close"})
        elif self.verdict == "429":
            headers = [(b"retry-after", b"1")]
            await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"later"})
        else:
            raise RuntimeError(self.verdict)
        while not self.events or self.events[-1]["type"] != "websocket.disconnect":
            self.events.append(await receive())


async def outcome(data: bytes, *, short: bool, verdict: str = "accept") -> Outcome:
    application = Application(verdict)
    client = Client(idle_server(application, TIMEOUTS, short_requests=short))
    client.send(data)
    for _ in range(8):
        await asyncio.sleep(0)
    scope = application.scopes[0] if application.scopes else None
    found = Outcome(client.received(), client.has_ended, scope)
    client.leave()
    for _ in range(8):
        await asyncio.sleep(0)
    return found


PLAIN_HEADS: Final = [PLAIN, CHROME, FIREFOX, PROXIED, TOKEN]


@pytest.mark.parametrize("verdict", ["accept", "403", "429", "failure"])
@pytest.mark.parametrize("headers", PLAIN_HEADS, ids=["plain", "Chrome", "Firefox", "proxied", "token"])
async def test_it_is_as_the_long_way_has_it(headers: dict[str, str], verdict: str) -> None:
    data = head(headers.items())
    assert upgrade_in(data) is not None, "it is not read here at all"
    assert await outcome(data, short=True, verdict=verdict) == await outcome(data, short=False, verdict=verdict)


NAMES: Final = [
    *CHROME,
    *(
        "Transfer-Encoding",
        "Content-Length",
        "Expect",
        "Sec-WebSocket-Protocol",
        "Daphne-Root-Path",
        "X_Y",
        "X-Forwarded-For",
    ),
]
VALUES: Final = [
    *CHROME.values(),
    *(
        "",
        " ",
        "null",
        "http://[",
        "https://a.example:99999",
        "file:///x",
        "h2c",
        "close",
        "keep-alive",
        "chunked",
        "0",
        "2",
    ),
    *(
        "100-continue",
        "a, a",
        "a,b",
        "a b",
        "%61",
        "a%2Cb",
        "12",
        "013",
        "13 ",
        "x",
        "\u00e9",
        "a\tb",
        "[::1]:80",
        "a:b:1",
    ),
    *(
        "permessage-deflate; server_max_window_bits=99",
        "permessage-deflate, x",
        "WebSocket",
        "websocket, h2c",
        "a" * 5_000,
    ),
]
LINES: Final = [
    LINE,
    *("GET /ws?format=compact HTTP/1.1", "GET /ws/publish HTTP/1.1", "GET /ws;x HTTP/1.1", "GET //ws HTTP/1.1"),
    *("GET /ws#x HTTP/1.1", "GET /%77s HTTP/1.1", "GET /ws?a=%zz&b HTTP/1.1", "GET /ws HTTP/1.0", "POST /ws HTTP/1.1"),
    *(
        "GET http://a.example/ws HTTP/1.1",
        "GET  /ws HTTP/1.1",
        "get /ws HTTP/1.1",
        "GET /ws?\u00e9 HTTP/1.1",
        "GET * HTTP/1.1",
    ),
]


def changed(choose: random.Random) -> bytes:
    """A handshake in which some things are not as in others."""
    headers = list(choose.choice(PLAIN_HEADS).items())
    line = LINE if choose.random() < 0.7 else choose.choice(LINES)
    for _ in range(choose.choice([0, 1, 1, 2, 3])):
        place = choose.randrange(len(headers))
        match choose.randrange(6):
            case 0:
                del headers[place]
            case 1:
                headers[place] = (headers[place][0], choose.choice(VALUES))
            case 2:
                headers.insert(place, (choose.choice(NAMES), choose.choice(VALUES)))
            case 3:
                headers.insert(place, headers[place])
            case 4:
                headers[place] = (choose.choice([str.lower, str.upper])(headers[place][0]), headers[place][1])
            case 5:
                headers[place] = (headers[place][0] + choose.choice(["", " ", "\t"]), headers[place][1])
    data = head(headers, line)
    match choose.randrange(12):
        case 0:
            at = choose.randrange(len(data))
            return data[:at] + choose.choice([b"\r", b"\n", b"\0", b"\r\n", b" ", b":", b"\x85", b"\r\n "]) + data[at:]
        case 1:
            at = choose.randrange(len(data))
            return data[:at] + data[at + 1 :]
        case 2:
            return data[: choose.randrange(1, len(data))]
    return data


@pytest.mark.parametrize("name", sorted(set(NAMES)))
async def test_each_header_has_the_same_outcome_whatever_it_says(name: str) -> None:
    for value in dict.fromkeys(VALUES):
        data = head({**PLAIN, name: value}.items())
        assert await outcome(data, short=True) == await outcome(data, short=False), value


@pytest.mark.parametrize("line", LINES)
async def test_each_first_line_has_the_same_outcome(line: str) -> None:
    data = head(PLAIN.items(), line)
    assert await outcome(data, short=True) == await outcome(data, short=False)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_has_the_same_outcome(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - not for secrets
    taken = 0
    for _ in range(150):
        data = changed(choose)
        taken += upgrade_in(data) is not None
        assert await outcome(data, short=True) == await outcome(data, short=False), data
    assert 20 < taken < 130, "there is nothing to compare"


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application) -> GatewayServer:
    return idle_server(application, TIMEOUTS)


async def test_what_is_sent_before_the_answer_waits_for_it(server: GatewayServer, application: Application) -> None:
    application.decides.clear()
    client = Client(server)
    client.send(head(PLAIN.items()))
    client.send(frame(1, b"one"))
    assert client.transport.producerState == "paused", "it could send without end"
    client.send(frame(1, b"\r\n\r\n"))
    application.decides.set()
    await until(lambda: len(application.events) == 2)
    assert [event["text"] for event in application.events] == ["one", "\r\n\r\n"]
    assert client.transport.producerState == "producing"


async def test_a_subprotocol_that_was_not_offered_is_a_failure(server: GatewayServer, application: Application) -> None:
    application.verdict = "a subprotocol that was not offered"
    client = Client(server)
    client.send(head(PLAIN.items()))
    await until(lambda: client.has_ended)
    assert client.received().startswith(b"HTTP/1.1 500 ")


async def test_who_leaves_before_the_answer_leaves_nothing(server: GatewayServer, application: Application) -> None:
    application.decides.clear()
    client = Client(server)
    client.send(head(PLAIN.items()))
    await until(lambda: application.scopes)
    protocol = weakref.ref(client.websocket)
    client.leave()
    application.decides.set()
    await until(lambda: application.events)
    assert application.events == [{"type": "websocket.disconnect", "code": 1006}]
    assert not list(server.housekeeping.websockets)
    await until(lambda: not server.connections)
    gc.disable()
    try:
        client.transport.protocol = client.transport.producer = None
        assert protocol() is None, "it is left to the garbage collector"
    finally:
        gc.enable()


async def test_a_second_request_of_a_connection_goes_the_long_way(server: GatewayServer) -> None:
    client = Client(server)
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: b" 404 " in client.received())
    client.send(head(PLAIN.items()))
    await until(lambda: b" 101 " in client.received())


async def test_a_head_in_two_reads_goes_the_long_way(server: GatewayServer) -> None:
    client, data = Client(server), head(PLAIN.items())
    client.send(data[:40])
    client.send(data[40:])
    await until(lambda: b" 101 " in client.received())


HOSTILE: Final[Sequence[bytes]] = [
    b"GET /ws HTTP/1.1\r\n" + b"a: " + b" " * 4_000,
    b"GET /ws HTTP/1.1\r\n" + b"a:x\r\n" * 800 + b"\r\n",
    b"GET /ws HTTP/1.1\r\n" + b"a: " + b"x " * 2_000,
    b"GET /" + b"a" * 4_000,
    head([*PLAIN.items(), ("Sec-WebSocket-Protocol", "a," * 1_500)]),
    head([*PLAIN.items(), ("Sec-WebSocket-Protocol", "a, " * 1_000 + "a")]),
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_takes_long_to_be_left_to_others(data: bytes) -> None:
    began = time.process_time()
    for _ in range(100):
        assert upgrade_in(data) is None
    assert time.process_time() - began < 1, "a head of one read, in 10 ms"
