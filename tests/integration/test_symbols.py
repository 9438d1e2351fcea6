"""Symbols of real feeds through every way in and out of two gateways on one Redis, and through none what is no symbol."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.clients import EventStream
from tests.servers import GatewayProcess, RedisServer
from tests.symbols import NO_SYMBOLS, SYMBOLS

PATIENCE: Final = 60.0
SHORT: Final = [symbol for symbol in SYMBOLS if len(symbol) < 64]
"""Those that fit into one address together."""


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    shared_redis.flush()
    with ExitStack() as stack:
        gateways = []
        for name in ("in", "out"):
            gateway = GatewayProcess(tmp_path_factory.mktemp(name), redis_url=shared_redis.url)
            gateway.start()
            stack.callback(gateway.kill)
            stack.callback(gateway.stop)
            gateways.append(gateway)
        yield gateways[0], gateways[1]
        assert "Traceback" not in gateways[0].output() + gateways[1].output()


def prices_of(socket: ClientConnection, count: int) -> dict[str, Any]:
    """The first ``count`` symbols that a client is sent a price of, and these."""
    prices: dict[str, Any] = {}
    while len(prices) < count:
        message = json.loads(socket.recv(timeout=PATIENCE))
        assert message["type"] != "error", message
        if message["type"] in {"tick", "snapshot"}:
            prices[message["symbol"]] = message["price"]
    return prices


def get(gateway: GatewayProcess, path: str) -> tuple[int, Any]:
    """As it is written: other clients take dots between slashes for steps."""
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=PATIENCE)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_symbols_go_in_and_come_out_as_they_are(pair: tuple[GatewayProcess, GatewayProcess]) -> None:
    inside, outside = pair
    places = {symbol: place for place, symbol in enumerate(SYMBOLS, 1)}
    batch = [{"symbol": symbol, "price": place} for symbol, place in places.items()]
    with connect(f"{outside.ws}") as named, connect(f"{outside.ws}") as everything:
        named.send(json.dumps({"action": "subscribe", "symbols": SYMBOLS}))
        while (answer := json.loads(named.recv(timeout=PATIENCE)))["type"] != "subscribed":
            pass
        epoch = answer["positions"]["A_B"]["epoch"]
        everything.send('{"action":"subscribe","symbol":"*"}')
        while json.loads(everything.recv(timeout=PATIENCE))["type"] != "subscribed":
            pass
        httpx.post(f"{inside.http}/api/v1/ticks", json=batch, timeout=PATIENCE).raise_for_status()
        assert prices_of(named, len(SYMBOLS)) == prices_of(everything, len(SYMBOLS)) == places

    with connect(f"{inside.ws}/publish") as publisher:
        publisher.send(json.dumps(batch, ensure_ascii=False))
        assert [json.loads(publisher.recv(timeout=PATIENCE))["type"] for _ in range(2)] == ["welcome", "published"]
    with connect(f"{outside.ws}") as back:
        since = {symbol: {"seq": 1, "epoch": epoch} for symbol in SYMBOLS}
        back.send(json.dumps({"action": "subscribe", "symbols": SYMBOLS, "since": since}))
        while (answer := json.loads(back.recv(timeout=PATIENCE)))["type"] != "subscribed":
            pass
        assert {symbol for symbol, place in answer["positions"].items() if place["recovered"]} == set(SYMBOLS)
        assert prices_of(back, len(SYMBOLS)) == places
    for symbol, place in places.items():
        status, latest = get(outside, f"/api/v1/ticks/{quote(symbol, safe='')}")
        assert (status, latest["symbol"], latest["price"], latest["seq"]) == (200, symbol, place, 2)
        assert get(outside, f"/api/v1/access?symbol={quote(symbol, safe='')}")[1]["symbol"] == symbol
    assert {tick["symbol"] for tick in get(outside, "/api/v1/ticks?page_size=1000")[1]["results"]} == set(SYMBOLS)

    symbols, after = [], ""
    while True:
        page = get(inside, f"/api/v1/ticks?page_size=7&after={quote(after, safe='')}")[1]["results"]
        symbols += [tick["symbol"] for tick in page]
        if len(page) < 7:
            break
        after = page[-1]["symbol"]
    assert sorted(symbols) == sorted(SYMBOLS)


def test_a_gateway_that_starts_later_knows_all_symbols(
    pair: tuple[GatewayProcess, GatewayProcess], tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer
) -> None:
    batch = [{"symbol": symbol, "price": 1} for symbol in SYMBOLS]
    httpx.post(f"{pair[0].http}/api/v1/ticks", json=batch, timeout=PATIENCE).raise_for_status()
    late = GatewayProcess(tmp_path_factory.mktemp("late"), redis_url=shared_redis.url)
    late.start()
    try:
        results = get(late, "/api/v1/ticks?page_size=1000")[1]["results"]
        assert {tick["symbol"] for tick in results} == set(SYMBOLS)
        with connect(f"{late.ws}") as everything:
            everything.send('{"action":"subscribe","symbol":"*"}')
            assert set(prices_of(everything, len(SYMBOLS))) == set(SYMBOLS)
    finally:
        late.stop()
        late.kill()


def test_a_stream_of_events_takes_them_from_its_address(pair: tuple[GatewayProcess, GatewayProcess]) -> None:
    inside, outside = pair
    with EventStream(outside, f"snapshot=false&symbols={quote(','.join(SHORT), safe='')}") as stream:
        assert [stream.read()["type"] for _ in range(2)] == ["welcome", "subscribed"]
        batch = [{"symbol": symbol, "price": 1} for symbol in SHORT]
        httpx.post(f"{inside.http}/api/v1/ticks", json=batch, timeout=PATIENCE).raise_for_status()
        assert {symbol for symbol, _ in stream.ticks(len(SHORT))} == set(SHORT)


def test_what_is_no_symbol_is_refused_everywhere(pair: tuple[GatewayProcess, GatewayProcess]) -> None:
    gateway, _ = pair
    with httpx.Client(base_url=gateway.http, timeout=PATIENCE) as client, connect(f"{gateway.ws}") as subscriber:
        subscriber.recv(timeout=PATIENCE)
        for text, fault in NO_SYMBOLS.items():
            body = json.dumps({"symbol": text, "price": 1})
            response = client.post("/api/v1/ticks", content=body, headers={"Content-Type": "application/json"})
            [error] = response.json()["errors"]
            assert (response.status_code, error["field"]) == (400, "symbol"), text
            assert fault in error["message"]
            if text != "*":
                subscriber.send(json.dumps({"action": "subscribe", "symbol": text}))
                while (error := json.loads(subscriber.recv(timeout=PATIENCE)))["type"] == "heartbeat":
                    pass
                assert error["code"] in {"invalid_symbol", "invalid_json"}, text
            path = quote(text.encode(errors="surrogatepass"), safe="")
            assert get(gateway, f"/api/v1/ticks/{path}")[0] in {400, 404}, text
