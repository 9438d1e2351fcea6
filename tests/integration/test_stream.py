"""Server-sent events of real gateways: curl, a browser, those who resume, who are slow, and who may not."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from selenium import webdriver

from tests.clients import EventStream, RawClient, metrics, tick
from tests.office import Office
from tests.servers import GatewayProcess, RedisServer, free_port, wait_until

BOTH: Final = "symbols=AAPL,MSFT"


def post(gateway: GatewayProcess, *ticks: tuple[str, int], headers: dict[str, str] | None = None) -> None:
    body = [tick(symbol, price) for symbol, price in ticks]
    httpx.post(f"{gateway.http}/api/v1/ticks", json=body, headers=headers, timeout=30).raise_for_status()


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.soak)], ids=["one worker", "two workers"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer
) -> Iterator[GatewayProcess]:
    shared_redis.flush()
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("stream"),
        workers=request.param,
        redis_url=shared_redis.url,
        MARKETMUX_ACCESS_LOG="1",
        MARKETMUX_LOG_FORMAT="json",
    )
    gateway.start()
    yield gateway
    assert "Traceback" not in gateway.output()
    gateway.stop()
    gateway.kill()


def test_the_messages_are_those_of_the_websocket(gateway: GatewayProcess) -> None:
    with EventStream(gateway, BOTH) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream"
        assert stream.response.headers["x-accel-buffering"] == "no"
        assert "no-store" in stream.response.headers["cache-control"]
        assert [message["type"] for message in (stream.read(), stream.read())] == ["welcome", "subscribed"]
        post(gateway, ("AAPL", 1), ("MSFT", 2), ("TSLA", 3))
        assert stream.ticks(2) == [("AAPL", 1), ("MSFT", 1)]
        assert 1_000 <= stream.retry <= 3_000
        assert metrics(gateway)["connections"] >= 0


def test_streams_are_counted_on_their_own(gateway: GatewayProcess) -> None:
    wait_until(lambda: metrics(gateway)["event_streams"] == 0)
    with RawClient(gateway, "COUNTED"), EventStream(gateway, "symbols=COUNTED") as stream:
        stream.read_until("subscribed")
        assert metrics(gateway)["event_streams"] == 1
        assert metrics(gateway)["connections"] >= 2
    wait_until(lambda: metrics(gateway)["event_streams"] == 0)


def test_a_stream_has_its_id_and_its_line_in_the_access_log(gateway: GatewayProcess) -> None:
    with EventStream(gateway, "symbols=LOGGED", {"X-Request-ID": "stream-00001"}) as stream:
        assert stream.response.headers.get_all("x-request-id") == ["stream-00001"]
        stream.read_until("subscribed")
        post(gateway, ("LOGGED", 1))
        assert stream.ticks(1) == [("LOGGED", 1)]

    def line() -> dict[str, Any]:
        lines = (line for line in gateway.output().splitlines() if "stream-00001" in line and line.endswith("}"))
        found = [json.loads(line) for line in lines]
        return found[-1] if found else {}

    wait_until(lambda: "status" in line())
    assert (line()["path"], line()["status"], line()["logger"]) == ("/api/v1/stream", 200, "gateway.access")
    assert 300 < line()["bytes"] < 3_000
    with EventStream(gateway, "symbol=LOGGED", {"X-Request-ID": "stream-00002"}) as refused:
        assert (refused.status, refused.response.headers["x-request-id"]) == (400, "stream-00002")


def test_curl_shows_it(gateway: GatewayProcess) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl on PATH")
    command = [curl, "-sN", "--max-time", "20", f"{gateway.http}/api/v1/stream?symbols=CURL"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line == "event: subscribed\n" for line in lines)
        post(gateway, ("CURL", 5))
        assert any(line == "event: tick\n" for line in lines)
        assert json.loads(next(lines).removeprefix("data: "))["price"] == 5
        epoch, _, seq = next(lines).removeprefix("id: ").strip().rpartition("-")
        assert (bool(epoch), seq) == (True, "1")
        assert any(line.startswith(": ") for line in lines)  # a heartbeat
        process.kill()


def test_a_resume_is_right_for_all_symbols(gateway: GatewayProcess) -> None:
    query = "symbols=R1,R2,R3"
    with EventStream(gateway, query) as stream:
        stream.read_until("subscribed")
        post(gateway, ("R1", 1), ("R2", 1), ("R1", 2))
        stream.ticks(3)
        last_id = stream.last_id
    post(gateway, ("R2", 2), ("R1", 3), ("R3", 1), ("R2", 3))
    with EventStream(gateway, query, {"Last-Event-ID": last_id}) as stream:
        positions = stream.read_until("subscribed")[-1]["positions"]
        assert {symbol: place["recovered"] for symbol, place in positions.items()} == dict.fromkeys(positions, True)
        assert sorted(stream.ticks(4)) == [("R1", 3), ("R2", 2), ("R2", 3), ("R3", 1)]
        post(gateway, ("R3", 2))
        assert stream.ticks(1) == [("R3", 2)]
        last_id = stream.last_id
    with EventStream(gateway, query, {"Last-Event-ID": last_id}) as stream:
        stream.read_until("subscribed")
        post(gateway, ("R3", 3))
        assert stream.ticks(1) == [("R3", 3)]


def test_who_resumes_with_another_address_gets_snapshots(gateway: GatewayProcess) -> None:
    post(gateway, ("O1", 1), ("O2", 1), ("O2", 2))
    with EventStream(gateway, "symbols=O1,O2") as stream:
        stream.read_until("subscribed")
        post(gateway, ("O1", 2))
        stream.read_until("tick")
        last_id = stream.last_id
    with EventStream(gateway, "symbols=O2,O1", {"Last-Event-ID": last_id}) as stream:
        positions = stream.read_until("subscribed")[-1]["positions"]
        assert "recovered" not in positions["O1"]
        assert [stream.read()["type"] for _ in range(2)] == ["snapshot", "snapshot"]


def test_everything_at_a_rate_and_without_snapshots(gateway: GatewayProcess) -> None:
    post(gateway, ("E1", 1))
    with EventStream(gateway, "symbols=*&snapshot=false&max_rate=500") as stream:
        answer = stream.read_until("subscribed")[-1]
        assert (answer["symbols"], answer["max_rate"]) == (["*"], 500)
        post(gateway, ("E1", 2))
        assert stream.read_until("tick")[-1]["seq"] == 2
        assert not stream.last_id


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_query"),
        ("symbols=", 400, "invalid_query"),
        ("symbols=BR%07EAD", 400, "invalid_query"),
        ("symbol=AAPL", 400, "invalid_query"),
        ("symbols=A&symbols=B", 400, "invalid_query"),
        ("symbols=A&max_rate=fast", 400, "invalid_query"),
        ("symbols=A&max_rate=nan", 400, "invalid_query"),
        ("symbols=A&max_rate=0", 400, "invalid_query"),
        ("symbols=A&snapshot=perhaps", 400, "invalid_query"),
        ("symbols=A&token=mmt_x", 401, "credential_in_url"),
        (f"symbols={','.join(f'S{number}' for number in range(1_001))}", 400, "too_many_symbols"),
    ],
)
def test_what_is_wrong_is_a_problem(gateway: GatewayProcess, query: str, status: int, code: str) -> None:
    with EventStream(gateway, query) as stream:
        assert stream.status == status
        assert json.load(stream.response)["code"] == code
        assert stream.response.headers["content-type"] == "application/problem+json"
        assert stream.response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE"])
def test_it_can_only_be_read(gateway: GatewayProcess, method: str) -> None:
    answer = httpx.request(method, f"{gateway.http}/api/v1/stream?symbols=A", timeout=30)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_another_origin_is_refused(gateway: GatewayProcess) -> None:
    with EventStream(gateway, "symbols=A", {"Origin": "http://evil.example"}) as stream:
        assert (stream.status, json.load(stream.response)["code"]) == (403, "permission_denied")


def test_a_slow_reader_is_conflated_and_told(gateway: GatewayProcess) -> None:
    count, size = 6_000, 1_000
    with EventStream(gateway, "symbols=SLOW,END", receive_buffer=4_096) as stream:
        stream.read_until("subscribed")
        body = [{"symbol": "SLOW", "price": 1, "extra": {"x": "x" * 200}}] * size
        with httpx.Client(base_url=gateway.http, timeout=60) as http:
            for _ in range(count // size):
                http.post("/api/v1/ticks", json=body).raise_for_status()
            wait_until(lambda: metrics(gateway)["parked_total"] > 0 or gateway.pids[1:] != [])
            http.post("/api/v1/ticks", json=tick("END", 1)).raise_for_status()
        known, accounted = 0, 0
        while known < count:
            message = stream.read()
            if message["type"] == "conflated":
                accounted += message["skipped"].get("SLOW", 0)
            elif (
                message.get("symbol") == "SLOW"
            ):  # the first is a snapshot if its epoch was not known when it was asked for
                assert message["type"] == ("tick" if known else message["type"]) in {"tick", "snapshot"}
                accounted += 1
                known = message["seq"]
                assert known == accounted, message
        assert accounted == count


def test_resume_after_a_restart(tmp_path: Path, redis_server: RedisServer) -> None:
    gateway = GatewayProcess(tmp_path, redis_url=redis_server.url)
    gateway.start()
    try:
        with EventStream(gateway, BOTH) as stream:
            stream.read_until("subscribed")
            post(gateway, ("AAPL", 1), ("MSFT", 1))
            stream.ticks(2)
            began = time.monotonic()
            gateway.stop()
            assert time.monotonic() - began < 4
            assert stream.read()["type"] == "closing"
            assert stream.read() is None
            last_id = stream.last_id
        other = GatewayProcess(tmp_path / "other", redis_url=redis_server.url)
        other.start()
        try:
            post(other, ("AAPL", 2), ("MSFT", 2))
            gateway.start()
            with EventStream(gateway, BOTH, {"Last-Event-ID": last_id}) as stream:
                stream.read_until("subscribed")
                assert sorted(stream.ticks(2)) == [("AAPL", 2), ("MSFT", 2)]
        finally:
            other.stop()
    finally:
        gateway.stop()


def test_without_the_bus_it_is_503(tmp_path: Path, redis_server: RedisServer) -> None:
    gateway = GatewayProcess(tmp_path, redis_url=redis_server.url)
    gateway.start()
    try:
        redis_server.stop()
        with EventStream(gateway, "symbols=NEW") as stream:
            assert (stream.status, stream.response.headers["retry-after"]) == (503, "1")
            assert json.load(stream.response)["code"] == "bus_unavailable"
    finally:
        gateway.stop()


def test_who_would_not_come_back_after_a_refusal_is_told_when_to(tmp_path: Path, redis_server: RedisServer) -> None:
    gateway = GatewayProcess(tmp_path, redis_url=redis_server.url)
    gateway.start()
    try:
        redis_server.stop()
        with EventStream(gateway, "symbols=NEW", {"Accept": "text/event-stream"}) as stream:
            assert (stream.status, stream.response.headers["content-type"]) == (200, "text/event-stream")
            assert stream.read() is None
            assert 2_000 <= stream.retry <= 4_000
        with EventStream(gateway, "symbols=BR%07EAD", {"Accept": "text/event-stream"}) as stream:
            assert stream.status == 400
    finally:
        gateway.stop()


def test_who_may_and_for_how_long(tmp_path: Path, migrated_database: Path) -> None:
    gateway = GatewayProcess(
        tmp_path, database=migrated_database, MARKETMUX_ANONYMOUS="0", MARKETMUX_MAX_CONNECTIONS="2"
    )
    gateway.start()
    try:
        with Office(gateway.environment) as office:
            key = office.do("answer = ApiKey.objects.issue('one')[1]")
            header = {"Authorization": f"Api-Key {key}"}
            with EventStream(gateway, "symbols=A", header) as stream:
                stream.read_until("subscribed")
                with EventStream(gateway, "symbols=A", header), EventStream(gateway, "symbols=A", header) as third:
                    assert (third.status, json.load(third.response)["code"]) == (429, "too_many_connections")
                    assert int(third.response.headers["retry-after"]) >= 1
                office.do("ApiKey.objects.all().delete(); answer = 0")
                began = time.monotonic()
                assert stream.read()["code"] == 4003
                assert stream.read() is None
                assert time.monotonic() - began < 2.0
            with EventStream(gateway, "symbols=A", header) as stream:
                assert stream.status == 401
    finally:
        gateway.stop()


EVENT_SOURCE: Final = """
window.got = [];
window.source = new EventSource('/api/v1/stream?symbols=B1,B2');
for (const kind of ['subscribed', 'tick', 'closing', 'heartbeat']) {
  source.addEventListener(kind, (event) => got.push([kind, event.lastEventId, JSON.parse(event.data)]));
}
"""


@pytest.mark.soak
def test_a_browser_comes_back_where_it_was(driver: webdriver.Chrome, tmp_path: Path, redis_server: RedisServer) -> None:
    gateway = GatewayProcess(tmp_path, redis_url=redis_server.url)
    gateway.start()
    try:
        driver.get(f"{gateway.http}/api/v1/asyncapi.json")
        driver.execute_script(EVENT_SOURCE)

        def got(kind: str) -> list[Any]:
            all_of_them: list[Any] = driver.execute_script("return window.got")
            return [event for event in all_of_them if event[0] == kind]

        wait_until(lambda: len(got("subscribed")) == 1)
        post(gateway, ("B1", 1), ("B2", 1))
        wait_until(lambda: len(got("tick")) == 2)
        assert got("tick")[1][1].split("~")[0].endswith("-1.1")
        gateway.stop()
        gateway.start()
        post(gateway, ("B2", 2))
        wait_until(lambda: len(got("tick")) == 3)
        assert got("subscribed")[1][2]["positions"]["B1"]["recovered"]
        assert got("tick")[2][2]["seq"] == 2
        assert not got("heartbeat")
        assert len(got("closing")) == 1
    finally:
        gateway.stop()


@pytest.mark.soak
def test_a_browser_that_comes_while_the_bus_is_away_comes_again(
    driver: webdriver.Chrome, tmp_path: Path, redis_server: RedisServer
) -> None:
    gateway = GatewayProcess(tmp_path, redis_url=redis_server.url)
    gateway.start()
    try:
        driver.get(f"{gateway.http}/api/v1/asyncapi.json")
        redis_server.stop()
        wait_until(lambda: httpx.get(f"{gateway.http}/readyz").status_code == 503)
        driver.execute_script(EVENT_SOURCE + "source.addEventListener('error', () => got.push(['error']));")
        wait_until(lambda: ["error"] in driver.execute_script("return window.got"))
        assert driver.execute_script("return source.readyState") != 2
        redis_server.start()
        wait_until(lambda: "subscribed" in {event[0] for event in driver.execute_script("return window.got")})
    finally:
        gateway.stop()


NGINX: Final = """
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
    fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; proxy_set_header Host $http_host; }} }}
}}
"""


class Proxy:
    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = free_port()


def test_a_proxy_that_buffers_passes_it_on(gateway: GatewayProcess, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("needs nginx")
    proxy = Proxy()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(directory=tmp_path, port=proxy.port, upstream=gateway.http))
    process = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(proxy.port))
        post(gateway, ("N1", 1))
        with EventStream(proxy, "symbols=N1") as stream:
            stream.read_until("snapshot")
            post(gateway, ("N1", 2))
            assert stream.ticks(1) == [("N1", 2)]
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).is_success
    except httpx.TransportError:
        return False
