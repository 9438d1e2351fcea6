"""Four stamps: clients that ask are told of each tick when it was published, received, sequenced and sent."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

import pytest

from gateway.edge.process import get_node
from tests.gateway.edge.test_subscriber import Client, layer, quiet, tick
from tests.gateway.fakes import until
from ticks import publish
from ticks.grammar import moment
from ticks.origin import Origin
from ticks.tick import Tick

__all__ = ["layer", "quiet"]

TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PLAIN: Final = '{"type":"tick","symbol":"A","price":1,"timestamp":"2026-05-12T15:04:05Z","seq":1}'


def micros() -> int:
    return time.time_ns() // 1_000


async def stamped(symbol: str, price: int) -> tuple[int, int]:
    """Publishes a tick that has a time and came with a trace; when it was published, and received."""
    published, received = micros() - 2_000, micros() - 1_000
    await publish.publish([Tick(symbol, str(price), moment(published))], origin=Origin(received, TRACE))
    return published, received


async def test_a_tick_says_when_it_was_where_to_whom_asked(layer: Any) -> None:
    async with Client() as tracer, Client() as other:
        await tracer.subscribe("A", trace=True)
        await other.subscribe("A")
        published, received = await stamped("A", 1)
        trace = (await tracer.receive()).pop("trace")
        assert list(trace) == ["published", "received", "sequenced", "sent", "traceparent"]
        assert (trace["published"], trace["received"], trace["traceparent"]) == (published, received, TRACE)
        assert received <= trace["sequenced"] <= trace["sent"] <= micros()
        assert "trace" not in await other.receive()


async def test_others_get_the_very_same_frame(layer: Any) -> None:
    async with Client() as tracer, Client() as other:
        await tracer.subscribe("A", trace=True)
        await other.subscribe("A", trace=False)
        await publish.publish([tick("A", 1)])
        assert await other.socket.receive_from() == PLAIN
        text = await tracer.socket.receive_from()
        assert text.startswith(PLAIN[:-1] + ',"trace":{"published":1778598245000000,"received":')


async def test_a_time_that_the_gateway_gave_is_not_the_publishers(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("A", trace=True)
        received = micros()
        await publish.publish([Tick("A", "1", moment(received))], origin=Origin(received))
        assert list((await client.receive())["trace"]) == ["received", "sequenced", "sent"]


async def test_each_tick_of_a_batch_has_its_own_trace(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("A", "B", trace=True)
        await publish.publish([tick("A", 1), tick("B", 2), Tick("A", "3", "2026-05-12T15:04:06.5Z")])
        prices = sorted([await client.receive() for _ in range(3)], key=lambda price: int(price["price"]))
        assert [price["trace"]["published"] % 10_000_000 for price in prices] == [5_000_000, 5_000_000, 6_500_000]
        assert len({price["trace"]["received"] for price in prices}) == 1


async def test_everything_can_be_traced(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("*", trace=True)
        await stamped("NEW", 1)
        snapshot = await client.receive()
        assert snapshot["type"] == "snapshot"
        assert list(snapshot["trace"]) == ["published", "received", "sequenced", "sent", "traceparent"]
        await stamped("NEW", 2)
        assert "received" in (await client.receive())["trace"]


async def test_a_symbol_is_traced_as_it_was_subscribed_to(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("*", trace=True)
        await client.ask(action="subscribe", symbol="A")
        await publish.publish([tick("A", 1), tick("B", 2)])
        prices = {price["symbol"]: price for price in [await client.receive() for _ in range(2)]}
        assert "trace" not in prices["A"]
        assert "trace" in prices["B"]
        await client.ask(action="unsubscribe", symbol="A")
        await publish.publish([tick("A", 3)])
        assert "trace" in await client.receive()


@pytest.mark.parametrize("again", [{"trace": False}, {"trace": None}, {}])
async def test_subscribing_again_without_ends_it(layer: Any, again: dict[str, Any]) -> None:
    async with Client() as client:
        await client.subscribe("A", "B", trace=True)
        await client.ask(action="subscribe", symbol="A", **again)
        await publish.publish([tick("A", 1), tick("B", 2)])
        prices = {price["symbol"]: price for price in [await client.receive() for _ in range(2)]}
        assert "trace" not in prices["A"]
        assert "trace" in prices["B"]
        await client.ask(action="unsubscribe", symbol="B")
        assert not get_node().hub.traces


async def test_a_client_that_leaves_is_forgotten(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("A", "*", trace=True)
        await stamped("A", 1)
        await client.receive()
        assert get_node().hub.traces
    await until(lambda: not get_node().hub.traces)


async def test_a_snapshot_has_what_is_known(layer: Any) -> None:
    async with Client() as client, Client() as late:
        await publish.publish([tick("A", 1)])
        await client.subscribe("A", trace=True)
        assert list((await client.receive())["trace"]) == ["published", "sent"]
        published, received = await stamped("A", 2)
        assert (await client.receive())["trace"]["received"] == received
        await late.subscribe("A", trace=True)
        trace = (await late.receive())["trace"]
        assert (trace["published"], trace["received"]) == (published, received)
        await late.ask(action="subscribe", symbol="A", trace=True, snapshot=False)
        assert await late.socket.receive_nothing(0.05)


async def test_what_was_missed_is_traced_as_far_as_it_is_known(layer: Any) -> None:
    async with Client() as witness, Client() as client:
        await witness.subscribe("A", trace=True)
        epoch = (await client.subscribe("A"))["positions"]["A"]["epoch"]
        for price in range(3):
            _, received = await stamped("A", price)
        await client.ask(action="unsubscribe", symbol="A")
        while (await client.socket.receive_from()).find('"unsubscribed"') < 0:
            pass
        answer = await client.ask(action="subscribe", symbol="A", since={"seq": 1, "epoch": epoch}, trace=True)
        assert answer["positions"]["A"]["recovered"]
        missed = [await client.receive() for _ in range(2)]
        assert [price["seq"] for price in missed] == [2, 3]
        assert missed[1]["trace"]["received"] == received


async def test_at_a_rate_the_stamps_are_of_the_tick_that_is_sent(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("A", trace=True, max_rate=5)
        await stamped("A", 1)
        assert (await client.receive())["seq"] == 1
        for price in (2, 3):
            _, received = await stamped("A", price)
        newest = await client.receive()
        assert (newest["seq"], newest["skipped"], newest["trace"]["received"]) == (3, 1, received)


@pytest.mark.parametrize("trace", ["true", 1, 0, [], {}, "", 1.0])
async def test_another_value_is_an_error(layer: Any, trace: object) -> None:
    async with Client() as client:
        await client.receive()
        error = await client.ask(action="subscribe", symbol="A", trace=trace, id=3)
        assert (error["code"], error["id"]) == ("invalid_message", 3)
        error = await client.ask(action="unsubscribe", symbol="A", trace=True)
        assert error["code"] == "invalid_message"
        assert (await client.ask(action="list"))["symbols"] == []


async def test_a_tick_whose_extra_looks_like_its_end(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("A", trace=True)
        extra = json.dumps({"seq": 5, "epoch": "abc", "timestamp": "x"}, separators=(",", ":"))
        await publish.publish([Tick("A", "1", "2026-05-12T15:04:05Z", extra=extra)])
        price = await client.receive()
        assert price["extra"] == {"seq": 5, "epoch": "abc", "timestamp": "x"}
        assert price["trace"]["published"] == 1_778_598_245_000_000
        assert "sequenced" in price["trace"]


async def test_many_ask_and_stop_asking_while_ticks_come(layer: Any) -> None:
    async with Client() as client:
        await client.subscribe("A")
        publishing = asyncio.ensure_future(_publish(200))
        for number in range(20):
            await client.socket.send_to(
                text_data=json.dumps({"action": "subscribe", "symbol": "A", "trace": not number % 2, "snapshot": False})
            )
            await asyncio.sleep(0.002)
        seqs: list[int] = []
        while not seqs or seqs[-1] < 200:
            message = await client.receive()
            if message["type"] == "tick":
                seqs.append(message["seq"])
        await publishing
        assert seqs == list(range(1, 201))


async def _publish(count: int) -> None:
    for price in range(count):
        await publish.publish([tick("A", price)])
