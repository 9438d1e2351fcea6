"""A gateway that ends: first it is unready and serves, then its clients go one after the other and come back evenly."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from gateway.server.drain import LEAST_PER_SECOND
from tests.clients import RawClient, tick
from tests.conftest import StartGateway
from tests.faults.crowd import JITTER, Crowd
from tests.faults.figures import figure
from tests.nginx import Nginx
from tests.servers import GatewayProcess, wait_until

BUCKETS: Final = 6


def ready(gateway: GatewayProcess) -> tuple[int, str]:
    answer = httpx.get(f"{gateway.http}/readyz", timeout=30)
    return answer.status_code, answer.headers.get("connection", "")


def test_a_gateway_that_ends_is_unready_first_and_serves_on(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, workers=2, MARKETMUX_DRAIN_DELAY_SECONDS="3")
    gateway.wait_for_output("ready at")
    with RawClient(gateway, "AAPL") as client:
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: ready(gateway) == (503, "close"))
        assert httpx.get(f"{gateway.http}/livez").status_code == 200
        with RawClient(gateway, "AAPL") as newcomer:  # of a load balancer that has not noticed
            assert httpx.post(f"{gateway.http}/api/v1/ticks", json=tick("AAPL", 7)).status_code == 202
            for each in (client, newcomer):
                each.read_until(price=7)
        assert client.read_until({"closing"})[-1]["code"] == 1012
        assert time.monotonic() - began > 2.5
    assert gateway.wait() == 0


@pytest.mark.soak
def test_ctrl_c_has_no_delay(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_DRAIN_DELAY_SECONDS="60")
    gateway.wait_for_output("ready at")
    gateway.interrupt()
    assert gateway.wait(20) == 0


@pytest.mark.soak
def test_a_worker_whose_place_is_taken_has_no_delay(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_DRAIN_DELAY_SECONDS="60")
    gateway.wait_for_output("ready at")
    with RawClient(gateway, "AAPL") as client:
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_output("was replaced", 30)
        assert client.read_until({"closing"})[-1]["wait"] == 0
    gateway.interrupt()
    assert gateway.wait(20) == 0


class Posts:
    """A publisher behind the proxy, which posts without a pause over connections that are kept."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[int | str] = Counter()
        self._url = url

    @contextlib.asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        posting = asyncio.create_task(self._run())
        try:
            yield
        finally:
            posting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await posting

    async def _run(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            while True:
                try:
                    answer = await http.post("/api/v1/ticks", json=tick("AAPL", self.answers.total() + 1))
                    self.answers[answer.status_code] += 1
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("size", [300, pytest.param(5_000, marks=pytest.mark.soak)])
async def test_a_rolling_restart_behind_nginx_refuses_nobody_and_brings_all_back_evenly(
    start_gateway: StartGateway, redis_url: str, tmp_path: Path, size: int
) -> None:
    gateways = [start_gateway(redis_url) for _ in range(2)]
    with Nginx(tmp_path / "nginx", gateways) as nginx:
        crowd, posts = Crowd(nginx.http, size), Posts(nginx.http)
        try:
            async with asyncio.timeout(200), posts.going():
                await crowd.come()
                for gateway in gateways:
                    await _restart(gateway, crowd)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{nginx.errors()}") from error
        finally:
            crowd.leave()
            await asyncio.sleep(0.1)
            log = nginx.errors()
    figure(f"{size} clients behind nginx: {crowd.codes}, {crowd.failures or 'none'} refused, posts {posts.answers}")
    assert not crowd.failures, log
    assert set(crowd.codes) == {1012}
    assert posts.answers.keys() == {202}, log


async def _restart(gateway: GatewayProcess, crowd: Crowd) -> None:
    """Restarts one of the gateways as a deployment does; its clients come back through nginx meanwhile."""
    crowd.back.clear()
    crowd.waits.clear()
    before = crowd.codes.total()
    loop = asyncio.get_running_loop()
    began = loop.time()
    gateway.signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.wait, 60) == 0
    gone = crowd.codes.total() - before
    await asyncio.to_thread(gateway.start)
    while len(crowd.back) < gone or crowd.subscribed < crowd.size:
        assert not crowd.failures, crowd.failures
        await asyncio.sleep(0.05)
    told = min(5.0, gone / LEAST_PER_SECOND)
    assert len(crowd.waits) == gone
    assert max(crowd.waits) == pytest.approx(told, rel=0.1)
    times = [each - began for each in crowd.back]
    parts = Counter(min(BUCKETS - 1, int(each / (2 * told) * BUCKETS)) for each in times)
    figure(
        f"{gone} clients told within {told:.1f} s, back within {max(times):.1f} s; "
        f"a sixth of the time each: {[parts[number] for number in range(BUCKETS)]}"
    )
    # At once they would all be in the first of these.
    assert max(times) > 2 * told * 0.8
    assert max(parts[number] for number in range(BUCKETS - 1)) < 2.5 * gone / BUCKETS
    assert max(times) < 2 * told + JITTER + 20
