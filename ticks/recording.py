"""The process that writes ticks to the database, and the gateway's end of it.

``python -m ticks.recording FD DATABASE`` reads chunks of ticks from the socket FD, writes each in one transaction, and
answers what became of it. It is a process of its own because a database can hold up more than the thread that asks:
SQLite's mutex of a connection is also waited for by whichever thread the garbage collector happens to free a cursor on,
and the collector runs on the event loop.

It ends with its gateway: when the socket is closed, and a little later in the middle of a write that hangs.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import django
import msgspec
from django.db import DataError, IntegrityError, NotSupportedError, close_old_connections, connections

from ticks.tick import Placed

__all__ = ["RecordingProcess", "Refused", "is_in_memory", "record"]

ANSWER_SECONDS: Final = 60.0
"""For one chunk. SQLite waits 20 s for a lock; what takes longer is taken for hung, and the process is replaced."""

END_SECONDS: Final = 1.0
"""For what is being written when the gateway has ended, or ends the process."""

IDLE_SECONDS: Final = 10.0
"""Without ticks, after which the connection to the database is given back."""

_LENGTH: Final = struct.Struct("!I")
_PERMANENT: Final = (DataError, IntegrityError, NotSupportedError, ValueError, TypeError, OverflowError)
"""What a chunk is to blame for; all else is the database's state, which may change."""


class Refused(Exception):
    """The database does not take this chunk, now or later."""


class Unavailable(Exception):
    """The chunk could not be written, as far as is known."""


class Chunk(NamedTuple):
    again: bool
    ticks: list[Placed]


class Answer(NamedTuple):
    """``problem`` is empty if the chunk is stored."""

    problem: str = ""
    is_permanent: bool = False


_chunks: Final = msgspec.msgpack.Decoder(Chunk)
_answers: Final = msgspec.msgpack.Decoder(Answer)


def record(ticks: Sequence[Placed], again: bool) -> None:
    """Stores a chunk as a whole. ``again``: unless it is stored already, which its first tick tells."""
    from ticks.models import RecordedTick  # noqa: PLC0415 - not before Django has loaded its models

    try:
        close_old_connections()
        if not (again and RecordedTick.objects.has(ticks[0])):
            RecordedTick.objects.record(ticks)
    except _PERMANENT as error:
        raise Refused(_described(error)) from error
    except Exception:
        _connection().close()
        raise


def is_in_memory() -> bool:
    """Whether the database is one that no other process can open."""
    connection = _connection()
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


def _connection() -> Any:
    from ticks.models import RecordedTick  # noqa: PLC0415

    return connections[RecordedTick.objects.db]


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


# The gateway's end


class RecordingProcess:
    """Starts the process when there is something to write, and again when it has ended. Used by one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._closed = False

    def write(self, ticks: Sequence[Placed], again: bool) -> None:
        """Returns when ``ticks`` are stored. :class:`Refused` if they cannot be, :class:`Unavailable` if not now."""
        own = self._socket or self._start()
        try:
            _send(own, (again, ticks))
            with own.makefile("rb") as answers:
                answer = _answers.decode(_receive(answers))
        except (OSError, EOFError, msgspec.DecodeError) as error:
            raise Unavailable(self._replaced(error)) from error
        if answer.is_permanent:
            raise Refused(answer.problem)
        if answer.problem:
            raise Unavailable(answer.problem)

    def close(self) -> None:
        """Ends the process, if need be in the middle of a write. It is not started again."""
        self._closed = True
        self._end()

    def _start(self) -> socket.socket:
        if self._closed:
            raise Unavailable("the gateway ends")
        own, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [
                    sys.executable,
                    "-m",
                    "ticks.recording",
                    str(other.fileno()),
                    str(_connection().settings_dict["NAME"]),
                ],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C in a terminal is for the gateway alone
            )
        own.settimeout(ANSWER_SECONDS)
        self._socket = own
        return own

    def _replaced(self, error: Exception) -> str:
        """Ends a process that does not answer; the next write starts another. Returns what was wrong."""
        status = self._end()
        if isinstance(error, TimeoutError):
            return f"the process that writes them did not answer within {ANSWER_SECONDS:g} s"
        return f"the process that writes them ended with status {status}"

    def _end(self) -> int | None:
        # Taken out first: a write that fails meanwhile, in its own thread, comes here too.
        ours, self._socket = self._socket, None
        process, self._process = self._process, None
        if ours is not None:
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)  # a write that waits for an answer wakes up
            ours.close()
        if process is None:
            return None
        try:
            return process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _send(to: socket.socket, message: Any) -> None:
    data = msgspec.msgpack.encode(message)
    to.sendall(_LENGTH.pack(len(data)) + data)


def _receive(file: BinaryIO) -> bytes:
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    data = file.read(size := _LENGTH.unpack(head)[0])
    if len(data) < size:
        raise EOFError
    return data


# The process


def main(descriptor: int, database: str) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the gateway still has ticks to hand over
        signal.signal(signum, signal.SIG_IGN)
    django.setup()
    _connection().settings_dict["NAME"] = database
    gateway = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with, args=(descriptor,), daemon=True).start()
    arrival = select.poll()
    arrival.register(descriptor, select.POLLIN)
    with gateway, gateway.makefile("rb") as chunks, contextlib.suppress(EOFError, ConnectionError):
        while True:
            if not arrival.poll(IDLE_SECONDS * 1_000):
                connections.close_all()
            _send(gateway, _write(_chunks.decode(_receive(chunks))))


def _write(chunk: Chunk) -> Answer:
    try:
        record(chunk.ticks, chunk.again)
    except Refused as error:
        return Answer(str(error), is_permanent=True)
    except Exception as error:
        return Answer(_described(error))
    return Answer()


def _end_with(descriptor: int) -> None:
    """Ends this process soon after the gateway's, whatever the database does."""
    hangup = select.poll()
    hangup.register(descriptor, 0)  # which leaves what is always reported
    hangup.poll()
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
