"""The WebSocket language: what is understood, what is not, and the exact frames that answer."""

from __future__ import annotations

import json

import pytest

from gateway.errors import ErrorCode, ProtocolError
from gateway.frames import texts
from gateway.protocol import (
    Action,
    Command,
    conflated_frame,
    error_frame,
    parse,
    pong_frame,
    published_frame,
    symbols_frame,
    tick_frame,
    welcome_frame,
)
from ticks.decode import decode
from ticks.errors import InvalidTicks
from ticks.tick import Tick


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"action":"subscribe","symbol":"AAPL"}', Command(Action.SUBSCRIBE, ("AAPL",), None)),
        ('{"action":"subscribe","symbols":["A","B","A"],"id":7}', Command(Action.SUBSCRIBE, ("A", "B"), 7)),
        ('{"id":"x","action":"unsubscribe","symbol":"^GSPC"}', Command(Action.UNSUBSCRIBE, ("^GSPC",), "x")),
        ('{"action":"list"}', Command(Action.LIST, (), None)),
        (' {"action":"ping","id":null}\n', Command(Action.PING, (), None)),
    ],
)
def test_a_command_is_understood(text: str, command: Command) -> None:
    assert parse(text) == command


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
        ('{"action":"subscribe","symbol":"A B"}', "invalid_symbol"),
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
        parse('{"action":"subscribe","symbol":"A B","id":"r1"}')
    assert caught.value.request_id == "r1"


def text_of(frame: bytes) -> str:
    (text,) = texts(frame)
    return text


TICK = Tick("AAPL", "150.250", "2026-05-12T15:04:05Z")
FULL = Tick("EUR/USD", "1.0850", "2026-05-12T15:04:05.123456789Z", bid="1.0849", ask="1.0851", size="1000000")


def mistakes(body: bytes) -> InvalidTicks:
    with pytest.raises(InvalidTicks) as caught:
        decode(body)
    return caught.value


INVALID = mistakes(b'{"symbol":"AAPL"}')


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (tick_frame(TICK), '{"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z"}'),
        (
            tick_frame(FULL),
            '{"type":"tick","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05.123456789Z","bid":1.0849,"ask":1.0851,"size":1000000}',
        ),
        (
            welcome_frame("0.1.0", {"symbols": 1000, "message_bytes": 65536, "commands_per_second": 100}),
            '{"type":"welcome","version":"0.1.0","limits":{"symbols":1000,"message_bytes":65536,"commands_per_second":100}}',
        ),
        (symbols_frame(Action.SUBSCRIBE, ["A", "B"], 1), '{"type":"subscribed","symbols":["A","B"],"id":1}'),
        (symbols_frame(Action.UNSUBSCRIBE, [], None), '{"type":"unsubscribed","symbols":[]}'),
        (symbols_frame(Action.LIST, ["A"], "x"), '{"type":"subscriptions","symbols":["A"],"id":"x"}'),
        (pong_frame(0), '{"type":"pong","id":0}'),
        (
            error_frame(ProtocolError(ErrorCode.INVALID_SYMBOL, 'Not "x".', 3)),
            '{"type":"error","code":"invalid_symbol","message":"Not \\"x\\".","id":3}',
        ),
        (
            welcome_frame("0.1.0", {"ticks": 1000, "message_bytes": 1_048_576}),
            '{"type":"welcome","version":"0.1.0","limits":{"ticks":1000,"message_bytes":1048576}}',
        ),
        (published_frame(100, 100, 5000), '{"type":"published","messages":100,"ticks":5000,"id":100}'),
        (
            error_frame(ProtocolError(ErrorCode.INVALID_TICKS, str(INVALID.detail), 2, INVALID.errors)),
            '{"type":"error","code":"invalid_ticks","message":"Nothing was published: at least one tick is invalid.","errors":[{"index":0,"field":"price","code":"required","message":"This field is required."}],"id":2}',
        ),
        (conflated_frame("slow", {"AAPL": 12}), '{"type":"conflated","reason":"slow","skipped":{"AAPL":12}}'),
    ],
)
def test_the_wire_is_exactly_this(frame: bytes, text: str) -> None:
    assert text_of(frame) == text
    json.loads(text)
