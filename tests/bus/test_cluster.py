"""What holds on a cluster beyond the contract: buckets that lie on primaries, and stay whole when these change."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import pytest

from bus.contract import BusUnavailable, Idempotency, Packet, Reason
from bus.layers import RedisLayer
from bus.redis.entry import rights
from bus.redis.scripts import scripts
from tests.cluster import ClusterNode, RedisCluster
from tests.integration.tls import certificate_in
from tests.servers import wait_until

Layer = Any
MakeLayer = Callable[..., Layer]
GROUPS: Final = [f"ticks.S{number}" for number in range(40)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, shared_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """One whose roles and slots may change from test to test. The shared one is asked for, which marks all tests."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster") / "nodes")
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
async def make_layer(cluster: RedisCluster) -> AsyncIterator[MakeLayer]:
    made: list[Layer] = []
    cluster.flush()

    def make(url: str = "", **options: Any) -> Layer:
        made.append(RedisLayer(hosts=[url or cluster.url], **options))
        return made[-1]

    yield make
    for layer in made:
        await layer.flush()


@pytest.fixture
async def layer(make_layer: MakeLayer) -> Layer:
    return make_layer()


def tick(number: int) -> dict[str, Any]:
    return {"type": "tick", "price": str(number)}


class Tap:
    """Keeps each group's places, and what it was told between them."""

    def __init__(self, layer: Layer) -> None:
        self.packets: dict[str, list[Packet]] = defaultdict(list)
        self.lost: set[int] = set()
        self.ever_lost: set[int] = set()
        layer.bus.tap(self)

    def arrived(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            self.packets[packet.group].append(packet)

    def bus_lost(self, host: int) -> None:
        self.lost.add(host)
        self.ever_lost.add(host)

    def bus_restored(self, host: int) -> None:
        self.lost.discard(host)

    def places(self, group: str) -> list[tuple[str, int]]:
        return [
            (packet.epoch, packet.seq + index)
            for packet in self.packets[group]
            for index in range(len(packet.messages))
        ]


class Feed:
    """Publishes one tick of each group after the other until it is stopped; what was accepted and what was not."""

    def __init__(self, layer: Layer) -> None:
        self.bus = layer.bus
        self.accepted: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.refused: list[BusUnavailable] = []
        self._is_over = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        for number in itertools.count(1):
            if self._is_over:
                return
            await asyncio.gather(*(self._publish(group, number) for group in GROUPS[:12]))

    async def _publish(self, group: str, number: int) -> None:
        try:
            places = await self.bus.publish({group: [tick(number)]})
        except BusUnavailable as error:
            self.refused.append(error)
            await asyncio.sleep(0.05)
        else:
            self.accepted[group].append(places[group])

    async def stop(self) -> None:
        self._is_over = True
        await self._task


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.02)


async def publish_all(layer: Layer, number: int) -> dict[str, Any]:
    """One tick of every group, when they can all be had again."""
    found: dict[str, Any] = {}

    async def is_published() -> bool:
        missing = [group for group in GROUPS if group not in found]
        try:
            found.update(await layer.bus.publish({group: [tick(number)] for group in missing}))
        except BusUnavailable as error:
            found.update(error.places)
        return len(found) == len(GROUPS)

    await until(is_published)
    return found


# Buckets


async def test_buckets_lie_on_all_primaries(layer: Layer, cluster: RedisCluster) -> None:
    await publish_all(layer, 1)
    for node in cluster.primaries:
        with node.client() as client:
            assert {key.partition(b"}")[0] for key in client.scan_iter("*:streams")}
    assert sorted(await layer.bus.names()) == sorted(GROUPS)
    assert await layer.bus.page(5, 10) == (40, sorted(GROUPS)[5:15])


async def test_gateways_that_are_told_other_numbers_of_buckets_do_not_take_part(
    make_layer: MakeLayer, cluster: RedisCluster
) -> None:
    """The first one's number is kept, also by a cluster whose node forgot it."""
    one = make_layer()
    await publish_all(one, 1)
    other = make_layer(f"{cluster.url}?buckets=7")
    with pytest.raises(BusUnavailable, match=r"\?buckets=6"):
        await other.bus.check()
    with pytest.raises(BusUnavailable):
        await other.bus.publish({"ticks.A": [tick(1)]})
    cluster.flush()
    await until(lambda: any(node.call("EXISTS marketmux.0:{0}:buckets") == ":1" for node in cluster.primaries))
    with pytest.raises(BusUnavailable):
        await make_layer(f"{cluster.url}?buckets=7").bus.publish({"ticks.A": [tick(1)]})


async def test_one_node_is_enough_to_find_the_others(make_layer: MakeLayer, cluster: RedisCluster) -> None:
    for node in (cluster.primaries[0], cluster.replica_of(cluster.primaries[0])):
        await publish_all(make_layer(cluster.url_of([node])), 1)


async def test_what_comes_while_a_node_is_at_work_goes_to_it_together(layer: Layer, cluster: RedisCluster) -> None:
    """Also for its other bucket, which is not: a packet is most of what a lone tick costs."""
    await publish_all(layer, 1)
    node = cluster.primaries[0]
    groups = _groups_on(layer, node, cluster)
    first = min(groups)
    other = min(group for group in groups if layer.bus.host_of(group) != layer.bus.host_of(first))

    def calls() -> int:
        (line,) = (line for line in node.info("commandstats") if line.startswith("cmdstat_evalsha:"))
        return int(line.partition("calls=")[2].partition(",")[0])

    before = calls()
    publishing = [layer.bus.publish({first: [tick(2)]})]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    publishing += [layer.bus.publish({other: [tick(number)]}) for number in range(2, 7)]
    places = await asyncio.gather(*publishing)
    assert [place[other].seq for place in places[1:]] == [2, 3, 4, 5, 6]
    assert calls() - before == 2


async def test_a_key_is_known_wherever_its_batch_was(layer: Layer) -> None:
    key = Idempotency("anonymous:1", "digest", 60)
    batch = {group: [tick(1)] for group in GROUPS}
    assert len(await layer.bus.publish(batch, key)) == len(GROUPS)
    assert await layer.bus.publish(batch, key) is None
    assert {position.seq for position in (await layer.bus.positions(GROUPS)).values()} == {1}


async def test_what_everybody_would_get_is_published_while_somebody_wants_it(
    layer: Layer, cluster: RedisCluster
) -> None:
    def published() -> int:
        """How many times, on all nodes."""
        lines = [line for node in cluster.primaries for line in node.info("commandstats")]
        return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines if "cmdstat_spublish:" in line)

    async def costs(number: int) -> int:
        before = published()
        for group in GROUPS:
            await layer.bus.publish({group: [tick(number)]})
        return published() - before

    tap = Tap(layer)
    await layer.bus.join(GROUPS[:3])
    assert await costs(1) == len(GROUPS)
    await layer.bus.join(["ticks.*"])
    assert await costs(2) == 2 * len(GROUPS)
    await until(
        lambda: all(seq == 2 for group in GROUPS for _, seq in tap.places(group)[-1:]) and len(tap.packets) == 40
    )
    await layer.bus.leave(["ticks.*"])
    await until(lambda: _settled(layer))
    assert await costs(3) == len(GROUPS)
    assert [len(tap.places(group)) for group in GROUPS[:3]] == [3, 3, 3]


async def _settled(layer: Layer) -> bool:
    await asyncio.sleep(0.2)  # what was left is unsubscribed from in the background
    return True


@pytest.mark.servers
async def test_it_is_reached_over_tls_by_a_user_with_a_password(tmp_path: Path) -> None:
    """Nodes say where their TLS is, and each of them asks for the user."""
    certificate = certificate_in(tmp_path)
    cluster = RedisCluster(tmp_path / "cluster", certificate=certificate, replicas=False)
    cluster.start()
    rule = rights((script.source for script in scripts(is_cluster=True)), is_cluster=True)
    for node in cluster.nodes:
        assert node.call(f"ACL SETUSER feed on >p/w ~marketmux.0:* &marketmux.0:* {rule}") == "+OK"
        assert node.call("ACL SETUSER default off") == "+OK"
    layer: Layer = RedisLayer(hosts=[cluster.tls_url("feed:p%2Fw")])
    other: Layer = RedisLayer(hosts=[cluster.tls_url("feed:wrong")])

    async def is_told_of_its_password() -> bool:
        with pytest.raises(BusUnavailable) as refused:
            await other.bus.check()
        return refused.value.reason is Reason.UNAUTHORIZED

    try:
        tap = Tap(layer)
        await until(lambda: not tap.lost)  # a busy machine takes seconds for so many handshakes
        assert await layer.bus.check(["ticks.*"]) == []
        await layer.bus.join(GROUPS)
        places = await publish_all(layer, 1)
        await until(lambda: all(tap.places(group)[-1:] == [tuple(places[group])] for group in GROUPS))
        await until(is_told_of_its_password)
    finally:
        await layer.flush()
        await other.flush()
        cluster.stop()


# Slots that move, primaries that change


async def test_slots_move_under_those_who_publish_and_listen(layer: Layer, cluster: RedisCluster) -> None:
    """Nothing comes twice, nothing out of order, and nothing is missing where no loss was told."""
    victim, other = cluster.primaries[:2]
    tap = Tap(layer)
    await layer.bus.join(GROUPS)
    await publish_all(layer, 0)
    feed = Feed(layer)
    slots = cluster.slots_of(victim)[:100]
    for source, target in ((victim, other), (other, victim)):
        await asyncio.to_thread(cluster.move, slots, source, target, lambda: time.sleep(0.02))
        await asyncio.sleep(0.3)
    await feed.stop()
    last = await publish_all(layer, 1_000_000)
    await until(lambda: not tap.lost)
    for group in GROUPS[:12]:
        places = tap.places(group)
        assert len(set(places)) == len(places)
        by_epoch = [list(some) for _, some in itertools.groupby(places, key=lambda place: place[0])]
        assert len({some[0][0] for some in by_epoch}) == len(by_epoch), "an epoch that had ended came back"
        assert all([seq for _, seq in some] == sorted(seq for _, seq in some) for some in by_epoch)
        assert feed.accepted[group] == sorted(feed.accepted[group], key=lambda place: (place[0], place[1]))
        if layer.bus.host_of(group) not in tap.ever_lost:
            assert places[1:-1] == [tuple(place) for place in feed.accepted[group]]
    await until(lambda: all(tap.places(group)[-1:] == [tuple(last[group])] for group in GROUPS))


async def test_a_slot_of_which_half_has_moved_is_away_until_it_is_whole(layer: Layer, cluster: RedisCluster) -> None:
    """Whatever a batch is answered meanwhile is true."""
    before = await publish_all(layer, 1)
    source, target = cluster.primaries[:2]
    [slot, *_] = cluster.slots_of(source)
    meanwhile: list[Future[list[str]]] = []
    loop = asyncio.get_running_loop()

    def half() -> None:
        meanwhile.append(asyncio.run_coroutine_threadsafe(_attempt(layer), loop))
        time.sleep(0.3)

    await asyncio.to_thread(cluster.move, [slot], source, target, half)
    refused = await asyncio.wrap_future(meanwhile[0])
    after = await publish_all(layer, 3)
    await asyncio.to_thread(cluster.move, [slot], target, source)
    for group in GROUPS:
        if after[group].epoch == before[group].epoch:
            assert after[group].seq == 2 + (group not in refused), (group, refused)
        else:
            assert after[group].seq in {1, 2}, (group, refused)


async def _attempt(layer: Layer) -> list[str]:
    """The groups that a batch could not be published of."""
    try:
        await layer.bus.publish({group: [tick(2)] for group in GROUPS})
    except BusUnavailable as error:
        return list(error.groups)
    return []


async def test_a_failover_ends_the_epochs_of_its_buckets_alone(layer: Layer, cluster: RedisCluster) -> None:
    before = await publish_all(layer, 1)
    victim = cluster.primaries[0]
    concerned = _groups_on(layer, victim, cluster)
    await asyncio.to_thread(cluster.fail_over, victim)
    await asyncio.to_thread(cluster.wait_until_well)
    after = await publish_all(layer, 2)
    assert concerned
    for group in GROUPS:
        if group not in concerned:
            assert after[group] == (before[group].epoch, 2)
        else:
            assert after[group].epoch != before[group].epoch or after[group].seq == 2


async def test_a_primary_that_lost_its_memory_ends_the_epochs_of_its_buckets(
    layer: Layer, cluster: RedisCluster
) -> None:
    tap = Tap(layer)
    await layer.bus.join(GROUPS)
    before = await publish_all(layer, 1)
    victim = cluster.primaries[0]
    concerned = _groups_on(layer, victim, cluster)
    victim.kill()
    victim.start()
    await asyncio.to_thread(cluster.wait_until_well)
    after = await publish_all(layer, 2)
    for group in GROUPS:
        if group in concerned:
            assert after[group].epoch != before[group].epoch
            assert after[group].seq == 1
        else:
            assert after[group] == (before[group].epoch, 2)
    await until(lambda: not tap.lost)
    lost = {group for group in GROUPS if layer.bus.host_of(group) in tap.ever_lost}
    assert lost == concerned


async def test_a_primary_that_is_left_alone_is_away(layer: Layer, cluster: RedisCluster) -> None:
    """It is there and says nothing: who listens to it would take old prices for the newest."""
    tap = Tap(layer)
    await layer.bus.join(GROUPS)
    await publish_all(layer, 1)
    lone, *others = cluster.primaries
    theirs = {layer.bus.host_of(group) for group in _groups_on(layer, lone, cluster)}
    with cluster.frozen(*others):
        await until(lambda: tap.lost >= theirs)
    await publish_all(layer, 2)
    await until(lambda: not tap.lost)
    await asyncio.to_thread(cluster.wait_until_well)


async def test_a_node_that_joins_is_found_and_one_that_goes_is_let_go(layer: Layer, cluster: RedisCluster) -> None:
    tap = Tap(layer)
    await layer.bus.join(GROUPS)
    await publish_all(layer, 1)
    source = cluster.primaries[0]
    slots = cluster.slots_of(source)[:20]
    node = await asyncio.to_thread(cluster.add)
    await asyncio.to_thread(cluster.move, slots, source, node)
    await publish_all(layer, 2)
    await until(lambda: _clients_of(node) > 0)
    await asyncio.to_thread(cluster.move, slots, node, source)
    await publish_all(layer, 3)
    await asyncio.to_thread(cluster.forget, node)
    cluster.nodes.remove(node)
    last = await publish_all(layer, 4)
    await until(lambda: not tap.lost)
    await until(lambda: all(tap.places(group)[-1:] == [tuple(last[group])] for group in GROUPS))


def _clients_of(node: ClusterNode) -> int:
    """That listen to something there."""
    return sum(" ssub=0 " not in line and " ssub=" in line for line in node.lines("CLIENT LIST TYPE pubsub"))


def _groups_on(layer: Layer, node: ClusterNode, cluster: RedisCluster) -> set[str]:
    with node.client() as client:
        wait_until(lambda: bool(list(client.scan_iter("*:streams"))))
        names = {name.decode() for key in client.scan_iter("*:streams") for name in client.hkeys(key)}
    return names & set(GROUPS)
