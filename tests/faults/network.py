"""Networks that fail: a proxy that stops forwarding, and a network namespace whose packets are dropped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.cluster import Place

__all__ = ["Namespace", "SlowLine", "StallingProxy", "Switch"]

_numbers = itertools.count()


@dataclass
class _Passage:
    """A connection through the proxy."""

    last: float
    """When something last came through, on the loop's clock."""
    is_forgotten: bool = False


class StallingProxy:
    """Forwards TCP to a port of 127.0.0.1, from a thread of its own.

    While it is stalled nothing passes and nothing is closed: connections are accepted and stay silent, what was sent
    waits, as it would for a retransmission, and passes when the stall ends, in order. Or only what goes up passes, so
    that Redis does as it is told and nobody learns of it.

    ``delay``: how long everything takes each way, in seconds. ``forget_after``: how long a connection may be silent before
    it is forgotten, as a NAT does it: what is sent on it from then on gets nowhere, and nobody is told.
    """

    def __init__(self, port: int, delay: float = 0.0, forget_after: float = math.inf) -> None:
        self._upstream = port
        self._delay = delay
        self._forget_after = forget_after
        self._passages: list[_Passage] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._ready = threading.Event()
        self.port = 0
        self.accepted = 0
        """How many connections it has taken."""

    @property
    def url(self) -> str:
        """Of the Redis behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def stall(self) -> None:
        self._call(self._up.clear, self._down.clear)

    def stall_answers(self) -> None:
        self._call(self._down.clear)

    def heal(self) -> None:
        self._call(self._up.set, self._down.set)

    def forget(self) -> None:
        """All connections there are."""
        for passage in list(self._passages):
            passage.is_forgotten = True

    def lead_to(self, port: int) -> None:
        """New connections go there; those there are stay where they are."""
        self._upstream = port

    def _call(self, *changes: Callable[[], None]) -> None:
        done = threading.Event()

        def apply() -> None:
            for change in changes:
                change()
            done.set()

        self._loop.call_soon_threadsafe(apply)
        assert done.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._down.set()
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        with contextlib.suppress(asyncio.CancelledError):  # the proxy ends
            await self._connect(reader, writer)
        writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._up.wait()
        await asyncio.sleep(2 * self._delay)
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            return
        self._passages.append(passage := _Passage(self._loop.time()))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, upstream_writer, self._up, passage))
                group.create_task(self._forward(upstream_reader, writer, self._down, passage))
        except* (OSError, EOFError):
            pass
        finally:
            upstream_writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event, passage: _Passage
    ) -> None:
        while True:
            data = await reader.read(65_536)
            await way.wait()
            if not data:
                raise EOFError  # whoever closed, closed both
            now = self._loop.time()
            passage.is_forgotten |= now - passage.last > self._forget_after
            if passage.is_forgotten:
                continue
            passage.last = now
            if self._delay:
                self._loop.call_later(self._delay, writer.write, data)
            else:
                writer.write(data)
                await writer.drain()


class Namespace:
    """A network namespace of its own, joined to this one by a veth pair, in which packets can be dropped."""

    def __init__(self) -> None:
        # Several test runs at once do not meet: 16 namespaces of each of 1,024 neighbouring processes.
        number = os.getpid() % 1_024 * 16 + next(_numbers) % 16
        self.name, self._link, self._peer = f"mm{number}", f"mmh{number}", f"mmn{number}"
        network = f"10.231.{number // 64}.{{}}"
        self.outside, self.inside = (network.format(number % 64 * 4 + end) for end in (1, 2))

    @property
    def launcher(self) -> list[str]:
        """What goes before a command that is to run inside."""
        return ["ip", "netns", "exec", self.name]

    @staticmethod
    def obstacle() -> str:
        """Why there can be none here; empty if there can."""
        if os.geteuid() != 0:
            return "needs root, to make network namespaces and drop packets"
        for tool in ("ip", "iptables"):
            if shutil.which(tool) is None:
                return f"needs {tool} (apt-get install iproute2 iptables)"
        try:
            with Namespace() as namespace:
                namespace.drop(1)
        except subprocess.CalledProcessError as error:
            return f"cannot make a network namespace: {error.stderr.strip()}"
        return ""

    def __enter__(self) -> Self:
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", self._link, "type", "veth", "peer", "name", self._peer, "netns", self.name)
            _ip("address", "add", f"{self.outside}/30", "dev", self._link)
            _ip("link", "set", self._link, "up")
            for command in (
                f"address add {self.inside}/30 dev {self._peer}",
                f"link set {self._peer} up",
                "link set lo up",
            ):
                _ip("-netns", self.name, *command.split())
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def drop(self, port: int) -> None:
        """Drops every packet between the two sides that is to or from ``port`` inside; within it all goes on."""
        for way in (
            ["INPUT", "-i", self._peer, "-p", "tcp", "--dport", str(port)],
            ["OUTPUT", "-o", self._peer, "-p", "tcp", "--sport", str(port)],
        ):
            self._iptables("-A", *way, "-j", "DROP")

    def heal(self) -> None:
        self._iptables("-F")

    def dropped(self) -> int:
        """Packets dropped since :meth:`drop`."""
        rules = self._iptables("-L", "-v", "-n", "-x").splitlines()
        return sum(int(rule.split()[0]) for rule in rules if " DROP " in rule)

    def _iptables(self, *arguments: str) -> str:
        return _run(*self.launcher, "iptables", "-w", *arguments)

    def _remove(self) -> None:
        # The link goes with the namespace, and the namespace when its last process has gone.
        for command in (["link", "del", self._link], ["netns", "del", self.name]):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*command)


class Switch:
    """Machines on one network: a namespace for each, and the network between any two of them can be cut.

    Who is cut off from another knows a hardware address of it that nobody has: packets vanish, as they do in a network
    that is cut, and no firewall is needed.
    """

    def __init__(self, size: int) -> None:
        number = os.getpid() % 1_024 * 16 + next(_numbers) % 16
        self._bridge = f"mms{number}"
        self._names = [f"mms{number}.{machine}" for machine in range(size)]
        network = f"10.{232 + number // 4_096}.{number // 16 % 256}.{{}}"
        start = number % 16 * 16 + 1
        self.outside = network.format(start)
        """The address of this side, where gateways and tests run."""
        self.hosts = [network.format(start + 1 + machine) for machine in range(size)]
        self._cuts: list[tuple[int, str]] = []

    @staticmethod
    def obstacle() -> str:
        """Why there can be none here; empty if there can."""
        if os.geteuid() != 0:
            return "needs root, to make network namespaces"
        if shutil.which("ip") is None:
            return "needs ip (apt-get install iproute2)"
        try:
            with Switch(1):
                return ""
        except subprocess.CalledProcessError as error:
            return f"cannot make a network namespace: {error.stderr.strip()}"

    @property
    def places(self) -> list[Place]:
        return [Place(host, ["ip", "netns", "exec", name]) for host, name in zip(self.hosts, self._names, strict=True)]

    def __enter__(self) -> Self:
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", f"{self.outside}/28", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for name, host in zip(self._names, self.hosts, strict=True):
                _ip("netns", "add", name)
                _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
                _ip("link", "set", name, "master", self._bridge, "up")
                for command in (f"address add {host}/28 dev eth0", "link set eth0 up", "link set lo up"):
                    _ip("-netns", name, *command.split())
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def cut(self, machines: Collection[int], *, from_outside: bool = False) -> None:
        """Between those machines and all others; with ``from_outside`` this side too is one that they do not reach."""
        others = [machine for machine in range(len(self.hosts)) if machine not in machines]
        for machine in machines:
            away = [self.hosts[other] for other in others] + [self.outside] * from_outside
            self._cuts += [(machine, host) for host in away]
        self._cuts += [(other, self.hosts[machine]) for other in others for machine in machines]
        for machine, host in self._cuts:
            nowhere = ["lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "permanent"]
            _ip("-netns", self._names[machine], "neigh", "replace", host, *nowhere)

    def heal(self) -> None:
        for machine, host in self._cuts:
            _ip("-netns", self._names[machine], "neigh", "del", host, "dev", "eth0")
        self._cuts.clear()

    def _remove(self) -> None:
        links = [["link", "del", name] for name in (*self._names, self._bridge)]
        for command in (*links, *(["netns", "del", name] for name in self._names)):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*command)


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


class SlowLine:
    """A line to a port of 127.0.0.1 that carries so many bytes a second towards the client, or takes its time.

    It holds no more than a few thousand bytes: what it has no room for waits at the sender.
    """

    host = "127.0.0.1"

    def __init__(self, port: int, bytes_per_second: float = math.inf, delay: float = 0.0) -> None:
        """``delay``: each way, in seconds."""
        self._upstream = port
        self._rate = bytes_per_second
        self._delay = delay
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]

    def __enter__(self) -> Self:
        self._start(self._serve)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, name="slow line", daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket()
                if self._rate < math.inf:
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
                server.connect((self.host, self._upstream))
                self._sockets += client, server
                self._join(client, server, math.inf)
                self._join(server, client, self._rate)

    def _join(self, source: socket.socket, sink: socket.socket, rate: float) -> None:
        if not self._delay:
            self._start(self._carry, source, sink, rate)
            return
        under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self._start(self._take_in, source, under_way)
        self._start(self._hand_out, under_way, sink)

    def _carry(self, source: socket.socket, sink: socket.socket, rate: float) -> None:
        free_at = time.monotonic()
        with contextlib.suppress(OSError):
            while data := source.recv(400):
                sink.sendall(data)
                free_at = max(free_at, time.monotonic() - 0.05) + len(data) / rate
                time.sleep(max(0.0, free_at - time.monotonic()))

    def _take_in(self, source: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                under_way.put((time.monotonic() + self._delay, data))

    def _hand_out(self, under_way: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                at, data = under_way.get()
                time.sleep(max(0.0, at - time.monotonic()))
                sink.sendall(data)
