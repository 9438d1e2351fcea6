"""What is on its way to one client, and what happens when the client does not take it.

While the client keeps up nothing is kept: a frame goes to its socket in the call that delivers it. When the socket is
full the client is *behind*: from then on its ticks wait as its conflation has it, which as a rule keeps the newest of
each symbol (gateway/fanout/conflation.py). When the socket has drained, all of it goes out in one write: answers,
receipts for the ticks that were skipped, and the ticks that waited. A client that does not drain in time is closed.

Delivery is synchronous and never awaits a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.fanout.conflation import Conflation, KeepNewest
from gateway.protocol.codes import SLOW_CONSUMER, Closure
from gateway.protocol.messages import closing_frame
from gateway.wires.wire import Wire

__all__ = ["Outbox"]


class Outbox:
    """The outgoing side of one client.

    ``send`` hands frames straight to the socket: for a writer that knows that the client is not behind, and calls
    ``took`` if the socket did not take all. While the client is ``behind``, ticks go to ``waiting``.
    """

    __slots__ = (
        "_caught_up",
        "_closed",
        "_deadline",
        "_moved",
        "_notes",
        "_patience",
        "_wire",
        "behind",
        "descriptor",
        "gathered",
        "send",
        "waiting",
    )

    def __init__(
        self,
        wire: Wire,
        patience: float,
        moved: Callable[[Outbox], None] | None = None,
        conflation: Conflation | None = None,
    ) -> None:
        """``patience``: how long the client may stay behind before it is closed, in seconds. ``moved`` is called when
        it falls behind and when it is back. ``conflation``: what is kept for it meanwhile, as a rule ``KeepNewest``.
        """
        self._wire = wire
        self._patience = patience
        self._moved = moved
        self._notes: list[bytes] = []
        self._deadline: asyncio.TimerHandle | None = None
        self._caught_up: asyncio.Future[None] | None = None
        self._closed = False
        self.behind = False
        self.gathered: list[bytes] = []
        self.waiting = conflation or KeepNewest()
        self.waiting.open(self._give_up)
        wire.open(self)
        self.send = wire.send
        self.descriptor = wire.fileno()
        """Of the socket that ``send`` writes to with nothing in between; -1 if there is no such, or not any more."""

    @property
    def is_tidy(self) -> bool:
        """Whether the client, when it is gone, leaves nothing for the garbage collector."""
        return self._wire.is_tidy

    def write(self, frames: bytes) -> None:
        """Sends frames to a client that is not behind. What stands here is paid for every client and pass."""
        try:
            sent = self.send(frames)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the connection is gone; the server finds out when it reads
        if sent != len(frames):
            self.took(frames, sent)

    def took(self, frames: bytes, sent: int) -> None:
        """The socket took only the first ``sent`` bytes of ``frames``: the client is behind."""
        self._wire.finish(frames[sent:])
        self._fall_behind()

    def collect(self) -> bytes:
        """Hands out what a pass gathered, to be sent in one write."""
        gathered = self.gathered
        frames = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        gathered.clear()
        return frames

    def reply(self, frame: bytes) -> None:
        """Sends an answer; to a client that is behind, ahead of the ticks that wait."""
        if not self.behind:
            self.write(frame)
        elif not self._closed:
            self._notes.append(frame)

    def report(self, symbol: str, frame: bytes) -> None:
        """Sends what is to be known between the ticks of ``symbol`` before it and those behind it."""
        if self.behind and not self._closed:
            self._notes += self.waiting.take(symbol)
        self.reply(frame)

    async def caught_up(self) -> None:
        """Returns when the client is not behind."""
        while self.behind and not self._closed:
            if self._caught_up is None:
                self._caught_up = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._caught_up)

    def close(self, closure: Closure) -> None:
        """Ends the connection with ``closure``; nothing is delivered any more."""
        if not self._closed:
            if closure.announced and not self.behind:
                self.write(closing_frame(closure))
            self._wire.close(closure)
            self.let_go()

    def discard(self) -> None:
        """The client is gone: lets go of everything."""
        self.let_go()
        self._wire.release()

    def let_go(self) -> None:
        """Nothing is delivered any more."""
        self._closed = True
        self.descriptor = -1
        self._move(is_behind=True)  # so that no pass writes to it
        self._notes.clear()
        self.waiting.clear()
        self._settle()

    def _move(self, is_behind: bool) -> None:
        if self.behind != is_behind:
            self.behind = is_behind
            if self._moved is not None:
                self._moved(self)

    def _fall_behind(self) -> None:
        if self._closed:
            return
        self._move(is_behind=True)
        self._deadline = asyncio.get_running_loop().call_later(self._patience, self._give_up)
        self._wire.pause_reading()

    def _give_up(self) -> None:
        self.close(SLOW_CONSUMER)

    def drained(self) -> None:
        """The wire has sent all it was given."""
        if self._closed:
            return
        self._move(is_behind=False)
        self._settle()
        self._wire.resume_reading()
        waiting = [*self._notes, *self.waiting.take()]
        self._notes.clear()
        if waiting:
            self.write(b"".join(waiting))

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._caught_up is not None:
            self._caught_up.set_result(None)
            self._caught_up = None
