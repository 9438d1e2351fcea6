"""What a way to a client's socket offers, and whom it calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from gateway.protocol.codes import Closure

__all__ = ["Send", "Sender", "Wire"]

Send: TypeAlias = Callable[[bytes], int]
"""Hands whole frames to a socket; returns how many bytes it took, and raises, as ``socket.send`` does."""


class Sender(Protocol):
    """Sends by a wire, and is told what becomes of it: a client's outbox, as far as its wire knows it."""

    def drained(self) -> None:
        """The wire has sent all it was given."""

    def let_go(self) -> None:
        """The connection is lost, or is being closed from elsewhere."""


class Wire(Protocol):
    """The way to one client's socket."""

    is_tidy: bool
    """Whether a client that is gone leaves nothing for the garbage collector."""

    @property
    def send(self) -> Send:
        """Asked for once, after ``open``."""

    def fileno(self) -> int:
        """The descriptor of the socket, where ``send`` is the socket's own; -1 where it is not.

        Asked for once, after ``open``. ``let_go`` is called before the socket is closed.
        """

    def open(self, sender: Sender, /) -> None:
        """Tells the wire what to call."""

    def finish(self, rest: bytes) -> None:
        """Takes over what the socket did not take. Nothing more is sent before the wire has called ``drained``."""

    def close(self, closure: Closure) -> None:
        """Starts the closing handshake."""

    def release(self) -> None:
        """The client is gone: the sender is not called any more."""

    def pause_reading(self) -> None:
        """Takes no more commands from a client that does not read the answers."""

    def resume_reading(self) -> None: ...
