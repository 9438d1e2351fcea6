"""What the sequence proves: a client's book against hand-made messages."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.loadtest import websocket
from gateway.loadtest.ledger import Ledger
from gateway.loadtest.proof import Book, Findings, Latest, fetch_latest, forgotten
from gateway.loadtest.target import Target

EPOCH = "5f3a9c1e"


class Client:
    """A book that has read an acknowledgement at seq 10 of A, with the snapshot behind it; every call is one read."""

    def __init__(self, *symbols: str, start: bool = True) -> None:
        self.findings = Findings()
        self.book = Book(self.findings, symbols or ("A",))
        if start:
            self.subscribed(10)
            self.snapshot(10)

    def read(self, *messages: dict[str, Any]) -> int:
        """Reads the messages; how many of them were live."""
        texts = [json.dumps(message, separators=(",", ":")).encode() for message in messages]
        return len(self.book.read([(websocket.TEXT, text) for text in texts]))

    def ticks(self, *seqs: int, symbol: str = "A") -> int:
        return self.read(*(tick(seq, symbol) for seq in seqs))

    def snapshot(self, seq: int, epoch: str = EPOCH, symbol: str = "A") -> None:
        self.read({"type": "snapshot", "symbol": symbol, "price": seq, "timestamp": "", "seq": seq, "epoch": epoch})

    def subscribed(self, seq: int, epoch: str = EPOCH, symbol: str = "A", recovered: bool | None = None) -> None:
        position = {"seq": seq, "epoch": epoch} | ({} if recovered is None else {"recovered": recovered})
        self.read({"type": "subscribed", "symbols": [symbol], "positions": {symbol: position}})

    def skipped(self, count: int, reason: str = "slow") -> None:
        self.read({"type": "conflated", "reason": reason, "skipped": {"A": count}})

    def gap(self, missed: int | None, seq: int, epoch: str = EPOCH) -> None:
        self.read({"type": "gap", "symbol": "A", "missed": missed, "seq": seq, "epoch": epoch})

    def flaws(self) -> tuple[int, int, int]:
        """Lost, duplicates, reordered."""
        return self.findings.lost, self.findings.duplicates, self.findings.reordered

    def breaches(self) -> list[str]:
        return list(self.findings.breaches)

    def ends_on(self, seq: int, price: int | None = None, epoch: str = EPOCH) -> bool:
        latest = Latest(epoch, seq, str(seq if price is None else price).encode(), "")
        return not self.book.stale({"A": latest})


def tick(seq: int, symbol: str = "A") -> dict[str, Any]:
    return {"type": "tick", "symbol": symbol, "price": seq, "timestamp": "", "seq": seq}


# The sequence


@pytest.mark.parametrize(
    ("seqs", "flaws"),
    [
        ([11, 12, 13], (0, 0, 0)),
        ([11, 13, 14], (1, 0, 0)),
        ([15], (4, 0, 0)),
        ([11, 11, 12], (0, 1, 0)),
        ([10, 11], (0, 1, 0)),
        ([11, 13, 12, 14], (0, 0, 1)),
        ([11, 13, 12, 12, 14], (0, 1, 1)),
    ],
)
def test_what_is_not_the_next_seq_is_a_flaw(seqs: Sequence[int], flaws: tuple[int, int, int]) -> None:
    client = Client()
    client.ticks(*seqs)
    assert client.flaws() == flaws
    assert client.findings.flawless is (flaws == (0, 0, 0))
    assert bool(client.findings.examples) is not client.findings.flawless


def test_symbols_have_sequences_of_their_own() -> None:
    client = Client("A", "B")
    client.subscribed(0, symbol="B")
    client.ticks(11)
    client.ticks(1, 2, symbol="B")
    client.ticks(12)
    assert client.findings.flawless
    assert client.findings.ticks == 4


def test_a_tick_without_a_seq_is_a_breach() -> None:
    client = Client()
    client.read({"type": "tick", "symbol": "A", "price": 1})
    assert client.breaches() == ["tick without a seq"]


# What the gateway owns up to


def test_a_tick_explains_a_jump_itself() -> None:
    client = Client()
    assert client.read(tick(11), tick(15) | {"skipped": 3}, tick(17) | {"skipped": 2}) == 3
    assert client.findings.conflated == {"rate": 5}
    assert client.breaches() == ["receipts of more than was skipped"]


def test_receipts_explain_a_jump_exactly() -> None:
    client = Client()
    client.skipped(3)
    client.skipped(1, "rate")
    client.ticks(15, 16)
    assert client.findings.flawless
    assert client.findings.conflated == {"slow": 3, "rate": 1}


@pytest.mark.parametrize(("receipt", "lost", "breaches"), [(2, 1, 0), (4, 0, 1)])
def test_a_receipt_that_does_not_add_up_is_a_flaw(receipt: int, lost: int, breaches: int) -> None:
    client = Client()
    client.skipped(receipt)
    client.ticks(14)
    assert (client.findings.lost, client.findings.breaches.total()) == (lost, breaches)


def test_a_gap_explains_a_jump_exactly() -> None:
    client = Client()
    client.gap(8, 18)
    client.snapshot(18)
    client.ticks(19)
    assert client.findings.flawless
    assert (client.findings.gaps, client.findings.missed) == (1, 8)


def test_a_gap_may_follow_a_receipt_and_be_followed_by_a_tick_at_once() -> None:
    client = Client()
    client.skipped(2)
    client.gap(3, 15)
    client.ticks(16)
    assert client.findings.flawless


@pytest.mark.parametrize(("missed", "lost", "breaches"), [(3, 2, 0), (6, 0, 1)])
def test_a_gap_that_does_not_add_up_is_a_flaw(missed: int, lost: int, breaches: int) -> None:
    client = Client()
    client.gap(missed, 15)
    client.ticks(16)
    assert (client.findings.lost, client.findings.breaches.total()) == (lost, breaches)


def test_a_new_epoch_comes_with_a_gap_of_unknown_length() -> None:
    client = Client()
    client.gap(None, 2, "0badcafe")
    client.snapshot(2, "0badcafe")
    client.ticks(3)
    assert client.findings.flawless
    assert client.findings.unmeasured == 1
    assert client.ends_on(3, epoch="0badcafe")


def test_a_new_epoch_without_a_gap_is_a_breach() -> None:
    client = Client()
    client.snapshot(2, "0badcafe")
    assert client.breaches() == ["another epoch without a gap"]


def test_heartbeats_are_held_against_the_position() -> None:
    client = Client()
    client.ticks(11)
    client.read({"type": "heartbeat", "seqs": {"A": 11}}, {"type": "heartbeat"})
    assert client.findings.flawless
    client.read({"type": "heartbeat", "seqs": {"A": 12}})
    assert client.breaches() == ["heartbeat of another seq"]


# Snapshots


def test_the_snapshot_comes_before_the_first_tick() -> None:
    client = Client(start=False)
    client.subscribed(10)
    client.ticks(11)
    assert client.breaches() == ["tick before its snapshot"]


def test_a_symbol_that_never_ticked_has_no_snapshot() -> None:
    client = Client(start=False)
    client.subscribed(0)
    client.ticks(1, 2)
    assert client.findings.flawless


@pytest.mark.parametrize(("seq", "flaws"), [(11, (0, 0, 0)), (12, (1, 0, 0)), (9, (0, 1, 0))])
def test_a_snapshot_has_a_place_too(seq: int, flaws: tuple[int, int, int]) -> None:
    client = Client()
    client.snapshot(seq)
    assert client.flaws() == flaws


def test_snapshots_are_no_ticks() -> None:
    client = Client()
    assert (client.findings.snapshots, client.findings.ticks) == (1, 0)


def test_a_subscriber_of_everything_gets_new_symbols_by_snapshot() -> None:
    client = Client("*")
    client.snapshot(1, symbol="NEW")
    client.ticks(2, symbol="NEW")
    assert client.findings.flawless
    client.ticks(2, symbol="OTHER")
    assert client.breaches() == ["tick of a stream without a position"]


# Resumption


def test_a_resumed_stream_goes_on_where_the_client_was() -> None:
    client = Client()
    client.ticks(11)
    assert client.book.since() == {"A": {"seq": 11, "epoch": EPOCH}}
    client.subscribed(13, recovered=True)
    assert client.ticks(12, 13) == 0  # replayed, so not live
    assert client.ticks(14) == 1
    assert client.findings.flawless
    assert (client.findings.resumed, client.findings.replayed) == (1, 2)


@pytest.mark.parametrize(("seqs", "flaws"), [([13, 14], (1, 0, 0)), ([14], (2, 0, 0)), ([11, 12, 13], (0, 1, 0))])
def test_a_partial_replay_passed_off_as_whole_is_found(seqs: Sequence[int], flaws: tuple[int, int, int]) -> None:
    client = Client()
    client.ticks(11)
    client.book.since()
    client.subscribed(13, recovered=True)
    client.ticks(*seqs)
    assert client.flaws() == flaws


def test_a_stream_that_is_not_recovered_begins_anew() -> None:
    client = Client()
    client.book.since()
    client.subscribed(90, recovered=False)
    client.snapshot(90)
    client.ticks(91)
    assert client.findings.flawless
    assert client.findings.restarted == 1


def test_a_receipt_is_void_if_the_connection_ends_before_the_tick() -> None:
    client = Client()
    client.skipped(5)
    assert client.book.since() == {"A": {"seq": 10, "epoch": EPOCH}}
    client.subscribed(16, recovered=True)
    client.ticks(*range(11, 17))
    assert client.findings.flawless


def test_a_stream_whose_value_is_unknown_is_not_resumed() -> None:
    client = Client()
    client.gap(2, 12)
    assert client.book.since() == {}


def test_what_the_bus_has_forgotten_comes_anew_to_a_subscriber_of_everything() -> None:
    client = Client("*")
    client.book.since()
    client.read({"type": "subscribed", "symbols": ["*"], "positions": {}})
    client.snapshot(1, "0badcafe")
    assert client.findings.flawless
    assert client.findings.restarted == 1


def test_a_resumption_by_name_must_be_answered() -> None:
    client = Client()
    client.book.since()
    client.read({"type": "subscribed", "symbols": ["A"], "positions": {}})
    assert client.breaches() == ["resumption without an answer"]


@pytest.mark.parametrize("asks", [True, False])
def test_who_does_not_ask_is_not_answered_and_the_other_way_round(asks: bool) -> None:
    client = Client()
    if asks:
        client.book.since()
    client.subscribed(10, recovered=None if asks else True)
    assert client.breaches() == ["resumption and answer do not match"]


@pytest.mark.parametrize("message", [{"type": "subscribed", "symbols": ["A"]}, {"type": "gap", "symbol": "A"}])
def test_a_message_without_what_belongs_to_it_is_a_breach(message: dict[str, Any]) -> None:
    client = Client()
    client.read(message)
    assert client.findings.breaches.total() == 1


# The end


def test_everyone_ends_on_the_last_seq_and_price() -> None:
    client = Client()
    assert client.ends_on(10)
    client.ticks(11, 12)
    assert client.ends_on(12)
    assert not client.ends_on(13)
    assert not client.ends_on(12, price=11)
    assert not client.ends_on(12, epoch="0badcafe")
    assert client.ends_on(11), "what ticks after the question does not make a client stale"


def test_after_a_gap_only_a_value_makes_up_for_it() -> None:
    client = Client()
    client.gap(2, 12)
    assert not client.ends_on(12)
    client.snapshot(12)
    assert client.ends_on(12)


def test_a_subscriber_of_everything_has_to_hold_everything() -> None:
    client = Client("*")
    latest = {"A": Latest(EPOCH, 10, b"10", ""), "B": Latest(EPOCH, 1, b"1", "")}
    assert client.book.stale(latest) == ["B: no position, where 1 is the last"]


def test_the_last_accepted_tick_is_the_gateway_s_last() -> None:
    ledger = Ledger()
    for number in (1, 2, 3):
        ledger.enter("A", f"t{number}").accepted = number < 3

    def late(timestamp: str) -> list[str]:
        return forgotten(ledger, {"A": Latest(EPOCH, 9, b"1", timestamp)}, unmeasured=0)

    assert late("t1") == ["A"]
    assert late("t2") == []
    assert late("t3") == [], "a tick whose answer did not come may be the last"
    assert late("foreign") == []
    assert forgotten(ledger, {}, unmeasured=0) == ["A"]
    assert forgotten(ledger, {}, unmeasured=1) == [], "the bus lost its memory and said so"


# The gateway's own account


@contextlib.contextmanager
def serving(pages: Sequence[Any], status: int = 200) -> Iterator[Target]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.rpartition("page=")[2])
            body = json.dumps(pages[number - 1]).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Target.from_url(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def listed(symbol: str, seq: int) -> dict[str, Any]:
    return {"symbol": symbol, "price": 1.25, "timestamp": "t", "seq": seq, "epoch": EPOCH}


def test_the_last_ticks_are_read_page_by_page() -> None:
    pages = [{"next": "more", "results": [listed("A", 3), listed("B", 4)]}, {"next": None, "results": [listed("C", 5)]}]
    with serving(pages) as target:
        assert fetch_latest(target, ["A", "C"]) == {s: Latest(EPOCH, n, b"1.25", "t") for s, n in (("A", 3), ("C", 5))}
        assert fetch_latest(target, ["*"]).keys() == {"A", "B", "C"}


@pytest.mark.parametrize(("page", "status"), [({}, 200), ([], 200), ({"detail": "no"}, 403)])
def test_an_answer_that_is_no_list_of_ticks_is_an_error(page: Any, status: int) -> None:
    with serving([page], status) as target, pytest.raises(ValueError, match=r"not a list|403"):
        fetch_latest(target, ["A"])
