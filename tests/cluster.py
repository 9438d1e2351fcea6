"""A Redis Cluster for the tests, on free ports of 127.0.0.1: primaries with a replica each, which can be killed, frozen,
failed over, added and forgotten, and whose slots can be moved.

A cluster that makes itself known by gossip takes seconds to agree. Here each node is given the table (``nodes.conf``)
that they would agree on. What is left is the two seconds that a primary waits before it takes anything.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.servers import RedisServer, free_port, wait_until
from ticks.tick import group_name

__all__ = ["SLOTS", "ClusterNode", "Place", "RedisCluster", "symbols_on"]

SLOTS: Final = 16_384
NODE_TIMEOUT_MS: Final = 1_000


class Place(NamedTuple):
    """Where a node runs: an address, and what goes before its command there (``ip netns exec NAME``)."""

    host: str = "127.0.0.1"
    launcher: Sequence[str] = ()


HERE: Final = Place()


class ClusterNode(RedisServer):
    """A node, which keeps its place in the cluster when it is started again, and nothing else."""

    def __init__(
        self,
        directory: Path,
        place: Place,
        *,
        options: Sequence[str] = (),
        password: str = "",
        certificate: Path | None = None,
        binary: str | None = None,
    ) -> None:
        directory.mkdir(parents=True)
        self.tls_port = 0 if certificate is None else free_port()
        self.id = secrets.token_hex(20)
        self.bus_port = free_port()
        self._configuration = directory / "nodes.conf"
        cluster: dict[str, object] = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            "cluster-port": self.bus_port,
            "cluster-allow-replica-migration": "no",
            "cluster-replica-validity-factor": 0,
            "cluster-require-full-coverage": "no",
            "repl-diskless-sync-delay": 0,
            "repl-ping-replica-period": 1,
        }
        if certificate is not None:
            cluster |= {
                "tls-port": self.tls_port,
                "tls-cluster": "yes",
                "tls-replication": "yes",
                "tls-auth-clients": "no",
                **dict.fromkeys(("tls-cert-file", "tls-key-file", "tls-ca-cert-file"), certificate),
            }
        words = [word for name, value in cluster.items() for word in (f"--{name}", str(value))]
        super().__init__(
            directory, place.host, place.launcher, options=[*words, *options], password=password, binary=binary
        )
        self._has_shards = self.version >= (7, 2)
        """Whether a table says which nodes belong together."""

    def __repr__(self) -> str:
        return f"<node {self.id[:6]} at {self.port}>"

    def line(self, owner: ClusterNode, rest: str) -> str:
        """How the node stands in the table of ``owner``."""
        role, _, others = rest.partition(" ")
        where = f"{self.host}:{self.tls_port or self.port}@{self.bus_port}"
        if self._has_shards:
            where += f",,shard-id={self.id if role == 'master' else others.split()[0]}"
        return f"{self.id} {where} {'myself,' * (self is owner)}{role} {others}"

    def know(self, lines: Sequence[str], epoch: int) -> None:
        """Before its first start: the table of the cluster that it belongs to."""
        self._configuration.write_text("\n".join([*lines, f"vars currentEpoch {epoch} lastVoteEpoch 0", ""]))

    def ask(self, *command: object) -> Any:
        """The answer to one command, over a connection of its own."""
        with self.client() as client:
            return client.execute_command(*command)

    def client(self) -> Redis:
        return Redis(self.host, self.port, password=self._password or None, socket_timeout=10)

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def role(self) -> str:
        """``master`` or ``slave``, as it says itself."""
        answer: bytes = self.ask("ROLE")[0]
        return answer.decode()


class RedisCluster:
    """``primaries`` nodes that share the slots out evenly, and a replica of each behind them in ``nodes``.

    ``places``: where the nodes run, in that order. ``options``, ``password`` and ``binary`` are for all of them, and so is
    ``certificate``, a file with a key too: with it they talk TLS among themselves, and on ports of their own to others.
    """

    def __init__(
        self,
        directory: Path,
        primaries: int = 3,
        *,
        places: Iterable[Place] = (),
        options: Sequence[str] = (),
        password: str = "",
        certificate: Path | None = None,
        binary: str | None = None,
        replicas: bool = True,
    ) -> None:
        self._directory = directory
        self._certificate = certificate
        self._binary = binary
        self._options = options
        self._password = password
        self._numbers = itertools.count()
        where = itertools.chain(places, itertools.repeat(HERE))
        self.nodes = [self._node(next(where)) for _ in range(primaries * (1 + replicas))]
        self._describe(primaries)

    def _node(self, place: Place = HERE) -> ClusterNode:
        directory = self._directory / f"node{next(self._numbers)}"
        return ClusterNode(
            directory,
            place,
            options=self._options,
            password=self._password,
            certificate=self._certificate,
            binary=self._binary,
        )

    def _describe(self, primaries: int) -> None:
        for owner in self.nodes:
            lines = []
            for number, node in enumerate(self.nodes):
                first, end = (SLOTS * (number + step) // primaries for step in (0, 1))
                lines.append(
                    node.line(owner, f"master - 0 0 {number + 1} connected {first}-{end - 1}")
                    if number < primaries
                    else node.line(
                        owner, f"slave {self.nodes[number - primaries].id} 0 0 {number - primaries + 1} connected"
                    )
                )
            owner.know(lines, primaries)

    @property
    def url(self) -> str:
        return self.url_of(self.nodes)

    def url_of(self, nodes: Iterable[ClusterNode]) -> str:
        """What a gateway is given that is told of those nodes; it finds the others."""
        credentials = f":{self._password}@" if self._password else ""
        return f"redis+cluster://{credentials}{','.join(f'{node.host}:{node.port}' for node in nodes)}"

    def tls_url(self, credentials: str) -> str:
        """What a gateway is given that talks TLS to it, as ``user:password``."""
        nodes = ",".join(f"{node.host}:{node.tls_port}" for node in self.nodes)
        return f"rediss+cluster://{credentials}@{nodes}?ssl_ca_certs={self._certificate}"

    def start(self) -> None:
        """Starts all nodes, and returns when each of them finds that the cluster is well."""
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            for node in self.nodes:
                node.start()
            self.wait_until_well()
            undo.pop_all()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def flush(self) -> None:
        """Forgets all keys; connections and subscriptions stay."""
        for node in self.primaries:
            node.flush()

    # How it is

    @property
    def running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_started]

    @property
    def primaries(self) -> list[ClusterNode]:
        """The running nodes that are primaries to themselves; the others' opinion of them may differ."""
        return [node for node in self.running if node.role == "master"]

    def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """The first running replica that follows a node, as it says itself."""
        port = primary.port
        return next(node for node in self.running if node is not primary and _follows(node, port))

    def wait_until_well(self, nodes: Iterable[ClusterNode] = ()) -> None:
        """Until those nodes (all that run) find all slots served, and replicas have all that their primary has."""
        asked = list(nodes) or self.running
        wait_until(lambda: all(map(_is_well, asked)), 30, "the cluster does not become well")

    def owner_of(self, key: str | int) -> ClusterNode:
        """The primary that has a key, or a slot, as all primaries say by now."""
        slot = key if isinstance(key, int) else key_slot(key.encode())
        found: list[str] = []

        def agreed() -> bool:
            found[:] = {self._owner_by(node, slot) for node in self.primaries}
            return len(found) == 1 and bool(found[0])

        wait_until(agreed, 30, f"the cluster does not agree on slot {slot}")
        return self.by_id(found[0])

    def by_id(self, name: str) -> ClusterNode:
        return next(node for node in self.nodes if node.id == name)

    @staticmethod
    def _owner_by(node: ClusterNode, slot: int) -> str:
        for first, last, (_, _, name, *_), *_ in node.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                owner: str = name.decode()
                return owner
        return ""

    def slots_of(self, node: ClusterNode) -> list[int]:
        """The slots of a primary, as it says itself: those that have keys first."""
        slots = [
            slot
            for first, last, (_, _, name, *_), *_ in node.ask("CLUSTER", "SLOTS")
            if name.decode() == node.id
            for slot in range(first, last + 1)
        ]
        with node.client() as client:
            used = {key_slot(key) for key in client.scan_iter(count=1_000)}
        return sorted(slots, key=lambda slot: (slot not in used, slot))

    # What is done to it

    def fail_over(self, primary: ClusterNode, *options: str) -> ClusterNode:
        """``CLUSTER FAILOVER`` at its replica (``FORCE``, ``TAKEOVER``): returns that when it is the primary."""
        replica = self.replica_of(primary)
        replica.ask("CLUSTER", "FAILOVER", *options)
        wait_until(lambda: replica.role == "master", 30, "the replica does not take over")
        return replica

    def wait_for_successor(self, replica: ClusterNode) -> None:
        """Until a replica whose primary is gone has been elected."""
        wait_until(lambda: replica.role == "master", 30, "the replica was not elected")

    def move(
        self,
        slots: Iterable[int],
        source: ClusterNode,
        target: ClusterNode,
        between: Callable[[], object] | None = None,
    ) -> None:
        """Moves slots with all their keys, as redis-cli does it.

        ``between`` is called for each slot that has keys, when half of them are at either node.
        """
        with source.client() as old, target.client() as new:
            for slot in slots:
                new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
                old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
                self._migrate(slot, old, target, between)
                for client in (new, old):
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def _migrate(self, slot: int, source: Redis, target: ClusterNode, between: Callable[[], object] | None) -> None:
        credentials = ["AUTH", self._password] if self._password else []
        while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1_000):  # type: ignore[no-untyped-call]
            half = keys[: (len(keys) + 1) // 2] if between is not None and len(keys) > 1 else keys
            source.execute_command("MIGRATE", target.host, target.port, "", 0, 10_000, *credentials, "KEYS", *half)  # type: ignore[no-untyped-call]
            if between is not None:
                between()
                between = None

    def add(self, place: Place = HERE) -> ClusterNode:
        """A new primary without slots, which all others know."""
        node = self._node(place)
        node.know([node.line(node, "master - 0 0 0 connected")], 0)
        node.start()
        self.nodes.append(node)
        for other in self.running:
            if other is not node:
                other.ask("CLUSTER", "MEET", node.host, node.port, node.bus_port)
        count = len(self.running)
        wait_until(
            lambda: all(f"cluster_known_nodes:{count}" in each.lines("CLUSTER INFO") for each in self.running),
            30,
            "the new node is not known to all",
        )
        self.wait_until_well()
        return node

    def forget(self, node: ClusterNode) -> None:
        """Tells the others to forget a node without slots, and ends it."""
        for other in self.running:
            if other is not node:
                with contextlib.suppress(RedisError):  # its own replica, or one that has forgotten it already
                    other.ask("CLUSTER", "FORGET", node.id)
        node.kill()

    @contextlib.contextmanager
    def frozen(self, *nodes: ClusterNode) -> Iterator[None]:
        """Those nodes stand still meanwhile."""
        for node in nodes:
            node.pause()
        try:
            yield
        finally:
            for node in nodes:
                node.resume()


def _is_well(node: ClusterNode) -> bool:
    try:
        return "cluster_state:ok" in node.lines("CLUSTER INFO") and not any(
            line in {"master_link_status:down", "master_sync_in_progress:1"} for line in node.info("replication")
        )
    except (OSError, ValueError):
        return False


def _follows(node: ClusterNode, port: int) -> bool:
    kind, *rest = node.ask("ROLE")
    return bool(kind == b"slave" and rest[1] == port)


def symbols_on(node: ClusterNode, symbols: Sequence[str]) -> list[str]:
    """Those of which a node has the streams."""
    with node.client() as client:
        names = {
            name.decode() for key in client.scan_iter(match="*:streams", count=1_000) for name in client.hkeys(key)
        }
    return [symbol for symbol in symbols if group_name(symbol) in names]
