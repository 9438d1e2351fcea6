"""Who publishes: the load test's publisher over HTTP, and one over ``/ws/publish``; both know what was accepted last."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter, deque
from collections.abc import Sequence

from gateway.loadtest import websocket
from gateway.loadtest.instants import Stamps
from gateway.loadtest.ledger import Ledger, SentTick
from gateway.loadtest.loop import Loop, Stream
from gateway.loadtest.publisher import PriceWalk
from gateway.loadtest.target import Target
from gateway.loadtest.websocket import Handshake

__all__ = ["ShortLedger", "StreamPublisher"]

REMEMBERED = 20_000
"""Ticks of which a ledger knows what became of them: many more than can be under way at a time."""

MAX_UNANSWERED = 64
AGAIN_SECONDS = 1.0


class ShortLedger(Ledger):
    """A ledger that forgets: what counts is the last accepted tick of each symbol."""

    def enter(self, symbol: str, stamp: str) -> SentTick:
        while len(self._sent) >= REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return super().enter(symbol, stamp)


class StreamPublisher:
    """Publishes messages of ``batch`` ticks of ``symbols`` in turn, ``rate`` ticks a second, and connects again if cut.

    ``published``, ``accepted``, ``refused`` and ``abandoned`` (cut off before their answer) count ticks.
    """

    def __init__(
        self, loop: Loop, target: Target, symbols: Sequence[str], ledger: Ledger, *, rate: float, batch: int
    ) -> None:
        self._target = target
        self._ledger = ledger
        self._rate = rate
        self._batch = batch
        self._symbols = itertools.cycle(symbols)
        self._walk = PriceWalk(symbols, seed=2)
        self._stamps = Stamps()
        self._stream = Stream(loop, self._receive, self._cut)
        self._handshake: Handshake | None = None
        self._is_ready = False
        self._rest = b""
        self._number = 0
        self._under_way: deque[tuple[int, list[SentTick]]] = deque()
        self._due_at = time.monotonic()
        self._again_at = 0.0
        self.published = self.accepted = self.refused = self.abandoned = 0
        self.refusals: Counter[str] = Counter()

    @property
    def unanswered(self) -> int:
        return sum(len(ticks) for _, ticks in self._under_way)

    def advance(self) -> None:
        """Sends what is due. What could not be sent in time is not made up for."""
        now = time.monotonic()
        if not self._stream.is_open:
            if now >= self._again_at:
                self._connect()
        elif self._is_ready:
            self._due_at = max(self._due_at, now - 1.0)
            while self._due_at <= now and len(self._under_way) < MAX_UNANSWERED and self._stream.is_open:
                self._due_at += self._batch / self._rate
                self._send()

    def close(self) -> None:
        self._stream.close()

    def _connect(self) -> None:
        self._rest, self._is_ready, self._number = b"", False, 0
        self._again_at = time.monotonic() + AGAIN_SECONDS
        self._handshake = Handshake()
        try:
            self._stream.connect(self._target.family, self._target.address)
        except OSError as error:
            self.refusals[str(error)] += 1
        else:
            self._stream.send(self._handshake.request(self._target, "/ws/publish"))

    def _send(self) -> None:
        symbols = list(itertools.islice(self._symbols, self._batch))
        stamps = [self._stamps.next() for _ in symbols]
        items = [
            f'{{"symbol":"{symbol}","price":{self._walk.next(symbol)},"timestamp":"{stamp}"}}'
            for symbol, stamp in zip(symbols, stamps, strict=True)
        ]
        ticks = [self._ledger.enter(*each) for each in zip(symbols, stamps, strict=True)]
        self._number += 1
        self._under_way.append((self._number, ticks))
        self.published += len(ticks)
        self._stream.send(websocket.encode(websocket.TEXT, f"[{','.join(items)}]".encode()))

    def _receive(self, data: bytes) -> None:
        self._rest += data
        if self._handshake is not None:
            head, end, rest = self._rest.partition(b"\r\n\r\n")
            if not end:
                return
            self._handshake.check(head)
            self._handshake, self._is_ready, self._rest = None, True, rest
        frames, self._rest = websocket.split(self._rest)
        for first, payload in frames:
            if first == websocket.TEXT:
                self._take(json.loads(payload))
            elif first == websocket.PING:
                self._stream.send(websocket.encode(websocket.PONG, payload))
            elif first == websocket.CLOSE:
                self._stream.close()
                self._cut(f"closed with {websocket.close_code(payload)}")

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] == "published":
            self._settle(int(str(message["id"])))
        elif message["type"] == "error":
            number = int(str(message["id"]))
            self._settle(number - 1)
            if self._under_way and self._under_way[0][0] == number:
                self.refused += len(self._under_way.popleft()[1])
                self.refusals[str(message["code"])] += 1

    def _settle(self, number: int) -> None:
        """An answer speaks for all messages up to its own that have had none."""
        while self._under_way and self._under_way[0][0] <= number:
            ticks = self._under_way.popleft()[1]
            self.accepted += len(ticks)
            for tick in ticks:
                tick.accepted = True

    def _cut(self, reason: str) -> None:
        self.refusals[reason] += 1
        self.abandoned += self.unanswered
        self._under_way.clear()
