"""What joining costs, without a Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from bus.redis.listener import Listener
from bus.redis.membership import Membership, names_of


class Ear:
    """Confirms at once."""

    def __init__(self) -> None:
        self.channels: set[str] = set()

    async def add(self, channels: Iterable[str], patterns: Iterable[str]) -> None:
        self.channels.update(channels)

    def remove(self, channels: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self.channels.difference_update(channels)


class Name(str):
    """A channel that counts how often it is held against a pattern."""

    looked = 0

    def startswith(self, *arguments: Any) -> bool:
        Name.looked += 1
        return super().startswith(*arguments)


async def test_a_join_does_not_look_at_all_that_is_joined() -> None:
    ear = Ear()
    membership = Membership(cast("Listener", ear), lambda _: False, lambda: False)
    await membership.join(names_of(["other.*"]))
    for number in range(500):
        await membership.join(names_of([Name(f"ticks.{number}")]))
    assert Name.looked < 5 * 500
    assert len(ear.channels) == 500
    await membership.join(names_of(["ticks.*"]))
    assert not ear.channels, "the pattern covers them"
    await membership.leave(names_of(["ticks.*"]))
    assert len(ear.channels) == 500
