"""The database that ticks are recorded in is locked, or the process that writes them is killed or stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from typing import Final

import pytest

from tests.clients import metrics
from tests.conftest import StartGateway
from tests.faults.figures import errors_logged, figure
from tests.faults.pulse import Pulse
from tests.faults.watch import (
    Ledger,
    Publisher,
    eventually,
    reconcile,
    slowest,
    until_all_hold,
    until_all_tick,
    watching,
)
from tests.servers import ServerKind, children, is_running
from tests.tables import locked, rows

SYMBOLS: Final = [f"S{number}" for number in range(20)]
IMPATIENT: Final = "tests.ticks.impatient_settings"


def assert_all_recorded(database: str, ledger: Ledger) -> None:
    """Every tick that was accepted, once, in the order of its stream."""
    found = defaultdict(list)
    for symbol, seq, price in rows(
        database, "SELECT symbol, seq, price FROM marketmux_ticks_recordedtick ORDER BY seq"
    ):
        found[symbol].append((seq, int(price)))
    assert found == {symbol: list(enumerate(prices, 1)) for symbol, prices in ledger.accepted.items()}


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        pytest.param(IMPATIENT, 6, id="short"),
        pytest.param("tests.gateway_settings", 60, id="long", marks=pytest.mark.soak),
    ],
)
async def test_while_another_writer_holds_the_database_nobody_waits_and_nothing_is_lost(
    settings: str, seconds: int, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(MARKETMUX_RECORD="1", DJANGO_SETTINGS_MODULE=settings)
    (worker,) = gateway.pids
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    with Pulse(gateway, worker) as pulse:
        async with watching(gateway.http, 20, SYMBOLS, 5) as watchers:
            async with publisher.publishing():
                await eventually(lambda: metrics(gateway)["recorded_total"] > 0)
                with locked(gateway.database_url):
                    await asyncio.sleep(seconds)
                    waiting = metrics(gateway)["record_waiting"]
                    assert slowest(watchers, time.monotonic() - 2.0) is not None
                began = time.monotonic()
                await eventually(lambda: metrics(gateway)["record_waiting"] < 1_000)
                caught_up = time.monotonic() - began
            await until_all_hold(watchers, publisher.ledger.last)
    await eventually(lambda: metrics(gateway)["record_waiting"] == 0)
    values = metrics(gateway)
    figure(
        f"the database locked for {seconds} s: {pulse}; {waiting:.0f} ticks waited, written {caught_up:.1f} s after it"
    )
    assert pulse.worst < 0.25
    assert not reconcile(watchers, publisher.ledger).problems
    assert values["record_dropped_total"] == 0
    assert waiting > 100 * seconds
    assert_all_recorded(gateway.database_url, publisher.ledger)
    assert len(errors_logged(gateway)) == 1


@pytest.mark.soak
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_recording_process_that_fails_stops_nobody(signum: signal.Signals, start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_RECORD="1")
    (worker,) = gateway.pids
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    with Pulse(gateway, worker) as pulse:
        async with watching(gateway.http, 20, SYMBOLS, 5) as watchers:
            async with publisher.publishing():
                await eventually(lambda: metrics(gateway)["recorded_total"] > 0)
                for _ in range(2):
                    (recording,) = children(worker)
                    recorded = metrics(gateway)["recorded_total"]
                    os.kill(recording, signum)
                    await asyncio.sleep(2)
                    await until_all_tick(watchers, time.monotonic())
                    if signum is signal.SIGSTOP:
                        os.kill(recording, signal.SIGCONT)
                    await eventually(lambda recorded=recorded: metrics(gateway)["recorded_total"] > recorded + 1_000)  # type: ignore[misc]
            await until_all_hold(watchers, publisher.ledger.last)
    await eventually(lambda: metrics(gateway)["record_waiting"] == 0)
    figure(f"the recording process got {signum.name} twice: {pulse}")
    assert pulse.worst < 0.25
    assert not reconcile(watchers, publisher.ledger).problems
    assert_all_recorded(gateway.database_url, publisher.ledger)


@pytest.mark.parametrize("server", ["serve", pytest.param("daphne", marks=pytest.mark.soak)])
async def test_what_waits_when_the_gateway_ends_is_recorded(server: ServerKind, start_gateway: StartGateway) -> None:
    gateway = start_gateway(server=server, MARKETMUX_RECORD="1")
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    async with publisher.publishing():
        await eventually(lambda: metrics(gateway)["recorded_total"] > 0)
    processes = children(gateway.pid)
    if server == "serve":
        await asyncio.to_thread(gateway.stop)
        assert_all_recorded(gateway.database_url, publisher.ledger)
    else:  # it ends by the signal itself, and writes nothing any more
        gateway.signal(signal.SIGTERM)
    await eventually(lambda: not any(is_running(pid) for pid in processes))


@pytest.mark.soak
@pytest.mark.database
async def test_a_gateway_ends_in_time_while_the_database_is_locked(start_gateway: StartGateway) -> None:
    gateway = start_gateway(MARKETMUX_RECORD="1")
    publisher = Publisher(gateway.http, SYMBOLS, rate=500, batch=10)
    with locked(gateway.database_url):
        async with publisher.publishing():
            await asyncio.sleep(2)
        began = time.monotonic()
        await asyncio.to_thread(gateway.stop)
    figure(f"SIGTERM while the database is locked: gone after {time.monotonic() - began:.1f} s")
    assert "ticks that waited to be recorded are lost" in gateway.output()
