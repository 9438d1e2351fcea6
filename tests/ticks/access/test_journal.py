"""When a key was last used is written off the way of requests, at most once a minute."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from channels.layers import channel_layers
from django.db import IntegrityError, OperationalError, connection
from pytest_django.fixtures import Settings

from tests.servers import wait_until
from ticks import publish
from ticks.access import journal, keys
from ticks.access.grant import Grant
from ticks.access.journal import NEW_SYMBOL, Beginning, Journal, Use, write
from ticks.access.models import ApiKey, AuditEntry, Change
from ticks.tick import Tick

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


class Database:
    """What is written, and what goes wrong first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.written: list[Any] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, lines: Sequence[Any]) -> None:
        self.open.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        self.written += lines


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def holds(database: Database, count: int) -> Callable[[], bool]:
    return lambda: len(database.written) == count


def test_a_use_is_written_once_a_minute() -> None:
    database, clock = Database(), Clock()
    one = Journal(database, interval=0.01, clock=clock)
    for _ in range(1_000):
        one.used("key:7")
    wait_until(holds(database, 1))
    clock.now += journal.USED_SECONDS
    one.used("key:7")
    wait_until(holds(database, 2))
    assert [use.key for use in database.written] == [7, 7]


@pytest.mark.parametrize("owner", ["", "user:7", "anonymous:192.0.2.1"])
def test_what_is_no_key_is_not_written(owner: str) -> None:
    database = Database()
    one = Journal(database, interval=0.01)
    one.used(owner)
    one.used("key:1")
    wait_until(holds(database, 1))
    assert database.written[0].key == 1


def test_a_database_that_is_locked_is_tried_again_and_holds_up_nobody() -> None:
    database = Database(OperationalError("database is locked"), OperationalError("database is locked"))
    database.open.clear()
    one = Journal(database, interval=0.01)
    for number in range(100):
        one.used(f"key:{number}")  # would hang here
    database.open.set()
    wait_until(holds(database, 100))
    assert one.dropped == 0


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    database = Database()
    database.open.clear()
    one = Journal(database, interval=0.01, capacity=10)
    for number in range(100):
        one.used(f"key:{number}")
    database.open.set()
    wait_until(lambda: len(database.written) + one.dropped == 100)
    assert one.dropped > 0


def test_what_the_database_never_takes_is_dropped() -> None:
    database = Database(IntegrityError("no"))
    one = Journal(database, interval=0.01)
    one.used("key:1")
    wait_until(lambda: one.dropped == 1)
    one.used("key:2")
    wait_until(holds(database, 1))


@pytest.mark.django_db(transaction=True)
def test_the_last_use_is_in_the_database_and_no_change_is_noted() -> None:
    key, _ = ApiKey.objects.issue("feed")
    Change.objects.all().delete()
    entries = AuditEntry.objects.count()

    def last_used() -> datetime | None:
        return ApiKey.objects.get(pk=key.pk).last_used_at

    write([Use(key.pk, NOON - timedelta(seconds=1)), Use(key.pk, NOON)])
    assert last_used() == NOON
    write([Use(key.pk, NOON + timedelta(seconds=59))])  # another worker's minute
    assert last_used() == NOON
    write([Use(key.pk, NOON + timedelta(seconds=60)), Use(key.pk + 1, NOON)])
    assert last_used() == NOON + timedelta(seconds=60)
    assert not Change.objects.exists()
    assert AuditEntry.objects.count() == entries


@pytest.mark.django_db(transaction=True)
def test_who_shows_a_key_uses_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MARKETMUX_JOURNAL = True
    database = Database()
    one = Journal(database, interval=0.01)
    monkeypatch.setattr(journal, "_journal", lambda: one)
    key, plaintext = ApiKey.objects.issue("feed")
    assert keys.grant_of_key(plaintext) == keys.grant_of_key(plaintext)
    assert keys.grant_of_key("mmx_unknown") is None
    wait_until(holds(database, 1))
    assert database.written[0].key == key.pk
    keys.forget()
    connection.close()


# New symbols


@pytest.mark.django_db(transaction=True)
def test_a_new_symbol_is_entered_once() -> None:
    write([Beginning("AAPL", "key feed (mmx_1…)", "key:1", NOON), Beginning("AAPL", "anonymous", "", NOON)])
    write([Beginning("AAPL", "system", "", NOON), Beginning("EUR/USD", "x" * 300, "", NOON)])  # in another epoch
    entries = AuditEntry.objects.order_by("pk").values_list("actor", "action", "subject", "detail", "at")
    assert list(entries) == [
        ("key feed (mmx_1…)", NEW_SYMBOL, "symbol:AAPL", {"owner": "key:1"}, NOON),
        ("x" * 200, NEW_SYMBOL, "symbol:EUR/USD", {"owner": ""}, NOON),
    ]


async def test_who_publishes_the_first_tick_of_a_symbol_is_noted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MARKETMUX_JOURNAL = True
    monkeypatch.setattr(channel_layers, "backends", {})
    database = Database()
    one = Journal(database, interval=0.01)
    monkeypatch.setattr(journal, "_journal", lambda: one)
    tick, other = (Tick(symbol, "1", "2026-05-12T15:04:05Z") for symbol in ("EUR/USD", "AAPL"))
    await publish.publish([tick, tick], None, Grant("key:7", "feed (mmx_1…)"))
    await publish.publish([tick, other, other], None, Grant("anonymous:192.0.2.1", "anonymous at 192.0.2.1"))
    await publish.publish([tick, other])
    await asyncio.to_thread(wait_until, holds(database, 2))
    assert [(line.symbol, line.who, line.owner) for line in database.written] == [
        ("EUR/USD", "key feed (mmx_1…)", "key:7"),
        ("AAPL", "anonymous at 192.0.2.1", "anonymous:192.0.2.1"),
    ]
