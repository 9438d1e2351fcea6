"""The event loop, one epoll set with a handler per file descriptor, and the non-blocking TCP connections in it."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Final

from gateway.loadtest.options import LoadTestError
from gateway.loadtest.target import Address

__all__ = ["READABLE", "WRITABLE", "Loop", "Stream"]

# epoll rather than selectors: a turn asks for a bounded number of events, so that publishing stays on time while
# thousands of sockets are readable, and an event costs half a microsecond less.
if not hasattr(select, "epoll"):
    raise LoadTestError("The load test needs epoll, which only Linux has.")

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
EVENTS_PER_TURN = 128
READ_BYTES = 65_536

BIND_ADDRESS_NO_PORT: Final = 24
"""Linux's IP_BIND_ADDRESS_NO_PORT: the port is chosen when the socket connects, when it is known where to."""

Handler = Callable[[int], None]


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def add(self, descriptor: int, events: int, handler: Handler) -> None:
        self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def change(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        del self._handlers[descriptor]

    def turn(self, timeout: float) -> None:
        """Waits at most ``timeout`` seconds for events and handles them."""
        handlers = self._handlers
        for descriptor, events in self._epoll.poll(timeout, EVENTS_PER_TURN):
            # An earlier handler of this turn may have removed the descriptor, and a new socket may have got its number;
            # handlers cope with an event that is not true.
            if handler := handlers.get(descriptor):
                handler(events)

    def close(self) -> None:
        self._epoll.close()


class Stream:
    """Hands what arrives to ``on_data`` and keeps what the kernel does not take yet, also before it is connected.

    ``on_end`` is called once, with the reason, when the other side ends the connection or an error does; not after
    :meth:`close`.
    """

    __slots__ = ("_loop", "_on_data", "_on_end", "_outgoing", "_socket", "is_open")

    def __init__(self, loop: Loop, on_data: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._loop = loop
        self._on_data = on_data
        self._on_end = on_end
        self._outgoing = b""
        self.is_open = False

    def connect(self, family: socket.AddressFamily, address: Address, source: tuple[str, int] | None = None) -> None:
        """Starts to connect; ``OSError`` if not even that is possible."""
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source is not None:
                self._socket.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
                self._socket.bind(source)
            self._start(address)
        except OSError:
            self._socket.close()
            raise

    def _start(self, address: Address) -> None:
        with contextlib.suppress(BlockingIOError):
            self._socket.connect(address)
        self._loop.add(self._socket.fileno(), READABLE | WRITABLE, self._ready)
        self.is_open = True

    def send(self, data: bytes) -> None:
        self._outgoing += data
        self._flush()
        if self._outgoing:
            self._loop.change(self._socket.fileno(), READABLE | WRITABLE)

    def pause(self) -> None:
        """Reads no more; for good."""
        if self.is_open:
            self._loop.change(self._socket.fileno(), 0)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.remove(self._socket.fileno())
            self._socket.close()

    def _ready(self, events: int) -> None:
        if events & WRITABLE:
            self._writable()
        if events != WRITABLE and self.is_open:
            self._receive()

    def _writable(self) -> None:
        self._flush()
        if self.is_open and not self._outgoing:
            self._loop.change(self._socket.fileno(), READABLE)

    def _flush(self) -> None:
        if not self._outgoing:
            return
        try:
            self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(_reason(error))

    def _receive(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(_reason(error))
            return
        if data:
            self._on_data(data)
        else:
            self._end("connection closed")

    def _end(self, reason: str) -> None:
        self._outgoing = b""
        self.close()
        self._on_end(reason)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
