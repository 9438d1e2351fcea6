"""The wall clock is set, forward and back, by an hour and by more than a day, under everybody's feet.

libfaketime stands between the processes and their clock: gateway and Redis get the time of day from a file, which the
test changes. The monotonic clock goes on as it does when an operator or NTP sets the time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection

from tests.clients import publish, receive, subscriber, tick
from tests.conftest import StartGateway
from tests.environment import cannot
from tests.servers import GatewayProcess, RedisServer

HOUR: Final = 3_600
STAY: Final = 2.5
"""Seconds at each time: housekeeping comes round every second, Daphne's every second one."""


class WallClock:
    """The time of day of the processes that were started under it."""

    def __init__(self, directory: Path) -> None:
        self._library = _library()
        self._file = directory / "clock"
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # a fix for an old glibc, which makes threads wait for seconds
        }

    def set(self, seconds: int) -> None:
        """Sets the clock to so much before or after the real time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


def _library() -> Path:
    libraries = list(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))
    if not libraries:
        cannot("needs libfaketime (Debian: libfaketime)")
    return libraries[0]


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def clocked_redis(wall_clock: WallClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A Redis whose time of day is the test's.

    It is the one from the wheel, not that on PATH: Debian's allocates memory with a jemalloc that asks for the time while
    libfaketime gets ready, and crashes.
    """
    with monkeypatch.context() as environment:
        for name, value in {**wall_clock.environment, "PATH": ""}.items():
            environment.setenv(name, value)
        try:
            redis = RedisServer(tmp_path)
        except FileNotFoundError as error:
            cannot(str(error))
        redis.start()
    yield redis
    redis.stop()


async def test_nobody_notices_that_the_clock_is_set(
    wall_clock: WallClock, clocked_redis: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(clocked_redis.url, 1, "serve", (), True, checks=False, **wall_clock.environment)
    async with (
        subscriber(gateway, "AAPL", ping_interval=None) as client,
        subscriber(gateway, "MSFT", ping_interval=None) as quiet,
        httpx.AsyncClient(base_url=gateway.http) as http,
    ):
        following = asyncio.create_task(follow(client))
        price = 0
        for offset in (HOUR, 26 * HOUR, HOUR, 0):
            wall_clock.set(offset)
            assert await off(clocked_redis, http) == pytest.approx((offset, offset), abs=30)
            price = await publish_for(STAY, http, price)
        await publish(http, tick("AAPL", -1))
        prices, numbers = await asyncio.wait_for(following, 30)
        assert prices == list(range(1, price + 1))
        assert numbers == list(range(1, price + 1))
        await publish(http, tick("MSFT", 1))
        await until_price(quiet, 1)
    assert_calm(gateway)


async def publish_for(seconds: float, http: httpx.AsyncClient, price: int) -> int:
    """Publishes one tick after the other, of rising prices; returns the last one."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        price += 1
        await publish(http, tick("AAPL", price))
        await asyncio.sleep(0.05)
    return price


async def follow(client: ClientConnection) -> tuple[list[int], list[int]]:
    """The prices and sequence numbers of all ticks up to the one of price -1."""
    prices: list[int] = []
    numbers: list[int] = []
    while True:
        message: dict[str, Any] = await receive(client)
        if message["type"] == "tick":
            if message["price"] == -1:
                return prices, numbers
            prices.append(message["price"])
            numbers += [message["seq"]] if "seq" in message else []


async def until_price(client: ClientConnection, price: int) -> None:
    async with asyncio.timeout(30):
        while (await receive(client)).get("price") != price:
            pass


async def off(redis: RedisServer, http: httpx.AsyncClient) -> tuple[float, float]:
    """By how many seconds Redis and the gateway believe it to be later than it is."""
    with Redis.from_url(redis.url) as connection:
        seconds, _ = connection.time()
    page = await http.get("/admin/login/")  # expires at once, whenever that is
    return seconds - time.time(), parsedate_to_datetime(page.headers["expires"]).timestamp() - time.time()


def assert_calm(gateway: GatewayProcess) -> None:
    assert "Traceback" not in gateway.output()
    assert "WARNING" not in gateway.output()
