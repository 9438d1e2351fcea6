"""Ticks reach exactly the subscribers of their symbols, each in one write a pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.frames import text_frame
from gateway.hub import Hub
from gateway.memberships import Memberships
from gateway.outbox import Outbox
from tests.gateway.fakes import FakeWire


async def _at_once(symbols: Sequence[str]) -> None: ...


async def _never(symbols: Sequence[str]) -> None:
    raise ConnectionError("away")


def make_hub(join: object = _at_once) -> Hub:
    return Hub(Memberships(join, _at_once, 0.01))  # type: ignore[arg-type]


@pytest.fixture
async def hub() -> Hub:
    return make_hub()


async def client(hub: Hub, *symbols: str) -> tuple[Outbox, FakeWire]:
    wire = FakeWire()
    outbox = Outbox(wire, patience=60)
    hub.add(outbox)
    await hub.subscribe(outbox, symbols)
    return outbox, wire


def tick(symbol: str, number: int) -> tuple[str, bytes]:
    return symbol, text_frame(f"{symbol}{number}".encode())


async def test_a_tick_reaches_its_subscribers_and_nobody_else(hub: Hub) -> None:
    _, one = await client(hub, "A")
    _, both = await client(hub, "A", "B")
    _, other = await client(hub, "B")
    _, none = await client(hub)
    hub.deliver([tick("A", 1)])
    assert (one.texts, both.texts, other.texts, none.texts) == (["A1"], ["A1"], [], [])


async def test_a_pass_writes_once_to_each_client_and_keeps_the_order_of_a_symbol(hub: Hub) -> None:
    _, wire = await client(hub, "A", "B")
    _, other = await client(hub, "B", "C")
    hub.deliver([tick("A", 1), tick("B", 1), tick("A", 2), tick("C", 1), tick("X", 1), tick("B", 2)])
    assert wire.texts == ["A1", "A2", "B1", "B2"]
    assert other.texts == ["B1", "B2", "C1"]
    assert len(wire.writes) == len(other.writes) == 1


async def test_many_ticks_of_one_symbol_are_one_write(hub: Hub) -> None:
    _, wire = await client(hub, "A")
    hub.deliver([tick("A", number) for number in range(5)])
    assert wire.texts == ["A0", "A1", "A2", "A3", "A4"]
    assert len(wire.writes) == 1


async def test_a_client_behind_costs_the_others_nothing_and_ends_on_the_newest(hub: Hub) -> None:
    slow, slow_wire = await client(hub, "A", "B")
    _, wire = await client(hub, "A", "B")
    slow_wire.full = True
    for number in range(10):
        hub.deliver([tick("A", number)])
        hub.deliver([tick("A", number + 100), tick("B", number)])
    assert len(wire.texts) == 30
    assert slow_wire.texts == ["A0"]
    slow_wire.drain()
    assert slow_wire.texts[-2:] == ["A109", "B9"]
    assert hub.counts()["skipped_total"] == slow.skipped == (19 - 1) + (10 - 1)


async def test_after_an_unsubscribe_nothing_comes(hub: Hub) -> None:
    outbox, wire = await client(hub, "A", "B")
    hub.unsubscribe(outbox, ["A", "C"])
    hub.deliver([tick("A", 1), tick("B", 1)])
    assert wire.texts == ["B1"]
    assert list(hub.symbols(outbox)) == ["B"]


async def test_subscribing_twice_is_subscribing_once(hub: Hub) -> None:
    outbox, wire = await client(hub, "A", "A")
    await hub.subscribe(outbox, ["A", "B"])
    hub.deliver([tick("A", 1)])
    assert wire.texts == ["A1"]
    assert list(hub.symbols(outbox)) == ["A", "B"]
    hub.remove(outbox)
    assert hub.counts()["subscriptions"] == 0


async def test_a_subscription_that_fails_changes_nothing() -> None:
    hub = make_hub(_never)
    wire = FakeWire()
    outbox = Outbox(wire, patience=60)
    hub.add(outbox)
    with pytest.raises(ConnectionError):
        await hub.subscribe(outbox, ["A"])
    hub.deliver([tick("A", 1)])
    assert wire.texts == []
    assert not hub.symbols(outbox)


async def test_when_all_are_gone_nothing_is_left(hub: Hub) -> None:
    clients = [await client(hub, "A", f"S{number}") for number in range(20)]
    clients[0][1].full = True
    hub.deliver([tick("A", 1)])
    hub.deliver([tick("A", 2)])
    for outbox, _ in clients:
        hub.remove(outbox)
    await asyncio.sleep(0.05)
    counts = hub.counts()
    assert {name: counts[name] for name in ("connections", "subscriptions", "symbols", "memberships", "behind")} == {
        "connections": 0, "subscriptions": 0, "symbols": 0, "memberships": 0, "behind": 0
    }  # fmt: skip
    hub.deliver([tick("A", 3)])


SYMBOLS = ["A", "B", "C"]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("subscribe"), st.integers(0, 3), st.lists(st.sampled_from(SYMBOLS), min_size=1)),
        st.tuples(st.just("unsubscribe"), st.integers(0, 3), st.lists(st.sampled_from(SYMBOLS), min_size=1)),
        st.tuples(st.just("pass"), st.just(0), st.lists(st.sampled_from(SYMBOLS), max_size=6)),
        st.tuples(st.sampled_from(["stall", "drain"]), st.integers(0, 3), st.just([])),
    ),
    max_size=30,
)


@given(steps)
def test_whatever_happens_everybody_ends_on_the_newest_and_the_receipts_add_up(
    script: list[tuple[str, int, list[str]]],
) -> None:
    asyncio.run(_play(script))


async def _play(script: list[tuple[str, int, list[str]]]) -> None:
    hub = make_hub()
    clients = [await client(hub) for _ in range(4)]
    due: list[dict[str, list[int]]] = [{symbol: [] for symbol in SYMBOLS} for _ in clients]
    number = 0
    for action, who, symbols in script:
        outbox, wire = clients[who]
        match action:
            case "subscribe":
                await hub.subscribe(outbox, symbols)
            case "unsubscribe":
                wire.drain()  # what waits of a symbol that is given up is dropped, which is not what is tested here
                hub.unsubscribe(outbox, symbols)
            case "stall":
                wire.full = True
            case "drain":
                wire.drain()
            case "pass":
                ticks = []
                for symbol in symbols:
                    number += 1
                    ticks.append(tick(symbol, number))
                    for (other, _), expected in zip(clients, due, strict=True):
                        if symbol in hub.symbols(other):
                            expected[symbol].append(number)
                hub.deliver(ticks)
    for (outbox, wire), expected in zip(clients, due, strict=True):
        wire.drain()
        for symbol in SYMBOLS:
            got = [int(text[1:]) for text in wire.texts if text.startswith(symbol)]
            assert got == sorted(got)
            assert set(got) <= set(expected[symbol])
            assert got[-1:] == expected[symbol][-1:]
        received = sum(not text.startswith("{") for text in wire.texts)
        assert received + outbox.skipped == sum(map(len, expected.values()))
