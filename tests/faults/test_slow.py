"""Nobody holds an old price as the newest: clients that read slowly, and lines that carry less than the ticks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.clients import RawClient, metrics, publish
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.network import SlowLine
from tests.servers import GatewayProcess


class Reader(RawClient):
    """Reads one message at a time, answers pings when it comes to them, and keeps books."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.ages: list[tuple[float, float]] = []
        """When each tick was read, and how old it was then."""
        self.skipped = 0
        self.places: dict[str, int] = {}
        self._owed = Counter[str]()
        super().__init__(*arguments, **options)

    def read_for(self, seconds: float, pause: float = 0.0) -> None:
        """``pause``: after each message, in seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._enter(self.read())
            time.sleep(pause)

    def read_up_to(self, seq: int) -> None:
        while not self.places or min(self.places.values()) < seq:
            self._enter(self.read())

    def ages_of_last(self, seconds: float) -> list[float]:
        since = self.ages[-1][0] - seconds
        return sorted(age for at, age in self.ages if at > since)

    def _enter(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "snapshot":
                self.places[message["symbol"]] = message["seq"]
            case "conflated":
                assert message["reason"] == "slow"
                self._owed.update(message["skipped"])
                self.skipped += sum(message["skipped"].values())
            case "tick":
                symbol, seq = message["symbol"], message["seq"]
                assert seq == self.places.get(symbol, 0) + self._owed.pop(symbol, 0) + 1
                self.places[symbol] = seq
                self.ages.append((time.monotonic(), time.time() - float(message["price"])))

    def _frame(self) -> tuple[int, bytes]:
        opcode, payload = super()._frame()
        if opcode == 9:
            self.send(payload, opcode=10)
        return opcode, payload


@dataclass
class Feed:
    """Publishes ticks whose price is the time, at a steady rate."""

    gateway: GatewayProcess
    symbols: list[str]
    rate: float
    sent: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        batch = max(1, round(self.rate / 50))
        begin = time.monotonic()
        async with httpx.AsyncClient(base_url=self.gateway.http, timeout=30) as http:
            while not self.stopped.is_set():
                names = [self.symbols[(self.sent + number) % len(self.symbols)] for number in range(batch)]
                now = f"{time.time():.6f}"
                await publish(http, [{"symbol": name, "price": now} for name in names])
                self.sent += batch
                await asyncio.sleep(begin + self.sent / self.rate - time.monotonic())


async def beside(feed: Feed, *works: Callable[[], object]) -> None:
    """Does one piece of work after the other in a thread, while the feed goes on."""
    running = asyncio.create_task(feed.run())
    try:
        for work in works:
            await asyncio.to_thread(work)
    finally:
        feed.stopped.set()
        await running


def p99(ages: list[float]) -> float:
    return ages[int(0.99 * len(ages))]


async def _read_slowly(gateway: GatewayProcess, seconds: float, pause: float, last: float) -> list[float]:
    """Ages of what was read in the last seconds; then it reads on, and is whole."""
    feed = Feed(gateway, ["A"], rate=25)
    reader = await asyncio.to_thread(Reader, gateway, "A")
    with reader:
        await beside(feed, lambda: reader.read_for(seconds, pause))
        ages = reader.ages_of_last(last)
        assert reader.skipped > 0
        assert metrics(gateway)["behind"] == 1
        await asyncio.to_thread(reader.read_up_to, feed.sent)
        # Everything is accounted for, and a client that reads again misses nothing.
        assert len(reader.ages) + reader.skipped == feed.sent
        await beside(Feed(gateway, ["A"], rate=100), lambda: reader.read_for(2))
        skipped = reader.skipped
        await beside(Feed(gateway, ["A"], rate=100), lambda: reader.read_for(2))
        assert reader.skipped == skipped
        assert metrics(gateway)["behind"] == 0
    return ages


async def test_a_slow_reader_does_not_hold_an_old_price(start_gateway: StartGateway) -> None:
    ages = await _read_slowly(start_gateway(), seconds=14, pause=0.1, last=3)
    figure(f"25 ticks/s, one message in 0.1 s, after 18 s: p99 age {p99(ages):.2f} s")
    assert p99(ages) <= 1.5


@pytest.mark.soak
async def test_a_very_slow_reader_does_not_hold_an_old_price(start_gateway: StartGateway) -> None:
    ages = await _read_slowly(start_gateway(), seconds=70, pause=0.3, last=20)
    figure(f"25 ticks/s, one message in 0.3 s, after 70 s: p99 age {p99(ages):.2f} s")
    assert p99(ages) <= 1.5


async def _read_by_a_slow_line(gateway: GatewayProcess, seconds: float, last: float) -> list[float]:
    symbols = [f"S{number}" for number in range(40)]
    feed = Feed(gateway, symbols, rate=2_000)
    with SlowLine(gateway.port, bytes_per_second=8_000) as line:
        reader = await asyncio.to_thread(Reader, line, *symbols, receive_buffer=4_096)
        with reader:
            await beside(feed, lambda: reader.read_for(seconds))
            ages = reader.ages_of_last(last)
            await asyncio.to_thread(reader.read_up_to, feed.sent // len(symbols))
            assert len(reader.ages) + reader.skipped == feed.sent
    return ages


@pytest.mark.soak
async def test_a_slow_line_brings_no_old_prices(start_gateway: StartGateway) -> None:
    ages = await _read_by_a_slow_line(start_gateway(), seconds=18, last=3)
    figure(f"64 kbit/s, 40 symbols, 2,000 ticks/s, after 18 s: p99 age {p99(ages):.2f} s")
    assert p99(ages) <= 3


@pytest.mark.soak
async def test_a_slow_line_brings_no_old_prices_in_a_minute(start_gateway: StartGateway) -> None:
    ages = await _read_by_a_slow_line(start_gateway(), seconds=60, last=45)
    figure(f"64 kbit/s, 40 symbols, 2,000 ticks/s, from second 15 to 60: p99 age {p99(ages):.2f} s")
    assert p99(ages) <= 3


@pytest.mark.soak
async def test_who_keeps_up_gets_every_tick_far_away_and_with_pauses(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    feed = Feed(gateway, ["A"], rate=50)
    with _far_reader(gateway) as reader:
        await beside(feed, lambda: reader.read_for(4), lambda: time.sleep(0.4), lambda: reader.read_for(2))
        await asyncio.to_thread(reader.read_up_to, feed.sent)
    assert reader.skipped == 0
    assert len(reader.ages) == feed.sent


@contextmanager
def _far_reader(gateway: GatewayProcess) -> Iterator[Reader]:
    with SlowLine(gateway.port, delay=0.15) as line:
        reader = Reader(line, "A")
        with reader:
            yield reader


@pytest.mark.soak
async def test_switched_off_nobody_is_asked(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_MAX_STALENESS_MS="0")
    feed = Feed(gateway, ["A"], rate=200)
    reader = await asyncio.to_thread(Reader, gateway, "A")
    with reader:
        await beside(feed, lambda: time.sleep(1.5))
        assert metrics(gateway)["pings_total"] == 0
        await asyncio.to_thread(reader.read_up_to, feed.sent)
    assert len(reader.ages) == feed.sent
