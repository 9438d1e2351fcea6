"""What is cut out of the gateway's messages."""

from __future__ import annotations

import pytest

from gateway.loadtest.messages import decode, place_of, price_of, skipped_by, stamp_of

TICK = b'{"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"2026-05-12T15:04:05.123456789Z","size":1}'


def test_the_timestamp_is_cut_out_of_a_tick_only() -> None:
    assert stamp_of(TICK) == b"2026-05-12T15:04:05.123456789Z"
    assert stamp_of(b'{"type":"conflated","timestamp":"x"}') == b""
    assert stamp_of(TICK.replace(b"tick", b"snapshot", 1)) == b""


def test_what_a_tick_stands_for_is_cut_out_of_its_end_only() -> None:
    numbered = TICK.replace(b"}", b',"seq":1042}')
    assert place_of(skipping := numbered.replace(b"}", b',"skipped":9}')) == (b"AAPL", 1042)
    assert skipped_by(skipping) == 9
    extra = TICK.replace(b"}", b',"extra":{"a":1,"skipped":5},"seq":7}')
    assert (skipped_by(numbered), skipped_by(extra), place_of(extra)) == (0, 0, (b"AAPL", 7))


def test_symbol_seq_and_price_are_cut_out_of_a_tick() -> None:
    numbered = TICK.replace(b"}", b',"seq":1042}')
    assert place_of(numbered) == (b"AAPL", 1042)
    assert place_of(TICK) == (b"AAPL", 0)
    assert price_of(numbered) == b"150.250"
    assert price_of(b"") == b""


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{", b"\xff"])
def test_a_message_that_is_no_object_is_an_empty_one(payload: bytes) -> None:
    assert decode(payload) == {}
