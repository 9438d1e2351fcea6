"""What a run is asked to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["LoadTestError", "Options"]

MAX_BATCH = 1_000  # ticks in one POST, the gateway's own limit


class LoadTestError(Exception):
    """The run cannot take place: a mistake in what was asked for, or something missing around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``rate`` is ticks per second over all symbols; ``seconds`` the publishing, ``grace`` the wait after it.

    ``per_client`` is how many of ``symbols`` each client subscribes to, all of them if None. With ``verify`` the
    sequence has to prove that nothing was lost without a word. ``max_rate`` is what every client asks for, in ticks per
    second and symbol. ``reconnect`` is the share of the clients that are dropped once and come back; unless it is None,
    clients that lose their connection come back too. With ``trace`` a hundredth of them asks when ticks were where.
    """

    connections: int
    symbols: Sequence[str]
    url: str = "http://127.0.0.1:8000"
    per_client: int | None = None
    rate: float = 10.0
    batch: int = 1
    seconds: float = 10.0
    grace: float = 2.0
    verify: bool = False
    max_rate: float | None = None
    reconnect: float | None = None
    trace: bool = False
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for holds, complaint in self._demands():
            if not holds:
                raise LoadTestError(complaint)

    def _demands(self) -> Iterator[tuple[bool, str]]:
        """What must hold, and what to say if it does not; each may rely on those before it. NaN fulfils none."""
        yield self.connections >= 1, "At least one connection is needed."
        yield bool(self.symbols) and all(self.symbols), "At least one symbol is needed, and none may be empty."
        yield len(set(self.symbols)) == len(self.symbols), "A symbol is given twice."
        yield 1 <= self.count <= len(self.symbols), f"Per client: 1 to {len(self.symbols)}, the number of symbols."
        yield 0 <= self.rate <= 1_000_000, "The rate is 0 to 1,000,000 ticks per second."
        yield 1 <= self.batch <= MAX_BATCH, f"A batch is 1 to {MAX_BATCH:,} ticks."
        yield 0 < self.seconds <= 86_400, "The seconds are more than 0 and at most 86,400."
        yield 0 <= self.grace <= 3_600, "The grace period is 0 to 3,600 seconds."
        yield self.rate == 0 or self.posts >= 1, "At this rate not a single batch falls due in the time given."

        yield self.max_rate is None or 0 < self.max_rate <= 1_000, "The greatest rate is more than 0 and at most 1,000."
        yield self.reconnect is None or 0 <= self.reconnect <= 1, "The share that reconnects is 0 to 1."
        proves = self.verify or (self.max_rate is None and self.reconnect is None)
        yield proves, "Only --verify tells what --max-rate or --reconnect leave out from what is lost."

    @property
    def count(self) -> int:
        """Symbols per client."""
        return len(self.symbols) if self.per_client is None else self.per_client

    @property
    def posts(self) -> int:
        """POSTs in the whole run."""
        return round(self.rate * self.seconds / self.batch)

    def symbols_of(self, index: int) -> list[str]:
        """The symbols of client number ``index``: neighbouring ones, so that all symbols get equally many clients."""
        return [self.symbols[(index + step) % len(self.symbols)] for step in range(self.count)]
