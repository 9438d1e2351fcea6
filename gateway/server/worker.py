"""One gateway worker: Daphne's server on a socket that somebody else bound, with an orderly start and end.

The supervisor (supervisor.py) binds the socket and keeps it open; the worker calls ``listen`` only once its application
is loaded. So a client is refused until it can be served, and when a worker dies what waits in its backlog is served by
the worker that replaces it.

A socket pair, the lifeline, joins the two: a byte from the worker says that it is ready, and its end says to the worker
that the supervisor is gone, however it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from daphne.server import Server, reactor

from gateway.protocol.codes import Closure
from gateway.server.http import GatewayChannel, GatewayHTTPFactory
from gateway.server.inbox import Inbox
from gateway.server.timeouts import Rota, Timeouts
from gateway.server.websocket import GatewayProtocol

__all__ = ["BACKLOG", "READY", "GatewayServer", "raise_open_file_limit"]

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096
READY: Final = b"R"
DRAIN_SECONDS: Final = 4.0
"""For requests in flight and closing handshakes. With what comes after it (tasks that end, ticks that are recorded) a
worker is gone within the ten seconds after which the supervisor kills it.
"""

LINGER_SECONDS: Final = 0.3
"""For a request that is on its way on a connection where none has begun."""

CANCEL_SECONDS: Final = 1.0
LONGEST_STOP_SECONDS: Final = 10
HARD_MESSAGE_BYTES: Final = 1_048_576
SLICE: Final = 200
"""Connections that are seen to before others get their turn on the event loop."""

SPARE_FILES: Final = 64
"""Open files kept for all that is no client: Redis, database, large bodies, and room to refuse connections."""

_GONE: Final[dict[str, Any]] = {"disconnected": 0.0}

Job = Callable[[], Coroutine[Any, Any, None]]


class GatewayServer(Server):  # type: ignore[misc]  # Daphne ships no types
    """Daphne's server class on an already bound socket.

    A message over ``max_message_bytes`` is the application's to refuse with an explanation; one over Daphne's own limit
    as well is not read to its end, and neither is a body over ``max_body_bytes``. ``restart`` is how clients are closed
    when the server stops. ``jobs`` run beside the server on its loop until then.
    """

    def __init__(
        self,
        application: Any,
        listener: socket.socket,
        *,
        max_message_bytes: int,
        max_body_bytes: int,
        restart: Closure,
        lifeline: socket.socket | None = None,
        jobs: Sequence[Job] = (),
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        hard_limit = max(max_message_bytes, HARD_MESSAGE_BYTES)
        super().__init__(
            application,
            # The endpoint takes the descriptor over: it duplicates it and closes the one it was given.
            endpoints=[f"fd:fileno={listener.detach()}"],
            signal_handlers=False,
            http_timeout=timeouts.answer,
            request_buffer_size=max_body_bytes + 1,  # a body is one event
            ping_timeout=0,  # GatewayProtocol looks after its silence itself
            websocket_handshake_timeout=timeouts.handshake,
            websocket_max_message_size=hard_limit,
            websocket_max_frame_size=hard_limit,
            ready_callable=self._on_ready,
            server_name="marketmux",
        )
        self.connections: dict[Any, dict[str, Any]] = {}
        self.channels: set[GatewayChannel] = set()
        self.timeouts = timeouts
        self.draining = False
        self._restart = restart
        self._lifeline = lifeline
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []
        self._ports: list[Any] = []
        self._drain_task: asyncio.Task[None] | None = None
        self._house_task: asyncio.Task[None] | None = None
        self._rota: Rota[GatewayProtocol] = Rota(timeouts.round)
        self._leaving: dict[Any, dict[str, Any]] = {}
        self._open = 0
        self._room = sys.maxsize
        self._full = False

    def run(self) -> None:
        """Serves until SIGTERM, SIGINT, SIGHUP or the end of the lifeline."""
        super().run()
        if self.abort_start:
            sys.exit(1)
        self._loop.run_until_complete(_cancel_all_tasks())

    def started(self) -> None:
        """Called on the running loop before the first connection is accepted."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.add_signal_handler(signum, self.shut_down)
        # The rota has the time of the opening handshake; a timer of its own would be made for every client.
        self.ws_factory.setProtocolOptions(closeHandshakeTimeout=self.timeouts.closing, openHandshakeTimeout=0)
        self.ws_factory.protocol = _with_options(self.ws_factory)
        self._room = _room_for_clients()
        self._tasks = [self._loop.create_task(_run(job)) for job in self._jobs]
        if self._lifeline is not None:
            self._loop.add_reader(self._lifeline, self._on_lifeline_end)
            with contextlib.suppress(OSError):
                self._lifeline.send(READY)

    def shut_down(self) -> None:
        """Takes no more connections, lets those there are end, at most for ``DRAIN_SECONDS``, and stops."""
        if not self.draining:
            self.draining = True
            self._drain_task = self._loop.create_task(self._drain())

    # Connections

    def listen_success(self, port: Any) -> None:
        port.factory = GatewayHTTPFactory(self)
        super().listen_success(port)
        self._ports.append(port)

    def connection_opened(self) -> bool:
        """Counts a connection that was accepted; False if there is no room for it.

        At the limit of open files nothing that needs one works any more, such as a new connection to Redis: so clients
        are refused before that.
        """
        if self._open >= self._room:
            if not self._full:
                self._full = True
                logger.warning(
                    "%d connections are all that the limit of open files has room for: others are refused", self._room
                )
            return False
        self._open += 1
        return True

    def connection_closed(self) -> None:
        self._open -= 1
        if self._full and self._open < 0.9 * self._room:
            self._full = False
            logger.warning("There is room for connections again")

    def protocol_connected(self, protocol: Any) -> None:
        self.connections[protocol] = {}
        if isinstance(protocol, GatewayProtocol):
            self._rota.put(protocol, self.timeouts.handshake)

    def protocol_disconnected(self, protocol: Any) -> None:
        """May be called again, and for a handshake that failed too early to be connected."""
        details = self.connections.get(protocol)
        if details is None or "disconnected" in details:
            return
        details["disconnected"] = time.monotonic()
        if isinstance(protocol, GatewayProtocol):
            self._rota.remove(protocol)
        if "application_instance" in details:
            self._leaving[protocol] = details
        else:
            del self.connections[protocol]

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Inbox | None:
        """Daphne's, with a lighter and bounded queue between it and the application."""
        inbox = Inbox(protocol if isinstance(protocol, GatewayProtocol) else None)
        scope.setdefault("asgi", {"version": "3.0"})
        if protocol not in self.connections:
            return None
        application = self.application(scope=scope, receive=inbox.get, send=partial(self.handle_reply, protocol))
        task = self._loop.create_task(application)
        task.add_done_callback(partial(self._reap, protocol))
        self.connections[protocol]["application_instance"] = task
        return inbox

    # Housekeeping

    def application_checker(self) -> None:
        """Starts the housekeeping, which Daphne has in two chains of timers.

        An exception in either ends it for the whole process: one in the middle of a response does. They also go by the
        wall clock, and over all connections without a pause. So nothing of them is kept.
        """
        self._house_task = self._loop.create_task(self._keep_house())

    def timeout_checker(self) -> None:
        """The other chain: ``application_checker`` has started what does its work."""

    async def _keep_house(self) -> None:
        while True:
            for number, (see_to, whom) in enumerate(self._duties()):
                if number % SLICE == SLICE - 1:
                    await asyncio.sleep(0)
                try:
                    see_to(whom)
                except Exception:
                    logger.exception("Could not see to %r; cutting its connection", whom)
                    _cut(whom)
            await asyncio.sleep(self.timeouts.round)

    def _duties(self) -> list[tuple[Callable[[Any], None], Any]]:
        """What is to be done in this round, and to whom."""
        return [
            *((self._look_at, protocol) for protocol in self._rota.turn()),
            *((self._check, channel) for channel in self.channels),
            *((self._hurry, protocol) for protocol in self._leaving),
        ]

    def _look_at(self, protocol: GatewayProtocol) -> None:
        if "disconnected" not in self.connections.get(protocol, _GONE):  # it may have left in this round
            self._rota.put(protocol, protocol.check_timeouts())

    def _check(self, channel: GatewayChannel) -> None:
        if channel in self.channels:  # likewise
            channel.check_timeouts()

    def _hurry(self, protocol: Any) -> None:
        """Cancels an application whose client has been gone for too long."""
        details = self._leaving.get(protocol)
        if details is None or details.get("hurried"):
            return
        gone = time.monotonic() - details["disconnected"]
        if gone > self.application_close_timeout:
            details["hurried"] = True
            logger.warning("The application of %r did not end within %d s of its client", protocol, gone)
            details["application_instance"].cancel()

    def _reap(self, protocol: Any, application: asyncio.Task[None]) -> None:
        """An application has ended; its connection may still be there."""
        details = self.connections[protocol]
        del details["application_instance"]
        if self._leaving.pop(protocol, None) is not None:
            del self.connections[protocol]
        exception = None if application.cancelled() else application.exception()
        if exception is None:
            return
        logger.error("Exception inside application: %s", exception, exc_info=exception)
        if "disconnected" not in details:
            try:
                protocol.handle_exception(exception)
            except Exception:
                logger.exception("Could not tell the client of %r; cutting its connection", protocol)
                _cut(protocol)

    def kill_all_applications(self) -> Any:
        # Daphne expects an application at every connection, but drops the one that ended before its connection did.
        self.connections = {
            protocol: details for protocol, details in self.connections.items() if "application_instance" in details
        }
        return super().kill_all_applications()

    # Start and end

    def _on_ready(self) -> None:
        self._loop = asyncio.get_event_loop()  # the reactor's: Daphne has just made it this thread's
        self._loop.call_soon(self.started)

    def _on_lifeline_end(self) -> None:
        if self._lifeline is not None:
            self._loop.remove_reader(self._lifeline)
        logger.warning("The supervisor is gone: stopping")
        signal.alarm(LONGEST_STOP_SECONDS)  # nobody is left who would kill a worker that hangs
        self.shut_down()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._finish()
        except TimeoutError:
            logger.warning("%d connections were not done within %g s: cutting them", self._open, DRAIN_SECONDS)
        finally:
            reactor.stop()

    async def _finish(self) -> None:
        """Ends what has begun; returns when all is done."""
        self._stop_accepting()
        for task in self._tasks:
            task.cancel()
        for channel in list(self.channels):
            channel.drain()
        lingering_until = self._loop.time() + LINGER_SECONDS
        while self._is_serving():
            await self._close_websockets()  # each time: a handshake may have been under way
            if self._loop.time() >= lingering_until:
                for channel in list(self.channels):
                    channel.leave()
            await asyncio.sleep(0.02)  # nothing tells when it is done

    def _stop_accepting(self) -> None:
        for port in self._ports:
            # What waits already is served; the rest is the next worker's, if there is one.
            opened = -1
            while opened != self._open:
                opened = self._open
                port.doRead()
            port.stopListening()

    async def _close_websockets(self) -> None:
        closed = 0
        for protocol in list(self.connections):
            if isinstance(protocol, GatewayProtocol) and protocol.state == protocol.STATE_OPEN:
                try:
                    protocol.close_with(self._restart)
                except Exception:
                    logger.exception("Could not close %r", protocol)
                    _cut(protocol)
                closed += 1
                if closed % SLICE == 0:
                    await asyncio.sleep(0)

    def _is_serving(self) -> bool:
        """Whether a connection is open, or the application of one not done."""
        return self._open > 0 or any(
            "application_instance" in details and not details["application_instance"].done()
            for details in self.connections.values()
        )


def _with_options(factory: Any) -> type[GatewayProtocol]:
    """Our protocol with the factory's options as attributes of its class.

    Otherwise Autobahn copies all of them to every connection, and prints them for a log that nobody reads.
    """
    options = {name: getattr(factory, name) for name in GatewayProtocol.CONFIG_ATTRS}
    # A function among them must not become a method.
    options = {name: staticmethod(option) if callable(option) else option for name, option in options.items()}
    return type("ServedProtocol", (GatewayProtocol,), {**options, "CONFIG_ATTRS": ()})


def raise_open_file_limit() -> None:
    """Every client is a file descriptor: takes as many as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a hard limit without end, and grants none
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _room_for_clients() -> int:
    """How many connections there may be within this process's limit of open files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    in_use = len(list(Path("/dev/fd").iterdir()))
    return max(1, limit - in_use - min(SPARE_FILES, limit // 4))


def _cut(protocol: Any) -> None:
    transport = getattr(protocol, "transport", None)
    if transport is not None:
        transport.abortConnection()


async def _run(job: Job) -> None:
    try:
        await job()
    except Exception:
        logger.exception("A background job ended; the gateway goes on without it")


async def _cancel_all_tasks() -> None:
    """Ends what the application left running, so that nothing is destroyed in the middle of its work."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
