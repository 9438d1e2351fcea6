"""A subscription that is cancelled has not happened, wherever it was: it is cancelled after every turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from bus.contract import BusUnavailable, Packet, Position, Since
from bus.memory import MemoryBus
from gateway.fanout.node import Node
from tests.gateway.fakes import Books, FakeClient, until
from ticks.tick import group_name

TURNS = 2
MOST = 200
WHEN = "2026-05-12T15:04:05Z"


async def turns(count: int = TURNS) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class SlowBus(MemoryBus):
    """Takes some turns of the loop before and after it does what it is asked."""

    refuses = False
    members: frozenset[str] = frozenset()

    async def join(self, groups: Sequence[str]) -> None:
        await turns()
        if self.refuses:
            raise BusUnavailable("not now")
        await super().join(groups)
        self.members |= set(groups)
        await turns()

    async def leave(self, groups: Sequence[str]) -> None:
        await turns()
        await super().leave(groups)
        self.members -= set(groups)
        await turns()

    async def positions(self, groups: Sequence[str]) -> dict[str, Position]:
        await turns()
        answer = await super().positions(groups)
        await turns()
        return answer

    async def history(self, since: Mapping[str, Since]) -> dict[str, list[Packet] | None]:
        await turns()
        answer = await super().history(since)
        await turns()
        return answer

    async def tick(self, symbol: str) -> None:
        message = {"type": "tick", "symbol": symbol, "price": "1", "timestamp": WHEN}
        await self.publish({group_name(symbol): [message]})


def follows(node: Node, bus: SlowBus, symbols: set[str]) -> bool:
    """Whether the process is a member of these groups, and takes itself for one."""
    known = set(node.memberships.joined) == set(node.hub.subscriptions.streams) == symbols
    return known and bus.members == {group_name(symbol) for symbol in symbols}


def client_of(node: Node) -> FakeClient:
    return FakeClient(node.hub, node.open, Books())


@pytest.mark.parametrize("refuses", [False, True], ids=["joined", "refused"])
@pytest.mark.parametrize("symbols", [["A"], ["A", "B"], ["*"], ["*", "A"]], ids=" ".join)
async def test_a_subscription_that_is_cancelled_holds_nothing(symbols: list[str], refuses: bool) -> None:
    for count in range(MOST):
        bus = SlowBus()
        await bus.tick("A")
        epoch = (await bus.positions([group_name("A")]))[group_name("A")].epoch
        await bus.tick("A")
        node = Node(bus, leave_delay=0.0, patience=10.0)
        other, client = client_of(node), client_of(node)
        await other.subscribe("B")
        bus.refuses = refuses
        since: dict[str, Any] = {} if refuses else {"A": Since(epoch, 1)}
        call = asyncio.create_task(client.subscribe(*symbols, since=since))
        await turns(count)
        call.cancel()
        await asyncio.wait({call})
        came_to_an_end = not call.cancelled()
        if not came_to_an_end or refuses:
            assert not client.hub.symbols(client.outbox)
            await turns(MOST)  # what is under way must not come later
            await until(partial(follows, node, bus, {"B"}))
        # Both are taken for what they are: the one gets its ticks, and leaving balances.
        await bus.tick("B")
        assert other.news()[-1].endswith("B1")
        node.close(client.outbox)
        node.close(other.outbox)
        await turns(MOST)
        await until(partial(follows, node, bus, set()))
        if came_to_an_end:
            assert count > TURNS
            return
    raise AssertionError("it never came to its end")
