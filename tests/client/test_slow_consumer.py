"""A consumer that is slow gets the newest price of each symbol, and the count of what was left out."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketmux_client import (
    BusState,
    Client,
    ClientClosed,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    Snapshot,
    Tick,
)
from marketmux_client.books import Books
from marketmux_client.inbox import Inbox
from marketmux_client.messages import decode
from marketmux_client.messages import tick as tick_of
from marketmux_client.session import Session
from marketmux_client.target import Target
from tests.client.fake import EPOCH, TIMEOUT, FakeGateway, Peer, eventually, fake_gateway, tick, until

SYMBOLS = ("A", "B", "C")


def price(seq: int, symbol: str = "A") -> Tick:
    return tick_of(decode(tick(seq, symbol)))


class Clock:
    """One that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def assert_books(events: Iterable[Event], last: dict[str, int]) -> dict[str, int]:
    """Every jump is accounted for, from ``last`` on; returns where each symbol is."""
    explained: defaultdict[str, int] = defaultdict(int)
    for event in events:
        match event:
            case Gap(missed=int(count)) | Conflated(skipped=count):
                explained[event.symbol] += count
            case Gap():
                last[event.symbol], explained[event.symbol] = event.seq, 0
            case Tick() | Snapshot():
                assert event.seq - last[event.symbol] - 1 == explained.pop(event.symbol, 0), event
                last[event.symbol] = event.seq
    for symbol, count in explained.items():
        last[symbol] += count
    return last


async def drained(inbox: Inbox) -> list[Event]:
    """All that waits."""
    inbox.finish(ClientClosed())
    events = []
    while True:
        try:
            events.append(await inbox.get())
        except ClientClosed:
            return events


# What waits


async def test_what_waited_for_too_long_makes_way_for_the_newest() -> None:
    clock = Clock()
    inbox = Inbox(1000, 1.0, clock)
    for seq in range(1, 101):
        inbox.put(price(seq))
        inbox.put(price(seq, "B"))
    clock.now = 1.1
    assert await inbox.get() == Conflated("A", 99, "slow")
    inbox.put(price(101))  # what was announced is kept, what is newer has its turn
    assert await inbox.get() == price(100)
    assert await drained(inbox) == [Conflated("B", 99, "slow"), price(100, "B"), price(101)]
    assert inbox.skipped == 198


async def test_what_is_fresh_is_kept_to_the_last() -> None:
    clock = Clock()
    inbox = Inbox(1000, 1.0, clock)
    inbox.put(Connected("0.1.0"))
    clock.now = 5.0  # what says how things stand may wait, and is no reason
    for seq in range(1, 101):
        inbox.put(price(seq))
    clock.now = 6.0
    assert await drained(inbox) == [Connected("0.1.0"), *(price(seq) for seq in range(1, 101))]


async def test_it_keeps_the_newest_only_until_the_consumer_has_caught_up() -> None:
    inbox = Inbox(2, None)
    for seq in range(1, 4):
        inbox.put(price(seq))
    await inbox.room()
    inbox.put(price(4))
    assert [await inbox.get(), await inbox.get()] == [Conflated("A", 3, "slow"), price(4)]
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put(price(5))
    inbox.put(price(6))
    assert [await waiting, await inbox.get()] == [price(5), price(6)]


async def test_one_read_that_brings_more_than_the_queue_holds_is_no_fault_of_the_consumers() -> None:
    inbox = Inbox(10, 1.0)
    taken: list[Event] = []

    async def consume() -> None:
        while len(taken) < 1_000:
            taken.append(await inbox.get())

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0)
    for seq in range(1, 1_001):
        await inbox.room()
        inbox.put(price(seq))
    async with asyncio.timeout(TIMEOUT):
        await consumer
    assert taken == [price(seq) for seq in range(1, 1_001)]


async def test_a_price_does_not_go_before_the_loss_of_a_connection_that_came_first() -> None:
    inbox = Inbox(1, None)
    inbox.put(price(1))
    inbox.put(price(1, "B"))
    await inbox.room()
    lost = Disconnected(1006, "", 0.1)
    for event in (lost, Connected("0.1.0"), lost, Connected("0.1.0"), BusState(False), BusState(True), price(2)):
        inbox.put(event)
    assert await drained(inbox) == [
        price(1, "B"),
        lost,
        Connected("0.1.0"),
        BusState(True),
        Conflated("A", 1, "slow"),
        price(2),
    ]


async def test_what_is_unsubscribed_is_taken_out_wherever_it_waits() -> None:
    inbox = Inbox(1, None)
    for seq in (1, 2):
        inbox.put(price(seq))
        inbox.put(price(seq, "B"))
    await inbox.room()
    assert await inbox.get() == Conflated("A", 1, "slow")
    inbox.purge(lambda symbol: symbol == "A")
    inbox.put(price(3, "B"))
    assert await drained(inbox) == [Conflated("B", 2, "slow"), price(3, "B")]


MESSAGES = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from(SYMBOLS), st.integers(1, 3)),
    st.tuples(st.just("conflated"), st.sampled_from(SYMBOLS), st.integers(1, 5)),
    st.tuples(st.just("gap"), st.sampled_from(SYMBOLS), st.integers(1, 5)),
    st.tuples(st.just("epoch"), st.sampled_from(SYMBOLS), st.integers(0, 5)),
    st.tuples(st.just("lost"), st.just(""), st.just(0)),
    st.tuples(st.just("take"), st.just(""), st.integers(1, 10)),
    st.tuples(st.just("wait"), st.just(""), st.integers(1, 3)),
)


@given(st.lists(MESSAGES, max_size=80), st.integers(1, 5))
async def test_the_books_balance_whatever_comes_and_whenever_it_is_taken(
    messages: list[tuple[str, str, int]], limit: int
) -> None:
    clock = Clock()
    inbox = Inbox(limit, 2.0, clock)
    books = Books(inbox.put)
    books.subscribed({symbol: {"seq": 0, "epoch": "e0"} for symbol in SYMBOLS}, {}, snapshot=False)
    seqs = dict.fromkeys(SYMBOLS, 0)
    newest: dict[str, int] = {}
    taken: list[Event] = []
    epochs = 0
    for kind, symbol, count in messages:
        await inbox.room()
        if kind == "tick":
            seqs[symbol] += count  # more than one: what is missing has no explanation
            newest[symbol] = seqs[symbol]
            books.tick(price(seqs[symbol], symbol))
        elif kind == "conflated":
            books.conflated("rate", {symbol: count})
            seqs[symbol] += count
        elif kind == "gap":
            seqs[symbol] += count
            account_epoch = books.since(symbol)
            assert account_epoch is not None
            books.gap(symbol, count, seqs[symbol], account_epoch.epoch)
        elif kind == "epoch":
            epochs += 1
            seqs[symbol] = count
            newest.pop(symbol, None)
            books.gap(symbol, None, count, f"e{epochs}")
        elif kind == "lost":
            inbox.put(Disconnected(1006, "", 0.1))
        elif kind == "wait":
            clock.now += count
        else:
            taken += [event for _ in range(count) if (event := inbox._next()) is not None]
    taken += await drained(inbox)
    last = dict.fromkeys(SYMBOLS, 0)
    assert_books(taken, last)
    held = {event.symbol: event.seq for event in taken if isinstance(event, Tick)}
    assert {symbol: held[symbol] for symbol in newest} == newest
    slow = sum(event.skipped for event in taken if isinstance(event, Conflated) and event.reason == "slow")
    assert slow == inbox.skipped


# The client


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with fake_gateway() as gateway:
        yield gateway


async def subscribe(client: Client, peer: Peer, *symbols: str) -> None:
    call = asyncio.create_task(client.subscribe(*symbols, snapshot=False))
    await peer.subscribe(**{symbol: {"seq": 0, "epoch": EPOCH} for symbol in symbols})
    await call


@pytest.mark.parametrize("max_queue", [10, 1000])
@pytest.mark.parametrize("blocks", [False, True], ids=["waits", "blocks the loop"])
async def test_a_slow_consumer_holds_no_old_price(gateway: FakeGateway, max_queue: int, blocks: bool) -> None:
    """Ten times as fast as in life: 250 ticks a second, and a consumer that takes one event in 30 ms.

    Age is counted in ticks: 25 are a tenth of a second.
    """
    async with Client(gateway.url, max_queue=max_queue, max_age=0.1) as client:
        peer = await gateway.peer()
        await subscribe(client, peer, "A")
        sent = 0

        async def publish() -> None:
            nonlocal sent
            began = time.monotonic()
            while True:
                due = int((time.monotonic() - began) * 250)
                while sent < due:
                    sent += 1
                    await peer.tick(sent, symbol="A")
                await asyncio.sleep(0.004)

        publishing = asyncio.create_task(publish())
        ages: list[int] = []
        taken: list[Event] = []
        while len(taken) < 150:
            event = await anext(client)
            taken.append(event)
            if isinstance(event, Tick):
                ages.append(sent - event.seq)
            if blocks:
                time.sleep(0.03)  # noqa: ASYNC251 - as consumers do
            else:
                await asyncio.sleep(0.03)
        publishing.cancel()
        assert_books(taken, {"A": 0})
        assert client.counts.gaps == 0
        assert client.counts.skipped > sent / 2
        # Before, the age grew by 8 or 9 ticks with every event, to 1,000 and more.
        assert sorted(ages)[int(0.9 * len(ages))] < 300, ages


async def test_it_reads_on_while_its_consumer_does_not(gateway: FakeGateway) -> None:
    gateway.heartbeat = 0.05
    async with Client(gateway.url, max_queue=10) as client:
        peer = await gateway.peer()
        await subscribe(client, peer, "A", "B")
        for seq in range(1, 5_001):
            await peer.tick(seq, symbol="A")
            await peer.tick(seq, symbol="B")
        await eventually(lambda: (latest := client.latest("B")) is not None and latest.quote.seq == 5_000)
        latest = client.latest("A")
        assert latest is not None
        assert (latest.quote.seq, latest.is_stale) == (5_000, False)
        assert client.is_connected
        events = await until(client, Tick, symbol="B", seq=5_000)
        assert events[1:] == [
            Conflated("A", 4_999, "slow"),
            price(5_000),
            Conflated("B", 4_999, "slow"),
            price(5_000, "B"),
        ]
        assert client.counts.skipped == 9_998


async def test_the_kernel_holds_little_for_a_process_that_is_busy(gateway: FakeGateway) -> None:
    session = await Session.open(Target.checked(gateway.url, None, None, None, None), TIMEOUT, lambda: None)
    raw = session._socket.transport.get_extra_info("socket")
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * 64 * 1024  # Linux doubles it for its own accounts
    await session.close()
