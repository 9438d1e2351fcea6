"""The publisher of a run: ticks over HTTP, on time, on one kept-alive connection."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from gateway.loadtest.instants import Stamps
from gateway.loadtest.ledger import Ledger, SentTick
from gateway.loadtest.loop import Loop, Stream
from gateway.loadtest.options import Options
from gateway.loadtest.responses import Response, take_response
from gateway.loadtest.target import Target

__all__ = ["PriceWalk", "Publisher"]

MAX_UNANSWERED = 256
"""POSTs written and not answered yet. With that many, publishing waits and falls behind its schedule."""


class PriceWalk:
    """Prices in cents, each a few cents from the one before."""

    def __init__(self, symbols: Sequence[str], seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - prices, not secrets
        self._cents = {symbol: self._random.randrange(2_000, 50_000) for symbol in symbols}

    def next(self, symbol: str) -> str:
        cents = self._cents[symbol] = max(100, self._cents[symbol] + self._random.randint(-5, 5))
        return f"{cents // 100}.{cents % 100:02d}"


class Publisher:
    """Publishes ``options.batch`` ticks at a time, the symbols in turn, at ``options.rate`` from the moment of
    :meth:`start`. POSTs are pipelined: a slow answer does not delay the next tick, and their order is kept.

    ``refusals`` counts refused POSTs by reason; ``accepted``, ``refused`` and ``unanswered`` count ticks. ``on_post``
    is called with the ticks of each POST and their timestamps, just before it is written.
    """

    def __init__(
        self,
        loop: Loop,
        target: Target,
        options: Options,
        ledger: Ledger,
        on_post: Callable[[Sequence[SentTick], Sequence[str]], None] | None = None,
    ) -> None:
        self._on_post = on_post
        self._loop = loop
        self._target = target
        self._options = options
        self._ledger = ledger
        self._stamps = Stamps()
        self._symbols = itertools.cycle(options.symbols)
        self._walk = PriceWalk(options.symbols)
        self._stream = Stream(loop, self._receive, self._cut)
        self._rest = b""
        self._posts: deque[list[SentTick]] = deque()
        self._posted = 0
        self._started_at = 0.0
        self.published = self.accepted = self.refused = self._abandoned = 0
        self.refusals: Counter[str] = Counter()

    @property
    def unanswered(self) -> int:
        return self._abandoned + sum(len(ticks) for ticks in self._posts)

    def start(self) -> None:
        self._started_at = time.monotonic()

    def wait(self) -> float:
        """Seconds until the next POST is due; at most 0 if it is overdue."""
        if self._posted >= self._options.posts or len(self._posts) >= MAX_UNANSWERED:
            return 1.0
        return self._started_at + self._posted * self._options.batch / self._options.rate - time.monotonic()

    def advance(self) -> None:
        """Writes every POST that is due."""
        while self.wait() <= 0:
            self._post()

    def close(self) -> None:
        self._stream.close()

    def _post(self) -> None:
        ticks, stamps, body = self._compose()
        request = self._request(body)
        self._posted += 1
        self.published += len(ticks)
        self._posts.append(ticks)
        if not self._stream.is_open:
            self._connect()
        now = time.monotonic_ns()
        for tick in ticks:
            tick.sent_at = now
        if self._on_post is not None:
            self._on_post(ticks, stamps)
        if self._stream.is_open:
            self._stream.send(request)

    def _compose(self) -> tuple[list[SentTick], list[str], bytes]:
        """The ticks of a POST, their timestamps, and its body."""
        symbols = list(itertools.islice(self._symbols, self._options.batch))
        stamps = [self._stamps.next() for _ in symbols]
        items = [
            f'{{"symbol":{json.dumps(symbol)},"price":{self._walk.next(symbol)},"timestamp":"{stamp}"}}'
            for symbol, stamp in zip(symbols, stamps, strict=True)
        ]
        body = items[0] if len(items) == 1 else f"[{','.join(items)}]"
        ticks = [self._ledger.enter(*each) for each in zip(symbols, stamps, strict=True)]
        return ticks, stamps, body.encode()

    def _request(self, body: bytes) -> bytes:
        headers = "Content-Type: application/json", "Accept: application/json", f"Content-Length: {len(body)}"
        return self._target.request("POST", "/api/v1/ticks", *headers) + body

    def _connect(self) -> None:
        self._rest = b""
        try:
            self._stream.connect(self._target.family, self._target.address)
        except OSError as error:
            self._cut((error.strerror or str(error)).lower())

    def _receive(self, data: bytes) -> None:
        self._rest += data
        try:
            while self._posts:
                response, self._rest = take_response(self._rest)
                if response is None:
                    return
                self._settle(self._posts.popleft(), response)
        except (ValueError, IndexError):
            self._stream.close()
            self._cut("not an HTTP response")

    def _settle(self, ticks: list[SentTick], response: Response) -> None:
        if 200 <= response.status < 300:
            self.accepted += len(ticks)
            for tick in ticks:
                tick.accepted = True
        else:
            self.refused += len(ticks)
            self.refusals[f"{response.status} {response.body[:120].decode(errors='replace')}"] += 1

    def _cut(self, reason: str) -> None:
        """The connection ended; whether the gateway took the POSTs it did not answer is unknown."""
        if self._posts:
            self.refusals[reason] += len(self._posts)
            self._abandoned += sum(len(ticks) for ticks in self._posts)
            self._posts.clear()
