"""What subscribers may say: what is understood, and what is refused with which code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bus.contract import Since
from gateway.protocol.codes import ProtocolError
from gateway.protocol.commands import MAX_RATE, MIN_RATE, RATES, Action, Command, checked_text, parse


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"action":"subscribe","symbol":"AAPL"}', Command(Action.SUBSCRIBE, ("AAPL",), None)),
        ('{"action":"subscribe","symbols":["A","B","A"],"id":7}', Command(Action.SUBSCRIBE, ("A", "B"), 7)),
        ('{"id":"x","action":"unsubscribe","symbol":"^GSPC"}', Command(Action.UNSUBSCRIBE, ("^GSPC",), "x")),
        ('{"action":"list"}', Command(Action.LIST, (), None)),
        (' {"action":"ping","id":null}\n', Command(Action.PING, (), None)),
        ('{"action":"subscribe","symbol":"*"}', Command(Action.SUBSCRIBE, ("*",), None)),
        ('{"action":"subscribe","symbols":["*","A","*"]}', Command(Action.SUBSCRIBE, ("*", "A"), None)),
        ('{"action":"unsubscribe","symbol":"*"}', Command(Action.UNSUBSCRIBE, ("*",), None)),
    ],
)
def test_a_command_is_understood(text: str, command: Command) -> None:
    assert parse(text) == command


def subscribe(**fields: Any) -> Command:
    return parse(json.dumps({"action": "subscribe", **fields}))


def refusal(**fields: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        subscribe(id="r1", **fields)
    assert caught.value.request_id == "r1"
    return caught.value


def test_a_snapshot_comes_unless_it_is_declined() -> None:
    assert [subscribe(symbol="A", snapshot=value).snapshot for value in (True, None, False)] == [True, True, False]
    assert subscribe(symbol="A").snapshot


def test_a_rate_is_a_number_within_its_bounds() -> None:
    assert subscribe(symbol="A").rate is None
    assert subscribe(symbol="A", max_rate=None).rate is None
    assert [subscribe(symbol="A", max_rate=rate).rate for rate in (5, 0.5, 0.01, 1000)] == [5.0, 0.5, 0.01, 1000.0]
    assert isinstance(subscribe(symbol="A", max_rate=5).rate, float)


def test_a_rate_is_rounded_down_to_one_of_a_few() -> None:
    assert [subscribe(symbol="A", max_rate=rate).rate for rate in (4.99, 7, 999.9, 0.0101)] == [4.0, 6.0, 800.0, 0.01]
    taken = {subscribe(symbol="A", max_rate=number / 10).rate for number in range(1, 10_001)}
    assert taken <= set(RATES)
    assert (len(RATES), min(RATES), max(RATES), [*RATES]) == (41, MIN_RATE, MAX_RATE, sorted(RATES))


PLACE = {"seq": 1041, "epoch": "5f3a9c1e"}
SINCE = Since("5f3a9c1e", 1041)


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        ({"symbol": "A"}, {}),
        ({"symbol": "A", "since": None}, {}),
        ({"symbol": "A", "since": PLACE}, {"A": SINCE}),
        ({"symbol": "A", "since": {"epoch": "", "seq": 0}}, {"A": Since("", 0)}),
        ({"symbols": ["A", "B"], "since": {}}, {}),
        ({"symbols": ["A", "B"], "since": {"B": PLACE}}, {"B": SINCE}),
        ({"symbols": ["A"], "since": {"A": {"seq": 2**63 - 1, "epoch": "x" * 64}}}, {"A": Since("x" * 64, 2**63 - 1)}),
        ({"symbols": ["*"], "since": {"B": PLACE, "C/D": PLACE}}, {"B": SINCE, "C/D": SINCE}),
        ({"symbols": ["*", "A"], "since": {"A": PLACE, "B": PLACE}}, {"A": SINCE, "B": SINCE}),
        ({"symbol": "*"}, {}),
    ],
)
def test_a_client_may_say_where_it_stopped(fields: dict[str, Any], since: dict[str, Since]) -> None:
    assert subscribe(**fields).since == since


NO_SNAPSHOTS: list[Any] = [0, 1, "false", [], {}]
NO_RATES: list[Any] = [0, -1, 0.009, 1000.5, 1e300, True, False, "5", [5], {}]
NO_PLACES: list[Any] = [1041, "5f3a9c1e", True, [PLACE], {}, {"seq": 1041}, {"epoch": "5f3a9c1e"}]
NO_SEQS: list[Any] = [-1, 1.0, 1.5, True, "1041", None, 2**63, 10**30]
NO_EPOCHS: list[Any] = [5, None, True, [], "x" * 65]


@pytest.mark.parametrize(
    "fields",
    [
        *({"snapshot": value} for value in NO_SNAPSHOTS),
        *({"max_rate": value} for value in NO_RATES),
        *({"since": value} for value in NO_PLACES),
        *({"since": {**PLACE, "seq": value}} for value in NO_SEQS),
        *({"since": {**PLACE, "epoch": value}} for value in NO_EPOCHS),
        {"since": {**PLACE, "price": 1}},
        {"since": {"A": PLACE}},
    ],
    ids=json.dumps,
)
def test_what_a_subscription_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    assert refusal(symbol="A", **fields).code == "invalid_message"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"symbols": ["A"], "since": PLACE}, "invalid_message"),
        ({"symbols": ["A"], "since": [PLACE]}, "invalid_message"),
        ({"symbols": ["A"], "since": {"A": 1041}}, "invalid_message"),
        ({"symbols": ["A"], "since": {"A": None}}, "invalid_message"),
        ({"symbols": ["A"], "since": {"B": PLACE}}, "invalid_message"),
        ({"symbols": ["A"], "since": {"*": PLACE}}, "invalid_symbol"),
        ({"symbols": ["*"], "since": {"*": PLACE}}, "invalid_symbol"),
        ({"symbols": ["*"], "since": {"A,B": PLACE}}, "invalid_symbol"),
        ({"symbol": "*", "since": PLACE}, "invalid_message"),
        ({"symbol": "*", "since": {"A": PLACE}}, "invalid_message"),
    ],
)
def test_places_that_fit_no_symbol_are_refused(fields: dict[str, Any], code: str) -> None:
    assert refusal(**fields).code == code


@pytest.mark.parametrize("field", ["snapshot", "max_rate", "since"])
@pytest.mark.parametrize("action", ["unsubscribe", "list", "ping"])
def test_only_a_subscription_has_options(action: str, field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(json.dumps({"action": action, **({"symbol": "A"} if action == "unsubscribe" else {}), field: None}))
    assert caught.value.code == "invalid_message"
    assert field in caught.value.message


def test_a_message_is_text_of_a_limited_size() -> None:
    assert checked_text("é" * 5, 10) == "é" * 5
    for text, code in ((None, "binary_message"), ("x" * 11, "message_too_big"), ("é" * 6, "message_too_big")):
        with pytest.raises(ProtocolError) as caught:
            checked_text(text, 10)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("nope", "invalid_json"),
        ("[" * 3000, "invalid_json"),
        ('{"a":' * 3000, "invalid_json"),
        ("\ud800", "invalid_json"),
        ("[]", "invalid_message"),
        ("3", "invalid_message"),
        ("{}", "invalid_message"),
        ('{"action":3}', "invalid_message"),
        ('{"action":"fly"}', "unknown_action"),
        ('{"action":"SUBSCRIBE","symbol":"A"}', "unknown_action"),
        ('{"action":"subscribe"}', "invalid_message"),
        ('{"action":"subscribe","symbol":"A","symbols":["A"]}', "invalid_message"),
        ('{"action":"subscribe","symbols":[]}', "invalid_message"),
        ('{"action":"subscribe","symbols":"A"}', "invalid_message"),
        ('{"action":"subscribe","symbol":"A","speed":1}', "invalid_message"),
        ('{"action":"list","symbol":"A"}', "invalid_message"),
        ('{"action":"list","symbol":"*"}', "invalid_message"),
        ('{"action":"subscribe","symbol":"**"}', "invalid_symbol"),
        ('{"action":"subscribe","symbol":"A*"}', "invalid_symbol"),
        ('{"action":"subscribe","symbol":["*"]}', "invalid_symbol"),
        ('{"action":"subscribe","symbol":"A,B"}', "invalid_symbol"),
        ('{"action":"subscribe","symbol":null}', "invalid_symbol"),
        ('{"action":"subscribe","symbols":["A",["B"]]}', "invalid_symbol"),
        ('{"action":"ping","id":[1]}', "invalid_message"),
        ('{"action":"ping","id":true}', "invalid_message"),
        ('{"action":"ping","id":1.5}', "invalid_message"),
        ('{"action":"ping","id":"' + "x" * 65 + '"}', "invalid_message"),
    ],
)
def test_anything_else_is_an_error_with_a_code(text: str, code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(text)
    assert caught.value.code == code
    assert len(caught.value.message) < 300


def test_an_error_names_the_request() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse('{"action":"subscribe","symbol":"A,B","id":"r1"}')
    assert caught.value.request_id == "r1"


SYMBOLS = ["AAPL", "^GSPC", "*", "a b", "", "A\\u0042", "\u00c9", "\\\\", "A" * 200, "{}", "A\x7f"]


@pytest.mark.parametrize("symbol", SYMBOLS, ids=range(len(SYMBOLS)))
def test_what_is_said_most_often_means_what_it_means_in_another_order(symbol: str) -> None:
    def outcome(text: str) -> Any:
        try:
            return parse(text)
        except ProtocolError as error:
            return error.code, error.message, error.request_id

    often = f'{{"action":"subscribe","symbol":"{symbol}"}}'
    spaced = f'{{"action": "subscribe", "symbol": "{symbol}"}}'
    assert outcome(often) == outcome(spaced) == outcome(f'{{"symbol":"{symbol}","action":"subscribe"}}')
