"""Clients that keep books while things fail, a publisher that knows what became of every tick, and the audit of both.

A watcher's account of a symbol is right if what it gets adds up (docs/reference/protocol.md):

    next.seq - last.seq - 1  =  all that receipts skipped  +  all that gaps missed

and :func:`reconcile` holds all accounts against each other and against the publisher's: one number, one tick; and every
tick that was answered 202 was delivered to every watcher, or lies in a hole that this watcher was told of, and that is
large enough. It shares no code with the client or the load generator, whose books have to come to the same result.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import httpx
import msgspec

from gateway.loadtest import websocket
from gateway.loadtest.target import Target

__all__ = [
    "Account",
    "Answer",
    "Kind",
    "Ledger",
    "Note",
    "Publisher",
    "Reconciliation",
    "Watcher",
    "eventually",
    "reconcile",
    "slowest",
    "until_all_hold",
    "until_all_tick",
    "watching",
]

Kind = Literal["position", "recovered", "restarted", "snapshot", "tick", "gap", "skipped", "heartbeat"]
VALUES: Final = frozenset({"snapshot", "tick"})
STARTS: Final = frozenset({"position", "restarted"})

FLAWS_KEPT: Final = 20


class Note(NamedTuple):
    """Something a watcher was told of one symbol. ``epoch`` of a tick: that of its account.

    ``ticks``: how many were skipped or missed, None if nobody knows.
    """

    at: float
    kind: Kind
    seq: int = 0
    epoch: str = ""
    price: int = 0
    ticks: int | None = 0


class Account:
    """Where a watcher is in the stream of one symbol, all it was told of it, and what did not add up."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.notes: list[Note] = []
        self.flaws: list[str] = []
        self.epoch = ""
        self.seq = 0
        """Of the last value, or of the position where the account began."""
        self.owed = 0
        """Ticks behind it that receipts and gaps have explained."""
        self.price: int | None = None

    def take(self, note: Note) -> None:
        if note.kind in VALUES:
            self._take_value(note)
        elif note.kind == "skipped":
            self.owed += note.ticks or 0
        elif note.kind == "gap":
            self._take_gap(note)
        elif note.kind == "heartbeat":
            self._expect(note.seq == self.seq + self.owed, note)
        else:
            self._take_position(note)
        self.notes.append(note._replace(epoch=self.epoch))

    def _take_value(self, note: Note) -> None:
        is_snapshot = note.kind == "snapshot"
        if not self.epoch and is_snapshot:  # a symbol that is new to somebody who takes everything
            self.epoch, self.seq = note.epoch, note.seq - 1
        self._expect(not is_snapshot or note.epoch == self.epoch, note)
        is_restated = is_snapshot and note.seq == self.seq and not self.owed
        self._expect(is_restated or note.seq == self.seq + self.owed + 1, note)
        self._expect(bool(self.epoch), note)
        self.seq, self.owed, self.price = note.seq, 0, note.price

    def _take_gap(self, note: Note) -> None:
        if note.ticks is None:
            self._expect(note.epoch != self.epoch, note)
            self.epoch, self.seq, self.owed, self.price = note.epoch, note.seq, 0, None
            return
        self.owed += note.ticks
        self._expect(note.epoch == self.epoch and note.seq == self.seq + self.owed, note)

    def _take_position(self, note: Note) -> None:
        self.owed = 0  # what was owed on a connection that is gone will come, or is lost and said so
        if note.kind == "recovered":
            self._expect(note.epoch == self.epoch and note.seq >= self.seq, note)
        else:
            self.epoch, self.seq, self.price = note.epoch, note.seq, None

    def _expect(self, is_right: bool, note: Note) -> None:
        if not is_right and len(self.flaws) < FLAWS_KEPT:
            where = f"at {self.seq} of {self.epoch!r}, {self.owed} explained"
            self.flaws.append(f"{self.symbol}: {where}, got {note}")


class Watcher(asyncio.Protocol):
    """A client that subscribes to ``symbols`` and keeps an account of each.

    With ``reconnect`` it comes back, with jitter, and resumes. ``bus`` has what it was told of the bus, ``ends`` how
    its connections ended, ``errors`` the codes that answered it; each with ``time.monotonic()``.
    """

    def __init__(self, target: Target, symbols: Sequence[str], *, reconnect: bool = False) -> None:
        self._target = target
        self.symbols = symbols
        self._reconnect = reconnect
        self.accounts: dict[str, Account] = {}
        self.bus: list[tuple[float, bool]] = []
        self.ends: list[tuple[float, int]] = []
        self.errors: list[tuple[float, str]] = []
        self.dialled: list[float] = []
        self.welcomed: list[float] = []
        self.subscribed: list[float] = []
        self._asked: Collection[str] = ()
        self._transport: asyncio.Transport | None = None
        self._handshake = websocket.Handshake()
        self._is_open = False
        self._is_answered = False
        self._is_stopped = False
        self._code = 1006
        self._rest = b""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def flaws(self) -> list[str]:
        return [flaw for account in self.accounts.values() for flaw in account.flaws]

    @property
    def is_subscribed(self) -> bool:
        """Whether the connection of now has all it wants."""
        return self._transport is not None and self._is_answered

    async def connect(self) -> None:
        self._handshake = websocket.Handshake()
        self._is_open, self._is_answered, self._rest, self._code = False, False, b"", 1006
        host, port = self._target.address[:2]
        self.dialled.append(time.monotonic())
        await asyncio.get_running_loop().create_connection(lambda: self, host, port)

    def stop(self) -> None:
        """Is gone without a word, and does not come back."""
        self._is_stopped = True
        for task in self._tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def first(self, since: float, kind: Kind = "tick") -> float | None:
        """When the first of that kind came after ``since``; None if none has."""
        times = (_first_after(account.notes, since, kind) for account in self.accounts.values())
        return min((at for at in times if at is not None), default=None)

    def holds(self, prices: Mapping[str, int]) -> bool:
        """Whether its last value of each of its symbols is that of ``prices``."""
        symbols = prices if "*" in self.symbols else self.symbols
        return all(symbol in self.accounts and self.accounts[symbol].price == prices.get(symbol) for symbol in symbols)

    def notes(self, kind: Kind) -> Iterator[tuple[str, Note]]:
        for account in self.accounts.values():
            for note in account.notes:
                if note.kind == kind:
                    yield account.symbol, note

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._handshake.request(self._target))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._is_stopped:
            return
        self.ends.append((time.monotonic(), self._code))
        if self._reconnect:
            self._spawn(self._come_back())

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self._is_open:
            head, end, rest = data.partition(b"\r\n\r\n")
            self._rest = b"" if end else data
            if not end:
                return
            self._handshake.check(head)
            self._is_open = True
            data = rest
        frames, self._rest = websocket.split(data)
        now = time.monotonic()
        for first, payload in frames:
            self._take_frame(first, payload, now)

    async def _come_back(self) -> None:
        for attempt in itertools.count():
            await asyncio.sleep(random.uniform(0, min(2.0, 0.1 * 2**attempt)))  # noqa: S311 - jitter
            with suppress(OSError):
                await self.connect()
                return

    async def _subscribe_again(self) -> None:
        await asyncio.sleep(0.5)
        self._subscribe()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the gateway says

    def _take_frame(self, first: int, payload: bytes, now: float) -> None:
        if first == websocket.TEXT:
            message = msgspec.json.decode(payload)
            self._take(message, now)
        elif self._transport is not None and first == websocket.PING:
            self._transport.write(websocket.encode(websocket.PONG, payload))
        elif self._transport is not None and first == websocket.CLOSE:
            self._code = websocket.close_code(payload)
            self._transport.write(websocket.encode(websocket.CLOSE, payload[:2]))
            self._transport.close()

    def _take(self, message: dict[str, Any], now: float) -> None:
        match message:
            case {"type": "tick", "symbol": str(symbol), "seq": int(seq), "price": price}:
                if message.get("skipped"):
                    self._note(symbol, Note(now, "skipped", ticks=message["skipped"]))
                self._note(symbol, Note(now, "tick", seq, "", int(price)))
            case {"type": "snapshot", "symbol": str(symbol), "seq": int(seq), "epoch": str(epoch), "price": price}:
                self._note(symbol, Note(now, "snapshot", seq, epoch, int(price)))
            case {"type": "gap", "symbol": str(symbol), "missed": missed, "seq": int(seq), "epoch": str(epoch)}:
                self._note(symbol, Note(now, "gap", seq, epoch, 0, missed))
            case {"type": "conflated", "skipped": skipped}:
                for symbol, count in skipped.items():
                    self._note(symbol, Note(now, "skipped", ticks=count))
            case {"type": "heartbeat", **rest}:
                for symbol, seq in rest.get("seqs", {}).items():
                    self._note(symbol, Note(now, "heartbeat", seq))
            case _:
                self._take_other(message, now)

    def _take_other(self, message: dict[str, Any], now: float) -> None:
        match message:
            case {"type": "subscribed", "positions": positions}:
                self.subscribed.append(now)
                self._is_answered = True
                self._take_positions(positions, now)
            case {"type": "welcome"}:
                self.welcomed.append(now)
                self._subscribe()
            case {"type": "bus", "connected": bool(connected)}:
                self.bus.append((now, connected))
            case {"type": "error", "code": str(code)}:
                self.errors.append((now, code))
                if code == "bus_unavailable":
                    self._spawn(self._subscribe_again())
            case {"type": "closing"}:
                pass
            case _:
                raise AssertionError(f"not a message of the protocol: {message}")

    def _subscribe(self) -> None:
        command: dict[str, Any] = {"action": "subscribe", "symbols": self.symbols}
        since = {
            symbol: {"seq": account.seq, "epoch": account.epoch}
            for symbol, account in self.accounts.items()
            if account.epoch
        }
        if since:
            command["since"] = since
        self._asked = since.keys()
        if self._transport is not None:
            self._transport.write(websocket.encode(websocket.TEXT, json.dumps(command).encode()))

    def _take_positions(self, positions: dict[str, dict[str, Any]], now: float) -> None:
        kinds: dict[bool | None, Kind] = {True: "recovered", False: "restarted", None: "position"}
        for symbol, position in positions.items():
            recovered = position.get("recovered")
            if (recovered is None) is (symbol in self._asked):
                self._account(symbol).flaws.append(f"{symbol}: asked where it had stopped, answered {position}")
            self._note(symbol, Note(now, kinds[recovered], position["seq"], position["epoch"]))

    def _note(self, symbol: str, note: Note) -> None:
        self._account(symbol).take(note)

    def _account(self, symbol: str) -> Account:
        if symbol not in self.accounts:
            self.accounts[symbol] = Account(symbol)
        return self.accounts[symbol]


def _first_after(notes: Sequence[Note], since: float, kind: Kind) -> float | None:
    found = None
    for note in reversed(notes):
        if note.at < since:
            break
        if note.kind == kind:
            found = note.at
    return found


def slowest(watchers: Iterable[Watcher], since: float, kind: Kind = "tick") -> float | None:
    """When the last of the watchers had its first of that kind after ``since``; None while one has none."""
    times = [watcher.first(since, kind) for watcher in watchers]
    return None if None in times else max(at for at in times if at is not None)


async def until_all_tick(watchers: Sequence[Watcher], since: float, within: float = 30.0) -> float:
    """Waits until every watcher has had a tick after ``since``; how many seconds after it the last one had."""
    await eventually(lambda: slowest(watchers, since) is not None, within, f"no ticks for all within {within:g} s")
    return (slowest(watchers, since) or since) - since


async def until_all_know(watchers: Sequence[Watcher], within: float = 30.0) -> None:
    """Waits until every watcher has a price of each of its symbols: from then on a resume is asked for all of them."""
    await eventually(
        lambda: all(
            symbol in watcher.accounts and watcher.accounts[symbol].price is not None
            for watcher in watchers
            for symbol in watcher.symbols
        ),
        within,
        f"not every watcher has all of its prices within {within:g} s",
    )


async def until_all_hold(watchers: Sequence[Watcher], prices: Mapping[str, int], within: float = 30.0) -> None:
    """Waits until the last value of every watcher is the last that was accepted."""
    try:
        await eventually(lambda: all(watcher.holds(prices) for watcher in watchers), within)
    except AssertionError:
        stale = [
            f"{symbol}: {account.price} at {account.seq}, and not {prices.get(symbol)}"
            for watcher in watchers
            for symbol, account in watcher.accounts.items()
            if account.price != prices.get(symbol)
        ]
        raise AssertionError(f"{len(stale)} stale: {stale[:5]}") from None


@asynccontextmanager
async def watching(
    url: str, count: int, symbols: Sequence[str], per_client: int, *, reconnect: bool = False
) -> AsyncIterator[list[Watcher]]:
    """``count`` watchers, each with ``per_client`` of the symbols, all of them subscribed."""
    target = Target.from_url(url)
    watchers = [
        Watcher(
            target, [symbols[(number + step) % len(symbols)] for step in range(per_client)], reconnect=reconnect
        )
        for number in range(count)
    ]  # fmt: skip
    try:
        for watcher in watchers:
            await watcher.connect()
        await eventually(lambda: all(watcher.is_subscribed for watcher in watchers), 30, "not all could subscribe")
        yield watchers
    finally:
        for watcher in watchers:
            watcher.stop()
        await asyncio.sleep(0)


async def eventually(condition: Callable[[], bool], within: float = 30.0, message: str = "") -> float:
    """Returns as soon as ``condition()`` is true, after how many seconds; fails if it is not ``within`` so many."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within, message or f"not so within {within:g} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - start


# The publisher


class Answer(NamedTuple):
    """To one POST, successful or not. ``status`` 0: none, the connection broke. ``symbols``: those a 503 names."""

    at: float
    seconds: float
    status: int
    retry_after: str | None
    replayed: bool
    symbols: frozenset[str] = frozenset()


@dataclass
class Ledger:
    """What became of every tick; ``accepted`` has each symbol's prices in the order of publication, which rise."""

    accepted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    refused: set[int] = field(default_factory=set)
    sent_at: dict[int, float] = field(default_factory=dict)
    accepted_at: dict[int, float] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    retried: int = 0
    replayed: int = 0

    @property
    def last(self) -> dict[str, int]:
        return {symbol: prices[-1] for symbol, prices in self.accepted.items()}

    def between(self, start: float, end: float) -> set[int]:
        """The ticks whose POST began and was accepted in between."""
        return {price for price, at in self.sent_at.items() if at > start and self.accepted_at.get(price, end) < end}


class Publisher:
    """Posts batches of ticks at ``rate`` ticks a second, one POST after the other.

    With ``retries`` a POST that was not accepted is sent again, with the same Idempotency-Key, until it is; the ticks
    that were due meanwhile are not made up for. Prices are whole numbers from ``first``, each used once.
    """

    def __init__(
        self, url: str, symbols: Sequence[str], rate: float, batch: int, *, retries: bool = True, first: int = 1
    ) -> None:
        self._url = url
        self._symbols = symbols
        self._cycle = itertools.cycle(symbols)
        self._prices = itertools.count(first)
        self._keys = (f"{uuid.uuid4()}-{number}" for number in itertools.count())
        self._interval = batch / rate
        self._batch = batch
        self.retries = retries
        self._is_stopped = False
        self.ledger = Ledger()

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publishes while the context lasts; then one last tick of each symbol."""
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            self._is_stopped = False
            task = asyncio.create_task(self._run(http))
            try:
                yield
            finally:
                self._is_stopped = True
                await asyncio.wait_for(task, 60)
            await self._publish(http, self._symbols)

    async def _run(self, http: httpx.AsyncClient) -> None:
        due = time.monotonic()
        while not self._is_stopped:
            await self._publish(http, list(itertools.islice(self._cycle, self._batch)))
            due = max(due + self._interval, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _publish(self, http: httpx.AsyncClient, symbols: Iterable[str]) -> None:
        ticks = [(symbol, next(self._prices)) for symbol in symbols]
        body = [{"symbol": symbol, "price": price} for symbol, price in ticks]
        key = next(self._keys)
        self.ledger.sent_at.update(dict.fromkeys((price for _, price in ticks), time.monotonic()))
        while True:
            answer = await self._post(http, body, key)
            if answer.status == 202:
                self._accept(ticks, answer)
                return
            assert answer.status in {0, 503}, answer
            if not self.retries:
                if answer.status == 503:
                    self._refuse(ticks, answer)
                return
            self.ledger.retried += 1
            await asyncio.sleep(0.1)

    async def _post(self, http: httpx.AsyncClient, body: Any, key: str) -> Answer:
        headers = {"Idempotency-Key": key} if self.retries else {}
        start = time.monotonic()
        try:
            response = await http.post("/api/v1/ticks", json=body, headers=headers)
        except httpx.TransportError:
            answer = Answer(start, time.monotonic() - start, 0, None, False)
        else:
            answer = Answer(
                start,
                time.monotonic() - start,
                response.status_code,
                response.headers.get("Retry-After"),
                "Idempotency-Replayed" in response.headers,
                frozenset(response.json().get("symbols", ())) if response.status_code == 503 else frozenset(),
            )
        self.ledger.answers.append(answer)
        return answer

    def _refuse(self, ticks: Sequence[tuple[str, int]], answer: Answer) -> None:
        """Where it names symbols, the rest of the batch was published."""
        self.ledger.refused.update(price for symbol, price in ticks if symbol in answer.symbols or not answer.symbols)
        if answer.symbols:
            self._accept([(symbol, price) for symbol, price in ticks if symbol not in answer.symbols], answer)

    def _accept(self, ticks: Sequence[tuple[str, int]], answer: Answer) -> None:
        now = time.monotonic()
        self.ledger.replayed += answer.replayed
        for symbol, price in ticks:
            self.ledger.accepted[symbol].append(price)
            self.ledger.accepted_at[price] = now


# The audit


@dataclass
class Reconciliation:
    """``problems`` in words; ``delivered`` and the rest count ticks, summed over the watchers, gaps are messages."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    republished: int = 0
    """Publications that have a number in two epochs: Redis lost its memory of their key before the retry."""

    def __str__(self) -> str:
        known = ("tick", "snapshot", "skipped", "gap", "missed", "unmeasured")
        return ", ".join(f"{self.counts[name]:,} {name}" for name in known if self.counts[name])


def reconcile(watchers: Sequence[Watcher], *ledgers: Ledger) -> Reconciliation:
    """Holds the watchers' accounts against each other, and against what the publishers were told.

    Each symbol has one publisher.
    """
    found = Reconciliation()
    prices: dict[tuple[str, str, int], int] = {}
    places: dict[int, dict[str, int]] = defaultdict(dict)
    refused = set().union(*(ledger.refused for ledger in ledgers))
    for watcher in watchers:
        found.problems += watcher.flaws
        for account in watcher.accounts.values():
            _count(found.counts, account.notes)
            for note in account.notes:
                if note.kind not in VALUES:
                    continue
                known = prices.setdefault((account.symbol, note.epoch, note.seq), note.price)
                if known != note.price:
                    found.problems.append(f"{account.symbol} {note.seq} is {known} to one and {note.price} to another")
                if places[note.price].setdefault(note.epoch, note.seq) != note.seq:
                    found.problems.append(f"{account.symbol} {note.price} was published twice: {places[note.price]}")
                if note.price in refused:
                    found.problems.append(f"{account.symbol} {note.price} came, though its POST was answered 503")
            for ledger in ledgers:
                found.problems += _unaccounted(account, ledger.accepted.get(account.symbol, []))
    found.republished = sum(len(epochs) > 1 for epochs in places.values())
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _count(counts: Counter[str], notes: Iterable[Note]) -> None:
    for note in notes:
        counts[note.kind] += (note.ticks or 0) if note.kind == "skipped" else 1
        if note.kind == "gap":
            counts["missed" if note.ticks is not None else "unmeasured"] += note.ticks or 1


def _unaccounted(account: Account, accepted: Sequence[int]) -> Iterator[str]:
    """Where more accepted ticks lie between two values than the watcher was told that it did not get."""
    if not accepted:
        return
    indexes = {price: index for index, price in enumerate(accepted)}
    last: Note | None = None
    for note in account.notes:
        if note.kind in STARTS or (note.kind == "gap" and note.ticks is None):
            last = None  # whatever is missing, the watcher knows
        if note.kind not in VALUES or note.price not in indexes:
            continue
        if last is not None:
            between = indexes[note.price] - indexes[last.price] - 1
            if note.seq != last.seq and not 0 <= between <= note.seq - last.seq - 1:
                yield f"{account.symbol}: {between} accepted ticks between {last} and {note}"
        last = note
