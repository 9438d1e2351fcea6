"""Which node of a Redis Cluster serves a slot: what nodes say, and whom to believe; and the buckets' names.

A node that was cut off goes on saying that it serves what it served. As in Redis itself, who has the higher epoch of
configuration is right. Once it has found out that it is alone its cluster is down to it: it refuses what is published,
and who listens there hears nothing of what the others go on with.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from redis.crc import key_slot

__all__ = ["SLOTS", "Address", "Claim", "View", "bucket_of", "claims", "read_view", "tags"]

SLOTS: Final = 16_384
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_TAG_SIZE: Final = 3

Address: TypeAlias = tuple[str, int]


class Claim(NamedTuple):
    """A node says of a primary that it serves some slots, since an epoch."""

    first: int
    last: int
    primary: Address
    epoch: int


class View(NamedTuple):
    """What one node says of the cluster."""

    claims: Sequence[Claim]
    replicas: Sequence[Address]
    down: Address | None = None
    """Where it is itself, if it is a primary with slots and the cluster is down to it."""


def read_view(asked: Address, slots: Any, nodes: Any, info: Any) -> View:
    """The replies to ``CLUSTER SLOTS``, ``CLUSTER NODES`` and ``CLUSTER INFO`` of the node ``asked``.

    The first has the addresses that are meant for clients, the second the epochs, the third whether all is well.
    """
    epochs, myself = {}, ""
    for line in nodes.decode().splitlines():
        fields = line.split()
        if len(fields) > 6:
            epochs[fields[0]] = int(fields[6])
            if "myself" in fields[2].split(","):
                myself = fields[0]
    is_down = b"cluster_state:ok" not in info
    down = None
    found: list[Claim] = []
    replicas: list[Address] = []
    for first, last, primary, *others in slots:
        address = _address(asked, primary)
        if address is not None:
            found.append(Claim(first, last, address, epochs.get(primary[2].decode(), 0)))
            if is_down and primary[2].decode() == myself:
                down = address
        replicas += filter(None, (_address(asked, other) for other in others))
    return View(found, replicas, down)


def _address(asked: Address, node: Sequence[Any]) -> Address | None:
    """Without a host it is at that of the node that was asked; with ``?`` nobody knows it."""
    host = (node[0] or b"").decode()
    return None if host == "?" or not node[1] else (host or asked[0], node[1])


def claims(views: Iterable[View], slots: Iterable[int]) -> dict[int, Address]:
    """The primary of each slot, by the newest claim; without those that nobody serves."""
    newest: dict[int, Claim] = {}
    wanted = list(slots)
    for view in views:
        for claim in view.claims:
            for slot in wanted:
                known = newest.get(slot)
                if claim.first <= slot <= claim.last and (known is None or claim.epoch > known.epoch):
                    newest[slot] = claim
    return {slot: claim.primary for slot, claim in newest.items()}


@cache
def tags(count: int) -> dict[str, int]:
    """What ``count`` buckets are called, all names of one length, with their slots, which lie evenly in the cluster."""
    named: dict[int, str] = {}
    for number in range(len(_DIGITS) ** _TAG_SIZE):
        text = ""
        for _ in range(_TAG_SIZE):
            number, digit = divmod(number, len(_DIGITS))  # noqa: PLW2901
            text = _DIGITS[digit] + text
        named.setdefault(key_slot(text.encode()), text)
    chosen: dict[str, int] = {}
    for number in range(count):
        middle = (2 * number + 1) * SLOTS // (2 * count)
        near = (slot for distance in range(SLOTS) for slot in (middle + distance, middle - distance))
        slot = next(slot for slot in near if slot in named and named[slot] not in chosen)
        chosen[named[slot]] = slot
    return chosen


def bucket_of(name: str, count: int) -> int:
    """The number of the bucket that a group, or whatever has a name, is in."""
    return binascii.crc32(name.encode("utf-8", "surrogateescape")) % count
