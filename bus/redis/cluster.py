"""A Redis Cluster: its buckets, each at home on the primary that has its slot, and the watch over where that is.

The nodes are asked every second, and at once when one does not have what it should have, or its connection is lost
(bus/redis/topology.py says whom to believe). When a bucket goes to another node it is lost to those who listen, until
they listen there: what it missed meanwhile is found as after any outage.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import RedisError

from bus.contract import BusUnavailable, Reason
from bus.redis import entry
from bus.redis.address import ClusterHost
from bus.redis.bucket_listener import BucketListener
from bus.redis.names import prefix_of
from bus.redis.node import ASK_SECONDS, SEND_SECONDS, Node
from bus.redis.node_reception import NodeReception
from bus.redis.pipe import Pipe
from bus.redis.publications import PUBLISH_SECONDS
from bus.redis.reception import RawMessage
from bus.redis.refusals import Refusals, reason_of
from bus.redis.route import Route
from bus.redis.scripts import scripts
from bus.redis.topology import Address, View, claims, tags
from bus.redis.witness import Witness

__all__ = ["Bucket", "Cluster"]

logger = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.03
_LATE_SECONDS: Final = 0.1
"""How long the other nodes are waited for when one has answered."""
_LONGEST_SECONDS: Final = 1.0

Deliver = Callable[[Sequence[tuple[int, Sequence[RawMessage]]]], None]


class Bucket:
    """The home of one bucket, wherever that is."""

    publish_command = "SPUBLISH"

    def __init__(self, cluster: Cluster, number: int, prefix: str, slot: int) -> None:
        self._cluster = cluster
        self.scripts = cluster.scripts
        self.refusals = cluster.refusals
        self.prefix = prefix
        self.slot = slot
        self.node: Node[NodeReception] | None = None
        self.publishing = self.convoy = Route(
            PUBLISH_SECONDS,
            lambda: self._pipe("publishing"),
            cluster.news,
            lambda: None if self.node is None else self.node.traffic,
        )
        self.asking = Route(ASK_SECONDS, lambda: self._pipe("asking"), cluster.news, is_ordered=False)
        self.sending = Route(SEND_SECONDS, lambda: self._pipe("sending"), cluster.news)
        self.listener = BucketListener(
            prefix,
            slot,
            lost=partial(cluster.lost, number),
            restored=partial(cluster.restored, number),
            displaced=cluster.look_again,
        )

    def _pipe(self, name: str) -> Pipe | None:
        if self.node is None:
            return None
        pipe: Pipe = getattr(self.node, name)
        return pipe

    def move(self, node: Node[NodeReception] | None) -> None:
        self.node = node
        self.listener.attach(None if node is None else node.listener)

    def start(self) -> None:
        self._cluster.start()
        self.listener.start()

    async def close(self) -> None:
        await self.listener.close()
        await self._cluster.close()


class Cluster:
    """``deliver`` gets what one read brought, ``lost`` and ``restored`` are told of buckets, all by their numbers."""

    def __init__(
        self,
        host: ClusterHost,
        namespace: str,
        refused: Counter[Reason],
        *,
        deliver: Deliver,
        lost: Callable[[int], None],
        restored: Callable[[int], None],
    ) -> None:
        self._host = host
        self._deliver = deliver
        self.lost = lost
        self.restored = restored
        self.scripts = scripts(is_cluster=True)
        self.refusals = Refusals(lambda: self.name, refused)
        self.name = "Redis Cluster at " + ", ".join(f"{name}:{port}" for name, port in host.seeds)
        self._slots = tags(host.buckets)
        self.buckets = [
            Bucket(self, number, prefix_of(namespace, tag), slot)
            for number, (tag, slot) in enumerate(self._slots.items())
        ]
        self._numbers = {bucket.listener: number for number, bucket in enumerate(self.buckets)}
        self._count_key = f"{prefix_of(namespace)}:buckets"
        self._is_agreed = False
        self._other = ""
        """The number of buckets that it has, where that is not ours."""
        self._nodes: dict[Address, Node[NodeReception]] = {}
        self._witnesses: dict[Address, Witness] = {}
        self._replicas: set[Address] = set()
        self._task: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._problem = self._failure = ""
        self._reason = Reason.AWAY

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def look_again(self) -> None:
        """Something is not where it should be."""
        self.start()
        self._wanted.set()

    async def news(self) -> None:
        """Returns when the cluster has been asked, from now on."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.look_again()
        await waiter

    # Where the buckets are

    async def _watch(self) -> None:
        while True:
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            try:
                await self._look()
            except BusUnavailable as error:
                self._say(str(error), error.reason)
            except (RedisError, OSError) as error:
                self._say(str(error), reason_of(error))
            except Exception:
                logger.exception("Could not make out where the buckets of the cluster are, trying again.")
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)
            await asyncio.sleep(_PAUSE_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._wanted.wait()

    def _say(self, problem: str, reason: Reason = Reason.AWAY) -> None:
        self._reason = reason
        if problem != self._problem:
            self._problem = problem
            if problem:
                logger.warning("%s cannot be used, trying again: %s", self.name, problem)

    async def _look(self) -> None:
        home = key_slot(self._count_key.encode())
        wanted = {home, *self._slots.values()}
        found = claims(views := await self._ask(self._nodes), wanted)
        if found.keys() != wanted:
            views += await self._ask({*self._nodes, *self._host.seeds, *self._replicas})
            found = claims(views, wanted)
        if not views:
            raise ConnectionError(f"No node answers. {self._failure}")
        self._replicas.update(address for view in views for address in view.replicas)
        await self._agree(found.get(home))
        down = {view.down for view in views}
        for bucket in self.buckets:
            address = found.get(bucket.slot)
            if address in down:
                bucket.move(None)
            elif address is not None:
                self._place(bucket, address)
        used = {bucket.node for bucket in self.buckets}
        for address, node in list(self._nodes.items()):
            if node not in used:
                logger.info("No bucket is at %s:%s any more.", *address)
                del self._nodes[address]
                self._end(node.close())
        for address in self._witnesses.keys() - self._nodes.keys():
            self._end(self._witnesses.pop(address).close())
        self._say("")

    async def _ask(self, addresses: Iterable[Address]) -> list[View]:
        """What the nodes say, of those that answer in time."""
        asked = [asyncio.ensure_future(self._witness(address).view()) for address in addresses]
        if not asked:
            return []
        try:
            pending: set[asyncio.Future[View]] = set(asked)
            done: set[asyncio.Future[View]] = set()
            while pending and not any(map(_has_answered, done)):
                done, pending = await asyncio.wait(
                    pending, timeout=_LONGEST_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
            if pending and done:
                await asyncio.wait(pending, timeout=_LATE_SECONDS)
        finally:
            for one in asked:
                one.cancel()
        failures = (one.exception() for one in asked if one.done() and not one.cancelled())
        self._failure = str(next(filter(None, failures), ""))
        return [one.result() for one in asked if _has_answered(one)]

    def _witness(self, address: Address) -> Witness:
        if address not in self._witnesses:
            self._witnesses[address] = Witness(address, self._host_at(address))
        return self._witnesses[address]

    def _host_at(self, address: Address) -> dict[str, Any]:
        return {**self._host.options, "host": address[0], "port": address[1]}

    async def _agree(self, address: Address | None) -> None:
        """All gateways must go by the same number of buckets: that of the first is kept.

        It is seen to with every look, since the node that keeps it may lose its memory. A gateway that was told another
        number has no say any more.
        """
        count = str(len(self.buckets))
        try:
            if address is None:
                raise ConnectionError(f"No node serves {self._count_key}.")
            async with asyncio.timeout(_LONGEST_SECONDS):
                kept = await self._witness(address).kept(self._count_key, "" if self._other else count)
        except (RedisError, OSError):
            if not self._is_agreed:
                raise
            return  # the others are served all the same
        if kept != count:
            self._other = kept or self._other
        self._is_agreed = kept == count
        if not self._is_agreed:
            for bucket in self.buckets:
                bucket.move(None)
            raise BusUnavailable(
                f"It has {self._other} buckets, and not {count}: end REDIS_URL with ?buckets={self._other}.",
                Reason.REFUSED,
            )

    def _place(self, bucket: Bucket, address: Address) -> None:
        if address not in self._nodes:
            self._nodes[address] = self._make_node(address)
        bucket.move(self._nodes[address])

    def _make_node(self, address: Address) -> Node[NodeReception]:
        def lost() -> None:
            node.renew_pipes()
            self.look_again()

        node: Node[NodeReception] = Node(
            self._host_at(address),
            self.scripts,
            lambda pool: NodeReception(pool, self._slots, self._hand_on, lost),
            self.look_again,
        )
        node.pool()
        return node

    def _hand_on(self, arrived: Sequence[tuple[BucketListener, Sequence[RawMessage]]]) -> None:
        self._deliver([(self._numbers[listener], messages) for listener, messages in arrived])

    def _end(self, closing: Any) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # Before a start

    async def check(self, patterns: Sequence[str]) -> list[str]:
        """Holds the conversation of bus/redis/entry.py with each primary."""
        await self.news()
        if self._problem:
            raise BusUnavailable(f"{self.name}: {self._problem}", self._reason)
        away = sum(bucket.node is None for bucket in self.buckets)
        odd = [f"{self.name}: no node serves {away} of {len(self.buckets)} buckets."] if away else []
        homes = {bucket.node: bucket for bucket in self.buckets if bucket.node is not None}
        outcomes = await asyncio.gather(
            *(entry.check(node.pool(), bucket.prefix, patterns, self.scripts, True) for node, bucket in homes.items())
        )
        return odd + [sentence for sentences in outcomes for sentence in sentences]

    async def close(self) -> None:
        """Ends all connections."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for waiter in self._waiting:
            waiter.cancel()
        self._waiting.clear()
        for bucket in self.buckets:
            await bucket.listener.close()
            bucket.node = None
        nodes, self._nodes = self._nodes, {}
        witnesses, self._witnesses = self._witnesses, {}
        for node in nodes.values():
            await node.close()
        for witness in witnesses.values():
            await witness.close()
        if self._closing:
            await asyncio.wait(self._closing)


def _has_answered(asked: asyncio.Future[Any]) -> bool:
    return asked.done() and not asked.cancelled() and asked.exception() is None
