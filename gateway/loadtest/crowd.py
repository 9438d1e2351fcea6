"""All the subscribers of a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from gateway.loadtest.connection import ABNORMAL, Connection
from gateway.loadtest.ledger import Tally
from gateway.loadtest.limits import source_address
from gateway.loadtest.loop import Loop
from gateway.loadtest.options import LoadTestError, Options
from gateway.loadtest.target import Target

__all__ = ["Crowd"]

HANDSHAKES = 64
"""Handshakes under way at a time: enough to keep a gateway busy, too few to overflow a listen backlog."""

PATIENCE = 30.0
"""Seconds from the connect to the acknowledged subscription."""


class Crowd:
    """Opens the connections, a few at a time, and knows what became of each.

    ``refused`` counts, by reason, connections that never got their subscription; ``closed`` counts, by close code,
    those that had it and ended before the run did. ``on_settled`` is called after each that was opened or refused.
    """

    def __init__(
        self, loop: Loop, target: Target, options: Options, tally: Tally, on_settled: Callable[[], None] = lambda: None
    ) -> None:
        self._loop = loop
        self._target = target
        self._options = options
        self._tally = tally
        self._on_settled = on_settled
        self._dialled = 0
        self._waiting: dict[Connection, float] = {}  # in the order in which they were dialled, with the time
        self._subscribed: set[Connection] = set()
        self.opened = 0
        self.refused: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()

    @property
    def is_settled(self) -> bool:
        return self.opened + self.refused.total() == self._options.connections

    def subscribers(self) -> Counter[str]:
        """How many are subscribed to each symbol just now."""
        return Counter(symbol for connection in self._subscribed for symbol in connection.symbols)

    def advance(self) -> None:
        """Dials as many as there is room for and gives up those that take too long."""
        while self._dialled < self._options.connections and len(self._waiting) < HANDSHAKES:
            self._dial(self._dialled)
            self.check_hope()
        self._expire()

    def close(self) -> None:
        for connection in [*self._subscribed, *self._waiting]:
            connection.close()
        self._subscribed.clear()
        self._waiting.clear()

    def subscribed(self, connection: Connection) -> None:
        if self._waiting.pop(connection, None) is not None:
            self._subscribed.add(connection)
            self.opened += 1
            self._on_settled()

    def ended(self, connection: Connection, code: int, reason: str) -> None:
        if self._waiting.pop(connection, None) is not None:
            self.refused[reason if code == ABNORMAL else f"{reason} ({code})"] += 1
            self._on_settled()
        elif connection in self._subscribed:
            self._subscribed.remove(connection)
            self.closed[code] += 1

    def _dial(self, index: int) -> None:
        connection = Connection(self._loop, self._options.symbols_of(index), self._tally, self)
        self._dialled += 1
        self._waiting[connection] = time.monotonic()
        connection.open(
            self._target, source_address(index, self._options.connections, self._target.address[0] == "127.0.0.1")
        )

    def check_hope(self) -> None:
        """:class:`LoadTestError` when the first ones were all refused: the rest will fare no better."""
        if not self.opened and self.refused.total() >= min(HANDSHAKES, self._options.connections):
            reason, _ = self.refused.most_common(1)[0]
            raise LoadTestError(f"No connection to {self._options.url} could be opened: {reason}")

    def _expire(self) -> None:
        while self._waiting:
            connection, dialled_at = next(iter(self._waiting.items()))
            if time.monotonic() - dialled_at < PATIENCE:
                return
            connection.give_up(f"no subscription within {PATIENCE:.0f} s")
