"""The process that keeps the workers running: one for each listening socket, replaced when it dies.

The sockets of several workers share the port through SO_REUSEPORT, and the kernel spreads connections over those that
listen. The supervisor binds them and keeps them open; the workers listen (server.py says why).

Workers are started afresh, not forked: importing Daphne has created an event loop by then, and two processes must not
share its epoll descriptor. Each is a process group of its own, so Ctrl-C reaches the supervisor alone, which then ends
them in order, whatever they are doing at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Supervisor", "bind", "url"]

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 10.0
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
STABLE_SECONDS: Final = 10.0


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """``count`` sockets, bound and not listening, on one address; ``OSError`` if it is not to be had."""
    family, _, _, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    alone = _bound(family, address)
    if count == 1:
        return [alone]
    # Sockets that share a port also bind beside another gateway's: only the one that does not share has seen the port
    # free, and the number that a port of 0 stands for.
    address = alone.getsockname()
    alone.close()
    return [_bound(family, address, shared=True) for _ in range(count)]


def url(bound: socket.socket) -> str:
    """The address of a bound socket as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _bound(family: int, address: tuple[object, ...], shared: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


@dataclass(eq=False)
class Worker:
    """A place for a worker: its number, its socket, and what is known of the process that holds it now."""

    number: int
    listener: socket.socket
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the first process in this place could serve, and never cleared."""


class Supervisor:
    """Runs a worker for each of ``listeners`` until SIGTERM or SIGINT.

    ``command`` makes the arguments of a worker out of its number (from 0), the descriptor of its socket and that of its
    lifeline. ``on_ready`` is called when all of them serve for the first time.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        command: Callable[[int, int, int], Sequence[str]],
        environment: Mapping[str, str],
        on_ready: Callable[[], None],
    ) -> None:
        self._listeners = listeners
        self._command = command
        self._environment = environment
        self._on_ready = on_ready

    def run(self) -> int:
        """Returns the exit code: 0 after a signal, that of the worker if one could not be started at all."""
        return asyncio.run(self._supervise())

    async def _supervise(self) -> int:
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        workers = [Worker(number, listener) for number, listener in enumerate(self._listeners)]
        keepers = [asyncio.create_task(self._keep(worker)) for worker in workers]
        announcing = asyncio.create_task(self._announce(workers))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([*keepers, stopping], return_when=asyncio.FIRST_COMPLETED)
        codes = [keeper.result() for keeper in keepers if keeper.done()]
        self._close_listeners()
        await _cancel([*keepers, announcing, stopping])
        return codes[0] if codes else 0

    async def _announce(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            await worker.ready.wait()
        self._on_ready()

    async def _keep(self, worker: Worker) -> int:
        """Keeps a process in the worker's place; returns the exit code of the first one if that never got ready."""
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            started = loop.time()
            status = await self._run(worker)
            if not worker.ready.is_set():
                logger.error("Worker %d could not start: it %s", worker.number, _described(status))
                return status if status > 0 else 128 - status
            if loop.time() - started > STABLE_SECONDS:
                delay = FIRST_DELAY
            logger.error("Worker %d %s; starting another in %g s", worker.number, _described(status), delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _run(self, worker: Worker) -> int:
        """One process, from its start to its end; ends it if cancelled. Returns its exit status."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command(worker.number, worker.listener.fileno(), theirs.fileno()),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(worker.listener.fileno(), theirs.fileno()),
                process_group=0,
            )
            theirs.close()
            watching = asyncio.create_task(_watch(ours, worker.ready))
            try:
                return await process.wait()
            finally:
                await _cancel([watching])
                await _end(process)

    def _close_listeners(self) -> None:
        """Once the workers' descriptors are closed too, new connections are refused rather than left waiting."""
        for listener in self._listeners:
            listener.close()


async def _watch(lifeline: socket.socket, ready: asyncio.Event) -> None:
    lifeline.setblocking(False)
    with contextlib.suppress(ConnectionError):
        if await asyncio.get_running_loop().sock_recv(lifeline, 1):
            ready.set()


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL if it has not ended by ``STOP_SECONDS`` later."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        logger.warning("A worker (pid %d) did not stop within %g s: killing it", process.pid, STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _described(status: int) -> str:
    if status >= 0:
        return f"ended with exit code {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
