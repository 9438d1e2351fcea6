"""Request bodies become ticks, or errors that name each mistake; the fast way and the careful way agree."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from ticks.decode import decode, decode_carefully
from ticks.errors import InvalidTicks
from ticks.extra import extra
from ticks.fields import FIELDS, Field
from ticks.grammar import check_symbol, number, size, timestamp
from ticks.tick import Tick

WHEN = "2026-05-12T15:04:05Z"

WHOLE = {"symbol": "A", "price": "1", "timestamp": WHEN, "bid": "1", "size": "2"}


def errors_of(body: bytes) -> list[tuple[int, str, str]]:
    with pytest.raises(InvalidTicks) as caught:
        decode(body)
    return [(error["index"], error["field"], error["code"]) for error in caught.value.errors]


def test_one_tick() -> None:
    body = b'{"symbol": "AAPL", "price": 150.250, "timestamp": "2026-05-12T15:04:05Z"}'
    assert decode(body) == [Tick("AAPL", "150.250", WHEN)]


def test_an_array_of_ticks_in_order() -> None:
    body = b' [{"symbol": "A", "price": 1}, {"symbol": "B", "price": "2.0", "bid": 1.5, "ask": "2.5", "size": 7}]\n'
    first, second = decode(body)
    assert (first.symbol, first.price) == ("A", "1")
    assert (second.price, second.bid, second.ask, second.size) == ("2.0", "1.5", "2.5", "7")


def test_ticks_without_a_time_have_the_time_of_receipt() -> None:
    first, second = decode(b'[{"symbol": "A", "price": 1}, {"symbol": "B", "price": 1}]')
    assert first.timestamp == second.timestamp
    assert first.timestamp.startswith("20")


def test_no_ticks_are_no_mistake() -> None:
    assert decode(b"[]") == []


def test_escapes_in_strings_are_read() -> None:
    assert decode(rb'{"symbol": "\u0041\/B", "price": "\u0031", "timestamp": "2026-05-12T15:04:05\u005a"}') == [
        Tick("A/B", "1", WHEN)
    ]


def test_each_bad_item_is_named_with_its_field() -> None:
    body = json.dumps(
        [
            {"symbol": "A", "price": 1},
            {"symbol": "A,B", "price": "1_000", "timestamp": "2026-05-12T15:04:05"},
            {"price": True, "volume": 3},
            4,
            {"symbol": None, "price": None, "size": -1, "bid": None},
        ]
    ).encode()
    assert sorted(errors_of(body)) == [
        (1, "price", "invalid"),
        (1, "symbol", "invalid"),
        (1, "timestamp", "invalid"),
        (2, "price", "invalid"),
        (2, "symbol", "required"),
        (2, "volume", "unknown"),
        (3, "", "invalid"),
        (4, "price", "null"),
        (4, "size", "invalid"),
        (4, "symbol", "null"),
    ]


@pytest.mark.parametrize("field", ["symbol", "price", "timestamp", "bid", "size"])
@pytest.mark.parametrize("before", [[], [WHOLE], [WHOLE, WHOLE]], ids=["first", "second", "third"])
def test_an_empty_text_is_none_of_these(field: str, before: list[dict[str, str]]) -> None:
    body = json.dumps([*before, {**WHOLE, field: ""}, {**WHOLE, field: ""}]).encode()
    assert sorted(errors_of(body)) == [(len(before), field, "invalid"), (len(before) + 1, field, "invalid")]


@pytest.mark.parametrize(
    "body",
    [b'{"symbol": "A", "price": 1, "price": 2}', b'{"symbol": "A", "price": 1, "symbol": "A"}',
     rb'{"symbol": "A", "price": 1, "pr\u0069ce": 1}', b'{"symbol": "A", "symbol": "\\"", "price": "1"}'],
)  # fmt: skip
def test_a_key_given_twice_is_refused(body: bytes) -> None:
    assert [code for _, _, code in errors_of(body)] == ["duplicate"]


def test_null_for_what_may_be_absent_is_absence() -> None:
    body = b'{"symbol": "A", "price": 1, "timestamp": null, "bid": null, "ask": null, "size": null, "extra": null}'
    assert decode(body, received=WHEN) == decode_carefully(body, received=WHEN) == [Tick("A", "1", WHEN)]


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        ("[]", "invalid", "Must be an object."),
        ('"{}"', "invalid", "Must be an object."),
        ('{"a": [1]}', "invalid", "'a' is an object or an array"),
        ('{"a": {"b": 1, "b": 1}}', "invalid", "'a' is an object or an array"),
        ('{"a": 1, "a": 1}', "duplicate", "The name 'a' is given twice."),
        (r'{"a": 1, "\u0061": 2}', "duplicate", "The name 'a' is given twice."),
        ("{" + ",".join(f'"{number}": 1' for number in range(17)) + "}", "invalid", "at most 16 values"),
        ('{"a": "' + "x" * 2048 + '"}', "invalid", "At most 2048 bytes"),
        ('{"": 1}', "invalid", "1 to 64 characters"),
        ('{"' + "x" * 65 + '": 1}', "invalid", "1 to 64 characters"),
        ('{"a": 1e999}', "invalid", "The number 'a' has more than 32 digits"),
        (r'{"a": "\ud800"}', "invalid", "Half of a surrogate pair"),
        (r'{"\ud800": 1}', "invalid", "Half of a surrogate pair"),
    ],
)
def test_each_mistake_in_extra_is_named(value: str, code: str, message: str) -> None:
    body = f'{{"symbol": "A", "price": 1, "extra": {value}}}'.encode()
    with pytest.raises(InvalidTicks) as caught:
        decode(body)
    [error] = caught.value.errors
    assert (error["field"], error["code"]) == ("extra", code)
    assert message in error["message"]


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_extra_with_a_number_that_json_does_not_have_is_refused(constant: bytes) -> None:
    with pytest.raises(ParseError):
        decode(b'{"symbol": "A", "price": 1, "extra": {"a": ' + constant + b"}}")


@pytest.mark.parametrize("body", [rb'{"\ud800": 1}', rb'{"\ud800": 1, "\ud800": 1}'])
def test_a_mistake_in_a_field_whose_name_is_no_text_can_be_answered(body: bytes) -> None:
    assert "?" in [field for _, field, _ in errors_of(body)]


def test_lines_are_a_tick_each() -> None:
    body = b'{"symbol": "A", "price": 1.50}\n\n{"symbol": "B", "price": "2"}\r\n'
    assert [(tick.symbol, tick.price) for tick in decode(body, lines=True)] == [("A", "1.50"), ("B", "2")]


@pytest.mark.parametrize(
    "body",
    [b"[1]", b'{"symbol": "A", "price": 1}\n[]', b'{"symbol": "A",\n "price": 1}', b"\n",
     b'{"symbol": "A", "price": 1}{"symbol": "B",\n"price": 1}'],
)  # fmt: skip
def test_lines_that_are_no_ticks_are_refused(body: bytes) -> None:
    with pytest.raises((InvalidTicks, ParseError)) if body.strip() else nullcontext():
        assert decode(body, lines=True) == []


def test_a_thousand_lines_are_taken_and_one_more_is_not() -> None:
    line = b'{"symbol": "A", "price": 1}\n'
    assert len(decode(line * 1000, lines=True)) == 1000
    with pytest.raises(InvalidTicks):
        decode(line * 1001, lines=True)


def test_a_thousand_ticks_are_taken_and_one_more_is_not() -> None:
    item = {"symbol": "A", "price": 1}
    assert len(decode(json.dumps([item] * 1000).encode())) == 1000
    assert errors_of(json.dumps([item] * 1001).encode()) == [(1000, "", "too_many")]


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"nope", b"{", b"[1,", b"\xff\xfe{}", b'{"symbol": "\xe9"}', b"\xef\xbb\xbf{}", b'{"price": NaN}',
     b'{"price": Infinity}', b'{"a": 01}', b"[" * 3000 + b"]" * 3000, b'{"price": ' + b"[" * 3000 + b"]" * 3000 + b"}",
     b'[{"a":' * 3000],
)  # fmt: skip
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ParseError):
        decode(body)


@pytest.mark.parametrize(
    "body", [b"null", b"3", b'"AAPL"', b"true", b"{}", b"[[]]", b'[{"symbol": "A", "price": [1]}]']
)
def test_json_that_is_no_tick_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidTicks):
        decode(body)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["AAPL", "1.50", "1_0", "-3", "1e2", "", '"', "\\", WHEN, "2026-05-12T15:04:05", "É", "A,B"]),
    st.text(max_size=8),
)
objects = st.dictionaries(st.one_of(st.sampled_from(["venue", "é", ""]), st.text(max_size=3)), scalars, max_size=3)
values = st.one_of(scalars, objects, st.lists(scalars, max_size=2), st.dictionaries(st.just("venue"), objects))
items = st.dictionaries(st.sampled_from([*(field.name for field in FIELDS), "x"]), values)
good = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["AAPL", "EUR/USD"]),
        "price": st.one_of(st.integers(-(10**9), 10**9), st.sampled_from(["1.50", "-3", 2.5])),
    },
    optional={
        "timestamp": st.sampled_from([WHEN, None]),
        "bid": st.sampled_from(["1", 2, None]),
        "size": st.sampled_from([3, "4.0", None]),
        "extra": st.one_of(st.none(), objects),
    },
)


def outcome(way: Any, body: bytes) -> Any:
    try:
        return [tick if tick.timestamp == WHEN else msgspec.structs.replace(tick, timestamp="") for tick in way(body)]
    except InvalidTicks as error:
        return error.errors
    except ParseError as error:
        return str(error)


@given(st.one_of(items, good, st.lists(st.one_of(items, good), max_size=4)), st.booleans())
def test_both_ways_agree(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert outcome(decode, body) == outcome(decode_carefully, body)


@given(st.lists(st.one_of(items, good), min_size=1, max_size=4))
def test_both_ways_agree_on_lines(value: list[Any]) -> None:
    body = b"\n".join(json.dumps(item).encode() for item in value)
    assert outcome(lambda body: decode(body, True), body) == outcome(lambda body: decode_carefully(body, True), body)


# The fast way

NUMBERS = ["0", "-1.50", "150.250", "1e3", "-0.5E-3", "1" * 32 + "." + "9" * 32]
NUMBERS += [f'"{text}"' for text in NUMBERS]
SIZES = [text for text in NUMBERS if "-" not in text]
TEXTS: dict[Any, list[str]] = {
    check_symbol: ['"AAPL"', '"EUR/USD"', r'"EUR\/USD"', r'"\u0041APL"', '":+$#"'],
    number: NUMBERS,
    size: SIZES,
    timestamp: [f'"{WHEN}"', '"2026-05-12T17:04:05.123456789+02:00"', r'"2026-05-12T15:04:05\u005a"'],
    extra: [
        "{}",
        '{"venue":"XNAS","fee":-0.50e-3,"late":true,"note":null}',
        r'{ "caf\u00e9": "\"\u0041\ud83d\ude00" , "n" : 12345678901234567890123456789012 }',
    ],
}
"""What publishers may write for a field, by its rule."""


def _texts(field: Field) -> list[str]:
    return TEXTS[field.rule] if field.presence == "required" else ["null", *TEXTS[field.rule]]


@st.composite
def valid_items(draw: st.DrawFn, whitespace: str) -> str:
    """A tick as JSON: any of the optional fields, in any order, with whitespace wherever it may be."""
    fields = [field for field in FIELDS if field.presence == "required" or draw(st.booleans())]
    space = st.text(whitespace, max_size=2)
    members = [
        draw(space).join(["", f'"{field.name}"', ":", draw(st.sampled_from(_texts(field))), ""])
        for field in draw(st.permutations(fields))
    ]
    return draw(space) + "{" + ",".join(members) + "}" + draw(space)


@st.composite
def valid_bodies(draw: st.DrawFn) -> tuple[str, bool]:
    """A body, and whether it is one of lines."""
    kind = draw(st.sampled_from(["one", "many", "lines"]))
    whitespace = draw(st.sampled_from(["", " ", " \t\r" if kind == "lines" else " \t\r\n"]))
    if kind == "one":
        return draw(valid_items(whitespace)), False
    several = draw(st.lists(valid_items(whitespace), max_size=3))
    return ("\n".join(several), True) if kind == "lines" else (f"[{','.join(several)}]", False)


@given(valid_bodies())
def test_every_valid_body_goes_the_fast_way(valid: tuple[str, bool]) -> None:
    text, lines = valid
    body = text.encode()
    careful = decode_carefully(body, lines, WHEN)
    with mock.patch("ticks.decode.decode_carefully") as calls:
        assert decode(body, lines, WHEN) == careful
    assert calls.call_count == 0


@pytest.mark.parametrize(
    "body", [rb'{"symbol": "A", "pr\u0069ce": 1}', rb'{"symbol": "A", "price": "\u0031"}'], ids=["a name", "digits"]
)
def test_escapes_where_no_encoder_writes_them_go_the_careful_way(body: bytes) -> None:
    with mock.patch("ticks.decode.decode_carefully", wraps=decode_carefully) as calls:
        assert decode(body, received=WHEN) == [Tick("A", "1", WHEN)]
    assert calls.call_count == 1
