"""At every entry the worst that fits the limits takes the event loop a bounded time, counted as a processor's."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client as Browser
from pytest_django.fixtures import Settings

from bus.contract import Limits
from bus.layers import MemoryLayer
from marketmux.asgi import application
from tests.worst import BODIES, HONEST, LINES, SLOWNESS

LOOP: Final = 0.3 * SLOWNESS
"""Seconds of a processor that a message may take the event loop; with nothing else to do it is some 0.05."""
ALL: Final = 1.0 * SLOWNESS
"""Seconds of a processor that it may take all threads together."""

JSON, NDJSON, FORM = b"application/json", b"application/x-ndjson", b"application/x-www-form-urlencoded"
TIMEOUT = 60


@pytest.fixture(autouse=True)
async def layer(settings: Settings) -> AsyncIterator[Any]:
    """A new bus; anybody may come."""
    settings.MARKETMUX_ANONYMOUS = True
    settings.MARKETMUX_HEARTBEAT_SECONDS = 0.0
    layer = MemoryLayer()
    channel_layers.set("default", layer)
    yield layer
    channel_layers.backends.clear()
    await layer.flush()


class Meter:
    """Processor time: of this thread, which has the loop, and of all of them."""

    def __init__(self) -> None:
        self._loop, self._all = time.thread_time(), time.process_time()

    def check(self) -> None:
        loop, all_threads = time.thread_time() - self._loop, time.process_time() - self._all
        assert loop < LOOP
        assert all_threads < ALL


async def ask(method: str, path: str, body: bytes = b"", *headers: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """The answer to a request, which has to cost little."""
    given = [(b"host", b"localhost"), (b"content-length", str(len(body)).encode()), *headers]
    communicator = HttpCommunicator(application, method, path, body, given)
    meter = Meter()
    response = await communicator.get_response(timeout=TIMEOUT)
    await communicator.wait(timeout=TIMEOUT)
    meter.check()
    return response["status"], response["body"]


# Bodies


@pytest.mark.parametrize("name", BODIES)
async def test_a_post(name: str) -> None:
    status, body = await ask("POST", "/api/v1/ticks", BODIES[name], (b"content-type", JSON))
    assert status in {202, 400}
    assert len(body) < 20_000


@pytest.mark.parametrize("name", LINES)
async def test_a_post_of_lines(name: str) -> None:
    status, body = await ask("POST", "/api/v1/ticks", LINES[name], (b"content-type", NDJSON))
    assert status in {202, 400}
    assert len(body) < 20_000


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["1,000 ticks with everything wrong", "16,000 fields", "numbers", "exponents"])
async def test_a_post_through_the_browsable_api(name: str) -> None:
    headers = (b"content-type", JSON), (b"accept", b"text/html"), (b"cookie", b"a=b")
    status, _ = await ask("POST", "/api/v1/ticks", BODIES[name], *headers)
    assert status in {202, 400}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", [b"a=1&" * 200_000, b"%41" * 300_000, b"=&" * 400_000, b"a;" * 400_000])
@pytest.mark.parametrize("path", ["/api/v1/ticks", "/admin/login/", "/"])
async def test_a_form(path: str, body: bytes) -> None:
    status, _ = await ask("POST", path, body, (b"content-type", FORM), (b"cookie", b"csrftoken=" + b"a" * 32))
    assert 400 <= status < 500


async def test_a_post_with_a_symbol_too_many_is_told_so(layer: Any) -> None:
    layer.bus._limits = Limits(streams=1)
    (first, _), (second, body) = [
        await ask("POST", "/api/v1/ticks", b'{"symbol":"%s","price":1}' % name, (b"content-type", JSON))
        for name in (b"A", b"B")
    ]
    assert (first, second, json.loads(body)["code"]) == (202, 507, "too_many_streams")


# Query strings and paths

QUERIES: Final = {
    "many parameters": "&".join(["a=1"] * 16_000),
    "a page of many digits": "page=" + "1" * 60_000,
    "a page size of many digits": "page_size=" + "1" * 60_000,
    "many pages": "&".join(["page=1"] * 9_000),
    "a cursor": "after=" + "A" * 60_000,
    "escapes": "page=" + "%41" * 20_000,
    "a format": "format=" + "x" * 60_000,
    "an indent": "page=1&indent=" + "9" * 60_000,
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("path", ["/api/v1/ticks", "/api/v1/ticks/A", "/healthz", "/metrics", "/api/v1/asyncapi.json"])
async def test_a_query(path: str, query: str) -> None:
    status, _ = await ask("GET", f"{path}?{QUERIES[query]}")
    assert status < 500


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("symbol", ["A" * 60_000, "/" * 60_000, "%2F" * 20_000, "." * 60_000])
async def test_a_path(symbol: str) -> None:
    status, _ = await ask("GET", f"/api/v1/ticks/{symbol}")
    assert status == 404


@pytest.mark.parametrize(
    "accept", [b"a/b," * 16_000, b"*/*;q=" + b"1" * 60_000, b"application/json;" + b"a=1;" * 15_000]
)
async def test_an_accept_header(accept: bytes) -> None:
    status, _ = await ask("POST", "/api/v1/ticks", HONEST, (b"content-type", JSON), (b"accept", accept))
    assert status in {202, 406}


# The admin


ADMIN_QUERIES: Final = {
    "words": "q=" + "+".join("a" * 500),
    "times": "q=" + "+".join(["2026-05-12"] * 90),
    "an order": "o=" + ".".join("1" * 500),
    "many words": "q=" + "+".join(["AAPL"] * 12_000),
    "many times": "q=" + "+".join(["2026-05-12"] * 5_000),
    "a long word": "q=" + "x" * 60_000,
    "quotes": "q=" + "%22a" * 15_000,
    "a long order": "o=" + ".".join(["1"] * 20_000),
    "a page of many digits": "p=" + "9" * 60_000,
    "a filter": "symbol=" + "x" * 60_000,
    "many filters": "&".join(f"active__exact={number}" for number in range(3_000)),
    "a list": "id__in=" + ",".join(["1"] * 20_000),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", ADMIN_QUERIES)
@pytest.mark.parametrize("model", ["recordedtick", "instrument", "apikey"])
async def test_a_query_of_the_admin(model: str, query: str) -> None:
    user = await User.objects.acreate_superuser("root")
    browser = Browser()
    await sync_to_async(browser.force_login)(user)
    session = browser.cookies["sessionid"].value
    cookie = (b"cookie", f"sessionid={session}".encode())
    status, _ = await ask("GET", f"/admin/marketmux_ticks/{model}/?{ADMIN_QUERIES[query]}", b"", cookie)
    assert status < 500


# WebSockets


def filled(make: Callable[[int], Any]) -> str:
    """The message of ``make`` with as many parts as 64 KB have room for."""
    low, high = 1, 65_536
    while high - low > 1:
        middle = (low + high) // 2
        if len(json.dumps(make(middle), separators=(",", ":"))) <= 65_536:
            low = middle
        else:
            high = middle
    return json.dumps(make(low), separators=(",", ":"))


def names(count: int) -> list[str]:
    return [f"A{number}" for number in range(count)]


PLACE: Final = {"seq": 1, "epoch": ""}
COMMANDS: Final = {
    "as many symbols as there may be": json.dumps({"action": "subscribe", "symbols": names(1_000)}),
    "symbols": filled(lambda count: {"action": "subscribe", "symbols": names(count)}),
    "symbols to leave": filled(lambda count: {"action": "unsubscribe", "symbols": names(count)}),
    "positions": filled(
        lambda count: {"action": "subscribe", "symbols": names(count), "since": dict.fromkeys(names(count), PLACE)}
    ),
    "symbols and positions": filled(
        lambda count: {
            "action": "subscribe",
            "symbols": names(3 * count),
            "since": dict.fromkeys(names(3 * count)[2 * count :], PLACE),
        }
    ),
    "positions of everything": filled(
        lambda count: {"action": "subscribe", "symbols": ["*"], "since": dict.fromkeys(names(count), PLACE)}
    ),
    "the same symbol": filled(lambda count: {"action": "subscribe", "symbols": ["A"] * count}),
    "fields": filled(lambda count: {"action": "ping", **dict.fromkeys(names(count), 1)}),
    "arrays": "[" + "[]," * 21_000 + "1]",
    "deep arrays": "[" * 65_000,
    "numbers": "[" + "1," * 32_000 + "1]",
    "a number": '{"action":"ping","id":' + "1" * 65_000 + "}",
    "an exponent": '{"action":"subscribe","symbol":"A","max_rate":1e' + "9" * 65_000 + "}",
    "numbers of 4,300 digits": "[" + ("1" * 4_300 + ",") * 15 + "1]",
    "an id": '{"action":"ping","id":"' + "x" * 65_000 + '"}',
    "an action": '{"action":"' + "x" * 65_000 + '"}',
    "a symbol": '{"action":"subscribe","symbol":"' + "x" * 65_000 + '"}',
    "a symbol that is an array": '{"action":"subscribe","symbols":[[' + "1," * 32_000 + "1]]}",
    "spaces": " " * 65_536,
    "characters of four bytes": '{"action":"' + "😀" * 16_000 + '"}',
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command(name: str) -> None:
    socket = WebsocketCommunicator(application, "/ws")
    await socket.connect()
    await socket.receive_from(timeout=TIMEOUT)
    meter = Meter()
    await socket.send_to(text_data=COMMANDS[name])
    await socket.receive_from(timeout=TIMEOUT)
    meter.check()
    await socket.disconnect(timeout=TIMEOUT)


@pytest.mark.parametrize("is_keyed", [False, True])
@pytest.mark.parametrize("name", BODIES)
async def test_a_message_of_a_publisher(name: str, is_keyed: bool) -> None:
    socket = WebsocketCommunicator(application, "/ws/publish")
    await socket.connect()
    await socket.receive_from(timeout=TIMEOUT)
    text = BODIES[name].decode()
    if is_keyed:
        text = f'{{"key":"1","ticks":{text[: 1_048_576 - 50]}}}'
    meter = Meter()
    await socket.send_to(text_data=text)
    answer = json.loads(await socket.receive_from(timeout=TIMEOUT))
    meter.check()
    assert answer["type"] in {"published", "error"}
    assert len(answer.get("errors", [])) <= 50
    await socket.disconnect(timeout=TIMEOUT)
