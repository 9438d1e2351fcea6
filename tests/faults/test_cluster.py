"""A Redis Cluster of three primaries and three replicas under load: nodes die, fail over, come, go and are cut off.

Whatever happens to one primary, the symbols of the others flow on, and nobody's account has a hole that it was not told
of. A publisher of all symbols sends again what was refused in part; one of symbols that the fault does not concern is
never refused.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest

from marketmux_client import Event
from tests.clients import metrics
from tests.cluster import ClusterNode, RedisCluster, symbols_on
from tests.conftest import StartGateway
from tests.environment import cannot
from tests.faults.figures import errors_logged, figure
from tests.faults.following import following, prices, unexplained
from tests.faults.network import Switch
from tests.faults.watch import (
    Answer,
    Publisher,
    Watcher,
    eventually,
    reconcile,
    until_all_hold,
    until_all_know,
    until_all_tick,
    watching,
)
from tests.servers import GatewayProcess, wait_until

PER_CLIENT: Final = 3
MOVED: Final = 100
STILL_SECONDS: Final = 1.0
"""Shorter faults may be over between two of the steady publisher's POSTs."""
CANDIDATES: Final = [f"STEADY{number}" for number in range(40)]
"""Of these the steady publisher has those that are not the victim's."""


class Load(NamedTuple):
    """``gateways``: the last one has the clients, and what is published comes by the first."""

    rate: int
    symbols: int
    clients: int
    gateways: int


SHORT: Final = Load(300, 60, 40, 1)
WHOLE: Final = Load(2_000, 200, 200, 2)


# What is done to a primary


def _killed(cluster: RedisCluster, victim: ClusterNode) -> None:
    replica = cluster.replica_of(victim)
    victim.kill()
    cluster.wait_for_successor(replica)
    victim.start()
    cluster.wait_until_well()


def _failed_over(cluster: RedisCluster, victim: ClusterNode) -> None:
    cluster.fail_over(victim)
    cluster.wait_until_well()


def _moved(cluster: RedisCluster, victim: ClusterNode) -> None:
    """A hundred slots, those with keys first, and back."""
    other = next(node for node in cluster.primaries if node is not victim)
    slots = cluster.slots_of(victim)[:MOVED]
    cluster.move(slots, victim, other)
    time.sleep(1)
    cluster.move(slots, other, victim)


def _added(cluster: RedisCluster, victim: ClusterNode) -> None:
    """A node that takes over some slots, gives them back, and is forgotten."""
    node = cluster.add()
    slots = cluster.slots_of(victim)[:MOVED]
    cluster.move(slots, victim, node)
    time.sleep(1)
    cluster.move(slots, node, victim)
    cluster.forget(node)


def _forgetful(_: RedisCluster, victim: ClusterNode) -> None:
    """Started again, empty, before the others have missed it: its replica follows it into oblivion."""
    victim.kill()
    victim.start()


def _frozen(cluster: RedisCluster, victim: ClusterNode) -> None:
    """Until its replica has taken over, and then it goes on as if nothing had been."""
    replica = cluster.replica_of(victim)
    with cluster.frozen(victim):
        cluster.wait_for_successor(replica)
        time.sleep(1)
    wait_until(lambda: victim.role == "slave", 30)


Fault = Callable[[RedisCluster, ClusterNode], None]
FAULTS: Final[dict[str, Fault]] = {
    "CLUSTER FAILOVER": _failed_over,
    f"{MOVED} slots moved there and back": _moved,
    "killed -9": _killed,
    "started again without its memory": _forgetful,
    "stopped until its replica took over": _frozen,
    "a node added, used and forgotten": _added,
}


# The trial


class Trial:
    """A victim, symbols of which it has a part, and publishers of all of them and of those that are not its own."""

    def __init__(self, cluster: RedisCluster, gateways: Sequence[GatewayProcess], load: Load) -> None:
        self.cluster = cluster
        self.gateways = gateways
        self.load = load
        self.symbols = [f"S{number}" for number in range(load.symbols)]
        for number, symbol in enumerate([*self.symbols, *CANDIDATES]):
            post = {"symbol": symbol, "price": number + 1}
            assert httpx.post(f"{gateways[0].http}/api/v1/ticks", json=post, timeout=30).status_code == 202
        victim = max(cluster.primaries, key=lambda node: len(symbols_on(node, self.symbols)))
        self._slot = cluster.slots_of(victim)[0]
        self.concerned = set(symbols_on(victim, [*self.symbols, *CANDIDATES]))
        spared = [symbol for symbol in CANDIDATES if symbol not in self.concerned]
        self.mixed = Publisher(gateways[0].http, self.symbols, load.rate, 20, first=1_000)
        self.steady = Publisher(gateways[0].http, spared, load.rate / 10, 5, first=100_000_000)
        self.spared = spared

    @property
    def last(self) -> dict[str, int]:
        return self.mixed.ledger.last | self.steady.ledger.last

    async def under(self, faults: Mapping[str, Fault]) -> str:
        """Lets happen one after the other, and judges the accounts of all; what was measured."""
        told = [f"{self.load.rate:,} ticks/s, {self.load.clients} clients"]
        gateway = self.gateways[-1]
        async with (
            watching(gateway.http, self.load.clients, self.symbols, PER_CLIENT) as crowd,
            watching(gateway.http, 2, ["*"], 1) as everything,
            watching(gateway.http, 2, self.spared, len(self.spared)) as spared,
            following(gateway.ws, 1, self.symbols) as followers,
        ):
            everyone = [*crowd, *everything, *spared]
            async with self.mixed.publishing(), self.steady.publishing():
                for name, fault in faults.items():
                    await until_all_tick(everyone, time.monotonic())
                    began = time.monotonic()
                    await asyncio.to_thread(fault, self.cluster, self.cluster.owner_of(self._slot))
                    ended = time.monotonic()
                    await self._until_published(ended)
                    stood_still = not self.steady.ledger.between(began, ended)
                    assert not stood_still or ended - began < STILL_SECONDS, "the others' symbols stood still"
                    told.append(f"{name} ({ended - began:.1f} s, {self._refused(began)})")
                await until_all_tick(everyone, time.monotonic())
            await until_all_hold(everyone, self.last)
            await eventually(lambda: all(not watcher.bus or watcher.bus[-1][1] for watcher in everyone))
            last = {symbol: Decimal(price) for symbol, price in self.mixed.ledger.last.items()}
            await eventually(lambda: all(prices(events) == last for events in followers))
        return "; ".join([*told, self._judge(everyone, spared, followers)])

    async def _until_published(self, since: float) -> None:
        """Until each of the symbols was taken again, of those that the publisher has had time for."""
        ledger = self.mixed.ledger
        await eventually(lambda: len(ledger.between(since, math.inf)) > 2 * len(self.symbols), 60)

    def _refused(self, since: float) -> str:
        refused = [answer for answer in self.mixed.ledger.answers if answer.status == 503 and answer.at > since]
        if not refused:
            return "no POST refused"
        return f"{len(refused)} POSTs answered 503 for {refused[-1].at - refused[0].at + refused[-1].seconds:.1f} s"

    def _judge(
        self, everyone: Sequence[Watcher], spared: Sequence[Watcher], followers: Sequence[Sequence[Event]]
    ) -> str:
        found = reconcile(everyone, self.mixed.ledger, self.steady.ledger)
        assert not found.problems
        assert not any(watcher.ends for watcher in everyone)
        assert [loss for events in followers for loss in unexplained(events)] == []
        for publisher in (self.mixed, self.steady):
            assert {answer.status for answer in publisher.ledger.answers} <= {202, 503}
        refused = [answer for answer in self.mixed.ledger.answers if answer.status == 503]
        assert all(answer.retry_after for answer in refused)
        assert not any(errors_logged(gateway) for gateway in self.gateways)
        self._judge_spared(everyone, spared, refused)
        longest = max(answer.seconds for answer in self.steady.ledger.answers)
        return (
            f"{found}; {self.mixed.ledger.replayed} retries were known already, {found.republished} ticks in two epochs; "
            f"the others' POSTs took {longest:.2f} s at most"
        )

    def _judge_spared(self, everyone: Sequence[Watcher], spared: Sequence[Watcher], refused: Sequence[Answer]) -> None:
        """What is on the other primaries was neither refused nor missed, and nobody was told otherwise."""
        assert {answer.status for answer in self.steady.ledger.answers} == {202}
        assert all(answer.symbols and answer.symbols <= self.concerned for answer in refused)
        missed = {symbol for watcher in everyone for symbol, _ in watcher.notes("gap")}
        assert missed <= self.concerned
        assert not any(watcher.bus for watcher in spared)


@pytest.mark.parametrize(
    ("names", "load"),
    [
        pytest.param(list(FAULTS)[:3], SHORT, id="three"),
        *(pytest.param([name], WHOLE, id=name.split()[0], marks=pytest.mark.soak) for name in FAULTS),
        pytest.param(list(FAULTS), WHOLE, id="all", marks=pytest.mark.soak),
    ],
)
async def test_what_happens_to_one_primary(
    start_gateway: StartGateway, redis_cluster: RedisCluster, names: list[str], load: Load
) -> None:
    gateways = [start_gateway(redis_cluster.url) for _ in range(load.gateways)]
    trial = await asyncio.to_thread(Trial, redis_cluster, gateways, load)
    figure(await trial.under({name: FAULTS[name] for name in names}))


# A network that is cut in two


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    if obstacle := Switch.obstacle():
        cannot(obstacle)
    with Switch(6) as switch:
        yield switch


@pytest.fixture
def far_cluster(tmp_path: Path, switch: Switch) -> Iterator[RedisCluster]:
    """Each of its nodes is a machine of its own."""
    cluster = RedisCluster(tmp_path / "cluster", places=switch.places)
    cluster.start()
    yield cluster
    switch.heal()
    cluster.stop()


@pytest.mark.soak
@pytest.mark.parametrize("reaches", ["both sides", "the majority"])
async def test_a_primary_is_cut_off_from_the_others(
    start_gateway: StartGateway, switch: Switch, far_cluster: RedisCluster, reaches: str
) -> None:
    """It takes batches until it notices that it is alone; then its replica has its place, and it follows that."""

    def cut_off(cluster: RedisCluster, victim: ClusterNode) -> None:
        replica = cluster.replica_of(victim)
        switch.cut([cluster.nodes.index(victim)], from_outside=reaches == "the majority")
        cluster.wait_for_successor(replica)
        time.sleep(2)
        switch.heal()
        wait_until(lambda: victim.role == "slave", 30)
        cluster.wait_until_well()

    gateways = [start_gateway(far_cluster.url) for _ in range(WHOLE.gateways)]
    trial = await asyncio.to_thread(Trial, far_cluster, gateways, WHOLE)
    figure(await trial.under({f"a primary cut off, the gateways reach {reaches}": cut_off}))


@pytest.mark.soak
async def test_a_gateway_that_is_left_with_a_lone_primary(
    start_gateway: StartGateway, switch: Switch, far_cluster: RedisCluster
) -> None:
    """It can publish nothing; whoever is with the majority can, and is followed by its clients once it is back."""
    gateway = start_gateway(far_cluster.url)
    symbols = [f"S{number}" for number in range(30)]
    publisher = Publisher(gateway.http, symbols, rate=500, batch=10)
    async with watching(gateway.http, 20, symbols, PER_CLIENT) as watchers:
        async with publisher.publishing():
            await until_all_know(watchers)
            lone = far_cluster.primaries[0]
            others = [number for number, node in enumerate(far_cluster.nodes) if node is not lone]
            switch.cut(others, from_outside=True)
            cut = time.monotonic()
            await eventually(lambda: all(watcher.bus for watcher in watchers))
            await asyncio.sleep(max(0.0, cut + 8 - time.monotonic()))
            accepted = publisher.ledger.between(cut + 5, math.inf)
            switch.heal()
            healed = time.monotonic()
            await asyncio.to_thread(far_cluster.wait_until_well)
            back = await until_all_tick(watchers, healed)
        await until_all_hold(watchers, publisher.ledger.last)
        await eventually(lambda: all(watcher.bus[-1][1] for watcher in watchers))
        assert metrics(gateway)["connections"] == 20
    found = reconcile(watchers, publisher.ledger)
    figure(f"a gateway cut off with one of three primaries for 8 s: ticks for all {back:.1f} s after; {found}")
    assert not accepted
    assert not found.problems
    assert not any(watcher.ends for watcher in watchers)
    assert {answer.status for answer in publisher.ledger.answers} <= {202, 503}
