"""What a way to a client's socket offers, and whom it calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from gateway.protocol.codes import Closure

__all__ = ["Form", "Queue", "Send", "Sender", "Wire"]

Send: TypeAlias = Callable[[bytes], int]
"""Hands whole frames to a socket; returns how many bytes it took, and raises, as ``socket.send`` does."""

Form: TypeAlias = Callable[[bytes], bytes]
"""Makes of whole frames what clients of one format get, which is not longer. They have one and the same function."""


class Queue(NamedTuple):
    """What a socket holds for a client."""

    waiting: int
    """Bytes that the client's system has not acknowledged."""
    acknowledged: int
    """Bytes that it has, since the connection was made."""
    round_trip: float
    """The shortest that the system measured, in seconds."""


class Sender(Protocol):
    """Sends by a wire, and is told what becomes of it: a client's outbox, as far as its wire knows it."""

    @property
    def behind(self) -> bool:
        """Whether ticks wait for the client."""

    @property
    def stuffed(self) -> bool:
        """Whether the wire has something to finish."""

    def write(self, frames: bytes) -> None:
        """Sends frames, unless the wire has something to finish."""

    def close(self, closure: Closure) -> None:
        """Closes the connection, behind all that was delivered to it."""

    @property
    def owes(self) -> bool:
        """Whether the client has been asked how far it has read, and has not answered."""

    def answered(self, number: int) -> bool:
        """The client has read up to the ping of that number; says whether it had been asked."""

    def drained(self) -> None:
        """The wire has sent all it was given."""

    def let_go(self) -> None:
        """The connection is lost, or is being closed from elsewhere."""


class Wire(Protocol):
    """The way to one client's socket."""

    is_tidy: bool
    """Whether a client that is gone leaves nothing for the garbage collector."""

    answers_pings: bool
    """Whether a ping that is sent among other frames is answered by a call of the sender."""

    @property
    def form(self) -> Form | None:
        """What ``send`` makes of frames; None where they go as they are."""

    @property
    def send(self) -> Send:
        """Asked for after ``open``."""

    def fileno(self) -> int:
        """The descriptor of the socket, where ``send`` is the socket's own but for ``form``; -1 where it is not.

        Asked for after ``open``. ``let_go`` is called before the socket is closed.
        """

    def queue(self) -> Queue | None:
        """What the system holds for the client, where it tells."""

    def ask_along(self) -> bool:
        """Whether a ping is to stand before what is sent next: its server then waits for the answer."""

    def open(self, sender: Sender, /) -> None:
        """Tells the wire what to call."""

    def finish(self, rest: bytes) -> None:
        """Takes over what the socket did not take, in its form; nothing more is sent until ``drained`` is called."""

    def close(self, closure: Closure) -> None:
        """Starts the closing handshake."""

    def release(self) -> None:
        """The client is gone: the sender is not called any more."""

    def pause_reading(self) -> None:
        """Takes no more commands from a client that does not read the answers."""

    def resume_reading(self) -> None: ...
