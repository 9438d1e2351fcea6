"""The hub with real sockets, whose other ends are read in another process: WebSockets by a call of ``send`` each and by
io_uring, and server-sent events.

``python -m tests.benchmarks.sockets PORT CLIENTS`` is that process.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Final

from gateway.loadtest.limits import raise_file_limit
from gateway.protocol.events import Places
from gateway.wires.events import EventWire
from gateway.wires.io_uring import Ring
from tests.benchmarks.fanout import Audience, CountingWire, names_of
from tests.benchmarks.measure import Benchmark, Effort, Work, finished
from tests.environment import has_io_uring

__all__ = ["benchmarks"]

_CALLS: Final = "a call each"
_RING: Final = "io_uring"
_EVENTS: Final = "server-sent events"


class SocketWire(CountingWire):
    """A client's socket; what arrives is counted at the other end."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self.send = connection.send  # type: ignore[method-assign, assignment] # as the server's own wire does it

    def fileno(self) -> int:
        return self._connection.fileno()

    def finish(self, rest: bytes) -> None:
        raise RuntimeError("The reader is too slow: a socket was full.")


class EventSocket(SocketWire):
    """The socket of a client of server-sent events."""

    def __init__(self, connection: socket.socket, symbols: Sequence[str]) -> None:
        super().__init__(connection)
        events = EventWire(Places(symbols))
        # What goes out is counted on its way, as events differ in length; that costs little beside the system's part.
        inner = CountingWire()
        inner.send = self._write  # type: ignore[method-assign]
        events.begin(inner, is_chunked=True)
        self.send = events.send  # type: ignore[method-assign]

    def fileno(self) -> int:
        return -1

    def _write(self, frames: bytes) -> int:
        self.bytes += len(frames)
        return self._connection.send(frames)


class Readers:
    """The other ends."""

    def __init__(self, port: int, clients: int) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.sockets", str(port), str(clients)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.expected = 0

    def wait(self) -> int:
        """Returns how many bytes have arrived when it is as many as are expected."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.expected}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def _connected(clients: int) -> Iterator[tuple[list[socket.socket], Readers]]:
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=clients) as listening:
        readers = Readers(listening.getsockname()[1], clients)
        stack.callback(readers.close)
        listening.settimeout(20)
        connections = []
        for _ in range(clients):
            connection, _ = listening.accept()
            stack.enter_context(connection)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections.append(connection)
        yield connections, readers


@asynccontextmanager
async def _fan_out(effort: Effort, *, clients: int, symbols: int, per_client: int, way: str) -> AsyncIterator[Work]:
    """A pass has a tick of one symbol, or of every tenth."""
    clients = effort.of(clients)
    raise_file_limit(clients)
    with _connected(clients) as (connections, readers):
        wires: list[CountingWire] = [SocketWire(connection) for connection in connections]
        if way == _EVENTS:
            wires = [EventSocket(one, names_of(index, symbols, per_client)) for index, one in enumerate(connections)]
        audience = Audience(wires, symbols, per_client, ring=Ring() if way == _RING else None)
        await audience.gather()
        step = max(1, symbols // 10)
        passes = [audience.names[start::step] for start in range(step)] * max(1, 20 // step)
        due = sum(audience.subscribers(symbol) for some in passes for symbol in some)

        async def work() -> int:
            for some in passes:
                audience.hub.deliver(audience.ticks(some))
            counted = sum(wire.bytes for wire in wires)
            readers.expected = counted or readers.expected + due * audience.frame_size
            arrived = readers.wait()
            return due if arrived == readers.expected else finished(due, 0)

        yield work


def benchmarks() -> list[Benchmark]:
    """Without those by io_uring where there is none."""
    ways = [_CALLS, *([_RING] if has_io_uring() else []), _EVENTS]
    scenes = {
        "1,000 sockets of 1 symbol, 1 tick a pass": partial(_fan_out, clients=1_000, symbols=1, per_client=1),
        "500 sockets of 20 in 100 symbols, 10 ticks a pass": partial(_fan_out, clients=500, symbols=100, per_client=20),
    }
    return [
        Benchmark(f"hub, {scene}, {way}", "delivery", partial(fan_out, way=way))
        for scene, fan_out in scenes.items()
        for way in ways
    ]


def _read(port: int, clients: int, ask: Callable[[], str], answer: Callable[[str], object]) -> None:
    """Reads from ``clients`` connections; ``ask`` blocks until the next number of bytes to wait for."""
    raise_file_limit(clients)
    selector = selectors.DefaultSelector()
    for _ in range(clients):
        selector.register(socket.create_connection(("127.0.0.1", port)), selectors.EVENT_READ)
    buffer = bytearray(65_536)
    total = 0
    while expected := ask():
        while total < int(expected):
            for key, _ in selector.select():
                total += key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
        answer(f"{total}\n")


if __name__ == "__main__":
    _read(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.readline, lambda text: print(text, end="", flush=True))  # noqa: T201
