"""Short requests: what is one, in which order they are begun and answered, and what becomes of everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.server import http, short
from gateway.server.http import NO_ANSWER, TIMED_OUT
from gateway.server.short import Answer, Begin, ShortWay, encoded, read_head
from gateway.server.timeouts import Timeouts
from gateway.server.worker import GatewayServer
from tests.gateway.server.memory import Client, Clock, idle_server, until

HOST = b"Host: localhost\r\n"
TIMEOUTS = Timeouts(head=10, body=30, answer=60, idle=50)


def post(body: bytes, more: bytes = b"") -> bytes:
    return b"POST /in HTTP/1.1\r\n" + HOST + more + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def get(path: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"


class Application:
    """Takes short requests: answers with their bodies, in the next turn or when the test says so, as far as it takes
    them. As an ASGI application it answers with the path and the body.
    """

    path = "/in"

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.scopes: list[dict[str, Any]] = []
        self.long: list[tuple[str, bytes, Exception | None]] = []
        self.waiting: dict[bytes, Callable[[Any], None]] = {}
        self.is_prompt = True
        self.is_known = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def reader(self, scope: dict[str, Any]) -> Begin:
        self.scopes.append(scope)
        return self.begin

    def begin(self, body: bytes, done: Callable[[Any], None]) -> bool:
        self.begun.append(body)
        if body.startswith(b"raise"):
            raise RuntimeError("at once")
        if body.startswith(b"leave"):
            return False
        self.waiting[body] = done
        if self.is_prompt:
            asyncio.get_running_loop().call_soon(self.settle, body)
        return True

    def settle(self, body: bytes) -> None:
        failed = body.startswith(b"fail")
        self.waiting.pop(body)(RuntimeError("later") if failed else self.answer(body))

    def answer(self, body: bytes) -> Answer:
        headers = [(b"content-length", b"%d" % len(body)), (b"x-request-id", b"1")]
        return Answer(202, headers, body, self.is_known)

    def note_failure(self, scope: dict[str, Any], failure: Exception) -> None:
        scope["failure"] = failure

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        self.long.append((scope["path"], body, scope.get("failure")))
        await self.may_answer.wait()
        answer = scope["path"].encode() + b"|" + body
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (http, short):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture
async def server(application: Application) -> GatewayServer:
    server = idle_server(application, TIMEOUTS)
    server.short = ShortWay(application, 1_000)
    return server


@pytest.fixture
async def client(server: GatewayServer, clock: Clock) -> Client:
    return Client(server)


async def quiet(client: Client) -> bytes:
    """All that is written until nothing more comes."""
    received, silent = b"", 0
    while silent < 30:
        await asyncio.sleep(0)
        more = client.received()
        received, silent = received + more, 0 if more else silent + 1
    return received


def bodies(received: bytes) -> list[bytes]:
    """The bodies of answers, in their order."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        [length] = [line[16:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")]
        found.append(rest[: int(length)])
        received = rest[int(length) :]
    return found


# What is short


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 1\r\n",
        b"content-length:1\r\nConnection: Keep-Alive\r\n",
        b"Content-Length:   1  \r\nX-Empty:\r\nAuthorization: Api-Key mmx_a\r\n",
        b"Content-Length: 123456789\r\nAccept: */*\r\n",
    ],
)
def test_a_plain_head_is_read(headers: bytes) -> None:
    head = read_head(HOST + headers + b"\r\n")
    assert head is not None
    assert dict(head.headers)[b"host"] == b"localhost"
    assert head.length in {1, 123_456_789}
    assert b"%b%d%b" % (head.before, head.length, head.behind) == HOST + headers + b"\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"Content-Length: 0\r\n",
        b"Content-Length: 01\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length: 1,1\r\n",
        b"Content-Length: 1 1\r\n",
        b"Content-Length: 1234567890\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 1\r\nContent-Length: 1\r\n",
        b"Content-Length: 1\r\ncontent-length: 1\r\n",
        b"Content-Length: 1\r\nhost: other\r\n",
        b"Content-Length: 1\r\nX: 1\r\nx: 2\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 1\r\ntransfer-encoding:\r\n",
        b"Content-Length: 1\r\nExpect: 100-continue\r\n",
        b"Content-Length: 1\r\nUpgrade: websocket\r\n",
        b"Content-Length: 1\r\nCookie: a=b\r\n",
        b"Content-Length: 1\r\nTE: trailers\r\n",
        b"Content-Length: 1\r\nTrailer: X\r\n",
        b"Content-Length: 1\r\nDaphne-Root-Path: /x\r\n",
        b"Content-Length: 1\r\nConnection: close\r\n",
        b"Content-Length: 1\r\nConnection: keep-alive, X\r\n",
        b"Content-Length: 1\r\n folded\r\n",
        b"Content-Length: 1\r\n\tfolded\r\n",
        b"Content-Length : 1\r\n",
        b"Content-Length\r\n",
        b": 1\r\nContent-Length: 1\r\n",
        b"Content-Length: 1\r\nContent_Length: 1\r\n",
        b"Content-Length: 1\r\nX: a\tb\r\n",
        b"Content-Length: 1\r\nX: a\x00\r\n",
        b"Content-Length: 1\r\nX: a\x7f\r\n",
        b"Content-Length: 1\r\nX: \xe9\r\n",
        b"Content-Length: 1\r\nX: a\rY: b\r\n",
        b"Content-Length: 1\r\nX: a\nY: b\r\n",
        b"Content-Length: 1\r\nX: a\n\rY: b\r\n",
        b"Content-Length: 1\nX: b\r\n",
        b"Content-Length: 1\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(60)),
    ],
)
def test_a_head_that_is_not_plain_is_not_read(headers: bytes) -> None:
    assert read_head(HOST + headers + b"\r\n") is None


def test_a_head_without_a_host_is_not_read() -> None:
    assert read_head(b"Content-Length: 1\r\n\r\n") is None


@pytest.mark.parametrize(
    "request_",
    [
        get(b"/in"),
        b"POST /in/ HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\na",
        b"POST /in?x HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\na",
        b"POST http://localhost/in HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\na",
        b"\r\n" + post(b"a"),
        post(b"a", b"X: 1\r\nX: 2\r\n"),
        post(b"a", b"X: " + b"a" * 5_000 + b"\r\n"),
        post(b"a" * 1_001),
        post(b""),
    ],
)
async def test_what_is_not_short_is_the_applications(client: Client, application: Application, request_: bytes) -> None:
    client.send(request_)
    assert b"HTTP/1.1 200 OK\r\n" in await quiet(client)
    assert not application.begun
    assert len(application.long) == 1


async def test_a_short_request_has_the_scope_that_daphne_would_make(client: Client, application: Application) -> None:
    seen: list[dict[str, Any]] = []
    original = application.__call__

    class Keeping(Application):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope)
            await original(scope, receive, send)

    client.server.application = Keeping()
    client.send(post(b"a", b"X-Forwarded-For: 1.2.3.4\r\n"))
    client.server.short = None
    await quiet(client)
    Client(client.server).send(post(b"a", b"X-Forwarded-For: 1.2.3.4\r\n"))
    await until(lambda: seen)
    [mine] = application.scopes
    theirs = {name: value for name, value in seen[0].items() if name not in {"asgi", "extensions"}}
    assert mine == theirs


async def test_a_head_that_differs_in_its_length_alone_is_not_read_again(
    client: Client, application: Application
) -> None:
    requests = [post(b"a"), post(b"b" * 400), post(b"c" * 30), post(b"d", b"X: 1\r\n"), post(b"e")]
    client.send(requests[0])
    received = await quiet(client)
    client.send(b"".join(requests[1:]))
    assert bodies(received + await quiet(client)) == [b"a", b"b" * 400, b"c" * 30, b"d", b"e"]
    assert [len(scope["headers"]) for scope in application.scopes] == [2, 3, 2]


@pytest.mark.parametrize(
    ("length", "status"),
    [(b"0", 200), (b"01", 200), (b"+1", 400), (b"1,1", 400), (b"", 400), (b"-1", 400), (b"1x", 400), (b"\xb2", 400)],
)
async def test_a_length_in_a_head_like_the_last_one_is_held_to_the_same_rules(
    client: Client, application: Application, length: bytes, status: int
) -> None:
    client.send(post(b"a"))
    await quiet(client)
    client.send(post(b"b").replace(b"Content-Length: 1\r", b"Content-Length: %b\r" % length))
    assert b"HTTP/1.1 %d " % status in await quiet(client)
    assert application.begun == [b"a"]


async def test_a_body_that_is_too_long_behind_a_head_like_the_last_one_is_the_applications(
    client: Client, application: Application
) -> None:
    client.send(post(b"a"))
    await quiet(client)
    client.send(post(b"b" * 1_001))
    await quiet(client)
    assert application.begun == [b"a"]
    assert len(application.long) == 1


# Turns


async def test_a_request_for_which_there_is_no_turn_waits_and_is_not_timed(
    client: Client, application: Application, server: GatewayServer, clock: Clock
) -> None:
    client.send(post(b"a"))
    await quiet(client)
    while server.requests.at_once():
        pass
    assert client.http.has_own_turns  # it is read nevertheless
    client.send(post(b"b"))
    client.send(post(b"c"))
    assert application.begun == [b"a"]
    pass_time(clock, client, 100)
    assert not client.has_ended
    assert bodies(await quiet(client)) == [b"b", b"c"]


async def test_what_is_not_short_waits_for_a_turn_too(client: Client, server: GatewayServer) -> None:
    client.send(post(b"a"))
    await quiet(client)
    while server.requests.at_once():
        pass
    client.send(get(b"/x"))
    assert not client.http.requests
    assert bodies(await quiet(client)) == [b"/x|"]


async def test_a_long_body_is_read_in_turns(client: Client) -> None:
    client.send(post(b"a"))
    await quiet(client)
    client.send(post(b"b" * 900)[:-1])
    assert not client.http.has_own_turns
    client.send(b"b")
    assert bodies(await quiet(client)) == [b"b" * 900]


async def test_twisted_reads_in_turns(client: Client) -> None:
    client.send(post(b"a"))
    await quiet(client)
    client.send(b"GET /x HTTP/1.1\r\n")
    assert not client.http.has_own_turns
    client.send(HOST + b"\r\n")
    assert bodies(await quiet(client)) == [b"/x|"]


# Answers


async def test_an_answer_is_written_as_twisted_would(client: Client) -> None:
    client.send(post(b"a"))
    assert await quiet(client) == (
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\nX-Request-Id: 1\r\nServer: marketmux\r\n\r\na"
    )


def test_headers_of_one_name_are_written_together() -> None:
    answer = Answer(202, [(b"vary", b"a"), (b"allow", b"b"), (b"vary", b"c")], b"", False)
    assert encoded(answer, b"s", True) == (
        b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nVary: a\r\nVary: c\r\nAllow: b\r\nServer: s\r\n\r\n"
    )


async def test_answers_come_in_the_order_of_their_requests(client: Client, application: Application) -> None:
    application.is_prompt = False
    client.send(b"".join(map(post, (b"a", b"b", b"c"))))
    await until(lambda: len(application.begun) == 3)
    for body in (b"c", b"b"):
        application.settle(body)
        assert await quiet(client) == b""
    application.settle(b"a")
    assert bodies(await quiet(client)) == [b"a", b"b", b"c"]


async def test_so_many_are_under_way_and_no_more(client: Client, application: Application) -> None:
    application.is_prompt = False
    client.send(b"".join(post(b"%d" % number) for number in range(100)))
    await quiet(client)
    assert len(application.begun) == 32
    application.is_prompt = True
    for body in list(application.waiting):
        application.settle(body)
    assert bodies(await quiet(client)) == [b"%d" % number for number in range(100)]


async def test_what_waits_is_bounded(client: Client, application: Application) -> None:
    application.is_prompt = False
    client.send(b"".join(post(b"%d" % number, b"X: " + b"a" * 1_000 + b"\r\n") for number in range(60)))
    await quiet(client)
    assert client.transport.producerState == "paused"
    application.is_prompt = True
    for body in list(application.waiting):
        application.settle(body)
    assert len(bodies(await quiet(client))) == 60
    assert client.transport.producerState == "producing"


# What is left to the application


@pytest.mark.parametrize("body", [b"leave it", b"raise", b"fail"])
async def test_a_request_that_is_not_taken_is_answered_from_the_same_bytes(
    client: Client, application: Application, body: bytes
) -> None:
    client.send(post(b"a") + post(body) + post(b"b"))
    assert bodies(await quiet(client)) == [b"a", b"/in|" + body, b"b"]
    [(_, _, failure)] = application.long
    assert application.begun.count(body) == 1
    assert str(failure) == {b"leave it": "None", b"raise": "at once", b"fail": "later"}[body]


async def test_nothing_begins_behind_a_request_that_is_left_until_it_is_answered(
    client: Client, application: Application
) -> None:
    application.may_answer.clear()
    client.send(post(b"leave") + post(b"b"))
    client.send(post(b"c"))
    assert await quiet(client) == b""
    assert application.begun == [b"leave"]
    application.may_answer.set()
    assert bodies(await quiet(client)) == [b"/in|leave", b"b", b"c"]


async def test_the_failure_of_one_is_not_that_of_the_next(client: Client, application: Application) -> None:
    client.send(post(b"fail") + get(b"/x"))
    await quiet(client)
    assert [failure is None for _, _, failure in application.long] == [False, True]


# Streams of bytes

MIX = [
    (post(b"a"), b"a"),
    (post(b"b" * 400, b"Accept: */*\r\n"), b"b" * 400),
    (get(b"/x"), b"/x|"),
    (post(b"c"), b"c"),
    (post(b"leave"), b"/in|leave"),
    (post(b"d", b"X: 1\r\nx: 2\r\n"), b"/in|d"),
    (post(b"fail"), b"/in|fail"),
    (post(post(b"inner")), post(b"inner")),
    (b"POST /in HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n", b"/in|def"),
    (post(b"g"), b"g"),
]
STREAM = b"".join(request for request, _ in MIX)
ANSWERS = [answer for _, answer in MIX]


def either_way(answers: list[bytes]) -> list[bytes]:
    """Without the word of the way: a head that is cut at its beginning is read by Twisted."""
    return [answer.removeprefix(b"/in|") for answer in answers]


async def test_a_mix_is_answered_in_order(client: Client) -> None:
    client.send(STREAM)
    assert bodies(await quiet(client)) == ANSWERS


async def test_a_stream_is_the_same_wherever_it_is_cut(server: GatewayServer) -> None:
    for at in range(1, len(STREAM)):
        client = Client(server)
        client.send(STREAM[:at])
        received = client.received()
        if at % 3:  # what came first is under way, or done
            await asyncio.sleep(0)
            received += await quiet(client) if at % 3 == 1 else b""
        client.send(STREAM[at:])
        assert either_way(bodies(received + await quiet(client))) == either_way(ANSWERS), at
        client.leave()


async def test_a_stream_is_the_same_byte_by_byte(client: Client) -> None:
    received = b""
    for number in range(len(STREAM)):
        client.send(STREAM[number : number + 1])
        await asyncio.sleep(0)
        received += client.received()
    assert either_way(bodies(received + await quiet(client))) == either_way(ANSWERS)


@pytest.mark.parametrize(
    "malformed",
    [
        b"POST /in HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n",
        b"POST /in HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /in HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /in HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_is_malformed_is_refused_behind_the_answers_before_it(
    client: Client, application: Application, malformed: bytes
) -> None:
    client.send(post(b"a") + malformed + post(b"smuggled"))
    received = await quiet(client)
    assert received.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert received.count(b"HTTP/1.1 400 ") == 1
    if not client.has_ended:
        client.send(post(b"later"))
        await quiet(client)
    assert application.begun == [b"a"]
    assert not application.long


async def test_a_length_that_is_too_short_makes_the_rest_another_request(
    client: Client, application: Application
) -> None:
    client.send(post(b"ab")[:-1] + b"b" + b"POST")
    client.send(b" /in HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nc")
    assert bodies(await quiet(client)) == [b"ab", b"c"]


# Time


def pass_time(clock: Clock, client: Client, seconds: float) -> None:
    clock.now += seconds
    client.http.check_timeouts()


async def test_a_body_has_its_time_from_the_end_of_its_head(client: Client, clock: Clock) -> None:
    client.send(post(b"abc")[:-2])
    pass_time(clock, client, 20)
    client.send(b"b")
    pass_time(clock, client, 9)
    assert not client.has_ended
    pass_time(clock, client, 2)
    assert client.received() == TIMED_OUT
    assert client.has_ended


async def test_a_head_that_is_cut_has_its_time(client: Client, clock: Clock) -> None:
    client.send(post(b"a") + post(b"b")[:40])
    assert bodies(await quiet(client)) == [b"a"]
    for _ in range(4):
        pass_time(clock, client, 3)
        client.send(b"X")
    assert client.received() == TIMED_OUT
    assert client.has_ended


async def test_a_head_that_the_end_of_a_read_has_cut_is_short(client: Client, application: Application) -> None:
    stream = post(b"a") + post(b"b")
    client.send(stream[:-40])
    assert bodies(await quiet(client)) == [b"a"]
    client.send(stream[-40:])
    assert bodies(await quiet(client)) == [b"b"]
    assert not application.long


async def test_what_is_not_short_has_its_time_behind_what_is(client: Client, clock: Clock) -> None:
    client.send(post(b"a") + b"GET / HTTP/1.1\r\n")
    assert bodies(await quiet(client)) == [b"a"]
    pass_time(clock, client, 11)
    assert client.received() == TIMED_OUT


async def test_a_request_that_is_not_answered_is_answered_for(
    client: Client, clock: Clock, application: Application
) -> None:
    application.is_prompt = False
    client.send(post(b"a"))
    pass_time(clock, client, 40)
    client.http.forgive(10)
    pass_time(clock, client, 29)
    assert client.received() == b""
    pass_time(clock, client, 2)
    assert client.received() == NO_ANSWER
    assert client.has_ended
    application.settle(b"a")
    assert await quiet(client) == b""


async def test_a_connection_is_idle_between_requests(client: Client, clock: Clock, server: GatewayServer) -> None:
    for _ in range(2):
        client.send(post(b"a"))
        assert len(server.visitors.idle) == 0
        await quiet(client)
        assert len(server.visitors.idle) == 1
        pass_time(clock, client, 49)
    assert not client.has_ended
    pass_time(clock, client, 2)
    assert client.has_ended


async def test_who_has_shown_a_credential_keeps_its_place(
    client: Client, application: Application, server: GatewayServer
) -> None:
    application.is_known = True
    client.send(post(b"a"))
    await quiet(client)
    assert client.http.is_known
    assert len(server.visitors.idle) == 0
    client.send(get(b"/x"))
    await quiet(client)
    assert len(server.visitors.idle) == 0


# End


async def test_requests_that_have_begun_when_the_server_drains_are_answered_and_the_last_one_says_so(
    client: Client, application: Application, server: GatewayServer
) -> None:
    application.is_prompt = False
    client.send(post(b"a") + post(b"b"))
    await quiet(client)
    server.draining = True
    client.http.drain()
    client.http.leave()
    assert not client.has_ended
    for body in (b"a", b"b"):
        application.settle(body)
    received = await quiet(client)
    assert bodies(received) == [b"a", b"b"]
    assert received.count(b"Connection: close") == 1
    assert client.has_ended


async def test_a_request_that_comes_while_the_server_drains_is_the_last_one(
    client: Client, server: GatewayServer, application: Application
) -> None:
    client.send(post(b"a"))
    await quiet(client)
    server.draining = True
    client.send(post(b"b"))
    assert b"Connection: close" in await quiet(client)
    assert application.begun == [b"a"]
    assert client.has_ended


async def test_nothing_is_done_for_a_client_that_has_left(client: Client, application: Application) -> None:
    application.is_prompt = False
    client.send(b"".join(post(b"%d" % number) for number in range(40)))
    await quiet(client)
    client.leave()
    begun = len(application.begun)
    for body in list(application.waiting):
        application.settle(body)
    assert await quiet(client) == b""
    assert len(application.begun) == begun
