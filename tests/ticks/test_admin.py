from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from channels.layers import channel_layers
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bus.contract import BusUnavailable
from tests.symbols import SYMBOLS
from ticks import admin, publish
from ticks.models import Instrument, RecordedTick
from ticks.recorded_admin import period_of
from ticks.tick import Placed, Tick

pytestmark = pytest.mark.django_db

INSTRUMENTS = "/admin/marketmux_ticks/instrument/"
TICKS = "/admin/marketmux_ticks/recordedtick/"
KEYS = "/admin/marketmux_ticks/apikey/"


class Bus:
    """Stands in for the bus: has these latest ticks, counts how often it is asked, and may be away."""

    def __init__(self) -> None:
        self.ticks: dict[str, Tick] = {}
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.hangs = False

    async def latest_of(self, symbols: Iterable[str]) -> dict[str, Placed]:
        self.asked.append(list(symbols))
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.sleep(60)
        return {symbol: Placed(self.ticks[symbol], 1, "e1") for symbol in self.asked[-1] if symbol in self.ticks}


@pytest.fixture(autouse=True)
def fake_bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    fake = Bus()
    monkeypatch.setattr(publish, "latest_of", fake.latest_of)
    return fake


@pytest.fixture
def admin_client() -> Client:
    """An admin's browser; pytest-django's own spends a quarter of a second on hashing a password."""
    client = Client()
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    return client


def text(response: Any) -> str:
    """What a page says, without its markup."""
    assert isinstance(response, HttpResponse)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


# Instruments


def test_the_admin_is_called_marketmux(admin_client: Client) -> None:
    assert "MarketMux" in text(admin_client.get("/admin/"))


def test_instruments_are_listed_with_their_latest_price(admin_client: Client, fake_bus: Bus) -> None:
    Instrument.objects.create(symbol="AAPL", name="Apple Inc.")
    fake_bus.ticks["AAPL"] = Tick("AAPL", "150.250", "2026-05-12T15:04:05.123456789Z")
    assert "AAPL Apple Inc. 150.250 2026-05-12T15:04:05.123456789Z" in text(admin_client.get(INSTRUMENTS))


def test_how_old_the_latest_price_is_and_whether_it_is_stale(admin_client: Client, fake_bus: Bus) -> None:
    Instrument.objects.create(symbol="FRESH")
    Instrument.objects.create(symbol="OLD")
    Instrument.objects.create(symbol="OFF", active=False)
    for symbol, minutes in (("FRESH", 0.1), ("OLD", 125), ("OFF", 125)):
        at = timezone.now() - timedelta(minutes=minutes)
        fake_bus.ticks[symbol] = Tick(symbol, "1", f"{at:%Y-%m-%dT%H:%M:%S}Z")
    page = text(admin_client.get(INSTRUMENTS))
    assert re.search(r"FRESH .*Z \d+ s - OFF", page)
    assert re.search(r"OFF .*Z 2 h 5 min - OLD", page)
    assert re.search(r"OLD .*Z 2 h 5 min, stale - ", page)


def test_a_page_of_twenty_thousand_costs_a_few_queries(admin_client: Client, fake_bus: Bus) -> None:
    Instrument.objects.bulk_create(Instrument(symbol=f"S{number:05}") for number in range(20_000))
    began = time.thread_time()
    with CaptureQueriesContext(connection) as queries:
        response = admin_client.get(INSTRUMENTS, {"p": "100"})
    assert time.thread_time() - began < 3
    assert len(queries) < 15
    assert len(response.content) < 400_000
    [asked] = fake_bus.asked
    assert len(asked) == 100


def test_the_bus_is_asked_once_for_a_page(admin_client: Client, fake_bus: Bus) -> None:
    for symbol in ("AAPL", "BRK.B", "MSFT"):
        Instrument.objects.create(symbol=symbol)
    admin_client.get(INSTRUMENTS)
    assert fake_bus.asked == [["AAPL", "BRK.B", "MSFT"]]


def test_an_instrument_that_never_ticked_has_a_dash(admin_client: Client) -> None:
    Instrument.objects.create(symbol="AAPL", name="Apple Inc.")
    assert "AAPL Apple Inc. - - - -" in text(admin_client.get(INSTRUMENTS))


def test_while_the_bus_is_away_the_list_works(admin_client: Client, fake_bus: Bus) -> None:
    Instrument.objects.create(symbol="AAPL", name="Apple Inc.")
    fake_bus.error = BusUnavailable("connection refused")
    assert "AAPL Apple Inc. - - - -" in text(admin_client.get(INSTRUMENTS))


def test_a_bus_that_hangs_does_not_hang_the_list(
    admin_client: Client, fake_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_LATEST_SECONDS", 0.05)
    Instrument.objects.create(symbol="AAPL", name="Apple Inc.")
    fake_bus.hangs = True
    assert "AAPL Apple Inc. - - - -" in text(admin_client.get(INSTRUMENTS))


def test_a_row_whose_symbol_is_none_does_not_break_the_list(admin_client: Client) -> None:
    Instrument.objects.create(symbol="A,B", name="Not a symbol")
    assert "A,B Not a symbol - - - -" in text(admin_client.get(INSTRUMENTS))


def test_the_list_shows_what_the_bus_of_the_project_retained(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(channel_layers, "backends", {})
    Instrument.objects.create(symbol="EUR/USD", name="Euro / US Dollar")
    asyncio.run(publish.publish([Tick("EUR/USD", "1.08420", "2026-05-12T15:04:05Z")]))
    assert "1.08420 2026-05-12T15:04:05Z" in text(admin_client.get(INSTRUMENTS))


def test_active_is_edited_in_the_list(admin_client: Client) -> None:
    instrument = Instrument.objects.create(symbol="AAPL")
    form = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(instrument.pk),
        "_save": "Save",
    }
    assert admin_client.post(INSTRUMENTS, form).status_code == 302
    instrument.refresh_from_db()
    assert not instrument.active


def test_an_instrument_can_be_added(admin_client: Client) -> None:
    response = admin_client.post(f"{INSTRUMENTS}add/", {"symbol": "BRK.B", "name": "Berkshire", "active": "on"})
    assert response.status_code == 302
    assert Instrument.objects.filter(symbol="BRK.B", name="Berkshire", active=True).exists()


def test_an_instrument_with_a_bad_symbol_cannot_be_added(admin_client: Client) -> None:
    page = text(admin_client.post(f"{INSTRUMENTS}add/", {"symbol": "A,B"}))
    assert "a comma separates symbols in lists" in page
    assert not Instrument.objects.exists()


# Recorded ticks


def record(symbol: str, *timestamps: str) -> None:
    RecordedTick.objects.record(
        Placed(Tick(symbol, "150.250", timestamp), seq, "5f3a9c1e") for seq, timestamp in enumerate(timestamps, 1)
    )


def listed(client: Client, **query: str) -> list[str]:
    """The timestamps on the page."""
    return re.findall(r"\d{4}-\d\d-\d\dT[\d:.]+Z(?!,)", text(client.get(TICKS, query)).partition("Recorded at")[2])


def test_recorded_ticks_are_shown_with_every_digit(admin_client: Client) -> None:
    tick = Tick("AAPL", "150.250", "2026-05-12T15:04:05.120Z", "150.24", "150.26", "100", '{"fee":0.0030}')
    RecordedTick.objects.record([Placed(tick, 1041, "5f3a9c1e")])
    page = text(admin_client.get(TICKS))
    assert "AAPL 150.250 150.24 150.26 100 2026-05-12T15:04:05.120Z {&quot;fee&quot;:0.0030} 1041 5f3a9c1e" in page


def test_recorded_ticks_cannot_be_added_changed_or_deleted(admin_client: Client) -> None:
    record("AAPL", "2026-05-12T15:04:05Z")
    pk = RecordedTick.objects.get().pk
    assert admin_client.get(f"{TICKS}add/").status_code == 403
    assert admin_client.post(f"{TICKS}{pk}/change/", {"price": "1"}).status_code == 403
    assert admin_client.post(f"{TICKS}{pk}/delete/", {"post": "yes"}).status_code == 403
    assert RecordedTick.objects.get().price == "150.250"


def test_a_recorded_tick_can_be_viewed(admin_client: Client) -> None:
    record("AAPL", "2026-05-12T15:04:05Z")
    page = text(admin_client.get(f"{TICKS}{RecordedTick.objects.get().pk}/change/"))
    assert "150.250" in page
    assert "Save" not in page


def test_recorded_ticks_are_filtered_by_symbol(admin_client: Client) -> None:
    record("EUR/USD", "2026-05-12T15:04:05Z")
    record("AAPL", "2026-05-12T15:04:06Z")
    assert listed(admin_client, symbol="EUR/USD") == ["2026-05-12T15:04:05Z"]


def test_recorded_ticks_are_filtered_by_how_long_ago_they_were(admin_client: Client) -> None:
    recent = (timezone.now() - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    record("AAPL", "2020-05-12T15:04:05Z", recent)
    assert listed(admin_client, last="15m") == [recent]
    assert listed(admin_client, last="1m") == []


def test_a_span_of_time_that_is_not_offered_filters_nothing(admin_client: Client) -> None:
    record("AAPL", "2020-05-12T15:04:05Z")
    assert listed(admin_client, last="nonsense") == ["2020-05-12T15:04:05Z"]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("AAPL", ["2026-05-12T16:00:00Z", "2026-05-12T15:04:05Z"]),
        ("aapl", []),
        ("AAP", []),
        ("2026-05-12", ["2026-05-12T16:00:00Z", "2026-05-12T15:04:05Z", "2026-05-12T00:00:00Z"]),
        ("2026-05-12T15", ["2026-05-12T15:04:05Z"]),
        ("AAPL 2026-05-12T15:04", ["2026-05-12T15:04:05Z"]),
        ("2026-05-12T15:04:05Z AAPL", ["2026-05-12T15:04:05Z"]),
        ("MSFT 2026-05-12T15:04", []),
        ("2026-13-45", []),
    ],
)
def test_recorded_ticks_are_searched_by_symbol_and_time(search: str, found: list[str], admin_client: Client) -> None:
    record("AAPL", "2026-05-12T15:04:05Z", "2026-05-12T16:00:00Z")
    record("MSFT", "2026-05-12T00:00:00Z", "2026-05-13T00:00:00Z")
    assert listed(admin_client, q=search) == found


def test_symbols_of_real_feeds_are_found(admin_client: Client) -> None:
    times = {symbol: f"2026-05-12T15:{place // 60:02}:{place % 60:02}Z" for place, symbol in enumerate(SYMBOLS)}
    for symbol, time_ in times.items():
        record(symbol, time_)
    for symbol, time_ in times.items():
        assert listed(admin_client, q=symbol) == listed(admin_client, symbol=symbol) == [time_], symbol


def test_a_day_without_a_next_one_is_no_period() -> None:
    assert period_of("9999-12-31") is None


def test_recorded_ticks_are_not_all_counted(admin_client: Client) -> None:
    record("AAPL", "2026-05-12T15:04:05Z")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        admin_client.get(TICKS)
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"] and "recordedtick" in query["sql"]]
    assert counts
    assert all("LIMIT 10000" in sql for sql in counts)


def fill(count: int) -> None:
    """Many ticks, a second each, the last of them now."""
    now = timezone.now().replace(microsecond=0)
    times = (now - timedelta(seconds=count - number) for number in range(count))
    ticks = (Tick("AAPL", "1", f"{at:%Y-%m-%dT%H:%M:%S}Z") for at in times)
    RecordedTick.objects.record(Placed(tick, seq, "5f3a9c1e") for seq, tick in enumerate(ticks, 1))


def test_how_many_there_are_is_counted_or_said_to_be_an_estimate(admin_client: Client) -> None:
    record("MSFT", "2020-05-12T15:04:05Z")
    assert "1 recorded tick " in text(admin_client.get(TICKS))
    fill(10_050)
    assert "about 10,051 recorded ticks, of which the newest 10,000 are listed" in text(admin_client.get(TICKS))
    assert "10,000 recorded ticks or more" in text(admin_client.get(TICKS, {"symbol": "AAPL"}))
    assert "1 recorded tick " in text(admin_client.get(TICKS, {"symbol": "MSFT"}))
    assert "0 recorded ticks" in text(admin_client.get(TICKS, {"symbol": "MSFT", "q": "AAPL"}))


def test_nothing_but_the_page_is_as_long_as_the_list_of_instruments(admin_client: Client) -> None:
    Instrument.objects.bulk_create(Instrument(symbol=f"S{number}") for number in range(2_000))
    record("S7", "2026-05-12T15:04:05Z")
    assert len(admin_client.get(TICKS).content) < 30_000


@pytest.mark.parametrize("query", [{"o": "2"}, {"o": "-6.1"}, {"all": ""}, {"p": "2"}])
def test_there_is_one_order(query: dict[str, str], admin_client: Client) -> None:
    record("AAPL", "2026-05-12T15:04:05Z", "2026-05-12T16:00:00Z")
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(TICKS, query, follow=True)
    selects = [q["sql"] for q in queries if q["sql"].startswith('SELECT "marketmux_ticks_recordedtick"."id"')]
    assert all('"at" DESC, "marketmux_ticks_recordedtick"."id" DESC' in sql for sql in selects)


@pytest.mark.parametrize("lookup", ["price", "price__contains", "extra__regex", "recorded_at__gte", "symbol__contains"])
def test_no_other_column_is_looked_through(lookup: str, admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get(TICKS, {lookup: "2026-05-12"}).status_code == 400
    assert not [q for q in queries if "marketmux_ticks_recordedtick" in q["sql"]]


@pytest.mark.parametrize("query", [{}, {"q": "AAPL"}, {"q": "AAPL 2026-05-12"}, {"symbol": "AAPL"}, {"last": "1h"}])
def test_every_list_of_recorded_ticks_is_read_along_an_index(query: dict[str, str], admin_client: Client) -> None:
    Instrument.objects.create(symbol="AAPL")
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(TICKS, query)
    [select] = [q["sql"] for q in queries if q["sql"].startswith('SELECT "marketmux_ticks_recordedtick"."id"')]
    assert re.search(r"(?i)using (index )?marketmux_tick_", plan(select))
    # PostgreSQL puts those of the same moment in order as it reads them.
    assert not re.search(r"TEMP B-TREE|(?<!Incremental )Sort  ", plan(select))


def plan(select: str) -> str:
    """How the database would go about it, if there were many rows."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
            )
        cursor.execute(f"EXPLAIN {'' if connection.vendor == 'postgresql' else 'QUERY PLAN'} {select}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())
