"""Twisted's event loop for our own server: asyncio's, timed by the monotonic clock, with ports that pause when the
process runs out of file descriptors and connections that write without waiting for the selector.

Twisted times by the wall clock. If that is set forward by an hour, all its timers fire at once; if it is set back, they
stop for an hour. Handshakes, closing handshakes and slow requests would then be cut too soon or never.

A process has one reactor. Daphne installs Twisted's own when it is imported, unless there is one already. So this
module is imported first (gateway/apps.py). Where Daphne came before it, as with Daphne's own command, Twisted's stays.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor

from gateway.protocol.frames import ANSWER_BYTES
from gateway.server.resolver import ResolvingLoop
from gateway.server.turns import Turns

__all__ = ["GatewayConnection", "GatewayPort", "GatewayReactor", "install"]

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.25
_ACCEPTED: Final = 8
"""Connections that a port accepts in one turn of the loop."""
MOST_IN_LINE: Final = 64
"""Newcomers that wait to be read, beyond which none is accepted."""


class GatewayReactor(AsyncioSelectorReactor):
    """asyncio's loop as a Twisted reactor, timed by asyncio's own clock."""

    seconds = staticmethod(time.monotonic)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._due: list[GatewayConnection] = []

    def write_soon(self, connection: GatewayConnection) -> None:
        """Has it write what is due at the end of this turn of the loop."""
        if not self._due:
            self._asyncioEventloop.call_soon(self._write_all)
        self._due.append(connection)

    def _write_all(self) -> None:
        due, self._due = self._due, []
        for connection in due:
            try:
                connection.write_due()
            except Exception:
                logger.exception("A connection could not be written to")

    def addReader(self, reader: Any) -> None:  # noqa: N802 - Twisted's name
        """Twisted's; ours are called without the context for its log, which is a good part of a short read."""
        if not isinstance(reader, GatewayConnection):
            super().addReader(reader)
            return
        readers: dict[Any, int] = self._readers
        if reader not in readers:
            descriptor = reader.fileno()
            self._asyncioEventloop.add_reader(descriptor, reader.on_readable)
            readers[reader] = descriptor

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: Any, factory: Any) -> Any:  # noqa: N802, N803
        port = GatewayPort._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        port.startListening()
        return port


class GatewayConnection(tcp.Server):
    """An accepted connection. What is written in one turn of the loop goes to the socket at its end.

    Twisted registers the socket with the selector first and unregisters it afterwards: two system calls and a turn of
    the loop for every response, though a socket on which nothing is waiting is nearly always writable.

    It is read when the ``turns`` of its protocol say so (turns.py), and then as much as its ``appetite`` is, and again
    while its protocol ``goes_on``. While it waits for its turn the selector does not watch it.
    """

    _address: Any = None
    _peer: Any = None
    _is_due = False
    _is_waiting = False
    """Whether the socket is registered with the selector, to be written to."""
    _is_wanted = False
    """Whether the protocol wants to be given what comes."""
    is_in_line = False
    """Whether there is something to read, and the connection waits for its turn."""

    def getHost(self) -> Any:  # noqa: N802 - Twisted's name
        """The address that the client connected to. Twisted and Daphne ask several times, the system is asked once."""
        if self._address is None:
            self._address = super().getHost()
        return self._address

    def getPeer(self) -> Any:  # noqa: N802 - Twisted's name
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def startReading(self) -> None:  # noqa: N802 - Twisted's name
        self._is_wanted = True
        if not self.is_in_line:
            super().startReading()

    def stopReading(self) -> None:  # noqa: N802 - Twisted's name
        self._is_wanted = False
        if not self.is_in_line:
            super().stopReading()

    def on_readable(self) -> None:
        """The selector says that something came."""
        if not (getattr(self.protocol, "owes", False) and self._takes_answer()):
            self.reactor._readOrWrite(self, True)

    def doRead(self) -> Any:  # noqa: N802 - Twisted's name
        turns: Turns | None = getattr(self.protocol, "turns", None)
        if turns is None:
            return super().doRead()
        if self.is_in_line or getattr(self.protocol, "has_own_turns", False) or turns.at_once():
            self.bufferSize = self.protocol.appetite
            reason = super().doRead()
            while reason is None and self._is_wanted and self.protocol.goes_on:
                self.protocol.goes_on = False  # there may be nothing more
                reason = super().doRead()
            return reason
        super().stopReading()
        self.is_in_line = True
        turns.add(self._read_in_turn)
        return None

    def _takes_answer(self) -> bool:
        """Reads a pong that comes by itself, which takes no turn: there are no more of them than pings of ours.

        Before one is taken it is only looked at, so that whatever else has come is read in its turn.
        """
        try:
            data = self.socket.recv(ANSWER_BYTES + 1, socket.MSG_PEEK)
            return self.protocol.take_answer(data) and bool(self.socket.recv(len(data)))
        except OSError:
            return False  # the ordinary way finds out what it is

    def _read_in_turn(self) -> None:
        if self._is_wanted and self.connected:
            self.reactor._readOrWrite(self, True)  # what it does when the selector says that something came
        self.is_in_line = False
        if self._is_wanted and self.connected:
            super().startReading()

    def startWriting(self) -> None:  # noqa: N802 - Twisted's name
        if not self._is_due and not self._is_waiting:
            self._is_due = True
            self.reactor.write_soon(self)

    def stopWriting(self) -> None:  # noqa: N802 - Twisted's name
        self._is_due = False
        if self._is_waiting:
            self._is_waiting = False
            super().stopWriting()

    def write_due(self) -> None:
        is_due, self._is_due = self._is_due, False
        if is_due and self.connected:  # not if everything was written meanwhile
            self.reactor._readOrWrite(self, False)  # what it does when the selector says that the socket takes more
        if self.connected and not self._aborting and (self.dataBuffer or self._tempDataBuffer):
            self._is_waiting = True
            super().startWriting()


class GatewayPort(tcp.Port):
    """A listening socket that accepts a few connections a turn of the loop, where Twisted takes a hundred and more. It
    pauses for a moment when the process has no file descriptor left.

    It accepts none while many of those it has wait to be read. In the system's backlog they wait as well, and no time
    of ours runs for them: a client that is cut because a crowd was before it comes again, and so
    the crowd never ends.

    Twisted keeps a descriptor in reserve to accept and close what cannot be served, so clients are refused at once. But
    when something else in the process takes that one first, the socket stays readable, nothing can be accepted, and the
    loop would do nothing but try.
    """

    transport = GatewayConnection

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        if getattr(self.factory, "in_line", 0) >= MOST_IN_LINE:
            return  # the selector calls again, and this loop has no idle turn while somebody is in line
        self.numberAccepts = _ACCEPTED
        super().doRead()
        if self.connected and not self.disconnecting and not _has_descriptor(self.fileno()):
            self.stopReading()
            self.reactor.callLater(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()


def _has_descriptor(descriptor: int) -> bool:
    """Whether one more file could be opened."""
    try:
        os.close(os.dup(descriptor))
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            return False
        raise
    return True


def install() -> None:
    """Makes a ``GatewayReactor`` the reactor of this process, unless there is one."""
    if "twisted.internet.reactor" in sys.modules:
        return
    loop = ResolvingLoop()
    if "ASGI_THREADS" in os.environ:  # as Daphne does for its own
        loop.set_default_executor(ThreadPoolExecutor(max_workers=int(os.environ["ASGI_THREADS"])))
    installReactor(GatewayReactor(loop))


install()
