"""What travels on the bus: messages with their place in their group's stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Packet", "Position", "Since", "Tap"]


class Packet(NamedTuple):
    """Consecutive messages of one group: ``seq`` is the first one's.

    A message that was sent by Channels' own ``group_send`` has no place in a stream: its epoch is empty and its seq 0.
    """

    group: str
    epoch: str
    seq: int
    messages: Sequence[Any]


class Position(NamedTuple):
    """Where a group's stream is: the seq of its last message, 0 if it never had one in this epoch, and that message."""

    epoch: str
    seq: int
    message: Any | None


class Since(NamedTuple):
    """Where somebody stopped reading a stream."""

    epoch: str
    seq: int


class Tap(Protocol):
    """What a layer tells the process that taps it. Called on the event loop; must not block."""

    def arrived(self, packets: Sequence[Packet]) -> None:
        """Packets of joined groups, all that arrived at once."""

    def bus_lost(self) -> None:
        """The listening connection is known to be dead: what is published from now on does not arrive."""

    def bus_restored(self) -> None:
        """It is back, and all joined groups are subscribed again; what was published meanwhile was missed."""
