"""What a vendor sends beyond the other fields is passed on as it came, within limits."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticks.extra import MAX_BYTES, MAX_NAME_LENGTH, MAX_VALUES, extra
from ticks.tick import Tick


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"venue":"XNAS","late":false,"odd":true,"note":null}',
        '{"fee":0.00300,"n":-0,"big":12345678901234567890123456789012,"e":-1.50E+3,"z":0e0}',
        r'{"quoted":"\"\\\n\u0000"}',
        '{"café":"\u2028\u007f😀","__proto__":1}',
        '{"' + "é" * MAX_NAME_LENGTH + '":""}',
        '{"a":"' + "x" * (MAX_BYTES - 8) + '"}',
        "{" + ",".join(f'"{number}":{number}' for number in range(MAX_VALUES)) + "}",
    ],
)
def test_compact_json_stays_as_it_is(text: str) -> None:
    assert extra(text) == text


def test_whitespace_and_needless_escapes_go() -> None:
    assert extra(r' { "caf\u00e9" : "\u0041\/\u0022" ,"n": 1.0 } ') == r'{"café":"A/\"","n":1.0}'


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '"{}"', "1", '{"a":[1]}', '{"a":{}}', '{"a":1,"a":1}', '{"":1}', '{"a":NaN}', '{"a":1e400}',
     '{"a":' + "9" * 33 + "}", '{"a":-' + "9" * 33 + "}", '{"a":01}', '{"a":1}}', r'{"a":"\ud800"}', '{"a":"\ud800"}',
     r'{"\udfff":1}', '{"a":"\n"}', '{"' + "x" * (MAX_NAME_LENGTH + 1) + '":1}', '{"a":"' + "x" * (MAX_BYTES - 7) + '"}',
     '{"a":"' + "é" * (MAX_BYTES // 2) + '"}', "{" + ",".join(f'"{number}":1' for number in range(MAX_VALUES + 1)) + "}",
     '{"a":' + "[" * 5000 + "]" * 5000 + "}"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        extra(text)


numbers = st.one_of(st.integers(), st.decimals(allow_nan=False, allow_infinity=False, places=3))
scalars = st.one_of(st.none(), st.booleans(), st.text(max_size=8), numbers)
objects = st.dictionaries(st.text(min_size=1, max_size=8), scalars, max_size=5)


def written(values: dict[str, Any]) -> str:
    """JSON with whitespace and with every escape that is allowed; numbers with all their digits."""
    members = [
        f"{json.dumps(name)} : {value if isinstance(value, Decimal) else json.dumps(value)}"
        for name, value in values.items()
    ]
    return "{ " + " , ".join(members) + " }"


@given(objects)
def test_the_values_are_the_same(values: dict[str, Any]) -> None:
    text = written(values)
    try:
        taken = extra(text)
    except ValueError:  # too many digits
        assert any(isinstance(value, int | Decimal) and len(str(value)) > 32 for value in values.values())
    else:
        assert json.loads(taken, parse_float=str, parse_int=str) == json.loads(text, parse_float=str, parse_int=str)
        assert extra(taken) == taken


@given(objects.filter(lambda values: not any(isinstance(value, int | Decimal) for value in values.values())))
def test_without_needless_escapes_there_is_no_closer_look(values: dict[str, Any]) -> None:
    text = extra(written(values))
    with mock.patch("ticks.extra.compact") as calls:
        assert extra(text) == text
        assert extra(text.replace("{", " {\t", 1)) == text
    assert calls.call_count == 0


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"a":1,"a":2}', '{"a":[]}', '{"a":1}}', '{"a":"\n"}', r'{"a":"\u0041"}', '{"a":1},"seq":9']
)
def test_a_message_on_the_bus_with_another_extra_is_no_tick(text: str) -> None:
    message = {"type": "tick", "symbol": "A", "price": "1", "timestamp": "2026-05-12T15:04:05Z", "extra": text}
    with pytest.raises(ValueError, match=r".+"):
        Tick.from_message(message)
