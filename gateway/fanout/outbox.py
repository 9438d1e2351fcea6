"""What is on its way to one client, and what happens when the client does not take it.

While the client keeps up nothing is kept: a frame goes to its socket in the call that delivers it. When the socket is
full, or pings show that the client reads what is no longer new (gateway/fanout/freshness.py), it is *behind*: from then
on its ticks wait as its conflation has it, which as a rule keeps the newest of each symbol
(gateway/fanout/conflation.py).

What waits goes out when the client has read what it was sent before: answers, receipts for the ticks that were skipped,
and the ticks that waited, no more at once than it reads in a moment (gateway/fanout/window.py). Where a wire has no
pings it goes out when the socket has drained, all of it in one write. A client that takes nothing for too long is
closed.

Delivery is synchronous and never awaits a socket.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Sequence

from gateway.fanout.conflation import Conflation, KeepNewest
from gateway.fanout.window import Window
from gateway.protocol.codes import SLOW_CONSUMER, Closure
from gateway.protocol.messages import closing_frame
from gateway.wires.wire import Queue, Wire

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
        "_prompt_since",
        "_staleness",
        "_window",
        "_wire",
        "beats",
        "behind",
        "descriptor",
        "due",
        "form",
        "gathered",
        "send",
        "silent",
        "stuffed",
        "waiting",
    )

    def __init__(
        self,
        wire: Wire,
        patience: float,
        moved: Callable[[Outbox], None] | None = None,
        conflation: Conflation | None = None,
        staleness: float = 0.0,
    ) -> None:
        """``patience``: how long a client that is behind may take nothing before it is closed, in seconds. ``moved`` is
        called when it falls behind and when it is back. ``conflation``: what is kept for it meanwhile, as a rule
        ``KeepNewest``. ``staleness``: how old what a client reads may be before it counts as behind, in seconds; 0 for
        as old as it likes.
        """
        self._wire = wire
        self._patience = patience
        self._moved = moved
        self._notes: list[bytes] = []
        self._deadline: asyncio.TimerHandle | None = None
        self._caught_up: asyncio.Future[None] | None = None
        self._closed = False
        self.behind = False
        self.silent = 0
        """Rounds of heartbeats since it was sent something; ticks are not looked at before there were some."""
        self.beats = 0
        """Heartbeats until one takes a ping along."""
        self.stuffed = False
        """Whether the wire has something to finish."""
        self._staleness = staleness
        self._prompt_since = 0.0
        self._window = Window() if staleness and wire.answers_pings else None
        self.due = 0.0 if self._window is not None else math.inf
        """When the client is to be asked next how far it has read; infinite while it owes an answer."""
        self.gathered: list[bytes] = []
        self.waiting = conflation or KeepNewest()
        self.waiting.open(self._give_up)
        wire.open(self)
        self.send = wire.send
        self.form = wire.form
        """What ``send`` makes of frames, and who writes to ``descriptor`` has to; None for nothing."""
        self.descriptor = wire.fileno()
        """Of the socket that ``send`` writes to with nothing in between; -1 if there is no such, or not any more."""

    def reroute(self, change: Callable[[Wire], Wire]) -> None:
        """Sends by what ``change`` makes of the wire. Nobody may hold on to ``send`` and ``descriptor``."""
        self._wire = change(self._wire)
        self.send, self.form = self._wire.send, self._wire.form
        if not self._closed:
            self.descriptor = self._wire.fileno()

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
        """The socket took only the first ``sent`` bytes of ``frames``, in their form: the client is behind."""
        self._wire.finish(frames[sent:])
        if not self._closed:
            self.stuffed = True
            self._wire.pause_reading()
            self._fall_behind()

    def collect(self) -> bytes:
        """Hands out what a pass gathered, to be sent in one write."""
        gathered = self.gathered
        frames = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        gathered.clear()
        return frames

    def reply(self, frame: bytes) -> None:
        """Sends an answer; to a client that is behind, ahead of the ticks that wait."""
        self.silent = 0
        if not self.behind:
            self.write(frame)
        elif not self._closed:
            self._notes.append(frame)
            self._go_on()

    def report(self, symbol: str, frame: bytes) -> None:
        """Sends what is to be known between the ticks of ``symbol`` before it and those behind it."""
        if self.behind and not self._closed:
            self._notes += self.waiting.take(symbol)
        self.reply(frame)

    def park(self, symbol: str, frames: Sequence[bytes], skipped: int = 0) -> None:
        """Keeps ticks for a client that is behind; ``skipped`` were left out before them because of its rate."""
        self.waiting.park(symbol, frames, skipped)
        self._go_on()

    async def caught_up(self) -> None:
        """Returns when answers no longer pile up: the client is not behind, or has been sent those that waited."""
        while self._is_clogged and not self._closed:
            if self._caught_up is None:
                self._caught_up = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._caught_up)

    def close(self, closure: Closure) -> None:
        """Ends the connection with ``closure``; nothing is delivered any more."""
        if not self._closed:
            if closure.announced and not self.stuffed:
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
        if not self.behind:
            self._move(is_behind=True)
            self._wait(self._patience, self._give_up)
            self._prompt_since = asyncio.get_running_loop().time()
            if self._window is not None:
                self._window.close()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, then)

    def _give_up(self) -> None:
        self.close(SLOW_CONSUMER)

    def drained(self) -> None:
        """The wire has sent all it was given."""
        if self._closed:
            return
        self.stuffed = False
        if self._window is None or not self._window.answers:
            self._come_back()
            self._wire.resume_reading()
            if waiting := self._take():
                self.write(b"".join(waiting))
        else:
            self._wire.resume_reading()
            if self._window.is_idle:
                self.write(self.ask())
            self._go_on()

    def _come_back(self) -> None:
        self._move(is_behind=False)
        self._settle()

    def _take(self, room: int = sys.maxsize) -> list[bytes]:
        waiting = [*self._notes, *self.waiting.take(room=room)]
        self._notes.clear()
        return waiting

    # How far the client has read

    def ask_along(self) -> bool:
        """Whether a ping, to which its server waits for the answer, is to stand before what is written next."""
        return self._wire.ask_along()

    @property
    def owes(self) -> bool:
        """Whether the client has been asked how far it has read, and has not answered."""
        return self._window is not None and not self._window.is_idle

    @property
    def since(self) -> float:
        """Since when the client owes an answer; infinite if it does not."""
        return math.inf if self._window is None else self._window.since

    @property
    def answers(self) -> int:
        """How many pings the client has answered."""
        return 0 if self._window is None else self._window.answers

    @property
    def queue(self) -> Queue | None:
        """What waits in our own system for the client, where that is known."""
        return None if self._closed else self._wire.queue()

    def ask(self) -> bytes:
        """A ping, to be written behind what the client is asked about."""
        self.due = math.inf
        return b"" if self._window is None else self._window.ask(asyncio.get_running_loop().time())

    def answered(self, number: int) -> bool:
        """The client has read what was written before the ping of that number; says whether it had been asked."""
        if self._window is None or self._closed:
            return False
        now = asyncio.get_running_loop().time()
        latency = self._window.answered(number, now)
        if latency is None:
            return False
        if self._window.is_idle:
            self.due = now - latency + self._staleness / 2
        if self.behind:
            self._recover(self._window, number, latency, now)
        return True

    def _recover(self, window: Window, number: int, latency: float, now: float) -> None:
        """A client that is behind has answered: sends it more, or takes it for one that keeps up again.

        It does when for a while nothing had to wait for it and its answers were prompt.
        """
        target = self._staleness / 3
        if latency > target and (queue := self.queue) is not None:
            target += queue.round_trip
        has_waited = self._go_on()
        window.adapt(number, latency, target, has_waited)
        if has_waited or latency > target:
            self._prompt_since = now
        elif now - self._prompt_since > self._staleness / 2:
            self._come_back()
            return
        if window.is_idle and not self.stuffed:
            self._wait(self._staleness / 2, self._come_back)
        else:
            self._wait(self._patience, self._give_up)

    def lag(self) -> None:
        """What the client reads is too old: it is behind."""
        if not self.behind:
            self._fall_behind()
            self.write(self.ask())

    def _go_on(self) -> bool:
        """Writes to a client that is behind what it has room for; says whether anything had to wait."""
        window = self._window
        if window is None or self.stuffed or self._closed or window.room <= 0:
            return True
        waiting = self._take(window.room)
        if not waiting:
            return False
        if window.is_idle:
            self._wait(self._patience, self._give_up)
        data = b"".join(waiting)
        self.write(data + window.ask(asyncio.get_running_loop().time(), len(data)))
        self._wake()
        return True

    @property
    def _is_clogged(self) -> bool:
        return self.behind and (self._window is None or self.stuffed or bool(self._notes))

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._wake()

    def _wake(self) -> None:
        if self._caught_up is not None:
            self._caught_up.set_result(None)
            self._caught_up = None
