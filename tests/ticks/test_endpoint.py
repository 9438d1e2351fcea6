"""The short way in for publishers, in process: what it answers itself, and what it leaves to Django."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from channels.layers import channel_layers
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.urls import reverse
from pytest_django.fixtures import Settings

from bus.layers import MemoryLayer
from ticks import endpoint, publish
from ticks.endpoint import Middleware, TicksEndpoint
from ticks.shortcut import Shortcut
from ticks.tick import MAX_BODY_BYTES
from ticks.views import TickListView

PATH = "/api/v1/ticks"
TICK = b'{"symbol":"A","price":1.50}'
BY_DJANGO = 299
"""The status of what Django would have answered."""

Event = dict[str, Any]


@pytest.fixture(autouse=True)
async def bus_in_memory(settings: Settings) -> AsyncIterator[None]:
    settings.MARKETMUX_ANONYMOUS = True
    channel_layers.set("default", MemoryLayer())
    yield
    channel_layers.backends.clear()


class Answer:
    """What was sent to a client: status, headers and body."""

    def __init__(self, events: list[Event]) -> None:
        start, *rest = events
        self.status = start["status"]
        self.headers = dict(start["headers"])
        self.body = b"".join(event["body"] for event in rest)

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


async def django(scope: Event, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": BY_DJANGO, "headers": []})


async def exchange(
    *events: Event, view: Any = None, headers: Iterable[tuple[bytes, bytes]] = (), is_short: bool = False, **scope: Any
) -> list[Event]:
    """What the endpoint sends when it receives these events; then nothing more comes.

    ``is_short``: whether it has the shortcut.
    """
    pending = list(events)
    sent: list[Event] = []

    async def receive() -> Event:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop(0)

    async def send(event: Event) -> None:
        sent.append(event)

    defaults = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "http_version": "1.1"}
    named = [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers]
    middleware = Middleware()
    shortcut = Shortcut(middleware).publish if is_short else None
    app = TicksEndpoint(reverse("marketmux:ticks"), view or TickListView.as_view(), django, middleware, shortcut)
    async with asyncio.timeout(5):
        await app({**defaults, "headers": list(dict(named).items()), **scope}, receive, send)
    return sent


def pieces(*bodies: bytes) -> list[Event]:
    return [
        {"type": "http.request", "body": body, "more_body": number < len(bodies)}
        for number, body in enumerate(bodies, 1)
    ]


async def post(*bodies: bytes, **options: Any) -> Answer:
    return Answer(await exchange(*pieces(*bodies), **options))


async def prices(symbol: str) -> list[str]:
    return [latest.tick.price for latest in (await publish.latest_of([symbol])).values()]


# The body


async def test_a_body_in_one_piece_is_published() -> None:
    answer = await post(TICK)
    assert (answer.status, json.loads(answer.body)) == (202, {"accepted": 1})
    assert await prices("A") == ["1.50"]


async def test_a_body_in_pieces_is_published() -> None:
    assert (await post(TICK[:5], b"", TICK[5:12], TICK[12:])).status == 202
    assert await prices("A") == ["1.50"]


@pytest.mark.parametrize("piece", [MAX_BODY_BYTES + 1, 400_000])
async def test_a_body_that_is_too_long_is_refused(piece: int) -> None:
    answer = await post(*[b" " * piece] * 3)
    assert (answer.status, answer.code) == (413, "too_large")


async def test_no_more_of_a_body_is_read_than_shows_that_it_is_too_long() -> None:
    endless = [{"type": "http.request", "body": b" " * MAX_BODY_BYTES, "more_body": True}] * 2
    assert Answer(await exchange(*endless)).status == 413


async def test_an_empty_body_is_refused() -> None:
    answer = await post(b"")
    assert (answer.status, answer.code) == (400, "parse_error")


@pytest.mark.parametrize("before", [[], pieces(TICK, b"")[:1], pieces(b"", b"", b"")[:2]])
async def test_a_client_that_leaves_before_the_end_of_its_body_is_not_answered(before: list[Event]) -> None:
    assert await exchange(*before, {"type": "http.disconnect"}) == []
    assert await prices("A") == []


async def test_a_client_that_stops_in_its_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_RECEIVE_TIMEOUT", 0.01)
    with pytest.raises(TimeoutError):
        await exchange(*pieces(TICK, b"")[:1])


# What is left to Django


@pytest.mark.parametrize(
    "request_of_a_browser",
    [
        {"headers": [(b"cookie", b"theme=dark")]},
        {"headers": [(b"accept", b"text/html,application/xhtml+xml")]},
        {"query_string": b"format=json"},
        {"method": "GET"},
        {"method": "OPTIONS"},
        {"path": "/api/v1/ticks/A"},
    ],
)
async def test_what_a_browser_may_have_sent_goes_to_django(request_of_a_browser: dict[str, Any]) -> None:
    assert (await post(TICK, **request_of_a_browser)).status == BY_DJANGO
    assert await prices("A") == []


@pytest.mark.parametrize("accept", [b"*/*", b"application/json"])
async def test_what_a_program_accepts_does_not_lead_to_django(accept: bytes) -> None:
    assert (await post(TICK, headers=[(b"accept", accept)])).status == 202


# The answer


async def test_an_answer_has_its_length_and_must_not_be_sniffed() -> None:
    answer = await post(TICK)
    assert answer.headers[b"content-type"] == b"application/json"
    assert answer.headers[b"content-length"] == str(len(answer.body)).encode()
    assert answer.headers[b"x-content-type-options"] == b"nosniff"


async def test_a_host_that_is_not_allowed_is_refused() -> None:
    answer = await post(TICK, headers=[(b"host", b"evil.example")])
    assert (answer.status, answer.code) == (400, "disallowed_host")
    assert await prices("A") == []


async def test_without_a_key_where_one_is_needed_the_answer_is_401(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = False
    answer = await post(TICK)
    assert (answer.status, answer.headers[b"www-authenticate"]) == (401, b"Api-Key")


async def test_a_view_that_fails_is_logged_and_answered_with_500(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_request: ASGIRequest) -> HttpResponse:
        raise RuntimeError("secret")

    answer = await post(TICK, view=broken)
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert "RuntimeError: secret" in caplog.text


@pytest.mark.parametrize("outcome", [HttpResponse(status=204), RuntimeError("broken")])
async def test_a_request_is_closed_whatever_becomes_of_it(outcome: Any) -> None:
    requests: list[ASGIRequest] = []

    async def view(request: ASGIRequest) -> HttpResponse:
        requests.append(request)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, HttpResponse)
        return outcome

    await post(TICK, view=view)
    assert requests[0]._stream.closed
