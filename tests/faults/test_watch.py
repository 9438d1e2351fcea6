"""The books that the other tests here rely on find what they are to find."""

from __future__ import annotations

import pytest

from gateway.loadtest.target import Target
from tests.faults.watch import Account, Kind, Ledger, Note, Watcher, reconcile

START = Note(0.0, "position", 10, "e1")


def note(kind: Kind, seq: int = 0, *, epoch: str = "", price: int = 0, ticks: int | None = 0) -> Note:
    return Note(1.0, kind, seq, epoch, price or seq, ticks)


@pytest.mark.parametrize(
    "notes",
    [
        [note("snapshot", 10, epoch="e1"), note("tick", 11), note("tick", 12)],
        [note("skipped", ticks=3), note("tick", 14), note("heartbeat", 14)],
        [note("gap", 15, epoch="e1", ticks=5), note("snapshot", 16, epoch="e1"), note("tick", 17)],
        [note("skipped", ticks=2), note("gap", 15, epoch="e1", ticks=3), note("heartbeat", 15), note("tick", 16)],
        [note("gap", 0, epoch="e2", ticks=None), note("tick", 1)],
        [note("gap", 4, epoch="e2", ticks=None), note("snapshot", 5, epoch="e2"), note("tick", 6)],
        [note("tick", 11), note("recovered", 13, epoch="e1"), note("tick", 12), note("tick", 13), note("tick", 14)],
        [note("skipped", ticks=2), note("recovered", 12, epoch="e1"), note("tick", 11), note("tick", 12)],
        [note("tick", 11), note("restarted", 90, epoch="e1"), note("snapshot", 90, epoch="e1"), note("tick", 91)],
    ],
)  # fmt: skip
def test_what_adds_up_is_no_flaw(notes: list[Note]) -> None:
    account = Account("A")
    for each in [START, *notes]:
        account.take(each)
    assert account.flaws == []


@pytest.mark.parametrize(
    "notes",
    [
        [note("tick", 12)],
        [note("tick", 11), note("tick", 11)],
        [note("tick", 11), note("tick", 13), note("tick", 12)],
        [note("skipped", ticks=3), note("tick", 13)],
        [note("skipped", ticks=3), note("tick", 15)],
        [note("gap", 15, epoch="e1", ticks=4)],
        [note("gap", 15, epoch="e1", ticks=5), note("snapshot", 15, epoch="e1")],
        [note("gap", 15, epoch="e1", ticks=None)],
        [note("gap", 15, epoch="e2", ticks=5)],
        [note("snapshot", 11, epoch="e2")],
        [note("heartbeat", 11)],
        [note("tick", 11), note("recovered", 13, epoch="e1"), note("tick", 13)],
        [note("recovered", 13, epoch="e2")],
    ],
)
def test_what_does_not_add_up_is_a_flaw(notes: list[Note]) -> None:
    account = Account("A")
    for each in [START, *notes]:
        account.take(each)
    assert account.flaws != []


def test_a_tick_before_any_position_is_a_flaw() -> None:
    account = Account("A")
    account.take(note("tick", 1))
    assert account.flaws != []


def watcher(*notes: Note) -> Watcher:
    watcher = Watcher(Target.from_url("http://127.0.0.1:1"), ["A"])
    watcher.accounts["A"] = Account("A")
    for each in (START, *notes):
        watcher.accounts["A"].take(each)
    return watcher


def ledger(*prices: int) -> Ledger:
    return Ledger(accepted={"A": list(prices)})


def test_delivered_skipped_and_missed_ticks_account_for_all_that_were_accepted() -> None:
    one = watcher(note("tick", 11), note("tick", 12), note("tick", 13), note("tick", 14))
    other = watcher(note("tick", 11), note("gap", 13, epoch="e1", ticks=2), note("tick", 14))
    found = reconcile([one, other], ledger(11, 12, 13, 14))
    assert found.problems == []
    assert str(found) == "6 tick, 1 gap, 2 missed"


@pytest.mark.parametrize(
    ("watchers", "accepted"),
    [
        ([watcher(note("tick", 11, price=11), note("tick", 12, price=13))], ledger(11, 12, 13)),
        ([watcher(note("tick", 11, price=1)), watcher(note("tick", 11, price=2))], ledger(1, 2)),
        ([watcher(note("tick", 11, price=1), note("tick", 12, price=1))], ledger(1)),
        ([watcher(note("tick", 11, price=2), note("tick", 12, price=1))], ledger(1, 2)),
        ([watcher(note("tick", 11, price=1))], Ledger(refused={1})),
    ],
    ids=["lost", "two orders", "published twice", "out of order", "answered 503 and published"],
)
def test_what_the_accounts_alone_do_not_show_is_found(watchers: list[Watcher], accepted: Ledger) -> None:
    assert reconcile(watchers, accepted).problems != []


def test_a_publication_in_two_epochs_is_counted() -> None:
    anew = watcher(note("tick", 11, price=1), note("gap", 0, epoch="e2", ticks=None), note("tick", 1, price=1))
    found = reconcile([anew], ledger(1))
    assert found.problems == []
    assert found.republished == 1
