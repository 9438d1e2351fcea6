"""The HTTP API on a real server, by both ways in: the publishers' short one, and Django's."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import StartGateway
from tests.servers import GatewayProcess, RedisServer, wait_until

WHEN = "2026-05-12T15:04:05Z"


@pytest.fixture(params=["short", "django"])
def http(request: pytest.FixtureRequest, gateway: GatewayProcess) -> Iterator[httpx.Client]:
    """A client of the gateway; one with a cookie is taken for a browser, whose requests pass Django's middleware."""
    cookies = {"theme": "dark"} if request.param == "django" else {}
    with httpx.Client(base_url=gateway.http, cookies=cookies) as client:
        yield client


def post(http: httpx.Client, body: Any, content_type: str = "application/json", **headers: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post("/api/v1/ticks", content=content, headers={"content-type": content_type, **headers})


def test_one_tick_is_accepted_and_can_be_read(http: httpx.Client) -> None:
    response = post(http, b'{"symbol": "BRK.B", "price": 150.250, "timestamp": "2026-05-12T17:04:05.120+02:00"}')
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    assert response.headers["content-type"] == "application/json"
    latest = http.get("/api/v1/ticks/BRK.B")
    place = latest.json()
    assert latest.text == (
        '{"symbol":"BRK.B","price":150.250,"timestamp":"2026-05-12T15:04:05.120Z",'
        f'"seq":{place["seq"]},"epoch":"{place["epoch"]}"}}\n'
    )


def test_a_batch_is_accepted(http: httpx.Client) -> None:
    batch = [{"symbol": f"S{number}", "price": number, "bid": "1.50", "size": 3} for number in range(1000)]
    assert post(http, batch).json() == {"accepted": 1000}
    assert http.get("/api/v1/ticks/S999").json()["price"] == 999


def test_extra_is_read_as_it_was_published(http: httpx.Client) -> None:
    extra = b'{"venue":"XNAS","fee":0.00300,"e":1.5E+3,"late":false,"note":null,"caf\xc3\xa9":"\\"\xe2\x82\xac"}'
    assert post(http, b'{"symbol": "EXTRA", "price": 1, "extra": ' + extra + b"}").status_code == 202
    assert b'"extra":' + extra + b',"seq":' in http.get("/api/v1/ticks/EXTRA").content


def test_newline_delimited_json_is_accepted(http: httpx.Client) -> None:
    body = b'{"symbol":"L1","price":1}\n{"symbol":"L2","price":2.50}\n'
    assert post(http, body, "application/x-ndjson").json() == {"accepted": 2}
    assert http.get("/api/v1/ticks/L2").json()["price"] == 2.5
    refused = post(http, b'{"symbol":"L3","price":1}\n{"symbol":"L\\u00074","price":1}\n', "application/x-ndjson")
    assert (refused.status_code, refused.json()["errors"][0]["index"]) == (400, 1)
    assert http.get("/api/v1/ticks/L3").status_code == 404


def test_a_chunked_body_is_accepted(http: httpx.Client) -> None:
    chunks = iter([b'[{"symbol":"CHUNKED",', b'"price":1}]'])
    response = http.post("/api/v1/ticks", content=chunks, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()) == (202, {"accepted": 1})


def test_the_latest_tick_has_its_place_in_the_sequence(http: httpx.Client, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    with httpx.Client(base_url=gateway.http, cookies=http.cookies) as client:
        post(client, [{"symbol": "A", "price": price} for price in (1, 2)] + [{"symbol": "B", "price": 3}])
        first = client.get("/api/v1/ticks/A").json()
        assert (first["price"], first["seq"]) == (2, 2)
        post(client, {"symbol": "A", "price": 4})
        results = client.get("/api/v1/ticks").json()["results"]
        assert [(tick["symbol"], tick["seq"], tick["epoch"]) for tick in results] == [
            ("A", 3, first["epoch"]), ("B", 1, first["epoch"])
        ]  # fmt: skip


@pytest.mark.parametrize("bus", ["memory", "redis"])
def test_ticks_with_an_idempotency_key_are_published_once(
    http: httpx.Client, start_gateway: StartGateway, bus: str, request: pytest.FixtureRequest
) -> None:
    gateway = start_gateway(redis_url=request.getfixturevalue("redis_url") if bus == "redis" else None)
    once = {"idempotency-key": "feed-1/42~!"}
    with httpx.Client(base_url=gateway.http, cookies=http.cookies) as client:
        ticks: list[dict[str, Any]] = [{"symbol": "A", "price": 1, "timestamp": WHEN}, {"symbol": "A", "price": "2.50"}]
        first = post(client, ticks, **once)
        assert (first.status_code, first.json(), "idempotency-replayed" in first.headers) == (
            202, {"accepted": 2}, False
        )  # fmt: skip
        # The same ticks, however they are written; what has no timestamp is received at another time.
        lines = b'{"price": 1, "timestamp": "2026-05-12T16:04:05+01:00", "symbol": "A"}\n{"symbol":"A","price":2.50}'
        for again in (post(client, ticks, **once), post(client, lines, "application/x-ndjson", **once)):
            assert (again.status_code, again.json()) == (202, {"accepted": 2})
            assert again.headers["idempotency-replayed"] == "true"
        others: list[Any] = [{"symbol": "A", "price": 1}, [ticks[0], {**ticks[1], "extra": {}}], []]
        for other in others:
            reused = post(client, other, **once)
            assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
        assert post(client, ticks, **{"idempotency-key": "other"}).headers.get("idempotency-replayed") is None
        assert client.get("/api/v1/ticks/A").json()["seq"] == 4


def test_a_key_in_quotes_as_the_draft_has_it_is_the_same_key(http: httpx.Client) -> None:
    key = f"quoted-{len(http.cookies)}"
    assert "idempotency-replayed" not in post(http, [{"symbol": "A", "price": 1}], **{"idempotency-key": key}).headers
    again = post(http, [{"symbol": "A", "price": 1}], **{"idempotency-key": f'"{key}"'})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")


def test_an_invalid_batch_leaves_its_idempotency_key_unused(http: httpx.Client) -> None:
    once = {"idempotency-key": f"corrected, {http.cookies.get('theme')}".replace(" ", "")}
    assert post(http, {"symbol": "A", "price": "x"}, **once).status_code == 400
    response = post(http, {"symbol": "A", "price": 1}, **once)
    assert (response.status_code, "idempotency-replayed" in response.headers) == (202, False)


def test_an_idempotency_key_is_its_publishers_own(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    key = next(word for word in gateway.manage("create_key", "feed").split() if word.startswith("mmx_"))
    once = {"idempotency-key": "1"}
    with httpx.Client(base_url=gateway.http) as http:
        for price, authorization in ((1, {}), (2, {"authorization": f"Api-Key {key}"})):
            tick = {"symbol": "A", "price": price}
            assert post(http, tick, **once, **authorization).status_code == 202
            assert post(http, tick, **once, **authorization).headers["idempotency-replayed"] == "true"


def test_one_bad_item_and_nothing_is_published(http: httpx.Client) -> None:
    batch = [{"symbol": "ATOMIC", "price": 1}, {"symbol": "ATOMIC", "price": "x"}, {"symbol": "A,B", "price": 1}]
    response = post(http, batch)
    assert response.status_code == 400
    body = response.json()
    assert body["code"] == "invalid_ticks"
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "price"), (2, "symbol")]
    assert http.get("/api/v1/ticks/ATOMIC").status_code == 404


def test_a_charset_in_the_content_type_is_no_harm(http: httpx.Client) -> None:
    assert post(http, {"symbol": "A", "price": 1}, "application/json; charset=utf-8").status_code == 202


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused(http: httpx.Client, method: str) -> None:
    response = http.request(method, "/api/v1/ticks", content=b"{}", headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


def test_the_latest_ticks_are_paginated_in_alphabetical_order(http: httpx.Client, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    with httpx.Client(base_url=gateway.http, cookies=http.cookies) as client:
        assert client.get("/api/v1/ticks").json() == {"count": 0, "next": None, "previous": None, "results": []}
        post(client, [{"symbol": f"S{number:03}", "price": f"{number}.10"} for number in range(250)])
        first = client.get("/api/v1/ticks").json()
        assert (first["count"], len(first["results"]), first["previous"]) == (250, 100, None)
        last = client.get("/api/v1/ticks?page=3")
        assert [tick["symbol"] for tick in last.json()["results"]] == [f"S{number:03}" for number in range(200, 250)]
        assert '"price":249.10' in last.text
        assert len(client.get("/api/v1/ticks?page_size=1000").json()["results"]) == 250
        assert client.get("/api/v1/ticks?page=9").json()["code"] == "not_found"
        assert [tick["symbol"] for tick in client.get("/api/v1/ticks?page=last").json()["results"]][-1] == "S249"


def test_all_latest_ticks_are_read_by_going_behind_the_last_one(
    http: httpx.Client, start_gateway: StartGateway
) -> None:
    gateway = start_gateway()
    with httpx.Client(base_url=gateway.http, cookies=http.cookies) as client:
        post(client, [{"symbol": f"S{number:03}", "price": 1} for number in range(250)])
        symbols, address = [], "/api/v1/ticks?after=&page_size=60"
        while address is not None:
            page = client.get(address).json()
            symbols += [tick["symbol"] for tick in page["results"]]
            address = page["next"]
        assert symbols == [f"S{number:03}" for number in range(250)]
        assert page["count"] == 250
        assert client.get("/api/v1/ticks?after=S2480").json()["results"][0]["symbol"] == "S249"
        assert client.get("/api/v1/ticks?after=a%07b").json()["code"] == "parse_error"


@pytest.mark.parametrize(
    ("path", "symbol"),
    [("EUR%2FUSD", "EUR/USD"), ("EUR/USD", "EUR/USD"), ("%5EGSPC", "^GSPC"), ("ES%3DF", "ES=F"), ("%231", "#1")],
)
def test_any_symbol_can_be_read(http: httpx.Client, path: str, symbol: str) -> None:
    post(http, {"symbol": symbol, "price": 1})
    assert http.get(f"/api/v1/ticks/{path}").json()["symbol"] == symbol


@pytest.mark.parametrize("path", ["ticks/NOBODY", "ticks/a%20b", "ticks/%00", "ticks/", "nothing", ""])
def test_what_is_not_there_is_a_404_in_the_apis_own_format(http: httpx.Client, path: str) -> None:
    response = http.get(f"/api/v1/{path}")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_a_browser_gets_the_browsable_api(gateway: GatewayProcess) -> None:
    with httpx.Client(base_url=gateway.http, headers={"accept": "text/html"}) as browser:
        post(browser, {"symbol": "AAPL", "price": "150.250"}, accept="application/json")
        page = browser.get("/api/v1/ticks")
        assert page.headers["content-type"].startswith("text/html")
        assert "Publish ticks" in page.text
        assert "&quot;price&quot;: 150.250" in page.text
        assert "150.250" in browser.get("/api/v1/ticks/AAPL").text
        refused = post(browser, {"symbol": "AAPL", "price": "x"})
        assert (refused.status_code, refused.headers["content-type"][:9]) == (400, "text/html")


def test_publishing_needs_a_key_and_reading_a_key_or_a_login(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    key = next(word for word in gateway.manage("create_key", "feed").split() if word.startswith("mmx_"))
    tick = {"symbol": "A", "price": 1}
    for cookies in ({}, {"theme": "dark"}):
        with httpx.Client(base_url=gateway.http, cookies=cookies) as http:
            refused = post(http, tick)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Api-Key")
            assert refused.json()["code"] == "not_authenticated"
            for wrong in ("Api-Key nonsense", "Api-Key", "Api-Key a b", "Bearer x"):
                assert post(http, tick, authorization=wrong).status_code == 401
            assert post(http, tick, authorization=f"Api-Key {key}").status_code == 202
            assert http.get("/api/v1/ticks").status_code == 401
            assert http.get("/api/v1/ticks", headers={"authorization": f"Api-Key {key}"}).json()["count"] == 1
    assert "Traceback" not in gateway.output()


@pytest.mark.parametrize("cookies", [{}, {"theme": "dark"}], ids=["short", "django"])
def test_without_redis_the_answer_is_503_and_says_when_to_try_again(
    start_gateway: StartGateway, redis_server: Any, cookies: dict[str, str]
) -> None:
    gateway = start_gateway(redis_url=redis_server.url)
    with httpx.Client(base_url=gateway.http, cookies=cookies, timeout=20) as http:
        assert post(http, {"symbol": "A", "price": 1}).status_code == 202
        redis_server.stop()
        response = post(http, {"symbol": "A", "price": 1})
        assert (response.status_code, response.json()["code"]) == (503, "bus_unavailable")
        assert response.headers["retry-after"] == "1"
        assert http.get("/api/v1/ticks").status_code == 503
        assert http.get("/healthz").status_code == 503
        redis_server.start()
        assert post(http, {"symbol": "A", "price": 1}).status_code == 202
        assert http.get("/healthz").status_code == 200
    assert "Traceback" not in gateway.output()


def test_a_redis_that_is_stopped_is_a_503_within_a_second_and_nothing_is_published_later(
    start_gateway: StartGateway, redis_server: RedisServer
) -> None:
    gateway = start_gateway(redis_url=redis_server.url)
    with httpx.Client(base_url=gateway.http, timeout=20) as http:
        assert post(http, {"symbol": "A", "price": 1}).status_code == 202
        redis_server.pause()
        for _ in range(4):
            started = time.monotonic()
            response = post(http, {"symbol": "A", "price": 2})
            waited = time.monotonic() - started
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert waited < 3  # a second, on a machine that has nothing else to do
        redis_server.resume()

        def is_accepted() -> bool:
            return post(http, {"symbol": "A", "price": 3}).status_code == 202

        wait_until(is_accepted)
        latest = http.get("/api/v1/ticks/A").json()
        assert (latest["price"], latest["seq"]) == (3, 2)


COMPRESSED = [
    "/api/v1/ticks?page_size=1000",
    "/api/v1/ticks?after=",
    "/api/v1/openapi.json",
    "/api/v1/asyncapi.json",
    "/metrics",
]


@pytest.mark.parametrize("path", COMPRESSED)
def test_long_answers_come_compressed_to_who_takes_that(http: httpx.Client, path: str) -> None:
    post(http, [{"symbol": f"Z{number}", "price": number} for number in range(100)])
    plain, _ = raw(http, "GET", path, "gzip;q=0, identity")
    assert "content-encoding" not in plain.headers
    answer, body = raw(http, "GET", path, "br, gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(body) < int(plain.headers["content-length"]) / 2
    whole = gzip.decompress(body)
    assert whole.endswith(b"\n")
    assert "metrics" in path or len(whole) == int(plain.headers["content-length"])
    for each in (plain, answer):
        assert "accept-encoding" in each.headers["vary"].lower()
    head, nothing = raw(http, "HEAD", path, "gzip")
    assert (head.status_code, head.headers["content-encoding"], nothing) == (200, "gzip", b"")


def test_pages_and_tokens_are_never_compressed(http: httpx.Client) -> None:
    post(http, [{"symbol": f"Z{number}", "price": number} for number in range(100)])
    pages = ["/", "/admin/login/", "/api/v1/ticks", "/api/v1/docs", "/api/v1/docs/websockets", "/api/v1/access"]
    for path in pages:
        answer, _ = raw(http, "GET", path, "gzip", accept="text/html")
        assert (answer.status_code, answer.headers.get("content-encoding")) == (200, None), path
    token, _ = raw(http, "POST", "/api/v1/tokens", "gzip")
    assert "content-encoding" not in token.headers


def test_a_short_answer_comes_as_it_is(http: httpx.Client) -> None:
    answer, body = raw(http, "GET", "/api/v1/ticks?page_size=1", "gzip")
    assert "content-encoding" not in answer.headers
    assert len(json.loads(body)["results"]) <= 1


def raw(http: httpx.Client, method: str, path: str, encoding: str, accept: str = "*/*") -> tuple[httpx.Response, bytes]:
    """An answer, and its body as it came."""
    with http.stream(method, path, headers={"accept-encoding": encoding, "accept": accept}) as response:
        return response, b"".join(response.iter_raw())
