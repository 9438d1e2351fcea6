"""Where slots are, by what nodes say, and what buckets are called."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from redis.crc import key_slot

from bus.redis.topology import SLOTS, Claim, View, bucket_of, claims, read_view, tags

NODES = b"""\
aa 10.0.0.1:7001@17001,one.example myself,master - 0 0 4 connected 0-100
bb 10.0.0.2:7002@17002 master - 0 1795731280932 7 connected 101-16383 [5-<-aa]
cc 10.0.0.3:7003@17003 slave bb 0 1795731280932 7 connected
"""

WELL, DOWN = b"cluster_state:ok\r\ncluster_size:2\r\n", b"cluster_state:fail\r\ncluster_size:2\r\n"


def node(host: str | None, port: int, name: str) -> list[Any]:
    return [None if host is None else host.encode(), port, name.encode(), []]


def test_a_view_has_the_addresses_for_clients_and_the_epochs_of_claims() -> None:
    slots = [
        [0, 100, node("one.example", 7001, "aa")],
        [101, 16_383, node("10.0.0.2", 7002, "bb"), node("10.0.0.3", 7003, "cc")],
    ]
    view = read_view(("asked", 1), slots, NODES, WELL)
    assert view.claims == [Claim(0, 100, ("one.example", 7001), 4), Claim(101, 16_383, ("10.0.0.2", 7002), 7)]
    assert view.replicas == [("10.0.0.3", 7003)]
    assert view.down is None


def test_a_primary_to_which_the_cluster_is_down_says_so_of_itself_alone() -> None:
    slots = [[0, 100, node("one.example", 7001, "aa")], [101, 16_383, node("10.0.0.2", 7002, "bb")]]
    assert read_view(("asked", 1), slots, NODES, DOWN).down == ("one.example", 7001)
    assert read_view(("asked", 1), slots[1:], NODES, DOWN).down is None


@pytest.mark.parametrize("host", [None, ""])
def test_a_node_without_a_host_is_at_that_of_the_one_that_was_asked(host: str | None) -> None:
    view = read_view(("asked", 1), [[0, 16_383, node(host, 7001, "aa")]], NODES, WELL)
    assert view.claims == [Claim(0, 16_383, ("asked", 7001), 4)]


def test_a_node_of_which_nobody_knows_the_host_is_left_out() -> None:
    view = read_view(("asked", 1), [[0, 16_383, node("?", 7001, "aa"), node("?", 7003, "cc")]], NODES, WELL)
    assert view == View([], [])


def test_the_newest_claim_counts_whoever_is_asked_first() -> None:
    stale, fresh = View([Claim(0, 100, ("old", 1), 3)], []), View([Claim(50, 200, ("new", 1), 4)], [])
    for views in ([stale, fresh], [fresh, stale]):
        assert claims(views, [0, 50, 100, 200, 201]) == {
            0: ("old", 1),
            50: ("new", 1),
            100: ("new", 1),
            200: ("new", 1),
        }


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 24, 64, 1_024])
def test_buckets_lie_evenly_and_their_names_have_one_length(count: int) -> None:
    named = tags(count)
    assert len(named) == len(set(named.values())) == count
    assert {len(tag) for tag in named} == {3}
    assert all(key_slot(f"marketmux.0:{{{tag}}}:streams".encode()) == slot for tag, slot in named.items())
    for number, slot in enumerate(named.values()):
        assert number * SLOTS // count <= slot < (number + 1) * SLOTS // count


def test_three_primaries_have_a_third_of_the_buckets_each() -> None:
    thirds = Counter(slot * 3 // SLOTS for slot in tags(6).values())
    assert thirds == {0: 2, 1: 2, 2: 2}


def test_where_a_group_is_never_changes() -> None:
    """What is kept would not be found again."""
    assert [bucket_of(name, 6) for name in ("ticks.AAPL", "ticks.BTC-USD", "ticks.ü")] == [4, 3, 1]
    assert list(tags(6)) == ["3kw", "17p", "5ab", "1i1", "356", "bit"]
