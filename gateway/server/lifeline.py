"""The socket pair that joins a worker to the supervisor: signs of life one way, listening sockets the other, and the
end of either.

The worker's event loop sends a byte when it can serve, one every half second after that, and one when it begins to
end. The supervisor counts how often it looked in vain. It compares no times: a machine that was suspended, or a
supervisor that was stopped, has looked once when it wakes up, however long that took, and hears at the next look what
came meanwhile.

The other way go the sockets of workers that have died. The kernel goes on handing connections to them, so one that
lives is lent such a socket to accept from, until the replacement can.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["ALIVE", "BEAT_SECONDS", "ENDING", "READY", "Heartbeat", "Lent", "Watch", "lend"]

READY: Final = b"R"
ALIVE: Final = b"A"
ENDING: Final = b"E"
"""The worker ends in order. Its loop will stop before its process does, so it is silent from some moment on."""

BEAT_SECONDS: Final = 0.5


Lent: TypeAlias = Callable[[int, socket.socket | None], None]
"""Takes the number of a worker's place and its listening socket; None: to be accepted from no more."""

_PLACE_BYTES: Final = 2


def lend(lifeline: socket.socket, place: int, listener: socket.socket | None) -> None:
    """Has the worker at the other end accept from ``listener``, or no more from what it was lent."""
    descriptors = [] if listener is None else [listener.fileno()]
    with contextlib.suppress(OSError):  # it has ended, or hangs
        socket.send_fds(lifeline, [place.to_bytes(_PLACE_BYTES, "big")], descriptors)


class Heartbeat:
    """The worker's end. ``on_end`` is called when the supervisor is gone, ``on_lent`` with what it lends."""

    def __init__(self, lifeline: socket.socket, on_end: Callable[[], None], on_lent: Lent) -> None:
        self._lifeline = lifeline
        self._on_end = on_end
        self._on_lent = on_lent
        lifeline.setblocking(False)

    def start(self) -> None:
        """Says from now on that the running loop turns."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._lifeline, self._hear)
        loop.call_later(BEAT_SECONDS, self._beat)

    def say(self, sign: bytes) -> None:
        with contextlib.suppress(OSError):  # a supervisor that was stopped reads nothing, and must not stop us
            self._lifeline.send(sign)

    def _beat(self) -> None:
        self.say(ALIVE)
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _hear(self) -> None:
        try:
            place, descriptors, _, _ = socket.recv_fds(self._lifeline, _PLACE_BYTES, 1)
        except OSError:
            place, descriptors = b"", []
        if place:
            listener = socket.socket(fileno=descriptors[0]) if descriptors else None
            self._on_lent(int.from_bytes(place, "big"), listener)
        else:
            asyncio.get_running_loop().remove_reader(self._lifeline)
            self._on_end()


class Watch:
    """The supervisor's end. ``on_alive`` is called at each sign of life of the worker, ``on_ready`` when it can serve.

    The other arguments are seconds without a sign of life that are too many: before the first one, between two, and
    once the worker has said that it ends.
    """

    def __init__(
        self,
        lifeline: socket.socket,
        on_alive: Callable[[], None],
        on_ready: Callable[[], None],
        *,
        start: float,
        silence: float,
        end: float,
    ) -> None:
        self._lifeline = lifeline
        self._on_alive = on_alive
        self._on_ready = on_ready
        self._silence = silence
        self._end = end
        self._patience = start
        self._vain = 0
        lifeline.setblocking(False)

    async def silent(self) -> float:
        """Returns when there was no sign of life for too long, with the seconds that this was."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._lifeline, self._hear)
        try:
            while self._vain * BEAT_SECONDS < self._patience:
                await asyncio.sleep(BEAT_SECONDS)
                self._vain += 1
        finally:
            loop.remove_reader(self._lifeline)
        return self._patience

    def _hear(self) -> None:
        try:
            signs = self._lifeline.recv(4096)
        except OSError:
            signs = b""
        if not signs:  # the process has ended, or never will by itself
            asyncio.get_running_loop().remove_reader(self._lifeline)
            return
        if ENDING in signs:
            self._silence = self._end
        self._vain, self._patience = 0, self._silence
        self._on_alive()
        if READY in signs:
            self._on_ready()
