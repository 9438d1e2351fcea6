"""Who in this process subscribed to what, and the passes that bring the ticks to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gateway.memberships import Memberships
from gateway.outbox import Outbox

__all__ = ["Hub"]


class Hub:
    """Fans ticks out to the outboxes of their symbols' subscribers."""

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships
        self._subscribers: dict[str, dict[Outbox, None]] = {}
        self._symbols: dict[Outbox, dict[str, None]] = {}
        self.delivered = 0
        self.parked = 0
        self.passes = 0
        self.skipped = 0

    # Membership

    def add(self, outbox: Outbox) -> None:
        """Takes in a client, with no subscription yet."""
        self._symbols[outbox] = {}

    def symbols(self, outbox: Outbox) -> Collection[str]:
        """What the client subscribed to, in that order."""
        return self._symbols[outbox].keys()

    async def subscribe(self, outbox: Outbox, symbols: Iterable[str]) -> None:
        """Subscribes the client to symbols it has not subscribed to yet; all of them or, on an error, none.

        Their ticks reach the outbox from the moment this returns. Raises what the bus raised.
        """
        new = [symbol for symbol in dict.fromkeys(symbols) if symbol not in self._symbols[outbox]]
        await self._memberships.acquire(new)
        for symbol in new:
            self._symbols[outbox][symbol] = None
            self._subscribers.setdefault(symbol, {})[outbox] = None

    def unsubscribe(self, outbox: Outbox, symbols: Iterable[str]) -> None:
        """Ends the client's subscriptions to those of ``symbols`` that it has."""
        leaving = [symbol for symbol in dict.fromkeys(symbols) if symbol in self._symbols[outbox]]
        for symbol in leaving:
            del self._symbols[outbox][symbol]
            self._detach(outbox, symbol)
            outbox.forget(symbol)
        self._memberships.release(leaving)

    def remove(self, outbox: Outbox) -> None:
        """Lets go of a client that is gone."""
        symbols = self._symbols.pop(outbox)
        for symbol in symbols:
            self._detach(outbox, symbol)
        self._memberships.release(symbols)
        self.skipped += outbox.skipped
        outbox.discard()

    def _detach(self, outbox: Outbox, symbol: str) -> None:
        subscribers = self._subscribers[symbol]
        del subscribers[outbox]
        if not subscribers:
            del self._subscribers[symbol]

    @property
    def connections(self) -> int:
        return len(self._symbols)

    # Passes

    def deliver(self, ticks: Iterable[tuple[str, bytes]]) -> None:
        """One pass: brings ``(symbol, frame)`` pairs to their subscribers, each client in at most one write.

        The frames of a symbol stay in order and next to each other; symbols come in the order of their first frame.
        """
        frames: dict[str, list[bytes]] = {}
        for symbol, frame in ticks:
            if symbol in self._subscribers:
                frames.setdefault(symbol, []).append(frame)
        self.passes += 1
        if len(frames) == 1:
            ((symbol, one),) = frames.items()
            self._deliver_one(symbol, one)
        elif frames:
            self._deliver_many(frames)

    def _deliver_one(self, symbol: str, frames: list[bytes]) -> None:
        # The inner loop of a hot symbol: what stands here is paid for every client and pass.
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        newest, count = frames[-1], len(frames)
        subscribers = self._subscribers[symbol]
        parked = 0
        for outbox in subscribers:
            if outbox.behind:
                outbox.park(symbol, newest, count)
                parked += 1
            else:
                outbox.write(data)
        self._count(count * len(subscribers), count * parked)

    def _deliver_many(self, frames: dict[str, list[bytes]]) -> None:
        touched: list[Outbox] = []
        for symbol, some in frames.items():
            self._gather(symbol, some, touched)
        for outbox in touched:
            outbox.flush()

    def _gather(self, symbol: str, frames: list[bytes], touched: list[Outbox]) -> None:
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        newest, count = frames[-1], len(frames)
        subscribers = self._subscribers[symbol]
        parked = 0
        for outbox in subscribers:
            if outbox.behind:
                outbox.park(symbol, newest, count)
                parked += 1
                continue
            gathered = outbox.gathered
            if not gathered:
                touched.append(outbox)
            gathered.append(data)
        self._count(count * len(subscribers), count * parked)

    def _count(self, due: int, parked: int) -> None:
        self.delivered += due - parked
        self.parked += parked

    # State

    def counts(self) -> dict[str, int]:
        """What the hub holds now and has done so far, by metric name."""
        outboxes = self._symbols
        return {
            "connections": len(outboxes),
            "subscriptions": sum(map(len, outboxes.values())),
            "symbols": len(self._subscribers),
            "memberships": len(self._memberships.joined),
            "behind": sum(outbox.behind for outbox in outboxes),
            "passes_total": self.passes,
            "delivered_total": self.delivered,
            "parked_total": self.parked,
            "skipped_total": self.skipped + sum(outbox.skipped for outbox in outboxes),
        }
