"""Traces over real servers: from every way in, over two workers, with a collector of spans that is a few lines long."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import websockets
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.clients import publish, receive, subscriber, tick
from tests.conftest import StartGateway
from tests.integration.test_logs import accesses
from tests.servers import ServerKind, wait_until

PARENT = "00f067aa0ba902b7"
STAMPS = ["published", "received", "sequenced", "sent"]


def traceparent(number: int) -> str:
    return f"00-{number:032x}-{PARENT}-01"


class Collector:
    """Takes spans over OTLP and HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.take(self.path, self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
            self.services.update(names)
            for scope in resource.scope_spans:
                self.spans += scope.spans


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


async def asked(connection: Any, *symbols: str, **options: Any) -> None:
    await connection.send(json.dumps({"action": "subscribe", "symbols": symbols, "trace": True, **options}))
    assert (await receive(connection))["type"] == "subscribed"


async def test_every_way_in_is_traced_over_two_workers(
    start_gateway: StartGateway, redis_url: str, collector: Collector
) -> None:
    gateway = start_gateway(
        redis_url,
        workers=2,
        checks=True,
        MARKETMUX_ACCESS_LOG="1",
        MARKETMUX_LOG_FORMAT="json",
        MARKETMUX_OTEL="1",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
        OTEL_SERVICE_NAME="prices",
    )
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=gateway.http, timeout=60))
        other = await stack.enter_async_context(subscriber(gateway, "A"))
        tracers = [await stack.enter_async_context(subscriber(gateway, "B")) for _ in range(6)]
        for connection in tracers:
            await asked(connection, "A", snapshot=False)
        url = f"{gateway.ws}/publish"
        publisher = await stack.enter_async_context(websockets.connect(url))
        # The short way; by Django, as a browser's goes; and over a WebSocket.
        for number, path in ((1, "/api/v1/ticks"), (2, "/api/v1/ticks?format=json")):
            answer = await http.post(path, json=tick("A", number), headers={"traceparent": traceparent(number)})
            assert answer.status_code == 202, answer.text
        keyed = {"key": "k", "ticks": [tick("A", 3)], "traceparent": traceparent(3)}
        await publisher.send(json.dumps(keyed))
        for connection in tracers:
            for number in (1, 2, 3):
                price = await receive(connection)
                trace = price["trace"]
                assert (price["price"], list(trace)) == (number, [*STAMPS, "traceparent"])
                assert trace["received"] <= trace["sequenced"] <= trace["sent"]
                assert trace["traceparent"].split("-")[1] == f"{number:032x}"
        assert ["trace" in await receive(other) for _ in range(3)] == [False] * 3
        wait_until(lambda: len(collector.spans) == 3)
        found = {int.from_bytes(span.trace_id): span for span in collector.spans}
        assert {number: span.parent_span_id.hex() for number, span in found.items()} == dict.fromkeys((1, 2, 3), PARENT)
        assert trace["traceparent"] == f"00-{3:032x}-{found[3].span_id.hex()}-01"
        assert collector.services == {"prices"}
        wait_until(lambda: len([line for line in accesses(gateway) if line.get("method") == "POST"]) == 2)
        posts = [line for line in accesses(gateway) if line.get("method") == "POST"]
        assert {line["trace_id"] for line in posts} == {f"{number:032x}" for number in (1, 2)}


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_other_servers_trace_too(start_gateway: StartGateway, server: ServerKind) -> None:
    gateway = start_gateway(server=server)
    async with (
        httpx.AsyncClient(base_url=gateway.http, timeout=60) as http,
        subscriber(gateway, "B") as tracer,
        subscriber(gateway, "A") as other,
    ):
        await asked(tracer, "A")
        answer = await http.post("/api/v1/ticks", json=tick("A", 1), headers={"traceparent": "00-nonsense"})
        assert answer.status_code == 202
        price = await receive(tracer)
        assert list(price.pop("trace")) == STAMPS
        assert price == await receive(other)
        await tracer.send(json.dumps({"action": "subscribe", "symbol": "A", "snapshot": False}))
        assert (await receive(tracer))["type"] == "subscribed"
        await publish(http, {"symbol": "A", "price": 2})
        assert await receive(tracer) == await receive(other)
