"""The load generator's parts, without a gateway; test_loadtest_proof.py has what the sequence proves, and
tests/integration/test_loadtest.py the command against a gateway."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from gateway.loadtest import LoadTest, LoadTestError, Options, websocket
from gateway.loadtest.histogram import Histogram
from gateway.loadtest.instants import Stamps, nanoseconds
from gateway.loadtest.ledger import Cursor, Ledger, Listener, SentTick
from gateway.loadtest.limits import raise_file_limit, source_address
from gateway.loadtest.messages import decode, place_of, price_of, stamp_of
from gateway.loadtest.publisher import PriceWalk
from gateway.loadtest.report import Cost, Deliveries, Latency, Report, Subscribers, Ticks
from gateway.loadtest.responses import take_response
from gateway.loadtest.target import Target
from gateway.loadtest.websocket import Handshake, HandshakeError

MILLISECOND = 1_000_000


# Frames


def server_frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 65_536:
        return bytes([first, 126]) + size.to_bytes(2, "big") + payload
    return bytes([first, 127]) + size.to_bytes(8, "big") + payload


def unmask(frame: bytes, header: int) -> bytes:
    mask, payload = frame[header : header + 4], frame[header + 4 :]
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


MESSAGES = [
    (websocket.TEXT, b'{"type":"pong"}'),
    (websocket.TEXT, b"x" * 130),
    (websocket.PING, b""),
    (websocket.TEXT, b"y" * 125),
    (websocket.TEXT, b"z" * 66_000),
    (websocket.CLOSE, (4001).to_bytes(2, "big") + b"slow"),
]


@pytest.mark.parametrize("messages", [MESSAGES[:4], MESSAGES[4:]], ids=["short", "long"])
def test_frames_are_found_wherever_a_read_cuts_them(messages: list[tuple[int, bytes]]) -> None:
    data = b"".join(server_frame(*message) for message in messages)
    interesting = [*range(min(len(data), 400)), *range(max(0, len(data) - 50), len(data))]
    for cut in interesting:
        before, rest = websocket.split(data[:cut])
        after, left = websocket.split(rest + data[cut:])
        assert before + after == messages
        assert left == b""


def test_frames_are_found_in_single_bytes() -> None:
    found, rest = [], b""
    for byte in b"".join(server_frame(*message) for message in MESSAGES[:4]):
        whole, rest = websocket.split(rest + bytes([byte]))
        found += whole
    assert found == MESSAGES[:4]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x85abcdhello", id="masked"),
        pytest.param(b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), id="a terabyte"),
        pytest.param(b"\xc1\x7e\x00\x80", id="compressed"),
    ],
)
def test_what_no_server_may_send_is_refused(data: bytes) -> None:
    with pytest.raises(websocket.FrameError):
        websocket.split(data)


@pytest.mark.parametrize(("size", "header"), [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_client_frames_are_masked_whatever_their_size(size: int, header: int) -> None:
    frame = websocket.encode(websocket.TEXT, b"s" * size)
    assert frame[1] & 0x80
    assert unmask(frame, header) == b"s" * size


def test_a_close_frame_gives_its_code() -> None:
    assert websocket.close_code((4001).to_bytes(2, "big") + b"slow") == 4001
    assert websocket.close_code(b"") == websocket.NO_CODE


# Handshake


def accept_for(request: bytes) -> bytes:
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return base64.b64encode(digest)


def target(url: str = "http://127.0.0.1:8000", key: str = "") -> Target:
    return Target.from_url(url, key)


def test_the_handshake_takes_the_answer_to_its_own_key_only() -> None:
    handshake = Handshake()
    accept = accept_for(handshake.request(target()))
    handshake.check(b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept:  " + accept)
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept"):
        Handshake().check(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept)


@pytest.mark.parametrize(
    ("head", "reason"),
    [(b"HTTP/1.1 403 Forbidden\r\nServer: x", "403 Forbidden"), (b"SSH-2.0-OpenSSH", "no HTTP response")],
)
def test_a_refused_handshake_says_why(head: bytes, reason: str) -> None:
    with pytest.raises(HandshakeError, match=reason):
        Handshake().check(head)


def test_requests_name_the_host_the_path_and_the_key() -> None:
    head = target("http://127.0.0.1:8000/market/", key="k1").request("GET", "/ws")
    assert head == b"GET /market/ws HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAuthorization: Api-Key k1\r\n\r\n"


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1", "127.0.0.1:8000", "http://", "http://127.0.0.1:99999", "http://127.0.0.1/a b"]
)
def test_a_url_that_cannot_be_served_is_refused(url: str) -> None:
    with pytest.raises(LoadTestError, match="URL"):
        target(url)


def test_a_key_cannot_smuggle_in_a_header() -> None:
    with pytest.raises(LoadTestError, match="key"):
        target(key="k\r\nX: y")


# HTTP responses

SIZED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 14\r\n\r\n{"accepted":1}'
CHUNKED = b'HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"det\r\n6;x=y\r\nail":1\r\n0\r\n\r\n'


def test_responses_are_found_wherever_a_read_cuts_them() -> None:
    data = SIZED + CHUNKED
    for cut in range(len(data)):
        found, rest = [], b""
        for part in (data[:cut], data[cut:]):
            rest += part
            while (taken := take_response(rest))[0] is not None:
                found.append(taken[0])
                rest = taken[1]
        assert found == [(202, b'{"accepted":1}'), (400, b'{"detail":1')]


def test_what_is_no_response_is_an_error() -> None:
    with pytest.raises((ValueError, IndexError)):
        take_response(b"hello\r\n\r\n")


# Messages

TICK = b'{"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05.123456789Z","size":1}'


def test_the_timestamp_is_cut_out_of_a_tick_only() -> None:
    assert stamp_of(TICK) == b"2026-05-12T15:04:05.123456789Z"
    assert stamp_of(b'{"type":"conflated","timestamp":"x"}') == b""
    assert stamp_of(TICK.replace(b"tick", b"snapshot", 1)) == b""


def test_symbol_seq_and_price_are_cut_out_of_a_tick() -> None:
    numbered = TICK.replace(b"}", b',"seq":1042}')
    assert place_of(numbered) == (b"AAPL", 1042)
    assert place_of(TICK) == (b"AAPL", 0)
    assert price_of(numbered) == b"150.250"
    assert price_of(b"") == b""


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{", b"\xff"])
def test_a_message_that_is_no_object_is_an_empty_one(payload: bytes) -> None:
    assert decode(payload) == {}


# Time


def test_timestamps_increase_even_where_the_clock_does_not() -> None:
    times = iter([1_000_000_005, 1_000_000_005, 999_999_999, 1_700_000_000_000_000_000])
    stamps = Stamps(clock=lambda: next(times))
    assert [stamps.next() for _ in range(4)] == [
        "1970-01-01T00:00:01.000000005Z",
        "1970-01-01T00:00:01.000000006Z",
        "1970-01-01T00:00:01.000000007Z",
        "2023-11-14T22:13:20.000000000Z",
    ]


@pytest.mark.parametrize(("fraction", "expected"), [("", 0), (".5", 500_000_000), (".000000006", 6)])
def test_timestamps_are_read_to_the_nanosecond(fraction: str, expected: int) -> None:
    assert nanoseconds(f"1970-01-01T00:00:01{fraction}Z") == 1_000_000_000 + expected


@pytest.mark.parametrize("stamp", ["", "2026-05-12T15:04:05", "2026-05-12T15:04:05+02:00", "yesterdayZ"])
def test_timestamps_not_in_utc_are_refused(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"UTC|isoformat"):
        nanoseconds(stamp)


# Histogram


def test_percentiles_are_the_upper_edge_of_the_nearest_rank() -> None:
    histogram = Histogram()
    for milliseconds in range(1, 101):
        histogram.add(milliseconds * MILLISECOND)
    shares = {0.5: 50.01, 0.9: 90.01, 0.99: 99.01, 0.999: 100.01, 1.0: 100.01}
    assert {share: histogram.percentile(share) for share in shares} == shares


def test_one_duration_is_every_percentile() -> None:
    histogram = Histogram()
    histogram.add(3_600_000 * MILLISECOND)
    assert histogram.percentile(0.0) == histogram.percentile(0.5) == histogram.percentile(1.0) == 3_600_000.01


def test_without_durations_there_is_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None


# Prices


def test_prices_walk_in_small_steps_and_stay_positive() -> None:
    walk = PriceWalk(["AAPL"])
    prices = [float(walk.next("AAPL")) for _ in range(1_000)]
    assert max(abs(after - before) for before, after in itertools.pairwise(prices)) < 0.06
    assert min(prices) >= 1
    assert len(set(prices)) > 10


# Ledger


class Books:
    """A ledger with subscribers by hand: each reads ticks by their number, of the symbol A unless said otherwise."""

    def __init__(self, subscribers: int = 1) -> None:
        self.ledger = Ledger()
        self.ledger.begin()
        self.cursors = [{"A": Cursor()} for _ in range(subscribers)]
        self.subscribers = Counter({"A": subscribers})

    def publish(self, *numbers: int, symbol: str = "A", accepted: bool = True) -> None:
        for number in numbers:
            tick: SentTick = self.ledger.enter(symbol, f"{symbol}{number}")
            tick.accepted = accepted

    def read(self, *numbers: int, subscriber: int = 0, symbol: str = "A") -> None:
        for number in numbers:
            self.ledger.tick(self.cursors[subscriber], f"{symbol}{number}".encode(), now=MILLISECOND)

    def figures(self) -> tuple[int, int, int, int, int]:
        """Expected, delivered, lost, out of order, duplicates."""
        ledger, owed = self.ledger, self.subscribers
        return ledger.expected(owed), ledger.deliveries, ledger.lost(owed), ledger.out_of_order, ledger.duplicates


def test_every_subscriber_is_owed_every_accepted_tick() -> None:
    books = Books(subscribers=2)
    books.publish(1, 2, 3)
    books.read(1, 2, 3, subscriber=0)
    books.read(1, 2, subscriber=1)
    assert books.figures() == (6, 5, 1, 0, 0)


@pytest.mark.parametrize(
    ("reads", "delivered", "lost", "out_of_order", "duplicates"),
    [
        ([1, 2, 3, 4], 4, 0, 0, 0),
        ([1, 4], 2, 2, 0, 0),
        ([2, 3, 4], 3, 1, 0, 0),
        ([1, 3, 2, 4], 4, 0, 1, 0),
        ([4, 3, 2, 1], 4, 0, 3, 0),
        ([1, 2, 2, 3, 4], 4, 0, 0, 1),
        ([1, 2, 3, 4, 1], 4, 0, 0, 1),
        ([1, 4, 2, 2, 4], 3, 1, 1, 2),
        ([], 0, 4, 0, 0),
    ],
)
def test_lost_late_and_repeated_ticks_are_told_apart(
    reads: list[int], delivered: int, lost: int, out_of_order: int, duplicates: int
) -> None:
    books = Books()
    books.publish(1, 2, 3, 4)
    books.read(*reads)
    assert books.figures() == (4, delivered, lost, out_of_order, duplicates)


def test_a_refused_tick_is_owed_to_nobody_and_leaves_no_gap() -> None:
    books = Books()
    books.publish(1)
    books.publish(2, accepted=False)
    books.publish(3)
    books.read(1, 3)
    assert books.figures() == (2, 2, 0, 0, 0)


def test_ticks_of_other_publishers_and_of_symbols_not_asked_for_do_not_count() -> None:
    books = Books()
    books.publish(1, symbol="B")
    books.read(1, symbol="B")
    books.read(99)
    assert books.figures() == (0, 0, 0, 0, 0)
    assert (books.ledger.unasked, books.ledger.foreign) == (1, 1)


def test_each_symbol_has_a_sequence_of_its_own() -> None:
    books = Books()
    books.cursors[0]["B"] = Cursor()
    books.subscribers["B"] = 1
    for number in (1, 2):
        books.publish(number)
        books.publish(number, symbol="B")
    books.read(1, 2)
    books.read(1, 2, symbol="B")
    assert books.figures() == (4, 4, 0, 0, 0)


def test_conflation_receipts_and_errors_are_counted() -> None:
    ledger = Ledger()
    ledger.message({"type": "conflated", "skipped": {"A": 3, "B": 4}})
    ledger.message({"type": "error", "code": "flooding"})
    ledger.message({"type": "welcome"})
    assert ledger.conflated == 7
    assert ledger.errors == {"flooding": 1}


def test_latency_runs_from_the_post_to_the_read() -> None:
    books = Books()
    books.publish(1)
    books.read(1)
    assert books.ledger.latencies.percentile(1.0) == 1.01


def test_a_listener_measures_from_the_tick_s_own_timestamp() -> None:
    listener = Listener()
    stamp = Stamps().next().encode()
    listener.tick({}, stamp, time.monotonic_ns() + 40 * MILLISECOND)
    listener.tick({}, b"last Tuesday", time.monotonic_ns())
    assert listener.deliveries == 2
    assert len(listener.latencies) == 1
    assert 39 < (listener.latencies.percentile(1.0) or 0) < 1_000


# Limits


class Limits:
    """Stands in for the kernel: open files, with a hard limit that only root may raise."""

    def __init__(self, soft: int, hard: int, is_root: bool = False) -> None:
        self.limits = soft, hard
        self._is_root = is_root

    def get(self, kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_NOFILE
        return self.limits

    def set(self, _kind: int, limits: tuple[int, int]) -> None:
        if self.limits[1] != resource.RLIM_INFINITY and limits[1] > self.limits[1] and not self._is_root:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("limits", "after"),
    [
        (Limits(10_000, 20_000), (10_000, 20_000)),
        (Limits(1_024, 20_000), (5_064, 20_000)),
        (Limits(1_024, 4_096, is_root=True), (5_064, 5_064)),
        (Limits(1_024, resource.RLIM_INFINITY), (5_064, resource.RLIM_INFINITY)),
    ],
    ids=["enough", "soft", "hard", "unlimited"],
)
def test_the_file_limit_is_raised_where_it_may(limits: Limits, after: tuple[int, int]) -> None:
    raise_file_limit(5_000, limits.get, limits.set)
    assert limits.limits == after


def test_a_file_limit_that_stays_too_low_is_one_clear_message() -> None:
    limits = Limits(1_024, 4_096)
    with pytest.raises(LoadTestError) as caught:
        raise_file_limit(5_000, limits.get, limits.set)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("5,000 connections", "5,064 open files", "1,024", "4,096", "ulimit -n 5064"):
        assert part in message


def test_source_addresses_are_spread_only_where_ports_would_run_out() -> None:
    assert source_address(24_000, 25_000, is_ipv4_loopback=True) is None
    assert source_address(24_000, 60_000, is_ipv4_loopback=False) is None
    assert source_address(24_000, 60_000, is_ipv4_loopback=True) == ("127.0.0.1", 0)
    assert source_address(59_999, 60_000, is_ipv4_loopback=True) == ("127.0.0.3", 0)


# Options


def options(**changes: Any) -> Options:
    return Options(**{"connections": 2, "symbols": ["AAPL"], "seconds": 0.2, "grace": 0.1, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"connections": 0},
        {"symbols": []},
        {"symbols": ["A", ""]},
        {"symbols": ["A", "A"]},
        {"per_client": 0},
        {"per_client": 2},
        {"rate": -1},
        {"rate": float("nan")},
        {"batch": 0},
        {"batch": 1_001},
        {"seconds": 0},
        {"seconds": float("inf")},
        {"grace": -1},
        {"rate": 0.01},
        {"max_rate": 5},
        {"max_rate": 0, "verify": True},
        {"reconnect": 0.5},
        {"reconnect": 1.1, "verify": True},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LoadTestError):
        options(**changes)


def test_clients_share_the_symbols_out_evenly() -> None:
    each = options(symbols=["A", "B", "C"], per_client=2)
    assert [each.symbols_of(index) for index in range(3)] == [["A", "B"], ["B", "C"], ["C", "A"]]


# Report


def report(**deliveries: Any) -> Report:
    figures = {"count": 10, "per_second": 1.0, "conflated": 0, "errors": {}, "expected": 10, "lost": 0, **deliveries}
    return Report(
        subscribers=Subscribers(asked=1, opened=1, refused={}, closed={}, connect_seconds=0.1),
        ticks=Ticks(published=10, accepted=10, refused=0, unanswered=0, refusals={}, seconds=1.0),
        deliveries=Deliveries(**figures),
        latency_ms=Latency.of(Ledger()),
        cost=Cost.of(connect=0.1, run=0.2, run_seconds=1.0, deliveries=10),
        interrupted=False,
    )


def test_a_report_is_ok_only_without_a_flaw() -> None:
    assert report().ok
    assert report(foreign=5).ok
    assert not any(report(**{flaw: 1}).ok for flaw in ("lost", "out_of_order", "duplicates", "unasked"))


def test_a_report_is_one_json_object() -> None:
    figures = json.loads(report(lost=1).json())
    assert figures["ok"] is False
    assert figures["deliveries"]["lost"] == 1
    assert figures["latency_ms"] == {"since": "post", "p50": None, "p90": None, "p99": None, "p999": None, "max": None}
    assert figures["cost"]["microseconds_per_delivery"] == 20_000


# Against a WebSocket server that is not ours; with rate 0 it needs no HTTP

Handler = Callable[[ServerConnection], None]


@contextlib.contextmanager
def serving(handler: Handler, **settings: Any) -> Iterator[str]:
    server: Server
    with serve(handler, "127.0.0.1", 0, **settings) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def acknowledge(connection: ServerConnection) -> None:
    connection.send('{"type":"welcome"}')
    request = json.loads(connection.recv())
    connection.send(json.dumps({"type": "subscribed", "symbols": request["symbols"], "id": request["id"]}))


def run(url: str, **changes: Any) -> Report:
    return LoadTest(options(url=url, rate=0, **changes)).run()


def test_listens_to_what_others_publish() -> None:
    def handler(connection: ServerConnection) -> None:
        acknowledge(connection)
        time.sleep(0.1)  # until all are connected
        for price in range(5):
            stamp = Stamps().next()
            connection.send(f'{{"type":"tick","symbol":"AAPL","price":{price},"timestamp":"{stamp}"}}')
        connection.send(f'{{ "price": 5, "symbol": "AAPL", "timestamp": "{Stamps().next()}", "type": "tick" }}')
        connection.send('{"type":"conflated","reason":"slow","skipped":{"AAPL":12}}')
        with contextlib.suppress(Exception):
            connection.recv()

    with serving(handler) as url:
        found = run(url)
    assert found.ok
    assert found.subscribers.opened == 2
    assert (found.deliveries.count, found.deliveries.conflated) == (12, 24)
    assert found.deliveries.lost is None
    assert found.latency_ms.since == "timestamp"
    assert 0 < (found.latency_ms.max or 0) < 1_000


def test_answers_pings() -> None:
    answered = []

    def handler(connection: ServerConnection) -> None:
        acknowledge(connection)
        answered.append(connection.ping(b"are you there").wait(1))

    with serving(handler) as url:
        run(url)
    assert answered == [True, True]


@pytest.mark.parametrize("code", [1000, 4001])
def test_a_close_is_reported_with_its_code(code: int) -> None:
    def handler(connection: ServerConnection) -> None:
        acknowledge(connection)
        connection.close(code, "too slow")

    with serving(handler) as url:
        found = run(url)
    assert found.subscribers.closed == {code: 2}
    assert not found.ok


def test_a_connection_cut_without_a_close_frame_is_1006() -> None:
    def handler(connection: ServerConnection) -> None:
        acknowledge(connection)
        connection.socket.shutdown(socket.SHUT_RDWR)

    with serving(handler) as url:
        found = run(url)
    assert found.subscribers.closed == {1006: 2}


def test_when_every_connection_is_refused_the_reason_is_the_message() -> None:
    def forbid(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(403, "no")

    with serving(acknowledge, process_request=forbid) as url, pytest.raises(LoadTestError, match="403 Forbidden"):
        run(url)


def test_a_subscription_that_is_refused_is_no_connection() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.recv()
        connection.send('{"type":"error","code":"invalid_symbol","message":"no","id":1}')
        with contextlib.suppress(Exception):
            connection.recv()

    with serving(handler) as url, pytest.raises(LoadTestError, match="invalid_symbol"):
        run(url)


def test_some_refused_is_a_report_not_an_error() -> None:
    lucky = iter([True, False])

    def sometimes(connection: ServerConnection, _request: Request) -> Response | None:
        return None if next(lucky) else connection.respond(503, "full")

    def handler(connection: ServerConnection) -> None:
        acknowledge(connection)
        with contextlib.suppress(Exception):
            connection.recv()

    with serving(handler, process_request=sometimes) as url:
        found = run(url)
    assert found.subscribers.refused == {"503 Service Unavailable": 1}
    assert found.subscribers.opened == 1
    assert not found.ok


def test_a_gateway_that_does_not_listen_is_one_clear_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LoadTestError, match=f"http://127.0.0.1:{port} .*connection refused"):
        run(f"http://127.0.0.1:{port}")


# A run that verifies, against the same; GET /api/v1/ticks is answered before the WebSocket's handshake

POSITION = {"seq": 10, "epoch": "5f3a9c1e"}


def greet(connection: ServerConnection, **position: Any) -> Any:
    """Acknowledges the subscription, with a snapshot unless it is resumed; the client's command."""
    connection.send('{"type":"welcome","heartbeat":1}')
    request = json.loads(connection.recv())
    positions = {"AAPL": {**POSITION, **position}}
    connection.send(json.dumps({"type": "subscribed", "symbols": ["AAPL"], "positions": positions, "id": 1}))
    if "recovered" not in position:
        connection.send(json.dumps({"type": "snapshot", "symbol": "AAPL", "price": 1, "timestamp": "t", **POSITION}))
    return request


def send_tick(connection: ServerConnection, seq: int) -> None:
    connection.send(f'{{"type":"tick","symbol":"AAPL","price":{seq},"timestamp":"{Stamps().next()}","seq":{seq}}}')


def stay(connection: ServerConnection) -> None:
    with contextlib.suppress(Exception):
        connection.recv()


def verify(handler: Handler, last: int, **changes: Any) -> Report:
    """A run of two clients, after which the server calls seq ``last`` its last."""

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        if not request.path.startswith("/api/v1/ticks"):
            return None
        tick = {"symbol": "AAPL", "price": last, "timestamp": "t", "seq": last, "epoch": POSITION["epoch"]}
        return connection.respond(200, json.dumps({"next": None, "results": [tick]}))

    with serving(handler, process_request=answer) as url:
        return run(url, verify=True, **changes)


@pytest.mark.parametrize(
    ("seqs", "last", "flaws"),
    [
        ([11, 12], 12, {}),
        ([11, 13], 13, {"lost": 2}),
        ([11, 12, 12], 12, {"duplicates": 2}),
        ([11, 13, 12], 13, {"reordered": 2, "stale": 0}),
        ([11, 12], 13, {"stale": 2}),
    ],
)
def test_a_run_that_verifies_finds_each_flaw(seqs: list[int], last: int, flaws: dict[str, int]) -> None:
    def handler(connection: ServerConnection) -> None:
        greet(connection)
        for seq in seqs:
            send_tick(connection, seq)
        stay(connection)

    found = verify(handler, last)
    assert found.proof is not None
    assert {name: getattr(found.proof, name) for name in flaws} == flaws
    assert found.ok is not bool(flaws)
    assert found.deliveries.count <= 2 * len(seqs), "a snapshot is no delivery"


def test_clients_that_lose_their_connection_come_back_and_resume() -> None:
    asked: list[Any] = []

    def handler(connection: ServerConnection) -> None:
        if len(asked) < 2:
            asked.append(greet(connection)["symbols"])
            send_tick(connection, 11)
            connection.send('{"type":"closing","code":1012,"reason":"x","reconnect":true,"wait":0.05}')
            connection.close(1012)
            return
        asked.append(greet(connection, seq=12, recovered=True)["since"])
        send_tick(connection, 12)
        stay(connection)

    found = verify(handler, 12, reconnect=0.0, max_rate=5, seconds=1)
    assert found.ok, found
    assert asked[2:] == [{"AAPL": {"seq": 11, "epoch": "5f3a9c1e"}}] * 2
    assert found.subscribers.closed == {1012: 2}
    assert (found.subscribers.returned, found.subscribers.away) == (2, 0)
    assert found.proof is not None
    assert (found.proof.resumed, found.proof.replayed) == (2, 2)


def test_a_share_of_the_clients_is_dropped_and_comes_back() -> None:
    subscriptions: list[Any] = []

    def handler(connection: ServerConnection) -> None:
        known = {"recovered": True} if len(subscriptions) >= 4 else {}
        subscriptions.append(greet(connection, **known).get("since"))
        stay(connection)

    found = verify(handler, 10, connections=4, reconnect=0.5, seconds=1.0, grace=0.5)
    assert found.proof is not None
    assert (found.subscribers.dropped, found.subscribers.returned) == (2, 2)
    assert found.proof.resumed == 2
    assert subscriptions == [None] * 4 + [{"AAPL": POSITION}] * 2


def test_who_does_not_come_back_is_missed() -> None:
    def handler(connection: ServerConnection) -> None:
        greet(connection)
        connection.close(1012)

    found = verify(handler, 10)
    assert found.subscribers.away == 2
    assert found.proof is not None
    assert found.proof.ok
    assert not found.ok
