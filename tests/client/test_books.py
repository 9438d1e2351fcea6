"""Positions, receipts and gaps: what the consumer is given always adds up."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketmux_client import Conflated, Event, Gap, Snapshot, Tick
from marketmux_client.books import Books, Position

OLD = "5f3a9c1e"
NEW = "8d21b7f0"


class Desk:
    """Books, and what came out of them since the last look."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.books = Books(self.events.append)

    def subscribed(self, seq: int, epoch: str = OLD, *, snapshot: bool = True, **more: Any) -> None:
        place = self.books.since("AAPL")
        asked = {} if place is None else {"AAPL": place}
        self.books.subscribed({"AAPL": {"seq": seq, "epoch": epoch, **more}}, asked, snapshot=snapshot)

    def tick(self, *seqs: int) -> None:
        for seq in seqs:
            self.books.tick(tick(seq))

    def snapshot(self, seq: int, epoch: str = OLD) -> None:
        self.books.snapshot(snapshot(seq, epoch))

    def taken(self) -> list[Any]:
        """Prices as their seq, the rest as it is."""
        taken = [event.seq if isinstance(event, Tick | Snapshot) else event for event in self.events]
        self.events.clear()
        return taken


def tick(seq: int, symbol: str = "AAPL") -> Tick:
    return Tick(symbol, Decimal(seq), "2026-05-12T15:04:05Z", seq)


def snapshot(seq: int, epoch: str = OLD, symbol: str = "AAPL") -> Snapshot:
    return Snapshot(symbol, Decimal(seq), "2026-05-12T15:04:05Z", seq, epoch)


@pytest.fixture
def desk() -> Desk:
    """At 1041 in the old epoch, with nothing to be told."""
    desk = Desk()
    desk.subscribed(1041)
    desk.snapshot(1041)
    assert desk.taken() == [1041]
    return desk


def test_ticks_that_follow_each_other_need_no_word(desk: Desk) -> None:
    desk.tick(1042, 1043)
    assert desk.taken() == [1042, 1043]


def test_without_a_snapshot_the_stream_goes_on_behind_the_position() -> None:
    desk = Desk()
    desk.subscribed(1041, snapshot=False)
    desk.tick(1042)
    assert desk.taken() == [1042]


def test_a_symbol_that_never_ticked_begins_with_one() -> None:
    desk = Desk()
    desk.subscribed(0)
    desk.tick(1, 2)
    assert desk.taken() == [1, 2]


def test_a_jump_that_nobody_explained_is_a_gap(desk: Desk) -> None:
    desk.tick(1045)
    assert desk.taken() == [Gap("AAPL", 3, "unexplained", 1044, OLD), 1045]


def test_what_was_seen_is_dropped_and_counted(desk: Desk) -> None:
    desk.tick(1042, 1041, 1042, 1043)
    assert desk.taken() == [1042, 1043]
    assert desk.books.counts.repeated == 2


def test_receipts_explain_a_jump(desk: Desk) -> None:
    desk.books.conflated("rate", {"AAPL": 3, "MSFT": 9})
    desk.books.conflated("slow", {"AAPL": 12})
    assert desk.taken() == []
    desk.tick(1057, 1058)
    assert desk.taken() == [Conflated("AAPL", 3, "rate"), Conflated("AAPL", 12, "slow"), 1057, 1058]


def test_receipts_explain_no_more_than_they_say(desk: Desk) -> None:
    desk.books.conflated("slow", {"AAPL": 12})
    desk.tick(1055)
    assert desk.taken() == [Conflated("AAPL", 12, "slow"), Gap("AAPL", 1, "unexplained", 1054, OLD), 1055]


def test_a_receipt_for_more_than_the_jump_is_cut_to_it(desk: Desk) -> None:
    desk.books.conflated("slow", {"AAPL": 12})
    desk.tick(1043)
    assert desk.taken() == [Conflated("AAPL", 1, "slow"), 1043]


def test_a_receipt_is_for_the_tick_behind_it_even_if_that_is_known(desk: Desk) -> None:
    desk.books.conflated("rate", {"AAPL": 4})
    desk.tick(1041, 1046)
    assert desk.taken() == [Gap("AAPL", 4, "unexplained", 1045, OLD), 1046]


def test_a_gap_of_the_gateway_is_passed_on_once(desk: Desk) -> None:
    desk.books.gap("AAPL", 8, 1049, OLD)
    desk.tick(1050)
    assert desk.taken() == [Gap("AAPL", 8, "bus", 1049, OLD), 1050]


def test_behind_a_gap_a_snapshot_is_as_good_as_a_tick(desk: Desk) -> None:
    desk.books.gap("AAPL", 8, 1049, OLD)
    desk.snapshot(1050)
    desk.tick(1051)
    assert desk.taken() == [Gap("AAPL", 8, "bus", 1049, OLD), 1050, 1051]


def test_a_gap_says_what_is_missing_here_whatever_the_gateway_counts(desk: Desk) -> None:
    desk.books.gap("AAPL", 5, 1049, OLD)
    assert desk.taken() == [Gap("AAPL", 8, "bus", 1049, OLD)]


def test_a_gap_in_what_another_gateway_has_sent_already_is_none(desk: Desk) -> None:
    desk.books.gap("AAPL", 8, 1041, OLD)
    desk.tick(1042)
    assert desk.taken() == [1042]


def test_a_stream_that_is_put_back_goes_on_from_there(desk: Desk) -> None:
    desk.books.gap("AAPL", None, 1030, OLD)
    desk.tick(1031)
    assert desk.taken() == [Gap("AAPL", None, "bus", 1030, OLD), 1031]


def test_receipts_ahead_of_a_gap_are_passed_on_ahead_of_it(desk: Desk) -> None:
    desk.books.conflated("slow", {"AAPL": 2})
    desk.books.gap("AAPL", 6, 1049, OLD)
    assert desk.taken() == [Conflated("AAPL", 2, "slow"), Gap("AAPL", 6, "bus", 1049, OLD)]


def test_after_a_new_epoch_nobody_knows_how_many_were_lost(desk: Desk) -> None:
    desk.books.gap("AAPL", None, 0, NEW)
    desk.tick(1, 2)
    assert desk.taken() == [Gap("AAPL", None, "bus", 0, NEW), 1, 2]


def test_a_snapshot_of_an_epoch_that_nobody_announced_is_a_gap(desk: Desk) -> None:
    desk.snapshot(7, NEW)
    desk.tick(8)
    assert desk.taken() == [Gap("AAPL", None, "unexplained", 6, NEW), 7, 8]


def test_a_resumed_stream_loses_nothing(desk: Desk) -> None:
    desk.books.conflated("slow", {"AAPL": 2})  # the tick behind it did not arrive any more
    desk.books.disconnected()
    assert desk.books.since("AAPL") == Position(1041, OLD)
    desk.subscribed(1044, recovered=True)
    desk.tick(1042, 1043, 1044, 1045)
    assert desk.taken() == [1042, 1043, 1044, 1045]


def test_what_was_skipped_before_a_replay_comes_in_it(desk: Desk) -> None:
    desk.books.conflated("rate", {"AAPL": 2})
    desk.subscribed(1044, recovered=True)
    desk.tick(1043)
    assert desk.taken() == [Gap("AAPL", 1, "unexplained", 1042, OLD), 1043]


def test_a_replay_that_is_not_whole_is_no_secret(desk: Desk) -> None:
    desk.books.disconnected()
    desk.subscribed(1044, recovered=True)
    desk.tick(1042, 1044)
    assert desk.taken() == [1042, Gap("AAPL", 1, "unexplained", 1043, OLD), 1044]


def test_what_cannot_be_recovered_is_a_gap_of_known_size(desk: Desk) -> None:
    desk.books.disconnected()
    desk.subscribed(1050, recovered=False)
    desk.snapshot(1050)
    assert desk.taken() == [Gap("AAPL", 8, "not_recovered", 1049, OLD), 1050]


def test_with_another_epoch_the_size_is_not_known(desk: Desk) -> None:
    desk.books.disconnected()
    desk.subscribed(7, NEW, recovered=False)
    desk.snapshot(7, NEW)
    assert desk.taken() == [Gap("AAPL", None, "not_recovered", 6, NEW), 7]


def test_the_snapshot_that_is_the_very_next_tick_is_no_gap(desk: Desk) -> None:
    desk.books.disconnected()
    desk.subscribed(1042, recovered=False)
    desk.snapshot(1042)
    assert desk.taken() == [1042]


def test_a_stream_that_went_back_is_believed_and_told(desk: Desk) -> None:
    desk.books.disconnected()
    desk.subscribed(1000, recovered=False)
    desk.snapshot(1000)
    desk.tick(1001)
    assert desk.taken() == [Gap("AAPL", None, "not_recovered", 999, OLD), 1000, 1001]


def test_a_gateway_that_lags_is_waited_for(desk: Desk) -> None:
    desk.books.disconnected()
    desk.subscribed(1039)  # not resumed: there was no room in the message
    desk.snapshot(1039)
    desk.tick(1040, 1041, 1042)
    assert desk.taken() == [1042]


def test_a_connection_lost_before_the_snapshot_owes_it_still() -> None:
    desk = Desk()
    desk.subscribed(1041)
    desk.books.disconnected()
    assert desk.books.since("AAPL") == Position(1040, OLD)


def test_a_heartbeat_that_agrees_is_nothing(desk: Desk) -> None:
    assert desk.books.heartbeat({"AAPL": 1041}) == []
    assert desk.taken() == []


def test_a_heartbeat_that_differs_makes_a_gap_and_a_resume(desk: Desk) -> None:
    assert desk.books.heartbeat({"AAPL": 1043}) == ["AAPL"]
    assert desk.taken() == [Gap("AAPL", None, "heartbeat", 1043, OLD)]
    assert not desk.books.is_current("AAPL")
    desk.subscribed(1043, recovered=True)
    desk.tick(1042, 1043)
    assert desk.taken() == [1042, 1043]
    assert desk.books.is_current("AAPL")


def test_a_symbol_that_everything_has_forgotten_begins_anew(desk: Desk) -> None:
    asked = {"AAPL": Position(1041, OLD)}
    desk.books.subscribed({}, asked, snapshot=True)
    desk.snapshot(1, NEW)
    assert desk.taken() == [Gap("AAPL", None, "not_recovered", 0, ""), 1]


def test_a_symbol_that_appears_needs_no_position() -> None:
    desk = Desk()
    desk.snapshot(1)
    desk.tick(2)
    assert desk.taken() == [1, 2]


@pytest.mark.parametrize(
    "event",
    [
        lambda desk: desk.books.disconnected(),
        lambda desk: desk.books.gap("AAPL", 8, 1049, OLD),
        lambda desk: desk.books.gap("AAPL", None, 0, NEW),
        lambda desk: desk.books.heartbeat({"AAPL": 1043}),
        lambda desk: desk.subscribed(1043, recovered=True),
    ],
    ids=["disconnected", "gap", "new epoch", "heartbeat", "before the replay"],
)
def test_a_price_that_is_known_to_be_old_is_not_current(desk: Desk, event: Callable[[Desk], None]) -> None:
    assert desk.books.is_current("AAPL")
    event(desk)
    assert not desk.books.is_current("AAPL")
    assert desk.books.last("AAPL") == snapshot(1041)


# Against an oracle


class Stream:
    """A stream, a gateway that tells a client of it, and a wire that may lose what it sends."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.epoch = 0
        self.seq = 0
        self.losing = 0

    @property
    def epoch_name(self) -> str:
        return f"{self.epoch:08x}"

    def send(self, send: Callable[[], None]) -> None:
        if self.losing:
            self.losing -= 1
        else:
            send()

    def tick(self, seq: int | None = None) -> None:
        if seq is None:
            seq = self.seq = self.seq + 1
        price = Decimal(f"{self.epoch}.{seq}")
        self.send(lambda: self.desk.books.tick(Tick("AAPL", price, "", seq)))

    def snapshot(self) -> None:
        seen = Snapshot("AAPL", Decimal(f"{self.epoch}.{self.seq}"), "", self.seq, self.epoch_name)
        self.desk.books.snapshot(seen)

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.tick()

    def conflate(self, count: int) -> None:
        self.seq += count
        self.send(lambda: self.desk.books.conflated("slow", {"AAPL": count}))
        self.tick()

    def gap(self, count: int) -> None:
        self.seq += count
        self.send(lambda: self.desk.books.gap("AAPL", count, self.seq, self.epoch_name))

    def gap_and_snapshot(self, count: int) -> None:
        self.gap(count)
        self.seq += 1
        self.snapshot()

    def forget(self, _: int) -> None:
        self.epoch += 1
        self.seq = 0
        self.desk.books.gap("AAPL", None, 0, self.epoch_name)

    def lose(self, count: int) -> None:
        self.losing += count

    def reconnect(self, count: int) -> None:
        """With up to nine ticks meanwhile, of which five are kept."""
        self.seq += count
        self.subscribe()

    def reconnect_elsewhere(self, count: int) -> None:
        """To a gateway that is behind the one before by so many ticks."""
        self.desk.books.disconnected()
        lag = max(0, self.seq - count)
        self.desk.books.subscribed({"AAPL": {"seq": lag, "epoch": self.epoch_name}}, {}, snapshot=False)
        for seq in range(lag + 1, self.seq + 1):
            self.tick(seq)

    def return_to_nothing(self, _: int) -> None:
        self.epoch += 1
        self.seq = 0
        self.subscribe()

    def subscribe(self) -> None:
        self.losing = 0
        self.desk.books.disconnected()
        self.resume()

    def resume(self) -> None:
        since = self.desk.books.since("AAPL")
        place: dict[str, Any] = {"seq": self.seq, "epoch": self.epoch_name}
        if since is not None:
            place["recovered"] = since.epoch == self.epoch_name and self.seq - 5 <= since.seq <= self.seq
        asked = {} if since is None else {"AAPL": since}
        self.desk.books.subscribed({"AAPL": place}, asked, snapshot=True)
        if since is not None and place["recovered"]:
            for seq in range(since.seq + 1, self.seq + 1):
                self.tick(seq)
        elif self.seq:
            self.snapshot()

    def heartbeat(self, _: int) -> None:
        if self.desk.books.heartbeat({"AAPL": self.seq}):
            self.resume()


STEPS = [
    Stream.ticks,
    Stream.conflate,
    Stream.gap,
    Stream.gap_and_snapshot,
    Stream.forget,
    Stream.lose,
    Stream.reconnect,
    Stream.reconnect_elsewhere,
    Stream.return_to_nothing,
    Stream.heartbeat,
]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 9)), max_size=40))
def test_whatever_happens_no_jump_goes_unreported_and_seq_only_rises(
    steps: list[tuple[Callable[[Stream, int], None], int]],
) -> None:
    stream = Stream()
    stream.subscribe()
    for step, count in steps:
        step(stream, count)
    stream.losing = 0
    stream.heartbeat(0)

    last: int | None = None
    explained = 0
    price: Tick | Snapshot | None = None
    for event in stream.desk.events:
        match event:
            case Gap(missed=None):
                last, explained = None, 0
            case Gap(missed=int(missed)):
                assert missed > 0
                explained += missed
            case Conflated(skipped=skipped):
                assert skipped > 0
                explained += skipped
            case Tick(seq=seq) | Snapshot(seq=seq):
                if last is not None:
                    assert seq - last - 1 == explained
                last, explained, price = seq, 0, event
    counts = stream.desk.books.counts
    assert counts.gaps == sum(isinstance(event, Gap) for event in stream.desk.events)
    # A gap without a price behind it is known to be one.
    if stream.desk.books.is_current("AAPL"):
        assert price is not None
        assert price.price == Decimal(f"{stream.epoch}.{stream.seq}")
    elif stream.seq:
        assert explained or last is None
