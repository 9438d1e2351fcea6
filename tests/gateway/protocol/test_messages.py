"""What the gateway says, to the byte."""

from __future__ import annotations

import json

import msgspec
import pytest

from gateway.protocol import messages
from gateway.protocol.codes import CLOSURES, FLOODING, SERVICE_RESTART, Closure, ErrorCode, ProtocolError
from gateway.protocol.frames import texts
from gateway.protocol.messages import (
    Limits,
    Position,
    PublisherLimits,
    bus_frame,
    closing_frame,
    conflated_frame,
    error_frame,
    gap_frame,
    heartbeat_frame,
    pong_frame,
    published_frame,
    publisher_welcome_frame,
    skipping,
    snapshot_frame,
    subscribed_frame,
    subscriptions_frame,
    tick_frame,
    unsubscribed_frame,
    welcome_frame,
)
from ticks.decode import decode
from ticks.errors import InvalidTicks
from ticks.tick import Tick


def text_of(frame: bytes) -> str:
    (text,) = texts(frame)
    return text


NOW = "2026-05-12T15:04:05.123456Z"
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
        (
            tick_frame(TICK.json(), 1042),
            '{"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z","seq":1042}',
        ),
        (
            tick_frame(FULL.json(), 1),
            '{"type":"tick","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05.123456789Z","bid":1.0849,"ask":1.0851,"size":1000000,"seq":1}',
        ),
        (
            snapshot_frame(TICK.json(), 1041, "5f3a9c1e"),
            '{"type":"snapshot","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05Z","seq":1041,"epoch":"5f3a9c1e"}',
        ),
        (
            snapshot_frame(FULL.json(), 7, "5f3a9c1e"),
            '{"type":"snapshot","symbol":"EUR/USD","price":1.0850,"timestamp":"2026-05-12T15:04:05.123456789Z","bid":1.0849,"ask":1.0851,"size":1000000,"seq":7,"epoch":"5f3a9c1e"}',
        ),
        (
            welcome_frame("0.2.0", Limits(1000, 65_536, 100), 1.0),
            '{"type":"welcome","version":"0.2.0","limits":{"symbols":1000,"message_bytes":65536,"commands_per_second":100},"heartbeat":1.0}',
        ),
        (
            subscribed_frame(["AAPL", "EUR/USD"], {"AAPL": Position(1041, "5f3a9c1e")}, 1),
            '{"type":"subscribed","symbols":["AAPL","EUR/USD"],"positions":{"AAPL":{"seq":1041,"epoch":"5f3a9c1e"}},"id":1}',
        ),
        (
            subscribed_frame(
                ["A", "*"], {"A": Position(0, "5f3a9c1e", True), "B": Position(9, "5f3a9c1e", False)}, None
            ),
            '{"type":"subscribed","symbols":["A","*"],"positions":{"A":{"seq":0,"epoch":"5f3a9c1e","recovered":true},"B":{"seq":9,"epoch":"5f3a9c1e","recovered":false}}}',
        ),
        (
            gap_frame("AAPL", 8, 1049, "5f3a9c1e"),
            '{"type":"gap","symbol":"AAPL","missed":8,"seq":1049,"epoch":"5f3a9c1e"}',
        ),
        (
            gap_frame("AAPL", None, 0, "8d21b7f0"),
            '{"type":"gap","symbol":"AAPL","missed":null,"seq":0,"epoch":"8d21b7f0"}',
        ),
        (heartbeat_frame(NOW), '{"type":"heartbeat","time":"2026-05-12T15:04:05.123456Z"}'),
        (
            heartbeat_frame(NOW, {"AAPL": 1049, "B": 1}),
            '{"type":"heartbeat","time":"2026-05-12T15:04:05.123456Z","seqs":{"AAPL":1049,"B":1}}',
        ),
        (bus_frame(False), '{"type":"bus","connected":false}'),
        (bus_frame(True), '{"type":"bus","connected":true}'),
        (
            closing_frame(SERVICE_RESTART),
            '{"type":"closing","code":1012,"reason":"The gateway stops or restarts.","reconnect":true,"wait":0}',
        ),
        (
            closing_frame(FLOODING),
            (
                '{"type":"closing","code":1008,"reason":"Too many commands or frames, or a message without end.",'
                '"reconnect":true,"wait":5}'
            ),
        ),
        (
            closing_frame(Closure(4009, "x", reconnect=False, wait=2.5)),
            '{"type":"closing","code":4009,"reason":"x","reconnect":false,"wait":2.5}',
        ),
        (unsubscribed_frame([], None), '{"type":"unsubscribed","symbols":[]}'),
        (subscriptions_frame({"A": None}.keys(), "x"), '{"type":"subscriptions","symbols":["A"],"id":"x"}'),
        (pong_frame(0), '{"type":"pong","id":0}'),
        (
            error_frame(ProtocolError(ErrorCode.INVALID_SYMBOL, 'Not "x".', 3)),
            '{"type":"error","code":"invalid_symbol","message":"Not \\"x\\".","id":3}',
        ),
        (
            publisher_welcome_frame("0.2.0", PublisherLimits(1000, 1_048_576)),
            '{"type":"welcome","version":"0.2.0","limits":{"ticks":1000,"message_bytes":1048576}}',
        ),
        (published_frame(100, 100, 5000), '{"type":"published","messages":100,"ticks":5000,"id":100}'),
        (
            error_frame(ProtocolError(ErrorCode.INVALID_TICKS, str(INVALID.detail), 2, INVALID.errors, INVALID.count)),
            '{"type":"error","code":"invalid_ticks","message":"Nothing was published: at least one tick is invalid.","errors":[{"index":0,"field":"price","code":"required","message":"This field is required."}],"error_count":1,"id":2}',
        ),
        (
            conflated_frame("rate", {"AAPL": 3, "B": 1}),
            '{"type":"conflated","reason":"rate","skipped":{"AAPL":3,"B":1}}',
        ),
        (conflated_frame("slow", {"AAPL": 12}), '{"type":"conflated","reason":"slow","skipped":{"AAPL":12}}'),
    ],
)
def test_the_wire_is_exactly_this(frame: bytes, text: str) -> None:
    assert text_of(frame) == text
    json.loads(text)


def test_a_tick_that_stands_for_no_others_is_the_very_frame() -> None:
    frame = tick_frame(TICK.json(), 7)
    assert skipping(frame, 0) is frame
    assert text_of(skipping(frame, 300)) == text_of(frame)[:-1] + ',"skipped":300}'


def test_a_closure_has_a_code_of_its_own_and_a_reason_that_fits_a_close_frame() -> None:
    assert len({closure.code for closure in CLOSURES}) == len(CLOSURES)
    assert all(len(closure.reason.encode()) <= 123 for closure in CLOSURES)


@pytest.mark.parametrize("tick", [TICK, FULL])
def test_the_fast_frames_are_those_of_the_declarations(tick: Tick) -> None:
    """Their fields are all there, in the declared order and of the declared kinds."""
    for declared, frame in (
        (messages.Tick, skipping(tick_frame(tick.json(), 7), 2)),
        (messages.Snapshot, snapshot_frame(tick.json(), 7, "5f3a9c1e")),
    ):
        text = text_of(frame)
        assert json.loads(msgspec.json.encode(msgspec.json.decode(text, type=declared))) == json.loads(text)
        own = [name for name in declared.__struct_fields__ if name != "trace"]  # which a tick gets on its way out
        sent = [name for name in own if getattr(tick, name, "") is not None]
        assert list(json.loads(text)) == ["type", *sent]
