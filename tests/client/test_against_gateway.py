"""The client against the gateway itself."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from marketmux_client import (
    Backoff,
    Client,
    CommandRefused,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    Refused,
    Snapshot,
    Tick,
)
from tests.client.fake import TIMEOUT, eventually, until
from tests.clients import publish, tick
from tests.conftest import StartGateway
from tests.servers import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "reference" / "client.md"


@asynccontextmanager
async def publisher(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.http, timeout=TIMEOUT) as http:
        yield http


def fast() -> Backoff:
    """A test need not wait for it."""
    return Backoff(base=0.05, cap=0.5)


def assert_account(events: Iterable[Event]) -> None:
    """Every jump in ``seq`` is accounted for, from 0 on: no symbol has ticked before it is subscribed to."""
    last: defaultdict[str, int] = defaultdict(int)
    explained: defaultdict[str, int] = defaultdict(int)
    for event in events:
        match event:
            case Gap(missed=int(count)) | Conflated(skipped=count):
                explained[event.symbol] += count
            case Gap():
                last[event.symbol] = event.seq
                explained.pop(event.symbol, None)
            case Tick() | Snapshot():
                assert event.seq - last[event.symbol] - 1 == explained.pop(event.symbol, 0), event
                last[event.symbol] = event.seq


def seqs(events: Iterable[Event], symbol: str = "AAPL") -> list[int]:
    return [event.seq for event in events if isinstance(event, Tick | Snapshot) and event.symbol == symbol]


def is_fresh(client: Client, symbol: str, price: int) -> bool:
    latest = client.latest(symbol)
    return latest is not None and latest.quote.price == price and not latest.is_stale


async def test_it_gets_the_last_tick_and_then_every_tick(gateway: GatewayProcess) -> None:
    async with publisher(gateway) as http, Client(gateway.ws) as client:
        await publish(http, [tick("AAPL", "150.240"), tick("AAPL", "150.250")])
        await client.subscribe("AAPL", "NEVER")
        await publish(
            http, [{**tick("AAPL", "150.260"), "bid": "150.2500", "ask": "150.27", "size": 300, "extra": {"n": 5}}]
        )
        events = await until(client, Tick)
    assert isinstance(events[1], Snapshot)
    assert (str(events[1].price), events[1].seq) == ("150.250", 2)
    assert events[2] == Tick(
        "AAPL",
        Decimal("150.260"),
        "2026-05-12T15:04:05Z",
        3,
        Decimal("150.2500"),
        Decimal("150.27"),
        Decimal(300),
        {"n": Decimal(5)},
    )
    assert str(events[2].bid) == "150.2500"


async def test_in_the_compact_format_it_says_the_same(gateway: GatewayProcess) -> None:
    full = {**tick("COMPACT", "150.260"), "bid": "150.2500", "size": 300, "extra": {"n": 5, "seq": None}}
    async with (
        publisher(gateway) as http,
        Client(gateway.ws, max_age=None) as plain,
        Client(gateway.ws + "?for=a-test", max_age=None, compact=True) as compact,
    ):
        clients = plain, compact
        for client in clients:
            await client.subscribe("COMPACT", trace=client is compact)
            await client.subscribe("COMPACT/RATED", max_rate=2)
        for price in range(1, 31):
            await publish(http, [full, tick("COMPACT/RATED", price), tick("COMPACT", price)])
        said = [await until(client, Tick, symbol="COMPACT/RATED", seq=30) for client in clients]
    for events in said:
        assert_account(event for event in events if not isinstance(event, Connected))
    first, second = ([event for event in events if getattr(event, "symbol", "") == "COMPACT"] for events in said)
    assert len(first) == len(second) > 50
    assert first == [replace(event, trace=None) for event in second if isinstance(event, Tick)]
    assert all(event.trace is not None for event in second if isinstance(event, Tick))
    assert (compact.counts.gaps, compact.counts.skipped > 0) == (0, True)


async def test_everything_is_also_what_ticks_for_the_first_time(gateway: GatewayProcess) -> None:
    async with publisher(gateway) as http, Client(gateway.ws) as client:
        await publish(http, [tick("OLD", 1)])
        await client.subscribe("*")
        await publish(http, [tick("NEW/1", 2), tick("OLD", 3), tick("NEW/1", 4)])
        events = await until(client, Tick, symbol="NEW/1", seq=2)
        assert seqs(events, "NEW/1") == [1, 2]
        assert client.counts.gaps == 0


async def test_a_chosen_rate_is_accounted_for_and_ends_on_the_last_tick(gateway: GatewayProcess) -> None:
    async with publisher(gateway) as http, Client(gateway.ws) as client:
        assert await client.subscribe("RATED", max_rate=4.5) == 4
        for start in range(1, 201, 20):
            await publish(http, [tick("RATED", price) for price in range(start, start + 20)])
        events = await until(client, Tick, seq=200)
        assert_account(events)
        assert client.counts.skipped == 200 - len(seqs(events, "RATED"))
        assert client.counts.skipped > 100
        assert client.counts.gaps == 0


async def test_a_symbol_that_is_none_is_refused(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as client:
        with pytest.raises(CommandRefused, match="invalid_symbol"):
            await client.subscribe("AAPL", "no,symbol")
        with pytest.raises(CommandRefused, match="max_rate"):
            await client.subscribe("AAPL", max_rate=0)
        await client.subscribe("AAPL")
        await client.unsubscribe("AAPL")
        assert client.symbols == ()


async def test_idle_symbols_agree_with_their_heartbeats(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_HEARTBEAT_SECONDS="0.1")
    async with publisher(gateway) as http, Client(gateway.ws) as client:
        await client.subscribe("AAPL", "NEVER")
        await client.subscribe("MSFT", max_rate=10)
        for price in range(1, 21):
            await publish(http, [tick("AAPL", price), tick("MSFT", price)])
            await asyncio.sleep(0.05 * (price % 5))
        await eventually(lambda: is_fresh(client, "AAPL", 20) and is_fresh(client, "MSFT", 20))
        await asyncio.sleep(1)  # some heartbeats more
        assert client.counts.gaps == 0
        await eventually(lambda: is_fresh(client, "AAPL", 20) and is_fresh(client, "MSFT", 20))


@pytest.mark.soak
async def test_a_slow_consumer_is_told_what_was_left_out(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_UNSENT_BYTES="4096")
    async with publisher(gateway) as http, Client(gateway.ws, max_queue=10) as client:
        await client.subscribe("AAPL", "MSFT")
        for start in range(1, 20_001, 500):
            await publish(
                http, [tick(symbol, price) for price in range(start, start + 500) for symbol in ("AAPL", "MSFT")]
            )
        events = await until(client, Tick, symbol="MSFT", seq=20_000)
        assert_account(events)
        assert client.counts.gaps == 0
        assert client.counts.skipped > 0
        assert seqs(events)[-1] == 20_000


async def test_without_a_key_it_is_refused(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_ANONYMOUS="0")
    with pytest.raises(Refused, match="401"):
        await Client(gateway.ws, key="mmx_wrong").open()
    key = gateway.manage("create_key", "Desk").split()[-1]
    async with Client(gateway.ws, key=key) as client:
        await client.subscribe("AAPL")


@pytest.mark.soak
async def test_nothing_is_lost_while_a_gateway_restarts(redis_url: str, start_gateway: StartGateway) -> None:
    gateway, other = start_gateway(redis_url), start_gateway(redis_url)
    async with publisher(other) as http, Client(gateway.ws, backoff=fast()) as client:
        await client.subscribe("AAPL")
        await client.subscribe("MSFT", max_rate=100)
        await publish(http, [tick("AAPL", 1), tick("MSFT", 1)])
        events = await until(client, Tick, symbol="MSFT")
        stopping = asyncio.create_task(asyncio.to_thread(gateway.stop))
        events += await until(client, Disconnected)
        assert isinstance(events[-1], Disconnected)
        assert events[-1].code == 1012
        latest = client.latest("AAPL")
        assert latest is not None
        assert latest.is_stale
        await stopping
        for price in range(2, 12):
            await publish(http, [tick("AAPL", price), tick("MSFT", price)])
        await asyncio.to_thread(gateway.start)
        events += await until(client, Connected)
        events += await until(client, Tick, symbol="MSFT", seq=11)
        assert_account(events)
        assert seqs(events) == list(range(1, 12))
        assert client.counts.gaps == 0


@pytest.mark.soak
async def test_nothing_is_lost_when_a_worker_is_killed(redis_url: str, start_gateway: StartGateway) -> None:
    gateway, other = start_gateway(redis_url, workers=2), start_gateway(redis_url)
    async with publisher(other) as http, Client(gateway.ws, backoff=fast()) as client:
        await client.subscribe("*")
        await publish(http, [tick("AAPL", 1)])
        events = await until(client, Snapshot, symbol="AAPL")
        for worker in gateway.pids:
            os.kill(worker, signal.SIGKILL)
        for price in range(2, 52):
            await publish(http, [tick("AAPL", price)])
        events += await until(client, Disconnected)
        events += await until(client, Tick, seq=51)
        assert seqs(events) == list(range(1, 52))
        assert client.counts.gaps == 0


@pytest.mark.soak
async def test_what_is_too_old_to_be_recovered_is_a_gap(redis_url: str, start_gateway: StartGateway) -> None:
    gateway = start_gateway(redis_url, MARKETMUX_HISTORY_TICKS="5")
    other = start_gateway(redis_url, MARKETMUX_HISTORY_TICKS="5")
    async with publisher(other) as http, Client(gateway.ws, backoff=fast()) as client:
        await client.subscribe("AAPL")
        await publish(http, [tick("AAPL", 1)])
        events = await until(client, Tick)
        await asyncio.to_thread(gateway.stop)
        for price in range(2, 22):
            await publish(http, [tick("AAPL", price)])
        await asyncio.to_thread(gateway.start)
        events = await until(client, Snapshot)
        assert [event for event in events if isinstance(event, Gap)] == [
            Gap("AAPL", 19, "not_recovered", 20, events[-1].epoch)  # type: ignore[union-attr]
        ]
        assert seqs(events) == [21]


async def test_the_example_of_the_guide_prints_what_the_guide_says(tmp_path: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    text = GUIDE.read_text()
    program = tmp_path / "example.py"
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    program.write_text(code.replace("ws://127.0.0.1:8000/ws", gateway.ws))
    (expected,) = re.findall(r"it has printed:\n\n```\n(.*?)```", text, re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        stdin=DEVNULL,
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src")},
    )
    assert process.stdout is not None
    try:
        async with publisher(gateway) as http:
            printed = []
            # The first may come as a snapshot or as a tick; each is published when the one before has been printed.
            for message in re.findall(r'\{"symbol": [^}]*\}', text):
                response = await http.post(
                    "/api/v1/ticks", content=message, headers={"Content-Type": "application/json"}
                )
                assert response.status_code == 202
                async with asyncio.timeout(TIMEOUT):
                    printed.append((await process.stdout.readline()).decode())
        assert "".join(printed) == expected
    finally:
        process.kill()
        await process.wait()
