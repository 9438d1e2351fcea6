"""Clients who come and go: they connect, subscribe, stay a while, leave without a word, and some come back."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence

from gateway.loadtest.ledger import Tally
from gateway.loadtest.loop import Loop
from gateway.loadtest.proof import Book, Findings
from gateway.loadtest.socket import Socket
from gateway.loadtest.target import Target

__all__ = ["Silent", "Visitors"]

MOST_SYMBOLS = 5
"""That a visitor subscribes to."""

TURNED_AWAY_SECONDS = 0.5
"""Until the place of somebody who was turned away is taken by the next."""


class Silent(Tally):
    """Counts deliveries and keeps nothing else: a soak may take hours."""

    def begin(self) -> None:
        super().begin()
        self.deliveries = 0

    def tick(self, cursors: object, stamp: bytes, now: int) -> None:
        self.deliveries += 1
        self.last_delivery = now


class Visitors:
    """Keeps ``places`` clients there, each for ``stay`` seconds (at most; a random time), until ``total`` have come.

    Each subscribes to some of ``symbols``; a share of ``resume`` of those who left comes back with their books. Those who
    do not ``read`` subscribe to all of them, and then never read. ``came`` counts acknowledged subscriptions, ``resumed`` those of clients
    who came back, ``turned_away`` whoever got none, and ``closed`` whoever the gateway closed, by reason.
    """

    def __init__(
        self,
        loop: Loop,
        target: Target,
        symbols: Sequence[str],
        findings: Findings,
        *,
        places: int,
        stay: float,
        total: int | None = None,
        resume: float = 0.5,
        read: bool = True,
    ) -> None:
        self._loop = loop
        self._target = target
        self._symbols = symbols
        self._findings = findings
        self._places = places
        self._stay = stay
        self._total = total
        self._resume = resume
        self._read = read
        self._random = random.Random(1)  # noqa: S311 - who stays how long
        self._tally = Silent()
        self._arriving: dict[Socket, None] = {}
        self._there: dict[Socket, None] = {}
        self._returning: dict[Socket, None] = {}
        self._leaves: list[tuple[float, int, Socket]] = []
        self._numbers = itertools.count()
        self._gone: list[Book] = []
        self._dialled = 0
        self._not_before = 0.0
        self.came = 0
        self.resumed = 0
        self.turned_away: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()

    @property
    def done(self) -> bool:
        """All that were to come have come and gone."""
        return self._dialled == self._total and not self._arriving and not self._there

    @property
    def there(self) -> int:
        return len(self._there)

    def turn(self) -> None:
        """Lets go who has stayed long enough and lets in who finds a place."""
        now = time.monotonic()
        while self._leaves and self._leaves[0][0] <= now:
            connection = heapq.heappop(self._leaves)[2]
            if connection in self._there:
                self._leave(connection)
        while self._dialled != self._total and len(self._arriving) + len(self._there) < self._places:
            if now < self._not_before:
                return
            self._dial()

    def close(self) -> None:
        """All leave, and nobody comes any more."""
        self._total = self._dialled
        for connection in [*self._arriving, *self._there]:
            connection.drop()
        self._arriving.clear()
        self._there.clear()

    def subscribed(self, connection: Socket) -> None:
        if connection not in self._arriving:
            return
        del self._arriving[connection]
        self._there[connection] = None
        self.came += 1
        if connection in self._returning:
            del self._returning[connection]
            self.resumed += 1
        if not self._read:
            connection.pause()
        due = time.monotonic() + self._random.uniform(0, self._stay)
        heapq.heappush(self._leaves, (due, next(self._numbers), connection))

    def ended(self, connection: Socket, code: int, reason: str) -> None:
        self._returning.pop(connection, None)
        if connection in self._arriving:
            del self._arriving[connection]
            self.turned_away[reason] += 1
            self._not_before = time.monotonic() + TURNED_AWAY_SECONDS
        elif connection in self._there:
            del self._there[connection]
            self.closed[code] += 1

    def _dial(self) -> None:
        if self._gone and self._random.random() < self._resume:
            book = self._gone.pop()
            connection = Socket(self._loop, book.symbols, self._tally, self, book=book)
            self._returning[connection] = None
        else:
            connection = self._newcomer()
        self._dialled += 1
        self._arriving[connection] = None
        connection.open(self._target)

    def _newcomer(self) -> Socket:
        if not self._read:  # and so has no book to keep
            return Socket(self._loop, self._symbols, self._tally, self)
        symbols = self._random.sample(self._symbols, min(len(self._symbols), self._random.randint(1, MOST_SYMBOLS)))
        return Socket(self._loop, symbols, self._tally, self, book=Book(self._findings, symbols))

    def _leave(self, connection: Socket) -> None:
        connection.drop()
        del self._there[connection]
        if connection.book is not None and len(self._gone) < self._places:
            self._gone.append(connection.book)
