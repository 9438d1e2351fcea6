"""All subscribers of a run."""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from gateway.loadtest.ledger import Tally
from gateway.loadtest.limits import Part
from gateway.loadtest.loop import Loop
from gateway.loadtest.options import LoadTestError, Options
from gateway.loadtest.proof import Book, Findings, Latest
from gateway.loadtest.socket import ABNORMAL, Socket
from gateway.loadtest.target import Target
from gateway.loadtest.traces import ONE_IN, Traces

__all__ = ["Counts", "Crowd"]

HANDSHAKES = 64
"""Handshakes under way at a time: enough to keep a gateway busy, too few to overflow a listen backlog."""

DIALS = 8
"""Clients that come back in one turn: others are read in between, as a connection costs as much as many ticks."""

PATIENCE = 30.0
"""Seconds from the connect to the acknowledged subscription."""

DROPS = 0.1, 0.7
"""Clients are dropped between these shares of a run's time, so that all have time to come back."""

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 10.0
"""Seconds: a client that comes back waits a random time, up to one that doubles with each attempt that fails."""


@dataclass(slots=True)
class Counts:
    """What became of the clients, as :class:`Crowd` says it. ``away`` were subscribed once and are not now."""

    opened: int
    dropped: int
    returned: int
    away: int
    refused: Counter[str]
    rebuffed: Counter[str]
    closed: Counter[int]

    def merge(self, other: Counts) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


class Crowd:
    """Opens the connections, a few at a time, and counts what becomes of each.

    ``refused`` counts, by reason, connections that never got their subscription; ``closed`` counts, by close code,
    those that had it and ended before the run did. ``on_settled`` is called after each that was opened or refused.

    ``part`` are its clients, all of the run if it is None.

    With ``findings`` every client keeps a book. Unless ``options.reconnect`` is None clients come back: ``dropped``
    counts those that were dropped on purpose, ``returned`` those that were subscribed again, ``rebuffed``, by reason,
    the attempts that failed.
    """

    def __init__(
        self,
        loop: Loop,
        target: Target,
        options: Options,
        tally: Tally,
        *,
        on_settled: Callable[[], None] = lambda: None,
        findings: Findings | None = None,
        traces: Traces | None = None,
        part: Part | None = None,
    ) -> None:
        part = part or Part(range(options.connections))
        self._numbers = part.numbers
        self._source = part.source
        self._loop = loop
        self._target = target
        self._options = options
        self._tally = tally
        self._on_settled = on_settled
        self._findings = findings
        self._traces = traces
        self._random = random.Random(1 + part.numbers.start)  # noqa: S311 - who is dropped when, and who comes back when
        self._dialled = 0
        self._waiting: dict[Socket, float] = {}  # in the order in which they were dialled, with the time
        self._subscribed: dict[int, Socket] = {}
        self._drops: list[tuple[float, int]] = []  # when, and the number of the client; both are heaps
        self._returns: list[tuple[float, int]] = []
        self._away: dict[int, Socket] = {}  # the last socket of each client that lost it and will come back
        self._attempts: Counter[int] = Counter()
        self.opened = 0
        self.dropped = 0
        self.returned = 0
        self.refused: Counter[str] = Counter()
        self.rebuffed: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()

    @property
    def is_settled(self) -> bool:
        return self.opened + self.refused.total() == len(self._numbers)

    def counts(self) -> Counts:
        return Counts(
            self.opened,
            self.dropped,
            self.returned,
            self.away,
            self.refused.copy(),
            self.rebuffed.copy(),
            self.closed.copy(),
        )

    @property
    def away(self) -> int:
        """Clients that were subscribed once and are not now."""
        return self.opened - len(self._subscribed)

    def subscribers(self) -> Counter[str]:
        """How many clients are subscribed to each symbol now."""
        return Counter(symbol for socket in self._subscribed.values() for symbol in socket.symbols)

    def stale(self, latest: Mapping[str, Latest]) -> list[str]:
        """For each subscriber that does not hold the last tick of all its symbols, what is wrong with the first."""
        problems = (socket.book.stale(latest)[:1] for socket in self._subscribed.values() if socket.book)
        return [problem for some in problems for problem in some]

    def advance(self) -> None:
        """Dials as many as there is room for, and gives up on those that take too long."""
        while self._dialled < len(self._numbers) and len(self._waiting) < HANDSHAKES:
            self._dialled += 1
            self._dial(self._socket(self._numbers[self._dialled - 1]))
            self.check_hope()
        self._expire()

    def close(self) -> None:
        for socket in [*self._subscribed.values(), *self._waiting]:
            socket.close()
        self._subscribed.clear()
        self._waiting.clear()

    def subscribed(self, socket: Socket) -> None:
        if self._waiting.pop(socket, None) is None:
            return
        self._subscribed[socket.number] = socket
        if self._away.pop(socket.number, None) is None:
            self.opened += 1
            self._on_settled()
        else:
            self.returned += 1
            del self._attempts[socket.number]

    def ended(self, socket: Socket, code: int, reason: str) -> None:
        if self._waiting.pop(socket, None) is not None:
            reason = reason if code == ABNORMAL else f"{reason} ({code})"
            if socket.number in self._away:
                self.rebuffed[reason] += 1
                self._expect(socket)
            else:
                self.refused[reason] += 1
                self._on_settled()
        elif self._subscribed.get(socket.number) is socket:
            del self._subscribed[socket.number]
            self.closed[code] += 1
            if self._options.reconnect is not None:
                self._expect(socket)

    def check_hope(self) -> None:
        """:class:`LoadTestError` if all of the first connections were refused, since the rest would be too."""
        if not self.opened and self.refused.total() >= min(HANDSHAKES, len(self._numbers)):
            reason, _ = self.refused.most_common(1)[0]
            raise LoadTestError(f"No connection to {self._options.url} could be opened: {reason}")

    # Clients that come and go

    def schedule_drops(self, seconds: float) -> None:
        """Schedules when each client that is to reconnect is dropped, within the next ``seconds``."""
        share = round((self._options.reconnect or 0) * len(self._subscribed))
        start, end = (time.monotonic() + part * seconds for part in DROPS)
        for number in self._random.sample(sorted(self._subscribed), share):
            heapq.heappush(self._drops, (self._random.uniform(start, end), number))

    def turn(self) -> None:
        """Drops the clients that are due to be dropped, and dials those that are due to come back."""
        now = time.monotonic()
        while self._drops and self._drops[0][0] <= now:
            _, number = heapq.heappop(self._drops)
            if socket := self._subscribed.pop(number, None):
                self.dropped += 1
                socket.drop()
                self._expect(socket)
        for _ in range(DIALS):
            if not self._returns or self._returns[0][0] > now:
                break
            _, number = heapq.heappop(self._returns)
            self._dial(self._socket(number, self._away[number].book))
        self._expire()

    def wait(self, longest: float) -> float:
        """Seconds until a client is due to come back, at most ``longest``."""
        return max(0.0, min(longest, self._returns[0][0] - time.monotonic())) if self._returns else longest

    def _expect(self, socket: Socket) -> None:
        self._away[socket.number] = socket
        self._attempts[socket.number] += 1
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (self._attempts[socket.number] - 1))
        due = time.monotonic() + socket.wait + self._random.uniform(0, backoff)
        heapq.heappush(self._returns, (due, socket.number))

    def _socket(self, number: int, book: Book | None = None) -> Socket:
        symbols = self._options.symbols_of(number)
        if self._findings is not None and book is None:
            book = Book(self._findings, symbols)
        return Socket(
            self._loop,
            symbols,
            self._tally,
            self,
            number=number,
            book=book,
            max_rate=self._options.max_rate,
            traces=None if number % ONE_IN else self._traces,
        )

    def _dial(self, socket: Socket) -> None:
        self._waiting[socket] = time.monotonic()
        socket.open(self._target, self._source)

    def _expire(self) -> None:
        while self._waiting:
            socket, dialled_at = next(iter(self._waiting.items()))
            if time.monotonic() - dialled_at < PATIENCE:
                return
            socket.give_up(f"no subscription within {PATIENCE:.0f} s")
