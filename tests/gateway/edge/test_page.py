"""What the demo page carries, and the instruments that it asks for."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from ticks import lookups
from ticks.models import Instrument

pytestmark = pytest.mark.django_db(transaction=True)


def add(**names: str) -> None:
    Instrument.objects.bulk_create(Instrument(symbol=symbol, name=name) for symbol, name in names.items())


def ask(client: Client, **query: str) -> list[str]:
    return [one["symbol"] for one in client.get("/instruments", query).json()["instruments"]]


def test_a_page_carries_the_first_instruments_and_not_all_of_them(client: Client) -> None:
    Instrument.objects.bulk_create(Instrument(symbol=f"S{number:05}", name="x" * 100) for number in range(20_000))
    response = client.get("/")
    assert len(response.context["config"]["instruments"]) == 100
    assert len(response.content) < 50_000


def test_a_page_carries_no_more_than_may_be_subscribed_to(client: Client, settings: Settings) -> None:
    settings.MARKETMUX_MAX_SYMBOLS = 1
    add(A="", B="")
    assert len(client.get("/").context["config"]["instruments"]) == 1


def test_names_are_told_of_the_symbols_that_are_asked_for(client: Client) -> None:
    add(AAPL="Apple", MSFT="Microsoft", TSLA="Tesla")
    Instrument.objects.create(symbol="EUR/USD", name="Euro")
    Instrument.objects.create(symbol="GONE", name="Delisted", active=False)
    answer = client.get("/instruments", {"symbols": "MSFT,NONE,EUR/USD,GONE,aapl,\x00"}).json()
    assert answer == {"instruments": [{"symbol": "EUR/USD", "name": "Euro"}, {"symbol": "MSFT", "name": "Microsoft"}]}


def test_what_is_typed_is_a_beginning_of_a_symbol_or_in_a_name(client: Client) -> None:
    add(AAPL="Apple", AA="Alcoa", ZZ="Maaco", MSFT="Microsoft")
    assert ask(client, like="aa") == ["AA", "AAPL", "ZZ"]
    assert ask(client, like="MICRO") == ["MSFT"]
    assert ask(client, like="%") == []


@pytest.mark.parametrize("query", [{"like": "\x00"}, {"like": "x" * 5_000}, {"symbols": ""}, {"symbols": "," * 5_000}])
def test_nothing_is_found_of_what_makes_no_sense(client: Client, query: dict[str, str]) -> None:
    add(AAPL="Apple")
    assert ask(client, **query) == []


def test_an_answer_is_short(client: Client) -> None:
    Instrument.objects.bulk_create(Instrument(symbol=f"S{number}") for number in range(2_000))
    assert len(ask(client, like="s")) == 8
    assert len(ask(client)) == 8
    assert len(ask(client, symbols=",".join(f"S{number}" for number in range(2_000)))) == 500


def test_without_a_database_both_say_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **__: Any) -> None:
        raise lookups.DatabaseUnavailable

    monkeypatch.setattr(lookups, "ask_from_thread", hang)
    for path in ("/", "/instruments"):
        response = client.get(path)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
