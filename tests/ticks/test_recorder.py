from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from ticks import publish, recorder
from ticks.models import RecordedTick
from ticks.recorder import Recorder
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
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def write(self, chunk: list[Placed]) -> None:
        self.entered.set()
        assert self.open.wait(TIMEOUT)
        if self.failing:
            self.failures += 1
            raise OSError("the disk is full")
        self.chunks.append(chunk)

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


def test_what_the_database_refuses_is_dropped_and_counted(store: Store) -> None:
    recorder = Recorder(100, store.write, interval=0.0)
    store.failing = True
    recorder.offer(ticks(3))
    assert recorder.flush(TIMEOUT)
    assert recorder.counts() == {"recorded": 0, "dropped": 3, "waiting": 0}


def test_after_errors_recording_goes_on(store: Store) -> None:
    recorder = Recorder(100, store.write, interval=0.0)
    store.failing = True
    recorder.offer(ticks(3))
    assert recorder.flush(TIMEOUT)
    store.failing = False
    recorder.offer(ticks(2))
    assert recorder.flush(TIMEOUT)
    assert recorder.counts() == {"recorded": 2, "dropped": 3, "waiting": 0}


def test_a_streak_of_errors_is_logged_once_and_so_is_its_end(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(100, store.write, interval=0.0)
    store.failing = True
    for _ in range(3):
        recorder.offer(ticks(1))
        assert recorder.flush(TIMEOUT)
    store.failing = False
    recorder.offer(ticks(1))
    assert recorder.flush(TIMEOUT)
    assert messages(caplog) == [
        "Ticks could not be recorded and are dropped until it works again",
        "Ticks are recorded again; 3 were dropped so far",
    ]


def test_while_the_database_fails_the_rest_of_the_queue_waits_for_it(store: Store) -> None:
    recorder = Recorder(100, store.write, chunk=1, interval=0.2)
    store.failing = True
    recorder.offer(ticks(50))
    assert store.entered.wait(TIMEOUT)
    time.sleep(0.05)
    assert store.failures < 5


def test_when_idle_the_recorder_gives_back_its_connection(store: Store) -> None:
    released = threading.Event()
    recorder = Recorder(100, store.write, release=released.set, interval=0.0, idle=0.01)
    recorder.offer(ticks(1))
    assert released.wait(TIMEOUT)


def test_an_error_while_giving_back_the_connection_does_not_end_recording(store: Store) -> None:
    released = threading.Event()

    def release() -> None:
        if not released.is_set():
            released.set()
            raise OSError("the connection is gone")

    recorder = Recorder(100, store.write, release=release, interval=0.0, idle=0.01)
    recorder.offer(ticks(1))
    assert released.wait(TIMEOUT)
    recorder.offer(ticks(1))
    assert recorder.flush(TIMEOUT)
    assert recorder.counts()["recorded"] == 2


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
