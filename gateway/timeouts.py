"""How long our own server waits for whom."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timeouts"]


@dataclass(frozen=True)
class Timeouts:
    """All in seconds, of a clock that nobody sets."""

    ping: float = 18.0
    """Silence of a WebSocket client after which it is pinged."""

    pong: float = 7.0
    """Silence after the ping, after which the client is taken for gone. Both are looked at every other ``round``,
    so a half-open connection is found at the latest after ``ping + pong + 4 * round``: 29 seconds.
    """

    handshake: float = 20.0
    """For a WebSocket's handshake. 5,000 clients that come at once run into Autobahn's own limit of 5."""

    closing: float = 3.0
    """For the answer to a close frame; what the client has not read by then is lost to it."""

    head: float = 10.0
    """For the line and headers of a request, from its first byte, and for the first byte of a new connection."""

    body: float = 30.0
    """For a request's body, from the end of its headers."""

    answer: float = 60.0
    """For the application's response to a request that is complete."""

    idle: float = 60.0
    """Between a response and the next request on its connection."""

    round: float = 1.0
    """Between two rounds of the server's housekeeping."""
