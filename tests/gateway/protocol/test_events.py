"""Messages as server-sent events, and ids that say where a client stands."""

from __future__ import annotations

import json
import time

import pytest

from bus.contract import Since
from gateway.protocol.codes import SERVICE_RESTART
from gateway.protocol.events import MOST_ID_BYTES, Places, events, places_in
from gateway.protocol.messages import closing_frame, gap_frame, heartbeat_frame, tick_frame

EPOCH = "0123456789ab"
BODY = '"symbol":"AAPL","price":1.50,"timestamp":"2026-05-12T15:04:05Z"'


def test_an_event_has_the_name_and_the_very_text_of_its_message() -> None:
    (event,) = events(tick_frame(BODY, 7))
    assert event.lines == f'event: tick\ndata: {{"type":"tick",{BODY},"seq":7}}\n'.encode()
    assert (event.symbol, event.seq, event.epoch) == ("AAPL", 7, None)


def test_joined_frames_are_as_many_events() -> None:
    one, two, three = events(tick_frame(BODY, 7) + gap_frame("AAPL", 3, 10, EPOCH) + closing_frame(SERVICE_RESTART))
    assert (one.seq, two.seq, two.epoch) == (7, 10, EPOCH)
    assert (one.wait, three.wait) == (None, SERVICE_RESTART.wait)


def test_a_heartbeat_is_a_comment() -> None:
    (event,) = events(heartbeat_frame("2026-05-12T15:04:05Z"))
    assert event.is_comment
    assert json.loads(event.lines.removeprefix(b": "))["type"] == "heartbeat"


def test_what_goes_to_many_clients_is_made_once() -> None:
    frame = tick_frame(BODY, 8)
    assert events(frame) is events(frame)


def test_one_symbol_is_an_epoch_and_a_seq() -> None:
    places = Places(["AAPL"])
    places.move("AAPL", 12, EPOCH)
    assert places.id() == f"{EPOCH}-12".encode()
    assert places_in(f"{EPOCH}-12", ["AAPL"]) == {"AAPL": Since(EPOCH, 12)}


def test_an_id_has_all_symbols_and_as_many_epochs_as_there_are() -> None:
    symbols = ["AAPL", "MSFT", "BTC-USD", "ES=F"]
    places = Places(symbols)
    for symbol, seq, epoch in zip(symbols, (1, 22, 333, 4), ("aaaaaaaa", "aaaaaaaa", "bbbbbbbb", ""), strict=True):
        places.move(symbol, seq, epoch)
    places.move("MSFT", 23)
    places.move("of everything", 5, "aaaaaaaa")
    said = places.id().decode()
    assert said.startswith("aaaaaaaa-1.23,bbbbbbbb-333,-4~")
    assert places_in(said, symbols) == {
        "AAPL": Since("aaaaaaaa", 1), "MSFT": Since("aaaaaaaa", 23), "BTC-USD": Since("bbbbbbbb", 333)
    }  # fmt: skip


def test_an_id_means_nothing_to_another_address() -> None:
    places = Places(["AAPL", "MSFT"])
    places.move("AAPL", 1, EPOCH)
    places.move("MSFT", 1, EPOCH)
    said = places.id().decode()
    for other in (["MSFT", "AAPL"], ["AAPL", "TSLA"], ["AAPL"], ["AAPL", "MSFT", "TSLA"], []):
        assert places_in(said, other) == {}


@pytest.mark.parametrize(
    "shown",
    ["", "-", "5", "x-1", "AAPL", f"{EPOCH}-", f"{EPOCH}-1.2", f"{EPOCH}-1,{EPOCH}-2", f"{EPOCH}-1~00000000", "-1",
     f"{EPOCH}-{'9' * 30}", f"{EPOCH}--1", f"{EPOCH}-.", f"{EPOCH}-1\n", f"{EPOCH}-١"],
)  # fmt: skip
def test_what_is_no_id_says_nothing(shown: str) -> None:
    assert places_in(shown, ["AAPL"]) == {}


def test_an_id_that_would_not_fit_in_a_header_is_not_said() -> None:
    places = Places([f"S{number}" for number in range(1_000)])
    for number in range(1_000):
        places.move(f"S{number}", 10**9, EPOCH)
    assert places.id() == b""
    assert Places([]).id() == b""


def test_the_worst_id_costs_little() -> None:
    began = time.thread_time()
    for worst in ("1-" * (MOST_ID_BYTES // 2), "a-1," * (MOST_ID_BYTES // 4), "-1" * (MOST_ID_BYTES // 2) + "x"):
        places_in(worst, ["AAPL"])
    assert time.thread_time() - began < 0.1
