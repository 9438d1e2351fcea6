from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from tests.servers import wait_until
from ticks import publish, recorder
from ticks.models import RecordedTick
from ticks.recorder import Recorder
from ticks.recording import Refused
from ticks.tick import Placed, Tick

TIMEOUT = 10.0
EPOCH = "5f3a9c1e"


def ticks(count: int, symbol: str = "AAPL") -> list[Placed]:
    return [Placed(Tick(symbol, str(number), "2026-05-12T15:04:05Z"), number + 1, EPOCH) for number in range(count)]


class Store:
    """Where ticks are written to; it can be made slow, and made to fail."""

    def __init__(self) -> None:
        self.chunks: list[list[Placed]] = []
        self.failing = False
        self.failures = 0
        self.refused: set[str] = set()
        self.again: list[bool] = []
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def write(self, chunk: Sequence[Placed], again: bool) -> None:
        self.entered.set()
        assert self.open.wait(TIMEOUT)
        if self.failing:
            self.failures += 1
            raise OSError("the disk is full")
        if any(placed.tick.price in self.refused for placed in chunk):
            raise Refused("not this one")
        self.again.append(again)
        self.chunks.append(list(chunk))

    @property
    def written(self) -> list[Placed]:
        return [tick for chunk in self.chunks for tick in chunk]


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.open.set()


def stuck(store: Store, recorder: Recorder) -> None:
    """Makes the recorder's thread wait inside a write of one tick."""
    store.open.clear()
    recorder.offer(ticks(1))
    assert store.entered.wait(TIMEOUT)


def test_what_is_offered_is_written_in_order(store: Store) -> None:
    recorder = Recorder(100, store.write, interval=0.0)
    recorder.offer(ticks(3))
    recorder.offer(ticks(3, "MSFT"))
    assert recorder.flush(TIMEOUT)
    assert store.written == ticks(3) + ticks(3, "MSFT")
    assert recorder.counts() == {"recorded": 6, "dropped": 0, "waiting": 0}


def test_ticks_are_written_in_chunks(store: Store) -> None:
    recorder = Recorder(100, store.write, chunk=10, interval=0.0)
    stuck(store, recorder)
    recorder.offer(ticks(25))
    store.open.set()
    assert recorder.flush(TIMEOUT)
    assert [len(chunk) for chunk in store.chunks] == [1, 10, 10, 5]


def test_ticks_gather_for_a_while_before_they_are_written(store: Store) -> None:
    recorder = Recorder(100, store.write, interval=TIMEOUT)
    recorder.offer(ticks(2))
    recorder.offer(ticks(2))
    assert recorder.counts() == {"recorded": 0, "dropped": 0, "waiting": 4}
    assert recorder.flush(TIMEOUT)
    assert [len(chunk) for chunk in store.chunks] == [4]


def test_no_thread_is_started_before_there_is_something_to_write(store: Store) -> None:
    before = threading.active_count()
    Recorder(100, store.write).counts()
    assert threading.active_count() == before


def test_flush_returns_at_once_if_nothing_was_offered(store: Store) -> None:
    assert Recorder(100, store.write).flush(0.0)


def test_flush_gives_up_when_its_time_is_over(store: Store) -> None:
    recorder = Recorder(100, store.write, interval=0.0)
    stuck(store, recorder)
    assert not recorder.flush(0.01)


def test_while_a_write_hangs_offering_does_not(store: Store) -> None:
    recorder = Recorder(10_000, store.write, interval=0.0)
    stuck(store, recorder)
    started = time.perf_counter()
    for _ in range(100):
        recorder.offer(ticks(10))
    assert time.perf_counter() - started < 1.0
    assert recorder.counts()["waiting"] == 1_001


def test_what_does_not_fit_is_dropped_newest_first_and_counted(store: Store) -> None:
    recorder = Recorder(3, store.write, interval=0.0)
    stuck(store, recorder)
    recorder.offer(ticks(5, "MSFT"))
    recorder.offer(ticks(5, "NVDA"))
    assert recorder.counts() == {"recorded": 0, "dropped": 7, "waiting": 4}
    store.open.set()
    assert recorder.flush(TIMEOUT)
    assert store.written == ticks(1) + ticks(5, "MSFT")[:3]


def test_an_overflow_is_logged_once_and_so_is_its_end(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(3, store.write, interval=0.0)
    stuck(store, recorder)
    for _ in range(5):
        recorder.offer(ticks(5))
    store.open.set()
    assert recorder.flush(TIMEOUT)
    assert messages(caplog) == [
        "3 ticks wait to be recorded: the database is too slow, ticks are dropped",
        "Ticks fit the recorder's queue again; 22 were dropped so far",
    ]


def test_what_could_not_be_written_is_tried_again_until_it_is(store: Store) -> None:
    recorder = Recorder(100, store.write, interval=0.0, pause=0.001)
    store.failing = True
    recorder.offer(ticks(3))
    wait_until(lambda: store.failures > 3)
    assert recorder.counts() == {"recorded": 0, "dropped": 0, "waiting": 3}
    recorder.offer(ticks(2, "MSFT"))
    store.failing = False
    assert recorder.flush(TIMEOUT)
    assert store.chunks == [ticks(3), ticks(2, "MSFT")]
    assert store.again == [True, False]
    assert recorder.counts() == {"recorded": 5, "dropped": 0, "waiting": 0}


def test_what_is_tried_again_is_tried_ever_more_rarely(store: Store) -> None:
    recorder = Recorder(100, store.write, interval=0.0, pause=0.05)
    store.failing = True
    recorder.offer(ticks(1))
    assert store.entered.wait(TIMEOUT)
    time.sleep(0.3)
    assert store.failures <= 3
    store.failing = False
    assert recorder.flush(TIMEOUT)  # what it logs is not to be another test's


def test_an_outage_is_logged_once_and_so_is_its_end(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(100, store.write, interval=0.0, pause=0.001)
    store.failing = True
    recorder.offer(ticks(1))
    wait_until(lambda: store.failures > 3)
    store.failing = False
    assert recorder.flush(TIMEOUT)
    assert messages(caplog) == [
        "Ticks cannot be recorded; up to 100 wait until they can: the disk is full",
        "Ticks are recorded again; 0 wait, 0 were dropped so far",
    ]


def test_of_a_chunk_that_the_database_refuses_only_those_to_blame_are_dropped(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(100, store.write, interval=0.0)
    store.refused = {"2", "7"}
    recorder.offer(ticks(10))
    assert recorder.flush(TIMEOUT)
    assert store.written == [placed for placed in ticks(10) if placed.tick.price not in store.refused]
    assert recorder.counts() == {"recorded": 8, "dropped": 2, "waiting": 0}
    assert len(messages(caplog)) == 1


def test_ticks_may_be_offered_from_several_threads(store: Store) -> None:
    recorder = Recorder(100_000, store.write, interval=0.0)
    threads = [
        threading.Thread(target=lambda: [recorder.offer(ticks(10)) for _ in range(100)])  # type: ignore[func-returns-value]
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush(TIMEOUT)
    assert recorder.counts() == {"recorded": 4_000, "dropped": 0, "waiting": 0}


# The project's recorder


@pytest.fixture
def fresh_recorder(settings: Settings) -> Iterator[None]:
    recorder._recorder.cache_clear()
    settings.MARKETMUX_RECORD = True
    yield
    recorder.flush(TIMEOUT)
    recorder._recorder.cache_clear()


@pytest.mark.usefixtures("fresh_recorder")
def test_with_recording_off_nothing_is_recorded(settings: Settings) -> None:
    settings.MARKETMUX_RECORD = False
    recorder.offer(ticks(3))
    assert recorder.counts() == {"recorded": 0, "dropped": 0, "waiting": 0}


@pytest.mark.usefixtures("fresh_recorder")
@pytest.mark.django_db(transaction=True)
def test_with_recording_on_ticks_reach_the_database() -> None:
    recorder.offer(ticks(3))
    assert recorder.flush(TIMEOUT)
    assert recorder.counts() == {"recorded": 3, "dropped": 0, "waiting": 0}
    assert RecordedTick.objects.count() == 3


@pytest.mark.usefixtures("fresh_recorder")
@pytest.mark.django_db(transaction=True)
async def test_what_is_published_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_layers, "backends", {})
    await publish.publish([Tick("AAPL", "150.250", "2026-05-12T15:04:05Z", "150.24", "150.26", "100")])
    assert await asyncio.to_thread(recorder.flush, TIMEOUT)
    assert await RecordedTick.objects.filter(symbol="AAPL", price="150.250", bid="150.24").acount() == 1


@pytest.mark.usefixtures("fresh_recorder")
@pytest.mark.django_db(transaction=True)
async def test_a_published_tick_is_recorded_with_the_place_that_the_bus_gave_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel_layers, "backends", {})
    batches = [[("AAPL", "1"), ("MSFT", "2"), ("AAPL", "3")], [("MSFT", "4"), ("AAPL", "5"), ("AAPL", "6")]]
    for batch in batches:
        await publish.publish([Tick(symbol, price, "2026-05-12T15:04:05Z") for symbol, price in batch])
    latest = await publish.latest_of(["AAPL", "MSFT"])
    assert await asyncio.to_thread(recorder.flush, TIMEOUT)
    recorded = [
        (tick.symbol, tick.price, tick.seq, tick.epoch) async for tick in RecordedTick.objects.order_by("symbol", "seq")
    ]
    aapl, msft = latest["AAPL"].epoch, latest["MSFT"].epoch
    assert recorded == [
        ("AAPL", "1", 1, aapl), ("AAPL", "3", 2, aapl), ("AAPL", "5", 3, aapl), ("AAPL", "6", 4, aapl),
        ("MSFT", "2", 1, msft), ("MSFT", "4", 2, msft),
    ]  # fmt: skip
    assert aapl


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
