"""One gateway worker: Daphne's server on a socket that the supervisor bound, with an orderly start and end.

The supervisor (supervisor.py) keeps the socket open; the worker calls ``listen`` only once its application is loaded.
So a client is refused until it can be served, and when a worker dies, its replacement serves what is in the backlog.

A socket pair joins the two processes (lifeline.py). The worker says over it that it is ready and that it lives; its end
tells the worker that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from autobahn.websocket.protocol import WebSocketProtocol as Handshake
from daphne.server import Server, reactor

from gateway.protocol.codes import Closure
from gateway.server.drain import Drain, drain
from gateway.server.exchange import Line
from gateway.server.housekeeping import Housekeeping, cut
from gateway.server.http import GatewayHTTPFactory
from gateway.server.inbox import Inbox
from gateway.server.lifeline import ENDING, READY, Heartbeat
from gateway.server.short import ShortWay
from gateway.server.timeouts import Timeouts
from gateway.server.turns import Turns
from gateway.server.visitors import STANDING, Standing, Visitors
from gateway.server.websocket import GatewayProtocol

__all__ = ["BACKLOG", "GatewayServer", "raise_open_file_limit"]

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096
CANCEL_SECONDS: Final = 1.0
LONGEST_STOP_SECONDS: Final = 10.0
"""Of a worker without a supervisor that would kill it, beside what clients are given to go."""

HARD_MESSAGE_BYTES: Final = 1_048_576
SPARE_FILES: Final = 64
"""Open files kept for what is no client: Redis, database, large bodies, and room to refuse connections."""

_ASGI: Final = {"version": "3.0"}

EXTENSIONS: Final[dict[str, dict[str, Any]]] = {"websocket.http.response": {}, STANDING: {}}
"""Of ASGI: a handshake may be refused with another status than 403. And the application may say who it is."""

HTTP_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {STANDING: {}}

_GONE: Final = {"disconnected": 0.0}
"""What is known of a connection that has ended."""

MOST_IDLE: Final = 10_000

Job = Callable[[], Coroutine[Any, Any, None]]


class GatewayServer(Server):  # type: ignore[misc]  # Daphne ships no types
    """Daphne's server class on an already bound socket.

    A message over ``max_message_bytes`` is the application's to refuse with an explanation; one over Daphne's own limit
    as well is not read to its end, and neither is a body over ``max_body_bytes``. ``restart`` is how clients are closed
    when the server stops, in the way that ``ending`` says; ``on_drain`` is called when that begins. ``jobs`` run beside
    the server on its loop until then. It serves before it is ready, which the supervisor is told when ``usable`` has
    returned. ``most_idle``: see visitors.py. ``share_of`` makes an address that whose connections are counted together.
    ``admits`` says whether an address may open another connection. ``line`` is the way to the other workers.
    ``short_requests``: whether plain handshakes are read by ourselves (upgrade.py). ``short`` takes short requests
    (short.py).
    """

    def __init__(
        self,
        application: Any,
        listener: socket.socket,
        *,
        max_message_bytes: int,
        max_body_bytes: int,
        restart: Closure,
        ending: Drain = Drain(),  # noqa: B008 - frozen
        on_drain: Callable[[], None] | None = None,
        lifeline: socket.socket | None = None,
        jobs: Sequence[Job] = (),
        usable: Job | None = None,
        most_idle: int = MOST_IDLE,
        share_of: Callable[[str], str] = str,
        admits: Callable[[str], bool] | None = None,
        line: Line | None = None,
        short_requests: bool = True,
        short: ShortWay | None = None,
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
        self.max_body_bytes = max_body_bytes
        self.short_requests = short_requests
        self.short = short
        self.housekeeping = Housekeeping(timeouts)
        self.timeouts = timeouts
        # Who is connected goes on while others knock, and a publisher's POST does not wait for subscribers' commands.
        self.newcomers, self.requests, self.messages = Turns(), Turns(), Turns()
        self.draining = False
        self._restart = restart
        self._ending = ending
        self._on_drain = on_drain
        self._heartbeat = None if lifeline is None else Heartbeat(lifeline, self._on_lifeline_end, self.accept_for)
        self._line = line
        self._jobs = jobs
        self._usable = usable
        self._tasks: list[asyncio.Task[None]] = []
        self._ports: list[Any] = []
        self._lent: dict[int, Any] = {}
        self._drain_task: asyncio.Task[None] | None = None
        self._housekeeping_task: asyncio.Task[None] | None = None
        self.visitors = Visitors(most_idle, _make_room)
        self._share_of = share_of
        self._admits = admits
        self._full = False

    def run(self) -> None:
        """Serves until SIGTERM, SIGINT, SIGHUP or the end of the lifeline."""
        super().run()
        if self.abort_start:
            sys.exit(1)
        self._loop.run_until_complete(_cancel_all_tasks())

    def started(self) -> None:
        """Called on the running loop before the first connection is accepted."""
        self._loop.add_signal_handler(signal.SIGTERM, self.shut_down)
        for signum in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, and another process serves in our place
            self._loop.add_signal_handler(signum, self.shut_down, 0.0)
        # The housekeeping times the opening handshake; Autobahn would make a timer for every client.
        # `allowNullOrigin` is Daphne's choice, and undone by a call without it: origins are the application's to judge.
        self.ws_factory.setProtocolOptions(
            closeHandshakeTimeout=self.timeouts.closing, openHandshakeTimeout=0, allowNullOrigin=True
        )
        self.ws_factory.protocol = _with_options(self.ws_factory)
        self.visitors.room = _room_for_clients()
        self._tasks = [self._loop.create_task(_run(job)) for job in self._jobs]
        if self._line is not None:
            self._line.start()
        if self._heartbeat is not None:
            self._heartbeat.start()
            self._tasks.append(self._loop.create_task(self._say_ready(self._heartbeat)))

    async def _say_ready(self, heartbeat: Heartbeat) -> None:
        if self._usable is not None:
            await self._usable()
        heartbeat.say(READY)

    def shut_down(self, delay: float | None = None) -> None:
        """Stops in order (drain.py). ``delay``: for how many seconds it still accepts, if not as it was made."""
        if not self.draining:
            self.draining = True
            if self._on_drain is not None:
                self._on_drain()
            if self._heartbeat is not None:
                self._heartbeat.say(ENDING)
            self._drain_task = self._loop.create_task(self._drain(self._ending.delay if delay is None else delay))

    # Connections

    def listen_success(self, port: Any) -> None:
        port.factory = GatewayHTTPFactory(self)
        super().listen_success(port)
        self._ports.append(port)

    def accept_for(self, place: int, listener: socket.socket | None) -> None:
        """Accepts from the socket of a worker that has died, until there is None: another one does."""
        if port := self._lent.pop(place, None):
            self._ports.remove(port)
            port.stopListening()
        if listener is None:
            return
        with listener:
            if not self.draining:
                port = reactor.adoptStreamPort(listener.fileno(), listener.family, GatewayHTTPFactory(self))
                self._lent[place] = port
                self._ports.append(port)

    def connection_opened(self, address: str) -> bool:
        """Counts a connection that was accepted; False if its address has too many a second, or there is no room.

        At the limit of open files a new connection to Redis, for one, would fail. So clients are refused before that.
        """
        if self._admits is not None and not self._admits(address):
            return False
        if self.visitors.open >= self.visitors.room and not self._full:
            self._full = True
            logger.warning(
                "%d connections are all that the limit of open files has room for: the longest idle of those without a "
                "credential is closed for each that comes; where there is none, who comes is refused",
                self.visitors.room,
            )
        return self.visitors.arrived()

    def connection_closed(self, transport: Any) -> None:
        self.visitors.left(transport)
        if self._full and self.visitors.open < 0.9 * self.visitors.room:
            self._full = False
            logger.warning("There is room for connections again")

    def rests(self, transport: Any) -> None:
        """Nothing is being done for the connection, and nothing was shown on it."""
        self.visitors.rests(transport, self._address(transport))

    def stands(self, transport: Any, standing: str, address: str) -> None:
        """What the application says of a WebSocket's client."""
        if standing == Standing.KNOWN:
            self.visitors.forget(transport)
        elif standing == Standing.GUEST:
            self.visitors.welcome(transport, self._share_of(address) if address else self._address(transport))

    def _address(self, transport: Any) -> str:
        return self._share_of(str(getattr(transport.getPeer(), "host", "")))

    def protocol_connected(self, protocol: Any) -> None:
        self.connections[protocol] = {}
        if isinstance(protocol, GatewayProtocol):
            self.housekeeping.websockets.put(protocol, self.timeouts.handshake)

    def protocol_disconnected(self, protocol: Any) -> None:
        """May be called again, and for a handshake that failed too early to be connected."""
        details = self.connections.get(protocol)
        if details is None or "disconnected" in details:
            return
        details["disconnected"] = time.monotonic()
        if isinstance(protocol, GatewayProtocol):
            self.housekeeping.websockets.remove(protocol)
        if "application_instance" in details:
            self.housekeeping.client_left(protocol, details["application_instance"])
        else:
            del self.connections[protocol]

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Inbox | None:
        """Daphne's, with a lighter and bounded queue between it and the application."""
        inbox = Inbox(protocol if isinstance(protocol, GatewayProtocol) else None)
        scope.setdefault("asgi", _ASGI)
        if isinstance(protocol, GatewayProtocol):
            scope["extensions"] = EXTENSIONS
        elif not protocol.channel.is_known:
            scope["extensions"] = HTTP_EXTENSIONS
        if self.short is not None and scope["type"] == "http" and protocol.channel.failure is not None:
            self.short.application.note_failure(scope, protocol.channel.failure)
        if protocol not in self.connections:
            return None
        application = self.application(scope=scope, receive=inbox.get, send=partial(self.handle_reply, protocol))
        task = self._loop.create_task(application)
        task.add_done_callback(partial(self._reap, protocol))
        self.connections[protocol]["application_instance"] = task
        return inbox

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Daphne's; a part of a file returns when there is room for the next."""
        if message["type"] == STANDING:
            if "disconnected" not in self.connections.get(protocol, _GONE):
                protocol.handle_reply(message)
            return
        await super().handle_reply(protocol, message)
        if message.get("more_body") and getattr(protocol, "download", None) is not None:
            await protocol.download.room()

    def _reap(self, protocol: Any, application: asyncio.Task[None]) -> None:
        """An application has ended; its connection may still be there."""
        details = self.connections[protocol]
        del details["application_instance"]
        has_left = "disconnected" in details
        if has_left:
            self.housekeeping.application_ended(protocol)
            del self.connections[protocol]
        exception = None if application.cancelled() else application.exception()
        if exception is None:
            return
        logger.error("Exception inside application: %s", exception, exc_info=exception)
        if not has_left:
            try:
                protocol.handle_exception(exception)
            except Exception:
                logger.exception("Could not tell the client of %r; cutting its connection", protocol)
                cut(protocol)

    def kill_all_applications(self) -> Any:
        # Daphne expects an application at every connection, even where it has dropped one that has ended.
        self.connections = {
            protocol: details for protocol, details in self.connections.items() if "application_instance" in details
        }
        return super().kill_all_applications()

    # Start and end

    def _on_ready(self) -> None:
        self._loop = asyncio.get_event_loop()  # the reactor's: Daphne has just made it this thread's
        self._loop.call_soon(self.started)

    def application_checker(self) -> None:
        """Starts the housekeeping, where Daphne would start the first of its two chains of timers."""
        self._housekeeping_task = self._loop.create_task(self.housekeeping.run())

    def timeout_checker(self) -> None:
        """Daphne's second chain: the housekeeping does its work."""

    def _on_lifeline_end(self) -> None:
        logger.warning("The supervisor is gone: stopping")
        # The supervisor would kill a worker that hangs. The next one needs the port: there is no delay.
        signal.alarm(math.ceil(LONGEST_STOP_SECONDS + self._ending.spread))
        self.shut_down(0.0)

    async def _drain(self, delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            self._stop_accepting()
            for task in self._tasks:
                task.cancel()
            await drain(self, self._restart, self._ending.spread)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        try:
            if self._line is not None:
                await self._line.part()
        finally:
            reactor.stop()

    def _stop_accepting(self) -> None:
        for port in self._ports:
            # What is in the backlog is served; later connections go to the next worker, if there is one.
            opened = -1
            while opened != self.visitors.open:
                opened = self.visitors.open
                port.doRead()
            port.stopListening()


def _make_room(transport: Any, in_good_order: bool) -> None:
    transport.protocol.make_room(in_good_order)


def _with_options(factory: Any) -> type[GatewayProtocol]:
    """Our protocol with the factory's options, and what Autobahn sets in every connection, as attributes of its class.

    Otherwise Autobahn copies the options to every connection, and formats them for a log that is discarded.
    """
    one = GatewayProtocol()
    one.factory = factory
    Handshake._connectionMade(one)
    plain = (bool, int, bytes, type(None))
    options = {name: value for name, value in vars(one).items() if isinstance(value, plain)}
    options = {name: value for name, value in options.items() if not hasattr(GatewayProtocol, name)}
    options |= {"factory": factory, "server": factory.server_class}
    options |= {name: getattr(factory, name) for name in GatewayProtocol.CONFIG_ATTRS}
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
