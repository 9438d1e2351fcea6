"""The client without asyncio: for scripts, cron and notebooks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from marketmux_client import (
    ClientClosed,
    CommandRefused,
    Connected,
    Event,
    Feed,
    Refused,
    Snapshot,
    SyncPublisher,
    Tick,
    connect,
    to_pandas,
    to_polars,
)
from tests.client.fake import TIMEOUT, deaf
from tests.servers import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src"), "PYTHONUNBUFFERED": "1"}


def publish(gateway: GatewayProcess, symbol: str, *prices: str) -> None:
    with SyncPublisher(gateway.http, close_timeout=TIMEOUT) as publisher:
        publisher.publish(*({"symbol": symbol, "price": price} for price in prices))


def test_a_script_reads_prices_and_asks_for_the_latest(gateway: GatewayProcess) -> None:
    publish(gateway, "SCRIPT", "150.240")
    with connect(gateway.ws, "SCRIPT", timeout=TIMEOUT) as feed:
        publish(gateway, "SCRIPT", "150.250", "150.260")
        prices = list(islice(feed, 3))
        assert [str(price.price) for price in prices] == ["150.240", "150.250", "150.260"]
        assert (type(prices[0]), type(prices[1])) == (Snapshot, Tick)
        latest = feed.latest("SCRIPT")
        assert latest is not None
        assert (str(latest.quote.price), latest.is_stale) == ("150.260", False)
        assert feed.latest("OTHER") is None
        assert (feed.symbols, feed.is_connected, feed.counts.gaps) == (("SCRIPT",), True, 0)


def test_all_that_happens_is_there_too(gateway: GatewayProcess) -> None:
    publish(gateway, "EVENTS", "1")
    with connect(gateway.ws, "EVENTS", timeout=TIMEOUT) as feed:
        events = feed.events()
        assert isinstance(next(events), Connected)
        assert isinstance(next(events), Snapshot)


def test_waiting_for_a_price_has_an_end(gateway: GatewayProcess) -> None:
    with connect(gateway.ws, "SILENT") as feed:
        with pytest.raises(TimeoutError):
            feed.get(timeout=0.05)
        publish(gateway, "SILENT", "7")
        assert feed.get(timeout=TIMEOUT).price == 7


def test_connecting_has_an_end_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with deaf() as url, pytest.raises(TimeoutError):
        connect(url, "AAPL", timeout=0.1)
    assert threading.active_count() == before


def test_what_is_wrong_is_said_by_the_call(gateway: GatewayProcess) -> None:
    with pytest.raises(Refused):
        connect(gateway.ws, "AAPL", key="mmx_no")
    with pytest.raises(CommandRefused, match="invalid_symbol"):
        connect(gateway.ws, "no symbol\n")
    with pytest.raises(TypeError):
        connect(gateway.ws, "AAPL", unknown=1)


def test_closing_it_ends_the_iteration_of_another_thread(gateway: GatewayProcess) -> None:
    feed = connect(gateway.ws, "SILENT-TOO")
    ended = threading.Event()

    def read() -> None:
        list(feed)
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    feed.close()
    assert ended.wait(TIMEOUT)
    reader.join()
    with pytest.raises(ClientClosed):
        feed.get()


async def test_it_works_where_a_loop_runs_already(gateway: GatewayProcess) -> None:
    """As in a notebook's cell."""
    publish(gateway, "NOTEBOOK", "1")
    assert asyncio.get_running_loop().is_running()
    with connect(gateway.ws, "NOTEBOOK", timeout=TIMEOUT) as feed:
        assert next(iter(feed)).price == 1


def test_ctrl_c_ends_a_script_that_waits(gateway: GatewayProcess) -> None:
    script = f"""
import marketmux_client
with marketmux_client.connect({gateway.ws!r}, "NEVER-TICKS") as feed:
    print("waiting")
    for tick in feed:
        pass
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_threads_publish_side_by_side_and_nothing_is_lost(gateway: GatewayProcess) -> None:
    with SyncPublisher(f"{gateway.ws}/publish", max_queue=50, close_timeout=TIMEOUT) as publisher:

        def work(number: int) -> None:
            for price in range(200):
                publisher.publish({"symbol": f"THREAD{number}", "price": price})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        account = publisher.flush(TIMEOUT)
    assert (account.offered, account.accepted, account.waiting) == (800, 800, 0)
    assert publisher.refused == ()


PRICES: list[Event] = [
    Tick("AAPL", Decimal("150.250"), "2026-05-12T15:04:05.123456789Z", 7, bid=Decimal("150.24"), size=Decimal(300)),
    Snapshot("MSFT", Decimal(410), "2026-05-12T15:04:05Z", 3, "5f3a9c1e"),
]


def test_prices_are_a_table_of_pandas() -> None:
    pytest.importorskip("pandas")
    table = to_pandas([Connected("0.1.0"), *PRICES])
    assert list(table.columns) == ["symbol", "timestamp", "price", "bid", "ask", "size", "seq"]
    assert table["price"].tolist() == [150.25, 410.0]
    assert [moment.nanosecond for moment in table["timestamp"]] == [789, 0]
    assert str(table["timestamp"].dtype) == "datetime64[ns, UTC]"
    assert table["bid"].isna().tolist() == [False, True]
    assert to_pandas(PRICES, exact=True)["price"].tolist() == [Decimal("150.250"), Decimal(410)]
    assert list(to_pandas([]).columns) == list(table.columns)


def test_prices_are_a_table_of_polars() -> None:
    polars = pytest.importorskip("polars")
    table = to_polars(PRICES)
    assert table.columns == ["symbol", "timestamp", "price", "bid", "ask", "size", "seq"]
    assert table["price"].to_list() == [150.25, 410.0]
    assert table["timestamp"].dtype == polars.Datetime("ns", "UTC")
    assert table["timestamp"].dt.nanosecond().to_list() == [123_456_789, 0]
    assert table["bid"].to_list() == [150.24, None]
    assert to_polars(PRICES, exact=True)["price"].to_list() == ["150.250", "410"]
    assert to_polars([]).columns == table.columns


@pytest.mark.parametrize(("make", "name"), [(to_pandas, "pandas"), (to_polars, "polars")])
def test_without_the_library_it_says_what_to_install(make: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert callable(make)
    with pytest.raises(ImportError, match=rf"pip install 'marketmux-client\[{name}\]'"):
        make(PRICES)


def test_a_feed_is_opened_by_hand_too(gateway: GatewayProcess) -> None:
    feed = Feed(gateway.ws, timeout=TIMEOUT)
    feed.open()
    assert feed.subscribe("BY-HAND", max_rate=5) == 5
    feed.unsubscribe("BY-HAND")
    assert feed.symbols == ()
    feed.close()
    feed.close()
