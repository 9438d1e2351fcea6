"""A crowd of clients that come and subscribe at once, as after a rolling restart: who was there before gets its ticks."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Final

import pytest

from tests.clients import RawClient
from tests.conftest import StartGateway
from tests.faults.figures import figure
from tests.faults.lateness import Lateness

CROWD: Final = 200
NAMES = [f"S{number}" for number in range(1_000)]


@pytest.mark.parametrize(("commands", "symbols"), [(40, 1), (1, 300)], ids=["each", "at once"])
def test_a_storm_of_subscriptions_delays_nobodys_ticks(
    start_gateway: StartGateway, redis_url: str, commands: int, symbols: int
) -> None:
    gateway = start_gateway(redis_url)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(RawClient(gateway)) for _ in range(CROWD)]
        with Lateness(gateway, *gateway.pids) as lateness:
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
    figure(f"{CROWD} clients sent {commands} commands of {symbols} symbols in {seconds:.1f} s: {lateness}")
    # A tick that is not first waits for all that was there before it. A busy machine makes both longer.
    assert lateness.seconds[-1] < 0.25 * seconds
