"""What is on its way to one client, and what happens when the client does not take it.

While the client keeps up nothing is kept: a frame goes to its socket in the call that delivers it. When the socket is
full the client is *behind*: from then on the outbox holds the newest frame of each symbol, in the order in which the
symbols first fell behind, so what waits is bounded by what the client subscribed to. When the socket has drained, all
of it goes out in one write, behind a receipt that says how many ticks of which symbol were skipped. A client that
does not drain in time is closed.

Delivery is synchronous and never awaits a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.errors import SLOW_CONSUMER, Closure
from gateway.protocol import conflated_frame

__all__ = ["Outbox", "Wire"]


class Wire(Protocol):
    """The way to one client's socket."""

    @property
    def send(self) -> Callable[[bytes], int]:
        """Hands whole frames to the socket; returns how many bytes it took, and raises, as ``socket.send`` does.

        Asked for once, after ``open``.
        """

    def open(self, outbox: Outbox) -> None:
        """Tells the wire whose it is: it calls ``drained`` when a socket that was full has taken everything, and
        ``let_go`` when the connection is lost or somebody else has begun to close it.
        """

    def finish(self, rest: bytes) -> None:
        """Takes over what the socket did not take. Nothing more is sent before the wire has called ``drained``."""

    def close(self, closure: Closure) -> None:
        """Starts the closing handshake."""

    def release(self) -> None:
        """The client is gone: calls nobody any more."""

    def pause_reading(self) -> None:
        """Takes no more commands from a client that does not read the answers."""

    def resume_reading(self) -> None: ...


class Outbox:
    """The outgoing side of one client."""

    __slots__ = (
        "_closed",
        "_counts",
        "_deadline",
        "_parked",
        "_patience",
        "_replies",
        "_send",
        "_waiting",
        "_wire",
        "behind",
        "gathered",
        "skipped",
    )

    def __init__(self, wire: Wire, patience: float) -> None:
        """``patience``: how long the client may stay behind before it is closed, in seconds."""
        self._wire = wire
        self._patience = patience
        self._parked: dict[str | int, bytes] = {}
        self._counts: dict[str, int] = {}
        self._replies = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False
        self.behind = False
        self.gathered: list[bytes] = []
        self.skipped = 0
        wire.open(self)
        self._send = wire.send

    def write(self, frames: bytes) -> None:
        """Sends frames to a client that is not behind. What stands here is paid for every client and pass."""
        try:
            sent = self._send(frames)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the connection is gone; the server finds out when it reads
        if sent != len(frames):
            self._wire.finish(frames[sent:])
            self._fall_behind()

    def flush(self) -> None:
        """Sends what a pass gathered, in one write."""
        gathered = self.gathered
        frames = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        gathered.clear()
        self.write(frames)

    def park(self, symbol: str, newest: bytes, count: int) -> None:
        """Keeps the newest of ``count`` ticks of ``symbol`` for a client that is behind."""
        self._parked[symbol] = newest
        self._counts[symbol] = self._counts.get(symbol, 0) + count

    def reply(self, frame: bytes) -> None:
        """Sends an answer, behind all that waits already."""
        if not self.behind:
            self.write(frame)
            return
        self._replies += 1
        self._parked[self._replies] = frame

    def forget(self, symbol: str) -> None:
        """Drops what waits of a symbol the client no longer subscribes to."""
        if self._counts.pop(symbol, None) is not None:
            del self._parked[symbol]

    async def caught_up(self) -> None:
        """Returns when the client is not behind."""
        while self.behind and not self._closed:
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiting)

    def close(self, closure: Closure) -> None:
        """Ends the connection with ``closure``; nothing is delivered any more."""
        if not self._closed:
            self._wire.close(closure)
            self.let_go()

    def discard(self) -> None:
        """The client is gone: lets go of everything."""
        self.let_go()
        self._wire.release()

    def let_go(self) -> None:
        """Nothing is delivered any more."""
        self._closed = self.behind = True  # behind, so that no pass writes to it
        self._parked.clear()
        self._counts.clear()
        self._settle()

    def _fall_behind(self) -> None:
        if self._closed:
            return
        self.behind = True
        self._deadline = asyncio.get_running_loop().call_later(self._patience, self.close, SLOW_CONSUMER)
        self._wire.pause_reading()

    def drained(self) -> None:
        """The wire has sent all it was given."""
        if self._closed:
            return
        self.behind = False
        self._settle()
        self._wire.resume_reading()
        if self._parked:
            self.write(self._take_parked())

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._waiting is not None:
            self._waiting.set_result(None)
            self._waiting = None

    def _take_parked(self) -> bytes:
        skipped = {symbol: count - 1 for symbol, count in self._counts.items() if count > 1}
        frames = list(self._parked.values())
        if skipped:
            self.skipped += sum(skipped.values())
            frames.insert(0, conflated_frame("slow", skipped))
        self._parked.clear()
        self._counts.clear()
        return b"".join(frames)
