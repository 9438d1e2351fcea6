"""The task behind a publisher: takes what waits, batch by batch, and sees each batch through to its end."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .account import Account, RefusedTick
from .backoff import Backoff, Refusals
from .errors import BadMessage, Refused
from .outgoing import Outgoing
from .target import reason_of
from .verdict import Verdict
from .waiting import Policy, Waiting
from .ways import Batch, Unreachable, Way

__all__ = ["Delivery"]

logger = logging.getLogger(__name__)

_BATCH_BYTES: Final = 900_000
"""The gateway takes a mebibyte."""
_KEPT: Final = 1000
_UNREACHABLE: Final = "unreachable"

Part = Sequence[Outgoing]


class Delivery:
    """``run`` never ends by itself: it is cancelled, or raises what there is no going on after."""

    def __init__(
        self,
        way: Way,
        *,
        max_batch: int,
        linger: float,
        max_queue: int,
        when_full: Policy,
        retry_for: float,
        refusals: Refusals,
        backoff: Backoff,
        on_refused: Callable[[RefusedTick], object] | None,
    ) -> None:
        self.waiting = Waiting(max_queue, when_full, self._wake)
        self.refused: deque[RefusedTick] = deque(maxlen=_KEPT)
        self._way = way
        self._max_batch = max_batch
        self._linger = linger
        self._retry_for = retry_for
        self._refusals = refusals
        self._backoff = backoff
        self._on_refused = on_refused
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._ready = asyncio.Event()
        self._moved: asyncio.Future[None] | None = None
        self._name = uuid.uuid4().hex
        self._batches = 0
        self._first = 0
        """The number of the first tick of what is under way; 0 if nothing is."""
        self._parts: deque[Part] = deque()
        """What is under way: a batch, or what it was taken apart into. The first is being sent."""
        self._is_doubtful = False
        """Whether that may have been published, although no answer said so."""
        self._accepted = self._repeated = self._unknown = self._unsent = 0
        self._reasons: Counter[str] = Counter()

    @property
    def account(self) -> Account:
        return Account(
            offered=self.waiting.offered,
            accepted=self._accepted,
            refused=sum(self._reasons.values()),
            unknown=self._unknown,
            unsent=self._unsent,
            dropped=self.waiting.dropped,
            waiting=len(self.waiting) + sum(map(len, self._parts)),
            repeated=self._repeated,
            reasons=dict(self._reasons),
        )

    def is_settled(self, number: int) -> bool:
        """Whether it is known of every tick up to this one what became of it."""
        return self.waiting.first > number and not 0 < self._first <= number

    async def moved(self) -> None:
        """Returns when something was taken from what waits, or was settled."""
        if self._moved is None:
            self._moved = self._loop.create_future()
        await asyncio.shield(self._moved)

    async def run(self) -> None:
        try:
            while True:
                await self._fill()
                self._first = self.waiting.first
                self._parts.append(self.waiting.take(self._max_batch, _BATCH_BYTES))
                self._move()
                while self._parts:
                    verdict = await self._see_through(self._parts[0])
                    part = self._parts.popleft()
                    self._parts.extendleft(reversed(self._sort(part, verdict)))
                    self._is_doubtful = False
                self._first = 0
                self._move()
        finally:
            self._abandon()
            await self._way.close()

    # Batches

    async def _fill(self) -> None:
        """Returns when a batch is full, or its first tick has waited long enough."""
        await self._until(1, None)
        if self._linger > 0:
            await self._until(self._max_batch, self._linger)
        else:
            await asyncio.sleep(0)

    async def _until(self, count: int, seconds: float | None) -> None:
        self._ready.clear()
        if self.waiting.is_due(count):
            return
        timer = None if seconds is None else self._loop.call_later(seconds, self._ready.set)
        try:
            await self._ready.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._ready.set()
        else:
            self._loop.call_soon_threadsafe(self._ready.set)

    async def _see_through(self, part: Part) -> Verdict:
        """Sends it, again where that may help, until there is a verdict that stands."""
        self._batches += 1
        batch = Batch(f"[{','.join([tick.json for tick in part])}]", f"{self._name}-{self._batches}")
        give_up_at = self._loop.time() + self._retry_for
        while True:
            verdict = await self._attempt(batch)
            if not verdict.again:
                return verdict
            wait = verdict.wait + self._backoff.next()
            if self._loop.time() + wait > give_up_at:
                return verdict
            logger.info("%s: %s; sent again in %.1f s.", self._way.url, verdict.message, wait)
            await asyncio.sleep(wait)

    async def _attempt(self, batch: Batch) -> Verdict:
        try:
            verdict = await self._way.send(batch)
        except Unreachable as error:
            self._refusals.interrupted()
            verdict = Verdict(code=_UNREACHABLE, message=error.reason, again=True, wait=error.wait)
        except (Refused, BadMessage) as error:
            if not self._refusals.left():
                raise
            verdict = Verdict(code=_UNREACHABLE, message=reason_of(error), again=True)
        else:
            self._refusals.welcomed()
            if not verdict.again:
                self._backoff.ended(math.inf)
        self._is_doubtful = self._is_doubtful or self._way.in_doubt or verdict.is_doubtful
        return verdict

    # Verdicts

    def _sort(self, part: Part, verdict: Verdict) -> list[Part]:
        """Enters what became of each tick; returns what of the batch is to be sent by itself."""
        if verdict.is_accepted:
            self._accept(part, verdict)
        elif verdict.again and self._is_doubtful:
            self._unknown += len(part)
        elif verdict.code == _UNREACHABLE:
            self._unsent += len(part)
        elif wrong := _by_index(verdict.errors, len(part)):
            for index, error in wrong.items():
                self._refuse(part[index], error["code"], error["message"], error.get("field", ""))
            return _parts([tick for index, tick in enumerate(part) if index not in wrong])
        elif concerned := [tick for tick in part if tick.symbol in verdict.symbols]:
            self._refuse_all(concerned, verdict)
            rest = [tick for tick in part if tick.symbol not in verdict.symbols]
            if not verdict.is_by_host:
                return _parts(rest)
            self._accept(rest, verdict)
        elif verdict.is_about_a_part and len(symbols := sorted({tick.symbol for tick in part})) > 1:
            half = set(symbols[: len(symbols) // 2])
            return [
                [tick for tick in part if tick.symbol in half],
                [tick for tick in part if tick.symbol not in half],
            ]
        else:
            self._refuse_all(part, verdict)
        return []

    def _accept(self, part: Part, verdict: Verdict) -> None:
        self._accepted += len(part)
        self._repeated += len(part) if verdict.is_repeated else 0

    def _refuse_all(self, part: Part, verdict: Verdict) -> None:
        for tick in part:
            self._refuse(tick, verdict.code, verdict.message)

    def _refuse(self, tick: Outgoing, code: Any, message: Any, field: Any = "") -> None:
        self._reasons[str(code)] += 1
        refused = RefusedTick(tick.symbol, tick.json, str(code), str(message), str(field or ""))
        self.refused.append(refused)
        if self._on_refused is None:
            return
        try:
            self._on_refused(refused)
        except Exception:
            logger.exception("on_refused failed.")

    def _abandon(self) -> None:
        """There is no going on: what was sent and not answered is unknown, and all else was never sent."""
        if self._parts and (self._is_doubtful or self._way.in_doubt):
            self._unknown += len(self._parts.popleft())
        self._unsent += sum(map(len, self._parts))
        self._parts.clear()
        while rest := self.waiting.take(self._max_batch, _BATCH_BYTES):
            self._unsent += len(rest)
        self._first = 0

    def release(self) -> None:
        """Has those look who wait: there will be nothing more."""
        self._move()

    def _move(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None and not moved.done():
            moved.set_result(None)


def _by_index(errors: Sequence[Mapping[str, Any]], count: int) -> dict[int, Mapping[str, Any]]:
    """The first mistake of each tick that has one."""
    wrong: dict[int, Mapping[str, Any]] = {}
    for error in errors:
        index = error.get("index")
        if isinstance(index, int) and 0 <= index < count:
            wrong.setdefault(index, error)
    return wrong


def _parts(rest: Part) -> list[Part]:
    return [rest] if rest else []
