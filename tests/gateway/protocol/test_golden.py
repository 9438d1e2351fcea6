"""The wire, the protocol's description and the AsyncAPI document say the same, to the byte.

Every frame that gateway/protocol/messages.py builds stands in docs/reference/protocol.md as it is, every message there is one of these
frames, and both fit the payloads of the document.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from bus.contract import Reason
from gateway.protocol.asyncapi import Deployment, document, encode
from gateway.protocol.codes import SERVICE_RESTART, ErrorCode, ProtocolError
from gateway.protocol.commands import Action, parse
from gateway.protocol.compact import ROW, compacted
from gateway.protocol.frames import rewritten, texts
from gateway.protocol.messages import (
    Limits,
    Position,
    PublisherLimits,
    Trace,
    access_frame,
    authenticated_frame,
    bus_frame,
    closing_frame,
    conflated_frame,
    error_frame,
    gap_frame,
    heartbeat_frame,
    introduced_frame,
    pong_frame,
    published_frame,
    publisher_welcome_frame,
    skipping,
    snapshot_frame,
    subscribed_frame,
    subscriptions_frame,
    tick_frame,
    traced,
    unsubscribed_frame,
    welcome_frame,
)
from tests.conformance import PUBLISHERS, SUBSCRIBERS, Conformance, parsed
from ticks.decode import decode
from ticks.errors import InvalidTicks
from ticks.tick import Tick

PAGE: Final = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "protocol.md").read_text()
CONFORMANCE: Final = Conformance(
    parsed(encode(document(Deployment("127.0.0.1:8000", False, False, "sessionid"))).decode())
)

REFUSED: Final = f"Nothing was subscribed: {Reason.OUT_OF_MEMORY.sentence} Try again in a second."
EPOCH: Final = "5f3a9c1e"
NEW_EPOCH: Final = "8d21b7f0"


def body(price: str, time: str = "15:04:05") -> str:
    return Tick("AAPL", price, f"2026-05-12T{time}Z").json()


FULL: Final = Tick("EUR/USD", "1.0850", "2026-05-12T15:04:05.123456789Z", bid="1.0849", ask="1.0851", size="1000000")

EXTRA: Final = '{"venue":"XNAS","fee":0.0030,"late":false}'


TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WHEN: Final = 1_778_598_245_000_000
TRACE: Final = Trace(
    published=WHEN, received=WHEN + 412, sequenced=WHEN + 731, sent=WHEN + 935, traceparent=TRACEPARENT
)
PART: Final = Trace(published=WHEN, sent=WHEN + 935)


def invalid_ticks() -> ProtocolError:
    with pytest.raises(InvalidTicks) as caught:
        decode(b'{"symbol":"AAPL"}')
    return ProtocolError(ErrorCode.INVALID_TICKS, str(caught.value.detail), 2, caught.value.errors, caught.value.count)


FRAMES: Final = {
    SUBSCRIBERS: [
        welcome_frame("0.2.0", Limits(1000, 65_536, 100), 5.0),
        welcome_frame("0.2.0", Limits(1000, 65_536, 100), 5.0, "2026-05-12T15:04:05.000000Z"),
        welcome_frame("0.2.0", Limits(1000, 65_536, 100), 5.0, None, ROW),
        compacted(tick_frame(body("150.250"), 1042) + skipping(tick_frame(body("150.300", "15:04:07"), 1055), 4)),
        compacted(tick_frame(FULL.json(), 1042)),
        authenticated_frame("2026-05-12T16:04:05.000000Z", 4),
        subscribed_frame(["AAPL"], {"AAPL": Position(1041, EPOCH)}, 1),
        subscribed_frame(["AAPL"], {"AAPL": Position(1043, EPOCH, True)}, 2),
        subscribed_frame(["AAPL"], {"AAPL": Position(7, NEW_EPOCH, False)}, 2),
        subscribed_frame(["AAPL"], {"AAPL": Position(1041, EPOCH)}, None, 5.0),
        introduced_frame({"AAPL": Position(1041, EPOCH), "EUR/USD": Position(0, EPOCH)}),
        unsubscribed_frame(["AAPL"], None),
        subscriptions_frame(["AAPL"], "x"),
        pong_frame(0),
        tick_frame(body("150.250"), 1042),
        tick_frame(body("150.255", "15:04:06"), 1043),
        tick_frame(body("150.300", "15:04:07"), 1055),
        skipping(tick_frame(body("150.300", "15:04:07"), 1055), 4),
        tick_frame(FULL.json(), 1042),
        tick_frame(Tick("AAPL", "150.250", "2026-05-12T15:04:05Z", extra=EXTRA).json(), 1042),
        snapshot_frame(Tick("AAPL", "150.250", "2026-05-12T15:04:05Z", extra=EXTRA).json(), 1042, EPOCH),
        snapshot_frame(body("150.250"), 1041, EPOCH),
        rewritten(tick_frame(body("150.250"), 1042), partial(traced, lambda *_: TRACE)),
        rewritten(snapshot_frame(body("150.250"), 1041, EPOCH), partial(traced, lambda *_: PART)),
        snapshot_frame(body("151.100", "15:09:30"), 7, NEW_EPOCH),
        conflated_frame("slow", {"AAPL": 12}),
        gap_frame("AAPL", 8, 1049, EPOCH),
        gap_frame("AAPL", None, 0, NEW_EPOCH),
        heartbeat_frame("2026-05-12T15:04:05.123456Z"),
        heartbeat_frame("2026-05-12T15:04:06.123456Z", {"AAPL": 1049}),
        bus_frame(False),
        bus_frame(False, ["AAPL"]),
        bus_frame(True),
        access_frame(["AAPL", "MSFT"], ["BTC-USD"]),
        error_frame(ProtocolError(ErrorCode.ACCESS_DENIED, "No access to BTC-USD.", 3, symbols=["BTC-USD"])),
        closing_frame(SERVICE_RESTART),
        error_frame(ProtocolError(ErrorCode.INVALID_SYMBOL, 'Not "x".', 3)),
        error_frame(ProtocolError(ErrorCode.BUS_UNAVAILABLE, REFUSED, 3, reason=Reason.OUT_OF_MEMORY)),
        error_frame(
            ProtocolError(ErrorCode.BUS_UNAVAILABLE, REFUSED, 3, reason=Reason.OUT_OF_MEMORY, symbols=["AAPL"])
        ),
    ],
    PUBLISHERS: [
        publisher_welcome_frame("0.2.0", PublisherLimits(1000, 1_048_576)),
        authenticated_frame(None, 5),
        published_frame(100, 100, 5000),
        error_frame(invalid_ticks()),
        access_frame(["AAPL"]),
        closing_frame(SERVICE_RESTART),
    ],
}
"""A frame of each kind that the gateway sends, by the path it is sent on."""


def examples(path: str) -> list[str]:
    """The messages in docs/reference/protocol.md, those to and those from the gateway."""
    before, publishing = PAGE.split("\n## Publishing\n")
    publishing, _, after = publishing.partition("\n## ")
    blocks = re.findall(
        r"^```json\n(.*?)^```$", publishing if path == PUBLISHERS else before + after, re.MULTILINE | re.DOTALL
    )
    return [line for block in blocks for line in block.splitlines()]


def is_from_the_gateway(text: str) -> bool:
    message = parsed(text)
    return "type" in message if isinstance(message, dict) else isinstance(message[0], list)


def text_of(frame: bytes) -> str:
    (text,) = texts(frame)
    return text


GOLDEN: Final = [(path, text_of(frame)) for path, frames in FRAMES.items() for frame in frames]
DESCRIBED: Final = [(path, text) for path in FRAMES for text in examples(path)]
COMMANDS: Final = [text for path, text in DESCRIBED if path == SUBSCRIBERS and not is_from_the_gateway(text)]
PUBLICATIONS: Final = [text for path, text in DESCRIBED if path == PUBLISHERS and not is_from_the_gateway(text)]


@pytest.mark.parametrize(("path", "text"), GOLDEN)
def test_every_frame_stands_in_the_description(path: str, text: str) -> None:
    assert text in PAGE.splitlines()


@pytest.mark.parametrize(("path", "text"), [example for example in DESCRIBED if is_from_the_gateway(example[1])])
def test_every_message_in_the_description_is_a_frame(path: str, text: str) -> None:
    assert (path, text) in GOLDEN


@pytest.mark.parametrize(("path", "text"), GOLDEN)
def test_every_frame_fits_the_document(path: str, text: str) -> None:
    CONFORMANCE.gateway[path].name_of(parsed(text))


@pytest.mark.parametrize("path", FRAMES)
def test_there_is_a_frame_of_every_message_in_the_document(path: str) -> None:
    side = CONFORMANCE.gateway[path]
    assert {side.name_of(parsed(text)) for where, text in GOLDEN if where == path} == side.names


@pytest.mark.parametrize("path", FRAMES)
def test_every_example_in_the_document_stands_in_the_description(path: str) -> None:
    lines = PAGE.splitlines()
    for side in (CONFORMANCE.gateway[path], CONFORMANCE.client[path]):
        assert side.examples
        for example in side.examples:
            side.name_of(example)
            assert encode(example).decode() in lines


@pytest.mark.parametrize("text", COMMANDS)
def test_every_command_in_the_description_is_understood(text: str) -> None:
    command = parse(text)
    assert CONFORMANCE.client[SUBSCRIBERS].name_of(parsed(text)) == command.action


def test_every_action_is_described() -> None:
    assert {parse(text).action for text in COMMANDS} == CONFORMANCE.client[SUBSCRIBERS].names == set(Action)


def test_every_publication_in_the_description_is_an_example_in_the_document() -> None:
    """A test with a real gateway (tests/integration/test_asyncapi.py) publishes those."""
    side = CONFORMANCE.client[PUBLISHERS]
    assert [parsed(text) for text in PUBLICATIONS] == side.examples
    assert {side.name_of(parsed(text)) for text in PUBLICATIONS} == {"publication", "auth"}


@pytest.mark.parametrize(
    ("text", "is_understood"),
    [
        ('{"action":"subscribe","symbols":["A","*"],"since":{"B":{"seq":0,"epoch":"5f3a9c1e"}}}', True),
        ('{"action":"subscribe","symbols":["A"],"since":{}}', True),
        ('{"action":"subscribe","symbol":"A","max_rate":0.01}', True),
        ('{"action":"subscribe","symbol":"A","max_rate":1000}', True),
        ('{"action":"unsubscribe","symbol":"*"}', True),
        ('{"action":"subscribe"}', False),
        ('{"action":"fly"}', False),
        ('{"action":"subscribe","symbol":"A","symbols":["A"]}', False),
        ('{"action":"subscribe","symbols":[]}', False),
        ('{"action":"subscribe","symbols":"A"}', False),
        ('{"action":"subscribe","symbol":"A,B"}', False),
        ('{"action":"subscribe","symbol":"A","speed":1}', False),
        ('{"action":"subscribe","symbol":"A","snapshot":"no"}', False),
        ('{"action":"subscribe","symbol":"A","max_rate":0.001}', False),
        ('{"action":"subscribe","symbol":"A","max_rate":1001}', False),
        ('{"action":"subscribe","symbol":"A","max_rate":"5"}', False),
        ('{"action":"subscribe","symbol":"A","max_rate":true}', False),
        ('{"action":"subscribe","symbol":"A","since":{"A":{"seq":1,"epoch":"5f3a9c1e"}}}', False),
        ('{"action":"subscribe","symbols":["A"],"since":{"seq":1,"epoch":"5f3a9c1e"}}', False),
        ('{"action":"subscribe","symbol":"*","since":{"seq":1,"epoch":"5f3a9c1e"}}', False),
        ('{"action":"subscribe","symbol":"A","since":{"seq":-1,"epoch":"5f3a9c1e"}}', False),
        ('{"action":"subscribe","symbol":"A","since":{"seq":1}}', False),
        ('{"action":"unsubscribe","symbol":"A","max_rate":5}', False),
        ('{"action":"list","symbol":"A"}', False),
        ('{"action":"ping","id":true}', False),
        ('{"action":"ping","id":1.5}', False),
        ('{"action":"ping","id":"' + "x" * 65 + '"}', False),
    ],
)
def test_the_gateway_and_the_document_agree_about_commands(text: str, is_understood: bool) -> None:
    assert CONFORMANCE.client[SUBSCRIBERS].takes(parsed(text)) is is_understood
    try:
        parse(text)
    except ProtocolError:
        assert not is_understood
    else:
        assert is_understood
