"""The process that keeps the workers running: one for each listening socket, replaced when it dies.

The sockets of several workers share the port through SO_REUSEPORT, and the kernel spreads connections over those that
listen. The supervisor binds them and keeps them open; the workers listen (worker.py says why).

Workers are new processes, not forks: importing Daphne has created an event loop by then, and two processes must not
share its epoll descriptor. Each is a process group of its own, so Ctrl-C reaches the supervisor alone, which then ends
them in order, whatever they are doing at that moment.

A worker that hangs is killed: the kernel goes on handing connections to its socket, so it must go before another can
serve them (lifeline.py). The socket of one that died is lent to another worker, which accepts from it until there is a
replacement: to start one takes seconds, and longer while thousands of clients come back.

A rolling restart puts a new process in the place of each worker, one after the other: the new one listens on the same
socket before the old one is told to stop, so at every moment one of them accepts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gateway.server.exchange import Exchange, Merge
from gateway.server.lifeline import Watch, lend

__all__ = ["Supervisor", "bind", "url"]

logger = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
STABLE_SECONDS: Final = 10.0
LAST_WORDS_SECONDS: Final = 1.0
"""For what a process that has ended said last, which is in the socket already."""


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """``count`` sockets, bound and not listening, on one address; ``OSError`` if it cannot be had."""
    family, _, _, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    alone = _bound(family, address)
    if count == 1:
        return [alone]
    # Sockets that share a port also bind beside another gateway's. Only one that does not share proves that the port is
    # free, and finds a number for port 0.
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
    """A place for a worker: its number, its socket, and what is known of the processes that held it so far."""

    number: int
    listener: socket.socket
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the first process in this place could serve, and never cleared."""

    began: bool = False
    """Whether the event loop of a process in this place has run: it may have waited for Redis."""

    lifeline: socket.socket | None = None
    """Of the process that serves in this place."""

    stand_in: socket.socket | None = None
    """The lifeline of the worker that accepts for this one, while none serves in its place."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    renewed: asyncio.Future[bool] | None = None

    async def renew(self) -> bool:
        """Asks for another process in this place; True once it has replaced the one there was."""
        self.renewed = asyncio.get_running_loop().create_future()
        self.asked.set()
        return await self.renewed


class Run(NamedTuple):
    """A process in a worker's place: set when it can serve, and when another serves in its place; done with its exit
    status when it has ended.
    """

    ready: asyncio.Event
    replaced: asyncio.Event
    ended: asyncio.Task[int]


class Supervisor:
    """Runs a worker for each of ``listeners`` until SIGTERM or SIGINT; SIGHUP starts another in the place of each.

    ``command`` makes the arguments of a worker out of its number (from 0) and the descriptors of its socket, its
    lifeline, and its line to the others (exchange.py), whose figures ``merge`` adds up. ``on_ready`` is called when all
    of them serve for the first time. A worker that showed no sign of life for ``silence`` seconds is killed and
    replaced. In a terminal SIGHUP means that the terminal was closed, and ends the workers. ``patience``: how many
    seconds a worker may take to send its clients away (drain.py).

    A worker is told how to end by the signal: SIGTERM in its own time; SIGHUP without a delay, after Ctrl-C and when
    another has its place. (One that is still being imported would say of SIGINT that it is a KeyboardInterrupt.)
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        command: Callable[[int, int, int, int], Sequence[str]],
        environment: Mapping[str, str],
        on_ready: Callable[[], None],
        in_terminal: bool = False,
        *,
        silence: float,
        merge: Merge,
        patience: float = 0.0,
    ) -> None:
        self._listeners = listeners
        self._exchange = Exchange(len(listeners), merge)
        self._command = command
        self._environment = environment
        self._on_ready = on_ready
        self._in_terminal = in_terminal
        self._silence = silence
        self._stop_seconds = STOP_SECONDS + patience
        self._farewell = signal.SIGTERM
        self._has_ended = False
        self._runs: set[asyncio.Task[int]] = set()
        self._workers = [Worker(number, listener) for number, listener in enumerate(listeners)]

    def run(self) -> int:
        """Returns the exit code: 0 after a signal, that of the worker if one could not be started at all."""
        return asyncio.run(self._supervise())

    async def _supervise(self) -> int:
        stop, restart = asyncio.Event(), asyncio.Event()
        on_signal = asyncio.get_running_loop().add_signal_handler

        def end(farewell: signal.Signals) -> None:
            self._farewell = farewell
            stop.set()

        on_signal(signal.SIGTERM, end, signal.SIGTERM)
        on_signal(signal.SIGINT, end, signal.SIGHUP)
        if self._in_terminal:
            on_signal(signal.SIGHUP, end, signal.SIGHUP)
        else:
            on_signal(signal.SIGHUP, restart.set)
        keepers = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        others = [
            asyncio.create_task(self._announce()),
            asyncio.create_task(_restart_each(self._workers, restart)),
        ]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([*keepers, stopping], return_when=asyncio.FIRST_COMPLETED)
        codes = [keeper.result() for keeper in keepers if keeper.done()]
        self._close_listeners()
        await _cancel([*others, *keepers, stopping])
        await _cancel(self._runs)
        _ignore_signals()
        return codes[0] if codes else 0

    async def _announce(self) -> None:
        for worker in self._workers:
            await worker.ready.wait()
        self._on_ready()

    async def _keep(self, worker: Worker) -> int:
        """Keeps a process in the worker's place; returns the exit code of the first one if that never got ready.

        One that was killed while it waited for Redis is replaced, as any other.
        """
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        run = self._start(worker)
        while True:
            started = loop.time()
            if await _asked(worker, run):
                run = await self._renew(worker, run)
                continue
            status = run.ended.result()
            if not worker.ready.is_set() and not (worker.began and status < 0):
                logger.error("Worker %d could not start: it %s", worker.number, _described(status))
                return status if status > 0 else 128 - status
            if loop.time() - started > STABLE_SECONDS:
                delay = FIRST_DELAY
            logger.error("Worker %d %s; starting another in %g s", worker.number, _described(status), delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
            run = self._start(worker)

    async def _renew(self, worker: Worker, old: Run) -> Run:
        """Replaces a process by another, which serves before the old one must stop; returns the one that stays."""
        new = self._start(worker)
        problem = await _until_ready(new)
        if problem:
            logger.error("Worker %d stays as it is: the process that should replace it %s", worker.number, problem)
            await _cancel([new.ended])
        else:
            old.replaced.set()
            await _cancel([old.ended])
            logger.info("Worker %d was replaced", worker.number)
        worker.asked.clear()
        if worker.renewed is not None:
            worker.renewed.set_result(not problem)
        return old if problem else new

    def _start(self, worker: Worker) -> Run:
        ready, replaced = asyncio.Event(), asyncio.Event()
        run = Run(ready, replaced, asyncio.create_task(self._run(worker, ready, replaced)))
        self._runs.add(run.ended)
        run.ended.add_done_callback(self._runs.discard)
        return run

    async def _run(self, worker: Worker, ready: asyncio.Event, replaced: asyncio.Event) -> int:
        """One process, from its start to its end; ends it if cancelled. Returns its exit status."""
        ours, theirs = socket.socketpair()
        our_line, their_line = socket.socketpair()
        with ours, theirs, our_line, their_line:
            descriptors = worker.listener.fileno(), theirs.fileno(), their_line.fileno()
            process = await asyncio.create_subprocess_exec(
                *self._command(worker.number, *descriptors),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,
            )
            theirs.close()
            their_line.close()
            watching = asyncio.create_task(self._watch(worker, process, ours, ready))
            listening = asyncio.create_task(self._exchange.join(worker.number, our_line))
            try:
                return await process.wait()
            finally:
                if worker.lifeline is ours:
                    worker.lifeline = None
                    self._cover()
                await _cancel([watching])
                await self._end(process, signal.SIGHUP if replaced.is_set() else self._farewell)
                await asyncio.wait([listening], timeout=LAST_WORDS_SECONDS)
                await _cancel([listening])

    async def _watch(
        self, worker: Worker, process: asyncio.subprocess.Process, lifeline: socket.socket, ready: asyncio.Event
    ) -> None:
        """Sets ``ready`` when the process can serve, and kills it if it hangs."""

        def on_ready() -> None:
            ready.set()
            worker.ready.set()
            worker.lifeline = lifeline
            self._cover()

        def on_alive() -> None:
            worker.began = True

        watch = Watch(lifeline, on_alive, on_ready, start=START_SECONDS, silence=self._silence, end=STOP_SECONDS)
        silent = await watch.silent()
        logger.error(
            "Worker %d (pid %d) has shown no sign of life for %g s: killing it", worker.number, process.pid, silent
        )
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    def _cover(self) -> None:
        """Has a worker that serves accept for each that does so no more, and no longer than that."""
        serving = [worker.lifeline for worker in self._workers if worker.lifeline is not None]
        for worker in self._workers:
            is_covered = worker.stand_in in serving
            if worker.lifeline is not None:
                if worker.stand_in is not None and is_covered:
                    lend(worker.stand_in, worker.number, None)
                worker.stand_in = None
            elif serving and not is_covered and worker.ready.is_set() and not self._has_ended:
                worker.stand_in = serving[worker.number % len(serving)]
                lend(worker.stand_in, worker.number, worker.listener)

    async def _end(self, process: asyncio.subprocess.Process, farewell: signal.Signals) -> None:
        """Tells it to end, and kills it if it has not by ``STOP_SECONDS`` after it should have."""
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(farewell)
        try:
            await asyncio.wait_for(process.wait(), self._stop_seconds)
        except TimeoutError:
            logger.warning("A worker (pid %d) did not stop within %g s: killing it", process.pid, self._stop_seconds)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _close_listeners(self) -> None:
        """Once the workers' descriptors are closed too, new connections are refused rather than left waiting."""
        self._has_ended = True
        for listener in self._listeners:
            listener.close()


async def _asked(worker: Worker, run: Run) -> bool:
    """True when another process is wanted in the place of one that runs; False when that has ended."""
    asking = asyncio.create_task(worker.asked.wait())
    try:
        await asyncio.wait([run.ended, asking], return_when=asyncio.FIRST_COMPLETED)
    finally:
        asking.cancel()
    return not run.ended.done()


async def _until_ready(run: Run) -> str:
    """Returns when the process can serve; if it cannot, what it did instead."""
    waiting = asyncio.create_task(run.ready.wait())
    try:
        await asyncio.wait([run.ended, waiting], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if run.ready.is_set() and not run.ended.done():
        return ""
    if not run.ended.done():
        return f"was not ready after {START_SECONDS:g} s"
    error = run.ended.exception()
    return f"could not be started: {error}" if error else _described(run.ended.result())


async def _restart_each(workers: Sequence[Worker], restart: asyncio.Event) -> None:
    """Renews one worker after the other each time that is asked for, unless one cannot be renewed."""
    while True:
        await restart.wait()
        restart.clear()
        logger.info("Restarting the workers, one after the other")
        for worker in workers:
            if not await worker.renew():
                break


def _ignore_signals() -> None:
    """A second signal, while the interpreter ends, must not make the exit look like a failure."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(signum)
        signal.signal(signum, signal.SIG_IGN)


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits until they have ended, which for a process takes a while.

    What is being cancelled already is only waited for: a second cancellation would cut its cleanup short.
    """
    left = [task for task in tasks if not task.done()]
    for task in left:
        if not task.cancelling():
            task.cancel()
    if left:
        await asyncio.wait(left)


def _described(status: int) -> str:
    if status >= 0:
        return f"ended with exit code {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
