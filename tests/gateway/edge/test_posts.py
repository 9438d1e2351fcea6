"""A publisher's POST that the server reads itself is answered as the view would answer it, byte for byte."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from bus.contract import BusUnavailable, Reason
from bus.layers import MemoryLayer, get_bus
from gateway.edge.posts import Posts
from gateway.server.short import ShortWay
from gateway.server.timeouts import Timeouts
from marketmux.asgi import application
from tests.gateway.server.memory import Client, idle_server
from tests.ticks.test_endpoint import TICK
from tests.ticks.test_shortcut import (  # noqa: F401 - fixtures for all tests here
    BATCH,
    IN_ORDER,
    OTHERS,
    anonymous,
    bus_in_memory,
    of_the_corpus,
    still,
)
from ticks import intake, shares
from ticks.access import door
from ticks.access.grant import NOBODY, Grant
from ticks.tick import MAX_BODY_BYTES

HEADS = {b"host": b"localhost", b"content-type": b"application/json", b"x-request-id": b"the-request"}


def connect(is_short: bool) -> Client:
    server = idle_server(application, Timeouts())
    server.request_buffer_size = MAX_BODY_BYTES + 1
    if is_short:
        server.short = ShortWay(application.posts, MAX_BODY_BYTES)
    return Client(server)


def request(body: bytes, headers: dict[bytes, bytes]) -> bytes:
    named = {b"content-length": b"%d" % len(body), **HEADS, **headers}
    lines = b"".join(b"%b: %b\r\n" % header for header in named.items())
    return b"POST /api/v1/ticks HTTP/1.1\r\n%b\r\n%b" % (lines, body)


async def answer(client: Client) -> bytes:
    """What is written until the answer is whole."""
    received = b""
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0)
            received += client.received()
            head, end, body = received.partition(b"\r\n\r\n")
            lengths = [line[16:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
            if end and len(body) >= int(lengths[0]):
                return received


async def sent(body: bytes, headers: dict[bytes, bytes], is_short: bool) -> tuple[list[bytes], dict[str, int]]:
    """The answers on a fresh bus to the request and to the same once more, and what was counted."""
    channel_layers.set("default", MemoryLayer())
    before = dict(intake.publications + intake.ticks + intake.received_bytes)
    client = connect(is_short)
    answers = []
    for _ in range(2):
        client.send(request(body, headers))
        answers.append(await answer(client))
        if client.has_ended:
            client = connect(is_short)
    counts = intake.publications + intake.ticks + intake.received_bytes
    return answers, {name: count - before.get(name, 0) for name, count in counts.items() if count > before.get(name, 0)}


@pytest.mark.parametrize(("body", "headers"), [*IN_ORDER, *OTHERS, *of_the_corpus()])
async def test_both_ways_answer_the_same(body: bytes, headers: dict[bytes, bytes]) -> None:
    if headers.get(b"content-length", b"0") == b"2000000":
        pytest.skip("such a body never ends")
    assert await sent(body, headers, is_short=True) == await sent(body, headers, is_short=False)


@pytest.mark.parametrize("header", [b"Api-Key", b"Api-Key a b", b"Bearer a b", b"Bearer mmt_x"])
async def test_both_ways_refuse_the_same_credentials(header: bytes) -> None:
    answers, counted = await sent(TICK, {b"authorization": header}, is_short=True)
    assert answers[0].startswith(b"HTTP/1.1 401 ")
    assert (answers, counted) == await sent(TICK, {b"authorization": header}, is_short=False)


@pytest.mark.parametrize(("body", "headers"), IN_ORDER)
async def test_what_is_in_order_is_no_asgi_event(body: bytes, headers: dict[bytes, bytes]) -> None:
    client = connect(is_short=True)

    async def nobody(*_: object) -> None:
        pytest.fail("this came to the application")

    client.server.application = nobody
    client.send(request(body, headers))
    assert (await answer(client)).startswith(b"HTTP/1.1 202 ")


async def test_a_bus_that_is_away_is_told_of_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def away(*_: object) -> None:
        asked.append(1)
        raise BusUnavailable("away", Reason.AWAY)

    answers = []
    for is_short in (True, False):
        channel_layers.set("default", MemoryLayer())
        monkeypatch.setattr(get_bus(), "publish", away)
        client = connect(is_short)
        client.send(request(TICK, {}))
        answers.append(await answer(client))
        assert asked.pop()
        assert not asked
    assert answers[0].startswith(b"HTTP/1.1 503 ")
    assert answers[0] == answers[1]


async def test_both_ways_keep_an_owner_to_its_share(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MARKETMUX_MAX_TICKS_PER_SECOND = 7
    outcomes = []
    for is_short in (True, False):
        own = shares.Shares()
        monkeypatch.setattr(own._loop, "time", lambda: 1_000.0)
        monkeypatch.setattr(shares, "get_shares", lambda own=own: own)
        outcomes.append(await sent(BATCH, {}, is_short=is_short))
        monkeypatch.undo()
    answers, _ = outcomes[0]
    assert [each[9:12] for each in answers] == [b"202", b"429"]
    assert outcomes[0] == outcomes[1]


async def test_new_symbols_that_are_counted_are_the_applications(settings: Settings) -> None:
    settings.MARKETMUX_MAX_NEW_SYMBOLS = 1
    client = connect(is_short=True)
    client.send(request(TICK, {}))
    assert (await answer(client)).startswith(b"HTTP/1.1 202 ")
    client.send(request(TICK.replace(b'"A"', b'"B"'), {}))
    assert (await answer(client)).startswith(b"HTTP/1.1 429 ")


async def test_a_credential_that_is_not_at_hand_is_looked_up_by_the_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grant = door.anonymous("x")
    looked_up = []

    async def look_up(_: str) -> Any:
        looked_up.append(1)
        return grant

    monkeypatch.setattr("ticks.access.keys.look_up", look_up)
    client = connect(is_short=True)
    client.send(request(TICK, {b"authorization": b"Api-Key mmx_1"}) + request(TICK, {}))
    received = await answer(client) + await answer(client)
    assert received.count(b"HTTP/1.1 202 ") == 2
    assert looked_up == [1]


async def test_an_answer_has_the_id_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(is_short=True)
    monkeypatch.delitem(HEADS, b"x-request-id")
    ids = []
    for _ in range(2):
        client.send(request(TICK, {}))
        [line] = [line for line in (await answer(client)).split(b"\r\n") if line.startswith(b"X-Request-Id: ")]
        ids.append(line[14:])
    assert len(set(ids)) == 2
    assert all(len(one) == 16 for one in ids)


async def test_there_is_a_line_in_the_access_log(caplog: pytest.LogCaptureFixture, settings: Settings) -> None:
    settings.MARKETMUX_ACCESS_LOG = True
    own = application.posts
    client = connect(is_short=True)
    client.server.short = ShortWay(Posts(own.path, own._shortcut, own._proxies), MAX_BODY_BYTES)
    with caplog.at_level(logging.INFO, "gateway.access"):
        client.send(request(TICK, {}))
        await answer(client)
    [line] = [record.getMessage() for record in caplog.records if record.name == "gateway.access"]
    assert line.startswith("POST /api/v1/ticks of 192.168.1.1: 202, 15 bytes in ")


async def test_headers_of_proxies_are_believed_of_proxies_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = []

    def nobody(address: str) -> Grant:
        owners.append(address)
        return NOBODY

    monkeypatch.setattr(door, "anonymous", nobody)
    for trusted in (["10.0.0.1"], ["192.168.1.1"]):
        settings.MARKETMUX_TRUSTED_PROXIES = trusted
        client = connect(is_short=True)
        client.send(request(TICK, {b"x-forwarded-for": b"192.0.2.7"}))
        await answer(client)
    assert list(dict.fromkeys(owners)) == ["192.168.1.1", "192.0.2.7"]
