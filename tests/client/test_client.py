"""The client against a gateway that says and does what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import json
from collections.abc import AsyncIterator, Coroutine
from decimal import Decimal
from typing import Any

import pytest

from marketmux_client import (
    AccessChanged,
    Backoff,
    BadMessage,
    BusState,
    Client,
    ClientClosed,
    ClosedForGood,
    CommandRefused,
    Conflated,
    Connected,
    Delayed,
    Disconnected,
    Event,
    Gap,
    Refused,
    Snapshot,
    Tick,
    Trace,
)
from marketmux_client.backoff import Refusals
from tests.client.fake import (
    EPOCH,
    TIMEOUT,
    FakeGateway,
    Peer,
    deaf,
    eventually,
    fake_gateway,
    place,
    snapshot,
    tick,
    until,
)

PRICE = Decimal("150.250")
AT = "2026-05-12T15:04:05.123456789Z"


def backoff(**options: Any) -> Backoff:
    """One that a test need not wait for."""
    return Backoff(base=0.001, cap=0.01, **options)


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    before = asyncio.all_tasks()
    async with fake_gateway() as gateway:
        yield gateway
    left = [task for task in asyncio.all_tasks() - before if "marketmux_client" in repr(task)]
    assert not left, f"tasks left behind: {left}"


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[Client]:
    """One that keeps everything, however late a busy machine takes it."""
    async with Client(gateway.url, backoff=backoff(), max_age=None) as client:
        yield client


async def subscribe(client: Client, peer: Peer, *symbols: str, **options: Any) -> dict[str, Any]:
    """Subscribes, at 1041; returns the command."""
    async with both(client.subscribe(*symbols, **options)):
        return await peer.subscribe()


@contextlib.asynccontextmanager
async def both(call: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """The call is under way inside, and must have returned soon after."""
    task = asyncio.create_task(call)
    try:
        yield
        async with asyncio.timeout(TIMEOUT):
            await task
    finally:
        task.cancel()


# Subscribing and numbers


async def test_the_key_goes_with_the_handshake(gateway: FakeGateway) -> None:
    async with Client(gateway.url, key="mmx_1"):
        assert gateway.handshakes[0].headers["Authorization"] == "Api-Key mmx_1"


async def test_ticks_come_with_the_digits_they_were_published_with(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    assert await subscribe(client, peer, "AAPL") == {"action": "subscribe", "symbols": ["AAPL"], "id": 1}
    await peer.send(snapshot(1041))
    await peer.tick(1042)
    await peer.send(tick(1043).replace('"seq"', '"bid":0.10000000000000000000000001,"ask":150.30,"size":1000000,"seq"'))
    events = await until(client, Tick, seq=1043)
    assert events == [
        Connected("0.1.0"),
        Snapshot("AAPL", Decimal(150), "2026-05-12T15:04:05Z", 1041, EPOCH),
        Tick("AAPL", Decimal("150.250"), AT, 1042),
        Tick(
            "AAPL",
            Decimal("150.250"),
            AT,
            1043,
            Decimal("0.10000000000000000000000001"),
            Decimal("150.30"),
            Decimal(1000000),
        ),
    ]
    assert str(events[2].price) == "150.250"  # type: ignore[union-attr]


async def test_a_tick_says_when_it_was_where_if_that_was_asked_for(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    assert (await subscribe(client, peer, "AAPL", trace=True))["trace"] is True
    await peer.send(tick(1042).replace("}", ',"trace":{"published":1,"received":2,"sequenced":3,"sent":4,"later":5}}'))
    [*_, event] = await until(client, Tick, seq=1042)
    assert isinstance(event, Tick)
    assert event.trace == Trace(1, 2, 3, 4)
    await peer.send(tick(1043).replace("}", ',"trace":{"sent":4,"traceparent":"00-1-2-01"}}'))
    [*_, event] = await until(client, Tick, seq=1043)
    assert isinstance(event, Tick)
    assert event.trace == Trace(sent=4, traceparent="00-1-2-01")


async def test_options_are_sent(gateway: FakeGateway, client: Client) -> None:
    command = await subscribe(client, await gateway.peer(), "AAPL", "MSFT", "AAPL", max_rate=5, snapshot=False)
    assert command == {
        "action": "subscribe",
        "symbols": ["AAPL", "MSFT"],
        "max_rate": 5,
        "snapshot": False,
        "id": 1,
    }
    assert client.symbols == ("AAPL", "MSFT")


@pytest.mark.parametrize("code", ["invalid_symbol", "too_many_symbols", "invalid_message"])
async def test_a_subscription_that_is_refused_fails_where_it_was_asked_for(
    gateway: FakeGateway, client: Client, code: str
) -> None:
    peer = await gateway.peer()
    call = asyncio.create_task(client.subscribe("AAPL", "%"))
    await peer.error(await peer.command(), code)
    with pytest.raises(CommandRefused) as refused:
        await call
    assert refused.value.code == code
    assert refused.value.symbols == ("AAPL", "%")
    assert (await subscribe(client, peer, "MSFT"))["symbols"] == ["MSFT"]
    assert client.symbols == ("MSFT",)


async def test_what_is_lost_is_told_and_not_asked_for_again(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL", "MSFT")
    await peer.tick(1042, symbol="MSFT")
    await peer.send({"type": "access", "patterns": ["AAPL", "BTC-*"], "lost": ["MSFT"]})
    assert (await until(client, AccessChanged))[-1] == AccessChanged(("MSFT",), ("AAPL", "BTC-*"))
    assert client.latest("MSFT") is None
    peer.cut()
    assert (await (await gateway.peer()).command())["symbols"] == ["AAPL"]


async def test_of_everything_only_what_may_be_seen_is_kept(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    async with both(client.subscribe("*")):
        await peer.subscribe(AAPL=place(1041), MSFT=place(1041))
    await peer.tick(1042, symbol="MSFT")
    await peer.tick(1042)
    await eventually(lambda: client.latest("AAPL"))
    await peer.send({"type": "access", "patterns": ["AAPL"]})
    assert (await until(client, AccessChanged))[-1] == AccessChanged((), ("AAPL",))
    assert client.latest("MSFT") is None
    assert client.latest("AAPL") is not None
    peer.cut()
    assert (await (await gateway.peer()).command())["since"].keys() == {"AAPL"}


async def test_what_was_lost_without_a_connection_is_given_up_and_the_rest_asked_for(
    gateway: FakeGateway, client: Client
) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL", "MSFT")
    peer.cut()
    peer = await gateway.peer()
    command = await peer.command()
    denied = {"type": "error", "code": "access_denied", "message": "No.", "symbols": ["MSFT"], "id": command["id"]}
    await peer.send(denied)
    assert (await peer.subscribe())["symbols"] == ["AAPL"]
    assert (await until(client, AccessChanged))[-1] == AccessChanged(("MSFT",), None)
    assert client.symbols == ("AAPL",)


@pytest.mark.parametrize("code", ["bus_unavailable", "too_many_commands"])
async def test_a_subscription_that_is_refused_for_the_moment_is_sent_again(
    gateway: FakeGateway, client: Client, code: str
) -> None:
    peer = await gateway.peer()
    async with both(client.subscribe("AAPL")):
        await peer.command()
        await peer.send({"type": "error", "code": code, "message": "Not now."})  # one that was not read has no id
        assert (await peer.subscribe())["symbols"] == ["AAPL"]


async def test_a_refusal_says_when_to_come_back(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    call = asyncio.create_task(client.subscribe("AAPL"))
    command = await peer.command()
    await peer.send(
        {"type": "error", "code": "too_many_symbols", "message": "No.", "retry_after": 1.5, "id": command["id"]}
    )
    with pytest.raises(CommandRefused) as refused:
        await call
    assert (refused.value.retry_after, refused.value.reason) == (1.5, "")
    again = copy.copy(refused.value)
    assert vars(again) == vars(refused.value)


async def test_why_a_subscription_waits_is_told_once(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    refusal = {"type": "error", "code": "bus_unavailable", "message": "OOM.", "reason": "bus_out_of_memory"}
    async with both(client.subscribe("AAPL")):
        for _ in range(2):
            await peer.command()
            await peer.send(refusal)
        await peer.subscribe()
    await peer.tick(1042)
    events = await until(client, Tick)
    assert [event for event in events if isinstance(event, Delayed)] == [
        Delayed("bus_unavailable", "OOM.", "bus_out_of_memory", 1.0)
    ]


async def test_what_still_counts_for_the_connection_before_is_asked_for_again(
    gateway: FakeGateway, client: Client
) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    peer.cut()
    peer = await gateway.peer()
    command = await peer.command()
    await peer.send(
        {"type": "error", "code": "too_many_symbols", "message": "No.", "retry_after": 0.1, "id": command["id"]}
    )
    assert (await peer.subscribe())["symbols"] == ["AAPL"]
    assert client.symbols == ("AAPL",)


async def test_a_subscription_of_several_messages_is_all_or_none(gateway: FakeGateway) -> None:
    gateway.limits["message_bytes"] = 130
    async with Client(gateway.url, backoff=backoff()) as client:
        peer = await gateway.peer()
        names = [f"SYMBOL-NUMBER-{number}" for number in range(5)]
        call = asyncio.create_task(client.subscribe(*names))
        first = (await peer.subscribe())["symbols"]
        await peer.error(await peer.command(), "too_many_symbols")
        with pytest.raises(CommandRefused):
            await call
        assert (await peer.command("unsubscribe"))["symbols"] == first
        assert client.symbols == ()


async def test_no_event_of_a_symbol_comes_after_it_was_unsubscribed(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL", "MSFT")
    await peer.tick(1042, 1043)
    async with both(client.unsubscribe("AAPL")):
        command = await peer.command("unsubscribe")
        await peer.tick(1044)
        await peer.send({"type": "unsubscribed", "symbols": ["MSFT"], "id": command["id"]})
    assert client.symbols == ("MSFT",)
    assert client.latest("AAPL") is None
    await peer.tick(1042, symbol="MSFT")
    events = await until(client, Tick, symbol="MSFT")
    assert [event.symbol for event in events if isinstance(event, Tick | Gap)] == ["MSFT", "MSFT"]


async def test_subscribing_again_goes_on_where_the_stream_is(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    await peer.send(snapshot(1041))
    await until(client, Snapshot)
    async with both(client.subscribe("AAPL", max_rate=1)):
        command = await peer.subscribe(AAPL=place(1042, recovered=True))
    assert command["since"] == {"AAPL": {"seq": 1041, "epoch": EPOCH}}
    await peer.tick(1042)
    assert [event for event in await until(client, Tick) if isinstance(event, Gap)] == []


async def test_a_consumer_can_subscribe_inside_its_loop_though_the_queue_is_full(gateway: FakeGateway) -> None:
    async with Client(gateway.url, max_queue=4, max_age=None) as client:
        peer = await gateway.peer()
        await subscribe(client, peer, "AAPL")
        await peer.tick(*range(1041, 1141))
        await until(client, Tick, seq=1041)
        await subscribe(client, peer, "MSFT")
        assert (await until(client, Tick, seq=1140))[-2:] == [
            Conflated("AAPL", 98, "slow"),
            Tick("AAPL", PRICE, AT, 1140),
        ]


# What is missing


async def test_what_is_missing_is_said_before_the_tick_behind_it(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    await peer.send(snapshot(1041), tick(1045).replace("}", ',"skipped":3}'))
    await peer.tick(1047)
    await peer.send({"type": "gap", "symbol": "AAPL", "missed": 8, "seq": 1055, "epoch": EPOCH})
    await peer.tick(1056)
    assert (await until(client, Tick, seq=1056))[2:] == [
        Conflated("AAPL", 3, "rate"),
        Tick("AAPL", Decimal("150.250"), AT, 1045),
        Gap("AAPL", 1, "unexplained", 1046, EPOCH),
        Tick("AAPL", Decimal("150.250"), AT, 1047),
        Gap("AAPL", 8, "bus", 1055, EPOCH),
        Tick("AAPL", Decimal("150.250"), AT, 1056),
    ]
    assert (client.counts.skipped, client.counts.missed, client.counts.gaps) == (3, 9, 2)


async def test_a_heartbeat_that_differs_resumes_the_symbol(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL", max_rate=5)
    await peer.send(snapshot(1041), {"type": "heartbeat", "seqs": {"AAPL": 1043}})
    command = await peer.subscribe(AAPL=place(1043, recovered=True))
    assert command["since"] == {"AAPL": {"seq": 1041, "epoch": EPOCH}}
    assert command["max_rate"] == 5
    await peer.tick(1042, 1043)
    events = await until(client, Tick, seq=1043)
    assert events[2] == Gap("AAPL", None, "heartbeat", 1043, EPOCH)
    assert not any(isinstance(event, Gap) for event in events[3:])


async def test_what_it_holds_is_stale_while_the_bus_is_away(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    await peer.send(snapshot(1041))
    await until(client, Snapshot)
    latest = client.latest("AAPL")
    assert latest is not None
    assert (latest.quote.seq, latest.is_stale) == (1041, False)
    await peer.send({"type": "bus", "connected": False})
    await until(client, BusState, connected=False)
    assert client.latest("AAPL") == latest._replace(is_stale=True)
    await peer.send({"type": "bus", "connected": True})
    await until(client, BusState, connected=True)
    assert client.latest("AAPL") == latest
    assert client.latest("MSFT") is None


async def test_messages_it_does_not_know_are_for_others(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    await peer.send({"type": "news", "text": "x"}, tick(1041).replace('"seq"', '"venue":"X","seq"'))
    assert (await until(client, Tick))[1:] == [Tick("AAPL", Decimal("150.250"), AT, 1041)]


@pytest.mark.parametrize("text", ["{", "[]", '{"type":"tick","symbol":"AAPL"}', '{"type":"tick","seq":1,"price":NaN}'])
async def test_what_is_no_message_ends_the_iteration_with_an_error(
    gateway: FakeGateway, client: Client, text: str
) -> None:
    await (await gateway.peer()).send(text)
    with pytest.raises(BadMessage):
        await until(client, Tick)
    with pytest.raises(BadMessage):
        await client.subscribe("AAPL")


# Connections that end


@pytest.mark.parametrize("ending", ["cut", "1000", "1012", "4999"])
async def test_it_comes_back_and_resumes_what_it_had(gateway: FakeGateway, client: Client, ending: str) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL", "MSFT", max_rate=5)
    await subscribe(client, peer, "^GSPC", snapshot=False)
    await peer.send(snapshot(1041))
    await peer.tick(1042)
    await until(client, Tick, seq=1042)
    if ending == "cut":
        peer.cut()
    else:
        await peer.close(int(ending))
    again = await gateway.peer()
    rated = await again.command()
    latest = client.latest("AAPL")
    assert latest is not None
    assert latest.is_stale  # until it has been answered
    assert rated["max_rate"] == 5
    assert rated["since"] == {"AAPL": {"seq": 1042, "epoch": EPOCH}, "MSFT": {"seq": 1040, "epoch": EPOCH}}
    await again.subscribed(rated, AAPL=place(1044, recovered=True), MSFT=place(1050, recovered=False))
    await again.tick(1043, 1044)
    await again.send(snapshot(1050, "MSFT"))
    other = await again.subscribe(**{"^GSPC": place(1041, recovered=True)})
    assert (other["symbols"], other["snapshot"]) == (["^GSPC"], False)
    await again.tick(1045)
    events = await until(client, Tick, seq=1045)
    assert isinstance(events[0], Disconnected)
    assert events[0].code == (1006 if ending == "cut" else int(ending))
    assert [event.seq for event in events if isinstance(event, Tick)] == [1043, 1044, 1045]
    assert [event for event in events if isinstance(event, Gap)] == [Gap("MSFT", 9, "not_recovered", 1049, EPOCH)]


async def test_everything_comes_before_what_was_chosen_by_name(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL", max_rate=5)
    async with both(client.subscribe("*")):
        await peer.subscribe(AAPL=place(1041, recovered=True), MSFT=place(7))
    await peer.send(snapshot(7, "MSFT"))
    await until(client, Snapshot)
    peer.cut()
    again = await gateway.peer()
    command = await again.subscribe(AAPL=place(1041, recovered=True), MSFT=place(7, recovered=True))
    assert command["symbols"] == ["*"]
    assert command["since"] == {"AAPL": {"seq": 1040, "epoch": EPOCH}, "MSFT": {"seq": 7, "epoch": EPOCH}}
    assert (await again.subscribe(AAPL=place(1041, recovered=True)))["symbols"] == ["AAPL"]


async def test_more_of_everything_is_introduced_after_the_answer(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    async with both(client.subscribe("*")):
        await peer.subscribe(AAPL=place(1041))
    await peer.send(snapshot(1041), {"type": "introduced", "positions": {"MSFT": place(7)}}, snapshot(7, "MSFT"))
    await until(client, Snapshot, symbol="MSFT")
    gateway.limits["message_bytes"] = 130
    peer.cut()
    again = await gateway.peer()
    command = await again.subscribe(AAPL=place(1041, recovered=True))
    assert command["since"].keys() == {"AAPL"}  # there is no room for more
    await until(client, Connected)
    latest = client.latest("MSFT")
    assert latest is not None
    assert latest.is_stale  # until it is introduced
    await again.send({"type": "introduced", "positions": {"MSFT": place(9)}}, snapshot(9, "MSFT"))
    assert (await until(client, Snapshot, seq=9))[:-1] == [Gap("MSFT", 1, "not_recovered", 8, EPOCH)]
    latest = client.latest("MSFT")
    assert latest is not None
    assert not latest.is_stale


async def test_without_snapshots_what_is_introduced_goes_on_behind_its_position(
    gateway: FakeGateway, client: Client
) -> None:
    peer = await gateway.peer()
    async with both(client.subscribe("*", snapshot=False)):
        await peer.subscribe()
    await peer.send({"type": "introduced", "positions": {"AAPL": place(1041)}})
    await peer.tick(1042)
    assert [type(event) for event in await until(client, Tick)] == [Connected, Tick]
    peer.cut()
    assert (await (await gateway.peer()).command())["since"] == {"AAPL": {"seq": 1042, "epoch": EPOCH}}


async def test_what_is_introduced_of_a_symbol_that_is_not_wanted_any_more_is_left(
    gateway: FakeGateway, client: Client
) -> None:
    peer = await gateway.peer()
    async with both(client.subscribe("*")):
        await peer.subscribe()
    async with both(client.unsubscribe("*")):
        command = await peer.command("unsubscribe")
        await peer.send({"type": "unsubscribed", "symbols": [], "id": command["id"]})
    await peer.send({"type": "introduced", "positions": {"AAPL": place(1041)}}, {"type": "bus", "connected": False})
    await until(client, BusState)
    async with both(client.subscribe("*")):
        assert "since" not in await peer.subscribe()


async def test_many_symbols_are_resumed_in_messages_that_the_gateway_takes(gateway: FakeGateway) -> None:
    gateway.limits |= {"message_bytes": 500, "commands_per_second": 50}
    async with Client(gateway.url, backoff=backoff()) as client:
        peer = await gateway.peer()
        names = {f"SYMBOL-{number}" for number in range(40)}
        call = asyncio.create_task(client.subscribe(*sorted(names)))
        left = set(names)
        while left:
            left -= set((await peer.subscribe())["symbols"])
        await call
        peer.cut()
        again = await gateway.peer()
        while names:
            command = await again.command()
            assert len(json.dumps(command, separators=(",", ":"))) <= 500
            assert command["since"].keys() == set(command["symbols"])
            names -= set(command["symbols"])
            await again.subscribed(command, **{name: place(1041, recovered=True) for name in command["symbols"]})


async def test_what_is_asked_for_while_it_is_away_is_asked_for_when_it_is_back(
    gateway: FakeGateway, client: Client
) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    async with both(client.subscribe("MSFT")):
        await peer.command()
        peer.cut()  # before it answers
        again = await gateway.peer()
        assert (await again.subscribe(AAPL=place(1041, recovered=True)))["symbols"] == ["AAPL"]
        assert (await again.subscribe())["symbols"] == ["MSFT"]
    assert client.symbols == ("AAPL", "MSFT")


async def test_a_subscription_that_was_cancelled_has_not_happened(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    call = asyncio.create_task(client.subscribe("AAPL"))
    command = await peer.command()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    later = asyncio.create_task(client.subscribe("MSFT"))
    await peer.subscribed(command)
    ended = await peer.command("unsubscribe")
    assert ended["symbols"] == ["AAPL"]
    await peer.send({"type": "unsubscribed", "symbols": [], "id": ended["id"]})
    assert (await peer.subscribe())["symbols"] == ["MSFT"]
    await later
    assert client.symbols == ("MSFT",)


async def test_what_cannot_be_subscribed_again_ends_the_iteration_with_an_error(
    gateway: FakeGateway, client: Client
) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL", "MSFT")
    peer.cut()
    again = await gateway.peer()
    await again.error(await again.command(), "too_many_symbols")
    with pytest.raises(CommandRefused, match="too_many_symbols"):
        await until(client, Tick)


async def test_unsubscribing_without_a_connection_is_done_at_once(gateway: FakeGateway) -> None:
    async with Client(gateway.url, backoff=Backoff(base=0.2, uniform=lambda _, bound: bound)) as client:
        peer = await gateway.peer()
        await subscribe(client, peer, "AAPL", "MSFT")
        peer.cut()
        await until(client, Disconnected)
        await client.unsubscribe("AAPL")
        assert client.symbols == ("MSFT",)
        assert (await (await gateway.peer()).subscribe())["symbols"] == ["MSFT"]


@pytest.mark.parametrize("code", [1002, 1007, 1009])
async def test_after_some_codes_there_is_no_coming_back(gateway: FakeGateway, client: Client, code: int) -> None:
    peer = await gateway.peer()
    call = asyncio.create_task(client.subscribe("AAPL"))
    await peer.command()
    await peer.close(code, "Because.")
    with pytest.raises(ClosedForGood, match="Because") as closed:
        await until(client, Tick)
    with pytest.raises(ClosedForGood):
        await call
    assert closed.value.code == code
    with pytest.raises(ClosedForGood):
        await client.subscribe("AAPL")
    assert len(gateway.handshakes) == 1


async def test_what_the_gateway_announces_goes_before_the_table(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await peer.send({"type": "closing", "code": 1012, "reason": "Moved.", "reconnect": False, "wait": 0})
    await peer.close(1012)
    with pytest.raises(ClosedForGood, match="1012 Moved"):
        await until(client, Tick)


@pytest.mark.parametrize(("announces", "least"), [(True, 0.3), (False, 1.0)])
async def test_it_waits_at_least_as_long_as_the_gateway_wants(
    gateway: FakeGateway, client: Client, announces: bool, least: float
) -> None:
    peer = await gateway.peer()
    if announces:
        await peer.send({"type": "closing", "code": 4001, "reason": "Slow.", "reconnect": True, "wait": 0.3})
    began = asyncio.get_running_loop().time()
    await peer.close(4001)
    events = await until(client, Connected)
    events = await until(client, Connected)
    assert isinstance(events[0], Disconnected)
    assert least <= events[0].wait <= least + 0.01
    assert asyncio.get_running_loop().time() - began >= least


async def test_connections_that_do_not_last_are_tried_again_ever_more_slowly(gateway: FakeGateway) -> None:
    pauses: list[float] = []

    def note(_: float, bound: float) -> float:
        pauses.append(bound)
        return 0

    async with Client(gateway.url, backoff=backoff(uniform=note)):
        for _ in range(5):
            (await gateway.peer()).cut()
        await gateway.peer()
    assert pauses == [0.001, 0.002, 0.004, 0.008, 0.01]


# Connections that cannot be made


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_client_that_is_refused_does_not_try_again(gateway: FakeGateway, status: int) -> None:
    gateway.status = status
    with pytest.raises(Refused) as refused:
        await Client(gateway.url, backoff=backoff()).open()
    assert refused.value.status == status
    assert len(gateway.handshakes) == 1


STATUSES = [400, 401, 403, 404, 407, 410, 429, 500, 502, 503, 504]


@pytest.mark.parametrize("status", STATUSES)
async def test_a_client_that_was_welcomed_bears_a_refusal(gateway: FakeGateway, client: Client, status: int) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    gateway.status = status
    peer.cut()
    before = len(gateway.handshakes)
    await eventually(lambda: len(gateway.handshakes) > before + 3)
    gateway.status = None
    peer = await gateway.peer()
    assert (await peer.subscribe(AAPL=place(1041, recovered=True)))["symbols"] == ["AAPL"]
    await peer.tick(1041)
    events = await until(client, Tick)
    reasons = [event.reason for event in events if isinstance(event, Disconnected)]
    assert reasons[-1] == f"HTTP {status}"


async def test_a_client_that_was_welcomed_bears_what_is_no_gateway(gateway: FakeGateway, client: Client) -> None:
    (await gateway.peer()).cut()
    gateway.version = ""  # so the welcome is none
    await eventually(lambda: len(gateway.handshakes) > 3)
    gateway.version = "0.1.0"
    await until(client, Connected)
    await until(client, Connected)


async def test_a_client_whose_key_was_withdrawn_hears_of_it(gateway: FakeGateway) -> None:
    async with Client(gateway.url, backoff=backoff(), refused_for=0.5) as client:
        peer = await gateway.peer()
        gateway.status = 403
        peer.cut()
        with pytest.raises(Refused, match="403"):
            await until(client, Tick)
        assert len(gateway.handshakes) > 3


def test_only_refusals_in_a_row_end_a_client() -> None:
    now = 0.0
    refusals = Refusals(60, lambda: now)
    assert refusals.left() == 0  # not welcomed before
    refusals.welcomed()
    assert refusals.left() == 60
    now = 59
    assert refusals.left() == 1
    refusals.interrupted()  # the gateway was away
    now = 200
    assert refusals.left() == 60
    now = 230
    refusals.welcomed()
    assert refusals.left() == 60
    now = 290
    assert refusals.left() == 0


async def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(Refused, match="http"):
        await Client("http://127.0.0.1/ws").open()


async def test_a_gateway_that_is_not_there_yet_is_waited_for(gateway: FakeGateway) -> None:
    gateway.status = 503
    opening = asyncio.create_task((client := Client(gateway.url, backoff=backoff())).open())
    await eventually(lambda: len(gateway.handshakes) > 3)
    assert not opening.done()
    gateway.status = None
    async with asyncio.timeout(TIMEOUT):
        await opening
    events = await until(client, Connected)
    # Attempts that failed while nobody looked are one event.
    assert [type(event) for event in events] == [Disconnected, Connected]
    await client.close()


async def test_waiting_for_the_first_connection_has_an_end() -> None:
    client = Client("ws://127.0.0.1:1/ws", connect_timeout=0.05, backoff=backoff())
    with pytest.raises(TimeoutError, match=r"no connection to ws://127.0.0.1:1/ws within 0.05 s: Connection refused"):
        await client.open()


async def test_why_there_was_no_connection_is_said(gateway: FakeGateway) -> None:
    async def error(url: str) -> str:
        with pytest.raises(TimeoutError) as timed_out:
            await Client(url, connect_timeout=1, backoff=backoff()).open()
        return str(timed_out.value).split(": ", 1)[1]

    assert "Connection refused" in await error("ws://localhost:1/ws")
    assert "name of the host" in await error("ws://gateway.invalid/ws")
    gateway.status = 503
    assert await error(gateway.url) == "HTTP 503"
    with deaf() as url:
        assert await error(url) == "nobody answers"


async def test_opening_can_be_cancelled(gateway: FakeGateway) -> None:
    gateway.status = 503
    opening = asyncio.create_task(Client(gateway.url, backoff=backoff()).open())
    await eventually(lambda: gateway.handshakes)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


# Silence


async def test_a_connection_on_which_nothing_comes_is_given_up(gateway: FakeGateway, client: Client) -> None:
    gateway.heartbeat = 0.3
    (await gateway.peer()).cut()
    peer = await gateway.peer()
    await until(client, Connected)
    events = await until(client, Disconnected)
    events += await until(client, Disconnected)
    assert isinstance(events[-1], Disconnected)
    assert events[-1].code == 1006
    assert events[-1].reason == "nothing came for 2.0 s", "five looks of a quarter of two heartbeats and a second"
    gateway.heartbeat = 10
    await gateway.peer()
    peer.done.set()


async def test_heartbeats_keep_a_connection(gateway: FakeGateway) -> None:
    gateway.heartbeat = 0.05
    async with Client(gateway.url, backoff=backoff()) as client:
        peer = await gateway.peer()
        for _ in range(20):  # longer than silence may last
            await peer.send({"type": "heartbeat"})
            await asyncio.sleep(0.1)
        assert client.is_connected
        assert len(gateway.handshakes) == 1


async def test_it_knows_the_clock_of_the_gateway(gateway: FakeGateway) -> None:
    async with Client(gateway.url, backoff=backoff()) as client:
        peer = await gateway.peer()
        assert client.server_time is None
        await peer.send({"type": "heartbeat", "time": "2026-05-12T15:04:05.123456Z"}, snapshot(1041))
        await until(client, Snapshot)
        assert client.server_time == "2026-05-12T15:04:05.123456Z"


async def test_a_gateway_without_heartbeats_is_asked(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketmux_client.session._SILENCE", 0.2)
    gateway.heartbeat = 0
    async with Client(gateway.url, backoff=backoff()) as client:
        peer = await gateway.peer()
        for _ in range(3):
            command = await peer.command("ping")
            await peer.send({"type": "pong", "id": command["id"]})
        assert client.is_connected
        events = await until(client, Disconnected)  # it is not answered any more
        assert "nothing came for" in events[-1].reason  # type: ignore[union-attr]


# The end


async def test_closing_ends_the_iteration(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    await peer.tick(1041)
    taken: list[Event] = []

    async def consume() -> None:
        async for event in client:
            taken.append(event)  # noqa: PERF401 - it is looked at meanwhile

    consumer = asyncio.create_task(consume())
    await eventually(lambda: len(taken) == 2)
    await client.close()
    async with asyncio.timeout(TIMEOUT):
        await consumer
    with pytest.raises(ClientClosed):
        await client.subscribe("AAPL")
    await client.close()


async def test_closing_tells_those_who_wait_for_an_answer(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    call = asyncio.create_task(client.subscribe("AAPL"))
    await peer.command()
    await client.close()
    with pytest.raises(ClientClosed):
        await call


async def test_closing_does_not_wait_for_a_gateway_that_hangs(gateway: FakeGateway) -> None:
    client = Client(gateway.url, max_queue=1)
    await client.open()
    peer = await gateway.peer()
    peer.connection.transport.pause_reading()
    began = asyncio.get_running_loop().time()
    await client.close()
    assert asyncio.get_running_loop().time() - began < 5
    peer.connection.transport.resume_reading()
    peer.done.set()


async def test_a_consumer_can_be_cancelled_and_go_on(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    await until(client, Connected)
    for seq in range(1041, 1061):
        consumer = asyncio.create_task(anext(client))
        await asyncio.sleep(0)
        consumer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await consumer
        await peer.tick(seq)
        assert (await until(client, Tick))[0].seq == seq  # type: ignore[union-attr]


async def test_a_second_consumer_is_an_error(gateway: FakeGateway, client: Client) -> None:
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    first = asyncio.create_task(until(client, Tick, seq=1042))
    await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError, match="one consumer"):
        await until(client, Tick)
    with pytest.raises(RuntimeError, match="one consumer"):
        await anext(client)
    await peer.tick(1041, 1042)
    assert [event.seq for event in (await first)[-2:]] == [1041, 1042]  # type: ignore[union-attr]
    await peer.tick(1043)
    await until(client, Tick, seq=1043)  # one that has stopped is none


async def test_a_second_consumer_is_an_error_while_the_first_is_busy(gateway: FakeGateway, client: Client) -> None:
    is_done = asyncio.Event()

    async def consume() -> None:
        async for _ in client:
            await is_done.wait()
            return

    first = asyncio.create_task(consume())
    await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError, match="one consumer"):
        async for _ in client:
            pass
    is_done.set()
    await first
    peer = await gateway.peer()
    await subscribe(client, peer, "AAPL")
    await peer.tick(1041)
    await until(client, Tick)


async def test_a_block_that_fails_leaves_nothing_behind(gateway: FakeGateway) -> None:
    tasks = asyncio.all_tasks()

    async def fail() -> None:
        async with Client(gateway.url) as client:
            await subscribe(client, await gateway.peer(), "AAPL")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    gc.collect()
    assert not [task for task in asyncio.all_tasks() - tasks if "marketmux" in repr(task)]


async def test_a_client_is_opened_once(client: Client) -> None:
    with pytest.raises(RuntimeError, match="once"):
        await client.open()


async def test_a_client_that_was_not_opened_says_so() -> None:
    client = Client("ws://127.0.0.1:1/ws")
    with pytest.raises(RuntimeError, match="not opened"):
        await client.subscribe("AAPL")
    with pytest.raises(RuntimeError, match="not opened"):
        await anext(client)
    await client.close()
