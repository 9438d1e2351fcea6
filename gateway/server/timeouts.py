"""How long our own server waits for a client or an application."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Stage", "Timeouts"]


class Stage(Enum):
    """Where an HTTP connection is."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()


@dataclass(frozen=True)
class Timeouts:
    """All in seconds, on the monotonic clock."""

    ping: float = 21.0
    """Silence of a WebSocket client after which it is pinged. Most are before: every 20 seconds a heartbeat takes a
    ping along (gateway/fanout/heartbeat.py), at a fraction of what one of its own costs.
    """

    pong: float = 6.0
    """Silence after the ping, after which the client is taken for gone. It is checked in whole rounds, so a half-open
    connection is found within 27 seconds where it gets heartbeats, and else within ``ping + pong + 2 * round``: 29.
    """

    handshake: float = 20.0
    """For a WebSocket's handshake. 5,000 clients that come at once exceed Autobahn's own limit of 5."""

    closing: float = 3.0
    """For the answer to a close frame; what the client has not read by then is lost to it."""

    message: float = 30.0
    """For a whole message of a WebSocket client, from the first byte of its first frame."""

    head: float = 10.0
    """For the line and headers of a request, from its first byte, and for the first byte of a new connection."""

    body: float = 30.0
    """For a request's body, from the end of its headers."""

    answer: float = 60.0
    """For the application's response to a request that is complete."""

    leave: float = 10.0
    """For an application to end once its client has gone; then it is cancelled."""

    idle: float = 60.0
    """Between a response and the next request on its connection."""

    round: float = 1.0
    """Between two rounds of the server's housekeeping."""
