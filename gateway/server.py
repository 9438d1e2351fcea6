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
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server, reactor, twisted_loop
from daphne.ws_protocol import WebSocketProtocol

from gateway.transport import GatewayProtocol
from ticks.parsers import MAX_BODY_BYTES

__all__ = ["BACKLOG", "READY", "GatewayServer", "raise_open_file_limit"]

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096
READY: Final = b"R"
SERVICE_RESTART: Final = 1012
DRAIN_SECONDS: Final = 1.0
LONGEST_STOP_SECONDS: Final = 10
HARD_MESSAGE_BYTES: Final = 1_048_576

Job = Callable[[], Coroutine[Any, Any, None]]


class GatewayServer(Server):  # type: ignore[misc]  # Daphne ships no types
    """Daphne's server class on an already bound socket.

    A message over ``max_message_bytes`` is the application's to refuse with an explanation; one over Daphne's own limit
    as well is not read to its end. ``jobs`` run beside the server on its loop until it stops.
    """

    def __init__(
        self,
        application: Any,
        listener: socket.socket,
        *,
        max_message_bytes: int,
        lifeline: socket.socket | None = None,
        jobs: Sequence[Job] = (),
    ) -> None:
        hard_limit = max(max_message_bytes, HARD_MESSAGE_BYTES)
        super().__init__(
            application,
            # The endpoint takes the descriptor over: it duplicates it and closes the one it was given.
            endpoints=[f"fd:fileno={listener.detach()}"],
            signal_handlers=False,
            request_buffer_size=MAX_BODY_BYTES + 1,  # a body is one event
            # Autobahn's own limit for the handshake is what 5,000 clients that come at once run into.
            websocket_handshake_timeout=20,
            websocket_max_message_size=hard_limit,
            websocket_max_frame_size=hard_limit,
            ready_callable=self._on_ready,
            server_name="marketmux",
        )
        self.connections: dict[Any, dict[str, Any]] = {}
        self._loop: asyncio.AbstractEventLoop = twisted_loop
        self._lifeline = lifeline
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []
        self._ports: list[Any] = []
        self._draining: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Serves until SIGTERM, SIGINT or the end of the lifeline."""
        super().run()
        if self.abort_start:
            sys.exit(1)
        self._loop.run_until_complete(_cancel_all_tasks())

    def started(self) -> None:
        """Called on the running loop before the first connection is accepted."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(signum, self.shut_down)
        self.ws_factory.protocol = _with_options(self.ws_factory)
        self._tasks = [self._loop.create_task(_run(job)) for job in self._jobs]
        if self._lifeline is not None:
            self._loop.add_reader(self._lifeline, self._on_lifeline_end)
            with contextlib.suppress(OSError):
                self._lifeline.send(READY)

    def shut_down(self) -> None:
        """Takes no more connections, lets those there are end, at most for ``DRAIN_SECONDS``, and stops."""
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain())

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Inbox | None:
        """Daphne's, with a lighter queue between it and the application."""
        inbox = Inbox()
        scope.setdefault("asgi", {"version": "3.0"})
        if protocol not in self.connections:
            return None
        application = self.application(scope=scope, receive=inbox.get, send=partial(self.handle_reply, protocol))
        self.connections[protocol]["application_instance"] = self._loop.create_task(application)
        return inbox

    def listen_success(self, port: Any) -> None:
        port.factory = GatewayHTTPFactory(self)
        super().listen_success(port)
        self._ports.append(port)

    def kill_all_applications(self) -> Any:
        # Daphne expects an application at every connection, but drops the one that ended before its connection did.
        self.connections = {
            protocol: details for protocol, details in self.connections.items() if "application_instance" in details
        }
        return super().kill_all_applications()

    def _on_ready(self) -> None:
        self._loop.call_soon(self.started)

    def _on_lifeline_end(self) -> None:
        if self._lifeline is not None:
            self._loop.remove_reader(self._lifeline)
        logger.warning("The supervisor is gone: stopping")
        signal.alarm(LONGEST_STOP_SECONDS)  # nobody is left who would kill a worker that hangs
        self.shut_down()

    async def _drain(self) -> None:
        deadline = self._loop.time() + DRAIN_SECONDS
        try:
            for port in self._ports:
                port.stopListening()
            for task in self._tasks:
                task.cancel()
            self._close_websockets()
            while self._is_serving() and self._loop.time() < deadline:  # noqa: ASYNC110 - nothing tells when it is done
                await asyncio.sleep(0.02)
        finally:
            reactor.stop()

    def _close_websockets(self) -> None:
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_OPEN:
                # sendClose allows only the codes an application may send, and 1012 is the server's.
                protocol.sendCloseFrame(code=SERVICE_RESTART, reasonUtf8=b"service restart", isReply=False)

    def _is_serving(self) -> bool:
        """Whether a request is unanswered, a WebSocket open, or the application of either not done."""
        return any(
            "disconnected" not in details
            or ("application_instance" in details and not details["application_instance"].done())
            for details in self.connections.values()
        )


class Inbox:
    """Events for one application: what ``asyncio.Queue`` is here for, in a tenth of its memory."""

    __slots__ = ("_events", "_waiting")

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._waiting: asyncio.Future[None] | None = None

    def put_nowait(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> dict[str, Any]:
        """The next event; one caller at a time."""
        while not self._events:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self._events.pop(0)


class GatewayHTTPFactory(HTTPFactory):  # type: ignore[misc]  # Daphne ships no types
    """Daphne's, without Twisted's reading of form bodies, which no ASGI application ever sees."""

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = partial(WebRequest, parsePOSTFormSubmission=False)
        return protocol


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
        await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
