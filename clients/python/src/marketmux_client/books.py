"""Where this client is in the stream of each symbol, and what every message means for that. No I/O.

The ticks of a symbol are numbered, +1 each, within an epoch. An account has the number up to which the consumer knows
everything: each tick was handed to it, or it was told that the tick does not come. Of the next tick therefore

    next.seq - account.seq - 1  =  what receipts have skipped  +  what is missing

and what is missing becomes a Gap. So what the consumer is given always adds up, whatever the gateway sent:

    next.seq - last.seq - 1  =  sum of Conflated.skipped  +  sum of Gap.missed

unless a Gap between the two has None for ``missed``, after which the account starts over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .events import Conflated, Event, Gap, GapReason, Quote, Snapshot, Tick

__all__ = ["Books", "Counts", "Position"]


class Position(NamedTuple):
    """A place in a stream."""

    seq: int
    epoch: str


@dataclass(slots=True)
class Counts:
    """What the books have seen: ``repeated`` ticks were dropped, as they were known; the rest was told to the consumer.

    ``missed`` counts ticks, of those ``gaps`` whose size is known. ``skipped`` counts ticks.
    """

    repeated: int = 0
    gaps: int = 0
    missed: int = 0
    skipped: int = 0


class Account:
    """The account of one symbol."""

    __slots__ = ("epoch", "held", "is_synced", "receipts", "seq", "told")

    def __init__(self, epoch: str, seq: int) -> None:
        self.epoch = epoch  # empty: not known, as ticks do not name theirs
        self.seq = seq
        self.receipts: dict[str, int] = {}
        self.held = -1
        """The seq of the last price the consumer was given in this epoch."""
        self.told = seq
        """Where the stream is, as far as the gateway has said."""
        self.is_synced = True
        """Whether this connection has the symbol."""


class Books:
    """The accounts of all symbols. What the consumer is to know is passed to ``emit``."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._accounts: dict[str, Account] = {}
        self._last: dict[str, Quote] = {}
        self.counts = Counts()

    def symbols(self) -> Iterable[str]:
        """Those that have an account."""
        return self._accounts.keys()

    def since(self, symbol: str) -> Position | None:
        """Where to resume the symbol, None if it has to start over."""
        account = self._accounts.get(symbol)
        return Position(account.seq, account.epoch) if account is not None and account.epoch else None

    def last(self, symbol: str) -> Quote | None:
        """The last price of the symbol that came."""
        return self._last.get(symbol)

    def is_current(self, symbol: str) -> bool:
        """Whether that is the newest, as far as the gateway has said on this connection."""
        account = self._accounts.get(symbol)
        return account is not None and account.is_synced and account.held >= account.told

    def keep(self, is_wanted: Callable[[str], bool]) -> None:
        """Forgets all symbols but these."""
        for symbol in [symbol for symbol in self._accounts if not is_wanted(symbol)]:
            del self._accounts[symbol]
        for symbol in [symbol for symbol in self._last if not is_wanted(symbol)]:
            del self._last[symbol]

    def disconnected(self) -> None:
        """What was skipped before a tick that no longer came will be asked for again."""
        for account in self._accounts.values():
            account.receipts.clear()
            account.is_synced = False

    # Messages

    def tick(self, tick: Tick, skipped: int = 0) -> None:
        """``skipped``: how many before it were left out for a rate."""
        if skipped:
            self.conflated("rate", {tick.symbol: skipped})
        account = self._accounts.get(tick.symbol)
        if account is not None and tick.seq == account.seq + 1 and not account.receipts:
            account.seq = account.held = tick.seq
            self._last[tick.symbol] = tick
            self._emit(tick)
        else:
            self._take(tick, account)

    def snapshot(self, snapshot: Snapshot) -> None:
        account = self._accounts.get(snapshot.symbol)
        if account is not None and account.epoch and account.epoch != snapshot.epoch:
            self._start_over(snapshot.symbol, account, "unexplained", snapshot.epoch, snapshot.seq - 1)
            account = self._accounts[snapshot.symbol]
        self._take(snapshot, account, snapshot.epoch)

    def conflated(self, reason: str, skipped: Mapping[str, int]) -> None:
        """A receipt. It is passed on with the tick that it was sent ahead of."""
        for symbol, count in skipped.items():
            account = self._accounts.get(symbol)
            if account is not None and count > 0:
                account.receipts[reason] = account.receipts.get(reason, 0) + count

    def gap(self, symbol: str, missed: int | None, seq: int, epoch: str) -> None:
        """The gateway has missed ticks. Where our own numbers say how many, they go before its own."""
        account = self._accounts.get(symbol)
        if account is None:
            self._open(symbol, epoch, seq)
            self._report(symbol, missed, "bus", seq, epoch)
        elif account.epoch != epoch or missed is None:
            self._start_over(symbol, account, "bus", epoch, seq)
        elif seq <= account.seq:
            # Another gateway had them, and there they were not missed.
            account.receipts.clear()
        else:
            missing = self._settle(symbol, account, seq - account.seq)
            account.seq = account.told = seq
            self._report(symbol, missing, "bus", seq, epoch)

    def heartbeat(self, seqs: Mapping[str, int]) -> list[str]:
        """Returns the symbols that are not where the gateway says they should be: they have to be resumed."""
        return [symbol for symbol, seq in seqs.items() if not self._agrees(symbol, seq)]

    def subscribed(
        self, positions: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Position], *, snapshot: bool
    ) -> None:
        """An answer to a subscription that was ``asked`` to resume symbols, and for snapshots of the others or not."""
        for symbol, place in positions.items():
            position = Position(place["seq"], place["epoch"])
            recovered = place.get("recovered")
            account = self._accounts.get(symbol)
            if recovered and account is not None:
                # What a receipt was for comes after all.
                account.receipts.clear()
                account.told = max(position.seq, account.seq)
                account.is_synced = True
            else:
                self._restart(symbol, account, position, is_final=recovered is False, snapshot=snapshot)
        for symbol in asked.keys() - positions.keys():
            # "*" does not know it any more: the bus has lost its memory. One that never ticked it never knew.
            account = self._accounts.get(symbol)
            if account is not None and account.seq > 0:
                del self._accounts[symbol]
                self._report(symbol, None, "not_recovered", 0, "")

    # Accounts

    def _open(self, symbol: str, epoch: str, seq: int) -> Account:
        account = self._accounts[symbol] = Account(epoch, seq)
        return account

    def _take(self, quote: Quote, account: Account | None, epoch: str = "") -> None:
        symbol, seq = quote.symbol, quote.seq
        if account is None:
            account = self._open(symbol, epoch, seq - 1)
        if seq <= account.seq:
            account.receipts.clear()
            self.counts.repeated += 1
            return
        missing = self._settle(symbol, account, seq - account.seq - 1)
        account.epoch = account.epoch or epoch
        if missing:
            self._report(symbol, missing, "unexplained", seq - 1, account.epoch)
        account.seq = account.held = seq
        self._last[symbol] = quote
        self._emit(quote)

    def _settle(self, symbol: str, account: Account, jump: int) -> int:
        """Passes on the receipts that explain a jump over so many ticks; returns how many are left unexplained."""
        for reason, count in account.receipts.items():
            skipped = min(count, jump)
            if skipped:
                jump -= skipped
                self.counts.skipped += skipped
                self._emit(Conflated(symbol, skipped, reason))
        account.receipts.clear()
        return jump

    def _agrees(self, symbol: str, seq: int) -> bool:
        account = self._accounts.get(symbol)
        if account is None:
            return seq == 0
        if account.seq != seq:
            account.told = max(seq, account.seq + 1)
            self._report(symbol, None, "heartbeat", seq, account.epoch)
        return account.seq == seq

    def _restart(
        self, symbol: str, account: Account | None, position: Position, *, is_final: bool, snapshot: bool
    ) -> None:
        """The stream goes on at ``position``: with a snapshot of that very tick, or behind it."""
        seq, epoch = position
        if not epoch:
            # Even the gateway does not know yet: whatever comes first is the beginning.
            if self._accounts.pop(symbol, None) is not None:
                self._report(symbol, None, "not_recovered", 0, "")
            return
        start = seq - 1 if seq > 0 and (snapshot or is_final) else seq
        if account is None:
            account = self._open(symbol, epoch, start)
        elif account.epoch != epoch or (is_final and seq < account.seq):
            self._start_over(symbol, account, "not_recovered", epoch, start)
            account = self._accounts[symbol]
        elif start > account.seq:
            missing = self._settle(symbol, account, start - account.seq)
            account.seq = start
            if missing:
                self._report(symbol, missing, "not_recovered", start, epoch)
        # Else the stream of this gateway is not as far as we are yet: what we know is dropped when it comes.
        account.told = max(seq, account.seq)
        account.is_synced = True

    def _start_over(self, symbol: str, account: Account, reason: GapReason, epoch: str, seq: int) -> None:
        """The stream is another one: it is unknown how many ticks were missed between the two."""
        self._settle(symbol, account, sum(account.receipts.values()))
        self._open(symbol, epoch, seq)
        self._report(symbol, None, reason, seq, epoch)

    def _report(self, symbol: str, missed: int | None, reason: GapReason, seq: int, epoch: str) -> None:
        if missed == 0:
            return
        self.counts.gaps += 1
        self.counts.missed += missed or 0
        self._emit(Gap(symbol, missed, reason, seq, epoch))
