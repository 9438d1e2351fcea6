"""A refused tick comes back with what to write in its place."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from ticks.decode import decode
from ticks.errors import InvalidTicks
from ticks.grammar import timestamp
from ticks.publish import key_of
from ticks.renderers import PublisherNegotiation
from ticks.views import TickListView, TokenView


def message_of(body: str) -> str:
    with pytest.raises(InvalidTicks) as caught:
        decode(body.encode())
    return caught.value.errors[0]["message"]


@pytest.mark.parametrize(
    ("text", "fault", "form"),
    [
        ("2026-05-12T15:04Z", "no seconds", "2026-05-12T15:04:00Z"),
        ("2026-05-12T15:04:05+0200", "colon", "2026-05-12T15:04:05+02:00"),
        ("2026-05-12T15:04+02", "no seconds, a zone is written with a colon", "2026-05-12T15:04:00+02:00"),
        ("2026-05-12T15:04:05", "no zone", "2026-05-12T15:04:05Z"),
        ("2026-05-12 15:04:05.250", "a T stands between", "2026-05-12T15:04:05.250Z"),
        ("2026-05-12T15:04:05,25Z", "point", "2026-05-12T15:04:05.25Z"),
        ("2026-05-12T15:04:05.1234567890Z", "nine digits", "2026-05-12T15:04:05.123456789Z"),
        ("20260512T150405Z", "", "2026-05-12T15:04:05Z"),
        ("2026-05-12", "no time of day", "2026-05-12T00:00:00Z"),
        ("1778598245", "seconds since 1970", "2026-05-12T15:04:05Z"),
        ("1778598245.250", "seconds since 1970", "2026-05-12T15:04:05.250Z"),
        ("1778598245123", "milliseconds since 1970", "2026-05-12T15:04:05.123Z"),
        ("1778598245123456789", "nanoseconds since 1970", "2026-05-12T15:04:05.123456789Z"),
    ],
)
def test_what_is_no_timestamp_is_answered_with_the_right_form(text: str, fault: str, form: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339") as caught:
        timestamp(text)
    assert fault in str(caught.value)
    assert str(caught.value).endswith(f". Write {form}.")
    timestamp(form)


@pytest.mark.parametrize("text", ["", "now", "12/05/2026", "2026-02-30", "2026-05-12T25:00Z", " " * 10_000])
def test_where_nothing_comes_to_mind_there_is_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        timestamp(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('"symbol": "A", "price": 1, "timestamp": 1778598245', "Write 2026-05-12T15:04:05Z."),
        ('"symbol": "A", "price": 1, "timestamp": 1778598245123', "Write 2026-05-12T15:04:05.123Z."),
        ('"symbol": 600519, "price": 1', 'write "600519"'),
        ('"Symbol": "A", "price": 1', "did you mean symbol?"),
        ('"ticker": "A", "price": 1', "did you mean symbol?"),
        ('"symbol": "A", "price": 1, "ts": "2026-05-12T15:04:05Z"', "did you mean timestamp?"),
        ('"symbol": "A", "price": 1, "volume": 3', "did you mean size?"),
        ('"symbol": "A", "price": 1, "colour": 3', "there are symbol, price, timestamp, bid, ask, size, extra."),
        ('"ticks": [{"symbol": "A", "price": 1}]', "the body is the array itself"),
        ('"symbol": "A", "price": "NaN"', "leave the field out"),
        ('"symbol": "A", "price": 1, "bid": "-Infinity"', "leave the field out"),
        ('"symbol": "A", "price": "1_000.50"', "write digits like 1000.50,"),
        ('"symbol": "A", "price": "+1"', "write digits like 1,"),
        ('"symbol": "A", "price": ".50"', "write digits like 0.50,"),
        ('"symbol": "A", "price": "007"', "write digits like 7,"),
        ('"symbol": "A", "price": "1,5"', "write digits like 150.25,"),
    ],
)
def test_a_mistake_in_a_field_is_answered_with_what_to_write(fields: str, message: str) -> None:
    assert message in message_of(f"{{{fields}}}")


@pytest.mark.parametrize(
    ("item", "name"),
    [("[]", "an array"), ('"A"', "a string"), ("1", "a number"), ("true", "true or false"), ("null", "null")],
)
def test_what_is_no_object_is_called_by_its_name(item: str, name: str) -> None:
    assert message_of(f"[{item}]") == f'A tick is an object like {{"symbol": "AAPL", "price": 150.25}}, and not {name}.'


@pytest.mark.parametrize(
    ("view", "kinds"),
    [
        (TickListView, "Content-Type: application/json or Content-Type: application/x-ndjson"),
        (TokenView, "Content-Type: application/json"),
    ],
)
def test_a_wrong_content_type_is_answered_with_the_right_ones(view: type[TickListView], kinds: str) -> None:
    for kind, what in [
        ("text/csv; charset=utf-8", "The Content-Type is 'text/csv; charset=utf-8'"),
        ("", "The request has no Content-Type"),
    ]:
        request = Request(RequestFactory().generic("POST", "/", b"A", content_type=kind))
        with pytest.raises(UnsupportedMediaType) as caught:
            PublisherNegotiation().select_parser(request, [parser() for parser in view.parser_classes])
        assert str(caught.value.detail) == f"{what}; send {kinds}."


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (r'"a\"b\\"', 'a"b\\'),
        ('a"b', 'a"b'),
        (f'"{"x" * 255}"', "x" * 255),
        ('""', None),
        ('"', None),
        ('"abc', None),
        ('"a"b"', None),
        (r'"a\b"', None),
        ('"a b"', None),
        ("a b", None),
        ("", None),
        ("é", None),
        (f'"{"x" * 256}"', None),
    ],
)
def test_a_key_in_quotes_is_the_key_without_them(text: str, key: str | None) -> None:
    assert key_of(text) == key
