"""A crowd of clients that come and subscribe at once, as after a rolling restart: who was there before gets its ticks."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Final

import httpx
import pytest

from tests.clients import RawClient, tick
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.servers import GatewayProcess

CROWD: Final = 200
NAMES = [f"S{number}" for number in range(1_000)]


class Lateness:
    """Posts a tick every 50 ms and has a client take it, both in threads of their own; keeps how late each was."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.seconds: list[float] = []
        self._gateway = gateway
        self._is_over = threading.Event()
        self._posted: dict[int, float] = {}

    def __enter__(self) -> Lateness:
        self._client = RawClient(self._gateway, "BYSTANDER")
        self._threads = [threading.Thread(target=target) for target in (self._take, self._post)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)
        self._client.close()

    def _post(self) -> None:
        with httpx.Client(base_url=self._gateway.http, timeout=60) as http:
            number = 0
            while not self._is_over.wait(0.05):
                number += 1
                self._posted[number] = time.monotonic()
                http.post("/api/v1/ticks", json=tick("BYSTANDER", number))
            http.post("/api/v1/ticks", json=tick("BYSTANDER", number + 1))

    def _take(self) -> None:
        while not self._is_over.is_set():
            message = self._client.read()
            if message["type"] == "tick" and message["price"] in self._posted:
                self.seconds.append(time.monotonic() - self._posted[message["price"]])


@pytest.mark.parametrize(("commands", "symbols"), [(40, 1), (1, 300)], ids=["each", "at once"])
def test_a_storm_of_subscriptions_delays_nobodys_ticks(
    start_gateway: StartGateway, redis_url: str, commands: int, symbols: int
) -> None:
    gateway = start_gateway(redis_url)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(RawClient(gateway)) for _ in range(CROWD)]
        with Lateness(gateway) as lateness:
            time.sleep(0.5)  # some ticks without a storm
            began = time.monotonic()
            for number, client in enumerate(crowd):
                for command in range(commands):
                    wanted = [NAMES[(number * 7 + command + each) % len(NAMES)] for each in range(symbols)]
                    client.send(json.dumps({"action": "subscribe", "symbols": wanted}).encode())
            for client in crowd:
                for _ in range(commands):
                    assert client.read_until({"subscribed", "error"})[-1]["type"] == "subscribed"
            seconds = time.monotonic() - began
    late = sorted(lateness.seconds)
    figure(
        f"{CROWD} clients sent {commands} commands of {symbols} symbols in {seconds:.1f} s: of {len(late)} ticks "
        f"the latest {late[-1] * 1000:.0f} ms, the median {late[len(late) // 2] * 1000:.0f} ms late"
    )
    # A tick that is not first waits for all that was there before it. A busy machine makes both longer.
    assert late[-1] < 0.25 * seconds
