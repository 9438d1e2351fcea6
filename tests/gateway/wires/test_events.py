"""The wire that makes frames events, before a wire that takes as much as a test allows."""

from __future__ import annotations

import re

from gateway.fanout.outbox import Outbox
from gateway.protocol.codes import SERVICE_RESTART
from gateway.protocol.events import Places
from gateway.protocol.messages import heartbeat_frame, tick_frame
from gateway.wires.events import EventWire
from tests.gateway.fakes import FakeWire

EPOCH = "0123456789ab"


def frame(symbol: str, seq: int) -> bytes:
    return tick_frame(f'"symbol":"{symbol}","price":1,"timestamp":"2026-05-12T15:04:05Z"', seq)


class Stream:
    """An outbox before a stream's wire, and what came out at its end."""

    def __init__(self, *symbols: str, is_chunked: bool = False) -> None:
        places = Places(symbols)
        for symbol in symbols:
            places.move(symbol, 0, EPOCH)
        self.end = FakeWire()
        self.wire = EventWire(places)
        self.outbox = Outbox(self.wire, patience=60)
        self.is_chunked = is_chunked

    def begin(self) -> None:
        self.wire.begin(self.end, is_chunked=self.is_chunked)

    def text(self) -> str:
        text, self.end.writes = b"".join(self.end.writes).decode(), []
        return text

    def ids(self) -> list[str]:
        return re.findall("^id: (.*)$", self.text(), re.MULTILINE)


async def test_what_is_sent_before_the_response_has_begun_goes_first() -> None:
    stream = Stream("A")
    stream.outbox.write(frame("A", 1))
    assert not stream.end.writes
    stream.begin()
    assert re.fullmatch(rf"retry: [123]\d\d\d\n\nevent: tick\ndata: .*\nid: {EPOCH}-1\n\n", stream.text())


async def test_each_tick_of_one_symbol_has_its_id() -> None:
    stream = Stream("A")
    stream.begin()
    stream.outbox.write(frame("A", 1) + frame("A", 2))
    assert stream.ids() == [f"{EPOCH}-1", f"{EPOCH}-2"]


async def test_the_ids_of_many_symbols_at_most_double_what_is_sent() -> None:
    symbols = [f"SYMBOL{number}" for number in range(300)]
    stream = Stream(*symbols)
    stream.begin()
    stream.text()
    for number in range(1_000):
        stream.outbox.write(frame(symbols[number % 300], 1 + number // 300))
    text = stream.text()
    ids = re.findall("^id: (.*)$", text, re.MULTILINE)
    assert len(ids) > 2
    assert sum(map(len, ids)) < 0.55 * len(text)
    stream.outbox.write(heartbeat_frame("2026-05-12T15:04:05Z"))
    assert len(stream.ids()) == 1  # what is outstanding
    stream.outbox.write(heartbeat_frame("2026-05-12T15:04:05Z"))
    assert not stream.ids()


async def test_chunks_are_of_whole_events() -> None:
    stream = Stream("A", is_chunked=True)
    stream.begin()
    stream.text()
    stream.outbox.write(frame("A", 1))
    size, _, rest = stream.text().partition("\r\n")
    assert int(size, 16) == len(rest) - 2
    assert rest.endswith(f"id: {EPOCH}-1\n\n\r\n")


async def test_a_client_that_is_behind_gets_the_rest_and_then_the_newest() -> None:
    stream = Stream("A", is_chunked=True)
    stream.begin()
    stream.text()
    stream.end.full = True
    stream.outbox.write(frame("A", 1))
    assert stream.outbox.behind
    stream.outbox.park("A", [frame("A", 2), frame("A", 3)])
    stream.end.drain()
    text = stream.text()
    assert [int(seq) for seq in re.findall(r'"seq":(\d+)', text)] == [1, 3]
    assert '"conflated"' in text
    assert not stream.outbox.behind
    chunks = re.findall(r"([0-9a-f]+)\r\n((?:[^\r])*)\r\n", text)
    assert [int(size, 16) for size, _ in chunks] == [len(chunk) for _, chunk in chunks]


async def test_closing_says_when_to_come_back_and_where_the_client_is() -> None:
    stream = Stream("A", "B")
    stream.begin()
    stream.text()
    stream.wire.settle()
    stream.outbox.close(SERVICE_RESTART)
    assert re.fullmatch(rf"retry: [123]\d\d\d\nevent: closing\ndata: .*\nid: {EPOCH}-0\.0~.*\n\n", stream.text())
    assert stream.end.closure is SERVICE_RESTART


async def test_a_stream_that_ends_before_it_has_begun_says_so() -> None:
    stream = Stream("A")
    stream.outbox.close(SERVICE_RESTART)
    stream.begin()
    assert "event: closing" in stream.text()
    assert stream.end.closure is SERVICE_RESTART
