from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError

from ticks.models import ApiKey, Instrument, RecordedTick
from ticks.tick import Placed, Tick

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("symbol", ["AAPL", "BRK.B", "^GSPC", "ES=F", "EUR/USD", "x" * 32])
def test_an_instrument_takes_any_symbol(symbol: str) -> None:
    Instrument(symbol=symbol).full_clean()


@pytest.mark.parametrize("symbol", ["", "A,B", "AAPL\n", "A\u0308PL", "x" * 65])
def test_an_instrument_refuses_what_is_no_symbol(symbol: str) -> None:
    with pytest.raises(ValidationError):
        Instrument(symbol=symbol).full_clean()


def test_symbols_of_instruments_are_case_sensitive() -> None:
    Instrument.objects.create(symbol="AAPL")
    Instrument.objects.create(symbol="aapl")
    assert not Instrument.objects.filter(symbol="Aapl").exists()


def test_a_symbol_has_one_instrument() -> None:
    Instrument.objects.create(symbol="AAPL")
    with pytest.raises(IntegrityError):
        Instrument.objects.create(symbol="AAPL")


def record(*ticks: Tick) -> None:
    RecordedTick.objects.record(Placed(tick, 1041, "5f3a9c1e") for tick in ticks)


def test_a_recorded_tick_keeps_every_digit() -> None:
    record(Tick("ES=F", "-0.250", "2026-05-12T15:04:05.123456789Z", "-0.50", "0.00", "10.0"))
    recorded = RecordedTick.objects.get()
    assert (recorded.symbol, recorded.price, recorded.bid, recorded.ask, recorded.size, recorded.timestamp) == (
        "ES=F",
        "-0.250",
        "-0.50",
        "0.00",
        "10.0",
        "2026-05-12T15:04:05.123456789Z",
    )


def test_a_recorded_tick_keeps_its_place_in_the_stream_of_its_symbol() -> None:
    RecordedTick.objects.record([Placed(Tick("AAPL", "1", "2026-05-12T15:04:05Z"), 2**53 + 1, "5f3a9c1e5f3a9c1e5f3a")])
    recorded = RecordedTick.objects.get()
    assert (recorded.seq, recorded.epoch) == (2**53 + 1, "5f3a9c1e5f3a9c1e5f3a")


def test_a_recorded_tick_keeps_its_extra_to_the_byte() -> None:
    extra = '{"café":"\\u0000","fee":0.00300,"e":1.5E+3,"big":12345678901234567890123456789012}'
    record(Tick("AAPL", "1", "2026-05-12T15:04:05Z", extra=extra))
    assert RecordedTick.objects.get().extra == extra


def test_a_recorded_tick_is_filtered_by_its_time_cut_to_the_microsecond() -> None:
    record(Tick("AAPL", "150.250", "2026-05-12T15:04:05.123456789Z"))
    assert RecordedTick.objects.get().at == datetime(2026, 5, 12, 15, 4, 5, 123456, tzinfo=UTC)


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"])
def test_the_first_and_the_last_moment_can_be_recorded(timestamp: str) -> None:
    record(Tick("AAPL", "1", timestamp))
    assert RecordedTick.objects.get().timestamp == timestamp


def test_a_tick_without_a_quote_is_recorded_without_one() -> None:
    record(Tick("AAPL", "150.250", "2026-05-12T15:04:05Z"))
    recorded = RecordedTick.objects.get()
    assert (recorded.bid, recorded.ask, recorded.size) == ("", "", "")


def test_of_a_chunk_all_ticks_are_recorded_or_none() -> None:
    good = Tick("AAPL", "1", "2026-05-12T15:04:05Z")
    bad = Tick(None, "1", "2026-05-12T15:04:05Z")  # type: ignore[arg-type]
    with pytest.raises(DatabaseError):
        record(good, bad)
    assert RecordedTick.objects.count() == 0


def test_the_newest_recorded_tick_comes_first() -> None:
    times = ["2026-05-12T15:04:05Z", "2026-05-12T15:04:07Z", "2026-05-12T15:04:06Z"]
    record(*(Tick("AAPL", "1", time) for time in times))
    assert [tick.timestamp for tick in RecordedTick.objects.all()] == sorted(times, reverse=True)


def test_an_issued_key_has_256_random_bits() -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    assert plaintext.startswith("mmx_")
    assert len(plaintext) == len("mmx_") + 43  # 32 bytes in base64


def test_two_keys_differ() -> None:
    assert ApiKey.objects.issue("feed")[1] != ApiKey.objects.issue("feed")[1]


def test_of_a_key_only_digest_and_prefix_are_stored() -> None:
    _, plaintext = ApiKey.objects.issue("feed")
    [row] = ApiKey.objects.values()
    assert row["digest"] == hashlib.sha256(plaintext.encode()).hexdigest()
    assert row["prefix"] == plaintext[:12]
    assert plaintext not in map(str, row.values())


def test_a_key_is_found_by_its_plaintext() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    assert ApiKey.objects.find(plaintext) == key


def test_a_revoked_key_is_not_found() -> None:
    key, plaintext = ApiKey.objects.issue("feed")
    key.active = False
    key.save()
    assert ApiKey.objects.find(plaintext) is None


@pytest.mark.parametrize("plaintext", ["", "mmx_", "mmx_guess", "é"])
def test_an_unknown_key_is_not_found(plaintext: str) -> None:
    ApiKey.objects.issue("feed")
    assert ApiKey.objects.find(plaintext) is None
