"""Runs against a WebSocket server that is not ours; tests/integration/test_loadtest.py has them against a gateway."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from gateway.loadtest import LoadTest, LoadTestError, Options
from gateway.loadtest.instants import Stamps
from gateway.loadtest.report import Report

Handler = Callable[[ServerConnection], None]


def options(**changes: Any) -> Options:
    return Options(**{"connections": 2, "symbols": ["AAPL"], "seconds": 0.2, "grace": 0.1, **changes})


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


# A run that verifies: GET /api/v1/ticks is answered before the WebSocket's handshake

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
