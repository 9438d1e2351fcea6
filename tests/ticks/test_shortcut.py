"""The shortest way in answers as the view does, byte for byte, and what is in order never comes to the view."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from bus.contract import BusUnavailable, Reason
from bus.layers import MemoryLayer, get_bus
from tests.corpus import cases, filled
from tests.ticks.test_endpoint import TICK, Event, exchange, pieces
from ticks import intake, shares

BATCH = json.dumps([{"symbol": f"S{number}", "price": 1.5} for number in range(5)]).encode()
IN_ORDER: list[tuple[bytes, dict[bytes, bytes]]] = [
    (TICK, {}),
    (BATCH, {b"accept": b"application/json"}),
    (b'{"symbol": "A", "price": "1.50", "bid": 1, "size": 3, "extra": {"venue": "X"}}', {b"accept": b"*/*"}),
    (b"[]", {}),
    (TICK, {b"idempotency-key": b'"one"'}),
    (TICK, {b"idempotency-key": b"two", b"traceparent": b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"}),
    (TICK, {b"user-agent": b"test", b"x-forwarded-proto": b"https", b"x-forwarded-for": b"1.2.3.4"}),
    (TICK, {b"authorization": b"Basic abc"}),
]
OTHERS: list[tuple[bytes, dict[bytes, bytes]]] = [
    (TICK, {b"accept": b"application/json; indent=4"}),
    (TICK, {b"accept": b"image/png"}),
    (TICK, {b"origin": b"https://example.org"}),
    (TICK, {b"content-encoding": b"gzip"}),
    (TICK, {b"content-type": b"text/plain"}),
    (TICK, {b"content-type": b"application/json; charset=utf-8"}),
    (TICK + b"\n" + TICK, {b"content-type": b"application/x-ndjson"}),
    (TICK, {b"idempotency-key": b"a b"}),
    (TICK, {b"content-length": b"2000000"}),
    (TICK, {b"content-length": b"none"}),
    (TICK, {b"host": b"elsewhere.example"}),
    (TICK, {b"host": b""}),
    (b'[{"symbol":"A","price":1},{"symbol":"","price":1}]', {}),
    (json.dumps([{"symbol": "A", "price": 1}] * 1001).encode(), {}),
]


@pytest.fixture(autouse=True)
def anonymous(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still, as answers may tell it."""
    monkeypatch.setattr("ticks.views.received_now", lambda: 1_700_000_000_000_000)
    monkeypatch.setattr("ticks.shortcut.received_now", lambda: 1_700_000_000_000_000)


@pytest.fixture(autouse=True)
async def bus_in_memory() -> AsyncIterator[None]:
    channel_layers.set("default", MemoryLayer())
    yield
    channel_layers.backends.clear()


async def view_that_must_not_be(*_: object, **__: object) -> Any:
    pytest.fail("this came to the view")


async def sent(body: bytes, headers: dict[bytes, bytes], **options: Any) -> tuple[list[Event], dict[str, int]]:
    """The answer on a fresh bus, to the request and to the same once more, and what was counted."""
    channel_layers.set("default", MemoryLayer())
    before = dict(intake.publications + intake.ticks)
    events = []
    for _ in range(2):
        events += await exchange(*pieces(body), headers=headers.items(), **options)
    counted = {name: count - before.get(name, 0) for name, count in (intake.publications + intake.ticks).items()}
    return events, {name: count for name, count in counted.items() if count}


def of_the_corpus() -> Iterator[Any]:
    for parameter in cases("bodies"):
        [case] = parameter.values
        headers = {name.lower().encode(): value.encode() for name, value in case.get("set", {}).items()}
        kind = case.get("type", "application/json").encode()
        yield pytest.param(filled(case["send"], {}), headers | {b"content-type": kind}, id=parameter.id)


@pytest.mark.parametrize(("body", "headers"), [*IN_ORDER, *OTHERS, *of_the_corpus()])
async def test_both_ways_answer_the_same(body: bytes, headers: dict[bytes, bytes]) -> None:
    assert await sent(body, headers, is_short=True) == await sent(body, headers)


@pytest.mark.parametrize("header", [b"Api-Key", b"Api-Key a b", b"Bearer a b", b"Bearer \xff"])
async def test_both_ways_refuse_the_same_credentials(header: bytes) -> None:
    headers = {b"authorization": header}
    events, counted = await sent(TICK, headers, is_short=True)
    assert events[0]["status"] == 401
    assert (events, counted) == await sent(TICK, headers)


async def test_both_ways_ask_for_a_key_where_one_is_needed(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = False
    events, counted = await sent(TICK, {}, is_short=True)
    assert events[0]["status"] == 401
    assert (events, counted) == await sent(TICK, {})


@pytest.mark.parametrize(("body", "headers"), IN_ORDER)
async def test_what_is_in_order_does_not_come_to_the_view(body: bytes, headers: dict[bytes, bytes]) -> None:
    [start, _] = await exchange(
        *pieces(body), headers=headers.items(), view=view_that_must_not_be, is_short=True, scheme="http"
    )
    assert start["status"] == 202


async def test_both_ways_tell_the_same_of_a_bus_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def away(*_: object) -> None:
        asked.append(1)
        raise BusUnavailable("away", Reason.AWAY)

    async def both(**options: Any) -> Any:
        channel_layers.set("default", MemoryLayer())
        monkeypatch.setattr(get_bus(), "publish", away)
        return await exchange(*pieces(TICK), **options)

    short = await both(is_short=True)
    assert short[0]["status"] == 503
    assert asked == [1]  # the view tells it, and does not try again
    assert short == await both()


async def test_both_ways_keep_an_owner_to_its_share(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MARKETMUX_MAX_TICKS_PER_SECOND = 7
    outcomes = []
    for is_short in (True, False):
        own = shares.Shares()
        monkeypatch.setattr(own._loop, "time", lambda: 1_000.0)
        monkeypatch.setattr(shares, "get_shares", lambda own=own: own)
        outcomes.append(await sent(BATCH, {}, is_short=is_short))
        monkeypatch.undo()
    events, counted = outcomes[0]
    assert [event["status"] for event in events if "status" in event] == [202, 429]
    assert events[0]["headers"][1][0].startswith(b"ratelimit")
    assert counted["http|published"] == 6  # a publication, and its five ticks
    assert outcomes[0] == outcomes[1]
