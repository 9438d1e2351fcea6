from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bus.contract import BusUnavailable
from tests.servers import free_port
from ticks.poster import Poster, PublishRefused
from ticks.tick import Tick

TICKS = [
    Tick("AAPL", "150.250", "2026-05-12T15:04:05Z", "150.24", "150.26", "100"),
    Tick("^GSPC", "5987.40", "2026-05-12T15:04:05Z"),
]


class Server(ThreadingHTTPServer):
    """Answers every POST with ``status`` and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 202
        self.hang_up = False
        self.connections: set[object] = set()
        self.requests: list[tuple[str, str, str | None, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.connections.add(self.client_address)
        self.server.requests.append((self.path, self.headers["Content-Type"], self.headers["Authorization"], body))
        answer = b'{"detail":"because"}'
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        # Without a word to the client, who takes the connection for one that is kept.
        self.close_connection = self.server.hang_up

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def publish(url: str, key: str | None = None, times: int = 1) -> None:
    poster = Poster(url, key)
    try:
        for _ in range(times):
            await poster.publish(TICKS)
    finally:
        poster.close()


async def test_a_batch_is_posted_with_every_digit(server: Server) -> None:
    await publish(server.url)
    [(path, content_type, authorization, body)] = server.requests
    assert (path, content_type, authorization) == ("/api/v1/ticks", "application/json", None)
    assert '"price":150.250,' in body
    assert [tick["symbol"] for tick in json.loads(body)] == ["AAPL", "^GSPC"]


async def test_the_key_is_sent_along(server: Server) -> None:
    await publish(server.url, "mmx_abc")
    assert server.requests[0][2] == "Api-Key mmx_abc"


async def test_a_path_in_the_address_is_kept(server: Server) -> None:
    await publish(f"{server.url}/behind/a/proxy")
    assert server.requests[0][0] == "/behind/a/proxy"


async def test_batches_share_a_connection(server: Server) -> None:
    await publish(server.url, times=3)
    assert len(server.requests) == 3
    assert len(server.connections) == 1


async def test_a_kept_connection_that_was_closed_is_opened_again(server: Server) -> None:
    server.hang_up = True
    await publish(server.url, times=3)
    assert len(server.requests) == 3


async def test_a_gateway_that_is_away_is_an_unavailable_bus() -> None:
    with pytest.raises(BusUnavailable, match="does not answer"):
        await publish(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_gateway_in_trouble_is_an_unavailable_bus(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(BusUnavailable, match=str(status)):
        await publish(server.url)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404])
async def test_any_other_answer_is_a_refusal_with_its_reason(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(PublishRefused, match=f'{status}: {{"detail":"because"}}'):
        await publish(server.url)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://127.0.0.1:none", "http://["])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Poster(url)
