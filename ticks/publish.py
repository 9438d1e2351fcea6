"""Publishes batches of ticks on the bus, and reads the last tick of each symbol back from it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from typing import Final, Literal, NamedTuple

from bus import stall
from bus.contract import BusUnavailable, Idempotency, Refusal, Since
from bus.layers import get_bus
from ticks import intake, recorder
from ticks.access import journal
from ticks.access.grant import Grant, Scope
from ticks.access.patterns import Patterns
from ticks.conf import conf
from ticks.grammar import is_symbol
from ticks.groups import beginning_of, group_name, known, learn
from ticks.origin import Origin, received_now
from ticks.spans import publication_spans
from ticks.tick import Placed, Tick, TickMessage

__all__ = [
    "MAX_KEY_LENGTH",
    "Page",
    "begin",
    "concerned",
    "denied_symbols",
    "digest",
    "idempotency",
    "key_of",
    "latest_of",
    "page",
    "page_of",
    "place",
    "publish",
]

MAX_KEY_LENGTH: Final = 255
_PAGE: Final = 1_000

Way = Literal["http", "websocket", "feed"]


async def publish(
    ticks: Sequence[Tick],
    idempotency: Idempotency | None = None,
    grant: Grant | None = None,
    way: Way = "feed",
    origin: Origin | None = None,
) -> bool:
    """Publishes the batch in one round trip; false if it is a repeat, of which nothing is published.

    The rest is as with :func:`place`.
    """
    return await place(ticks, idempotency, grant, way, origin) is not None


async def place(
    ticks: Sequence[Tick],
    idempotency: Idempotency | None = None,
    grant: Grant | None = None,
    way: Way = "feed",
    origin: Origin | None = None,
) -> Mapping[str, Since] | None:
    """Publishes the batch: where the last tick of each group stands now; None if it is a repeat.

    ``grant``: who publishes, for the audit log; None is this process itself. ``way``: how they came, for the metrics.
    ``origin``: when they were received, and in which trace; now and in none, if not given.

    :class:`~bus.contract.BusUnavailable` if that failed: then it is not published later either.
    :class:`~bus.contract.IdempotencyConflict` if the key was used for other ticks. On a bus of several hosts either
    may be about some of the symbols (:func:`concerned`), and the others are published.
    """
    origin, spans = origin or Origin(received_now()), publication_spans()
    publication = _Publication(ticks, grant, way)
    with nullcontext(origin) if spans is None else spans.publication(origin, way, len(ticks)) as own:
        outcome = publication.begin(idempotency, own)
        try:
            return await outcome
        finally:
            publication.ended(outcome)


def begin(
    ticks: Sequence[Tick],
    idempotency: Idempotency | None,
    grant: Grant,
    origin: Origin,
    done: Callable[[bool | Exception], None],
) -> None:
    """Like :func:`publish` over HTTP, without spans, for who does not await: ``done`` is told later.

    What begins first is placed first. Raises what :func:`publish` raises, if that is known at once.
    """
    publication = _Publication(ticks, grant, "http")

    def ended(outcome: asyncio.Future[Mapping[str, Since] | None]) -> None:
        publication.ended(outcome)
        error = None if outcome.cancelled() else outcome.exception()
        if isinstance(error, Exception):
            done(error)
        elif not outcome.cancelled():
            done(outcome.result() is not None)

    publication.begin(idempotency, origin).add_done_callback(ended)


class _Publication:
    """A batch on its way to the bus: whatever becomes of it is counted, and what is published of it recorded."""

    __slots__ = ("_batch", "_grant", "_ticks", "_way")

    def __init__(self, ticks: Sequence[Tick], grant: Grant | None, way: Way) -> None:
        self._ticks = ticks
        self._grant = grant
        self._way = way
        self._batch: Mapping[str, list[TickMessage]]
        if ticks:
            intake.arrived(ticks[-1])

    def begin(self, idempotency: Idempotency | None, origin: Origin) -> asyncio.Future[Mapping[str, Since] | None]:
        """What becomes of it, for :meth:`ended`. :class:`~bus.contract.BusUnavailable` if that is known at once."""
        try:
            self._batch = _batch(self._ticks)
        except BusUnavailable:
            self._count("refused")
            raise
        return asyncio.ensure_future(get_bus().publish(self._batch, idempotency, origin.note()))

    def ended(self, outcome: asyncio.Future[Mapping[str, Since] | None]) -> None:
        error = None if outcome.cancelled() else outcome.exception()
        if outcome.cancelled() or error is not None:
            if isinstance(error, Refusal):
                self._record(error.places)
            self._count("refused")
            return
        places = outcome.result()
        if places is not None:
            self._record(places)
            if conf.MARKETMUX_JOURNAL:
                self._tell(places)
        self._count("repeated" if places is None else "published")

    def _count(self, result: str) -> None:
        intake.ticks[f"{self._way}|{result}"] += len(self._ticks)

    def _record(self, places: Mapping[str, Since]) -> None:
        recorder.offer(_placed(self._ticks, self._batch, places))

    def _tell(self, places: Mapping[str, Since]) -> None:
        """Who has begun a stream."""
        began = [group for group, end in places.items() if end.seq == len(self._batch[group])]
        if began:
            journal.began(self._grant, [self._batch[group][0]["symbol"] for group in began])


def _batch(ticks: Iterable[Tick]) -> dict[str, list[TickMessage]]:
    """Messages by group; ``BusUnavailable`` if they may be old."""
    if stall.is_waking():
        raise BusUnavailable("This process stood still, and the batch may have waited for it.")
    batch: dict[str, list[TickMessage]] = {}
    for tick in ticks:
        group = group_name(tick.symbol)
        if group in batch:
            batch[group].append(tick.message())
        else:
            batch[group] = [tick.message()]
    return batch


def _placed(ticks: Iterable[Tick], batch: Mapping[str, Sized], ends: Mapping[str, Since]) -> Iterator[Placed]:
    """The ticks that were published of a batch with their places: the bus gives those of the last one of each group."""
    seqs = {group: end.seq - len(batch[group]) for group, end in ends.items()}
    for tick in ticks:
        group = group_name(tick.symbol)
        if group in seqs:
            seqs[group] += 1
            yield Placed(tick, seqs[group], ends[group].epoch)


def concerned(error: Refusal) -> list[str]:
    """The symbols that an error of the bus is about, if that is not simply all."""
    return known(list(error.groups))


def denied_symbols(grant: Grant, ticks: Iterable[Tick]) -> list[str]:
    """The symbols of ``ticks`` that the grant does not allow to publish."""
    if grant.publish.is_all:
        return []
    return grant.denied(Scope.PUBLISH, dict.fromkeys(tick.symbol for tick in ticks))


def idempotency(key: str, owner: str, ticks: Sequence[Tick], received: str) -> Idempotency:
    """Marks the ticks as those that the owner of a grant publishes under ``key``.

    ``received``: the timestamp of ticks that have none of their own.
    """
    return Idempotency(f"{owner}:{key}", digest(ticks, received), conf.MARKETMUX_IDEMPOTENCY_SECONDS)


_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
"""A string as RFC 9651 has it, which the draft of Idempotency-Key asks for."""


def key_of(text: str) -> str | None:
    """The idempotency key in a text, 1 to 255 visible ASCII characters; None if there is none.

    ``"abc"`` with its quotes, as the draft of the header has it, and ``abc`` are one key.
    """
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    is_key = 0 < len(text) <= MAX_KEY_LENGTH and all("!" <= character <= "~" for character in text)
    return text if is_key else None


def digest(ticks: Sequence[Tick], received: str) -> str:
    """Equal for equal ticks, however they were written; a tick without a time of its own has that of its receipt."""
    bodies = (tick.json() for tick in ticks)
    own = "\n".join(body.replace(f'"timestamp":"{received}"', "", 1) for body in bodies)
    return hashlib.sha256(own.encode()).hexdigest()


class Page(NamedTuple):
    """Some symbols of a ``total``; all of those of which the bus ``is_whole``."""

    total: int
    symbols: list[str]
    is_whole: bool


async def page(first: int, most: int, after: str = "") -> Page:
    """How many symbols have ticked, and ``most`` of them in the order of their groups' names: from the place ``first``
    on, or behind the symbol ``after``.
    """
    bus = get_bus()
    is_whole = not bus.away
    total, groups = await bus.page(first, most, after and group_name(after))
    await learn(bus, groups)
    return Page(total, known(groups), is_whole)


async def page_of(patterns: Patterns, first: int, most: int, after: str = "") -> Page:
    """The same of the symbols that are covered by patterns."""
    if patterns.is_all:
        return await page(first, most, after)
    is_whole = not get_bus().away
    covered = sorted([symbol async for symbol in _covered(patterns)], key=group_name)
    start = bisect_right(covered, group_name(after), key=group_name) if after else first
    return Page(len(covered), covered[start : start + most], is_whole)


async def _covered(patterns: Patterns) -> AsyncIterator[str]:
    """The symbols that have ticked and are covered: those with a common beginning lie side by side in the index."""
    for symbol in await latest_of(_present(patterns.symbols)):
        yield symbol
    for beginning in patterns.beginnings:
        if is_symbol(beginning) and await latest_of(_present([beginning])):
            yield beginning
        behind = start = beginning_of(beginning)
        while behind.startswith(start):
            _, groups = await get_bus().page(0, _PAGE, behind)
            await learn(get_bus(), groups)
            for symbol in known([group for group in groups if group.startswith(start)]):
                if symbol.startswith(beginning) and symbol != beginning:
                    yield symbol
            if len(groups) < _PAGE:
                break
            behind = groups[-1]


def _present(symbols: Iterable[str]) -> list[str]:
    """Those whose hosts are not away, or all if all hosts are."""
    bus = get_bus()
    away = bus.away if len(bus.away) < bus.hosts else ()
    return [symbol for symbol in symbols if not away or bus.host_of(group_name(symbol)) not in away]


async def latest_of(symbols: Iterable[str]) -> dict[str, Placed]:
    """The last tick of each of ``symbols`` that has one."""
    groups = [group_name(symbol) for symbol in symbols]
    positions = await get_bus().positions(groups) if groups else {}
    latest = [
        Placed(Tick.from_message(position.message), position.seq, position.epoch)
        for position in positions.values()
        if position.message is not None
    ]
    return {entry.tick.symbol: entry for entry in latest}
