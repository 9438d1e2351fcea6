"""Batches on their way to one Redis: those of one turn of the event loop go there in one script call.

Of what Redis does with a lone tick the call and its packet are most. So while a call is under way, or the one before
had several batches, what is to be published waits for the next turn of the loop, and goes with all that has come until
then. A batch that finds nothing under way goes at once. Batches are sent in the order in which they came.

A bucket of a cluster gets a part of what comes in a turn, which is few. So there the calls to its node are waited for,
and what came meanwhile for any of the node's buckets goes as the next convoy (traffic.py): a call for each bucket, all
in one packet.

In its call each batch stands for itself: it is published as a whole or not at all, and has its own idempotency key and
its own answer. What they share is the time until which Redis may come to them, which begins when the call is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from bus.contract import Idempotency, IdempotencyConflict, LimitReached, Since
from bus.redis.link import Link, Script
from bus.redis.packing import pack
from bus.redis.pipe import Way
from bus.redis.refusals import Refusals

__all__ = ["EXECUTE_SECONDS", "PUBLISH_SECONDS", "Publications"]

PUBLISH_SECONDS: Final = 0.8
"""How long Redis may take to acknowledge a batch before the publisher is told that it is unavailable."""

EXECUTE_SECONDS: Final = 0.6
"""How long after it was handed in a batch may still be executed: the rest is for the reply to come back."""

_MOST: Final = 256
"""Messages of several batches in one call: Redis does nothing else meanwhile. A batch may have more by itself."""

Arguments = list[bytes | str | int]


class Convoy(Protocol):
    """What goes together to a node."""

    @property
    def is_busy(self) -> bool:
        """Whether there is something under way."""

    def join(self, go: Callable[[], None]) -> None:
        """Calls ``go`` when what is under way has been answered."""


class _Batch:
    """A batch, and what became of it: ``groups`` are in the order in which the script is told of them."""

    __slots__ = ("arguments", "groups", "outcome", "size")

    def __init__(self, groups: Mapping[str, list[bytes]], idempotency: Idempotency | None, note: bytes) -> None:
        self.outcome: asyncio.Future[dict[str, Since] | None] = asyncio.get_running_loop().create_future()
        singles: Arguments = []
        several: Arguments = []
        ends: list[str] = []
        self.groups: list[str] = []
        self.size = 0
        for group, messages in groups.items():
            self.size += len(messages)
            if len(messages) == 1:
                self.groups.append(group)
                singles += (group, messages[0])
            else:
                ends.append(group)
                body, tail = pack(messages)
                several += (group, body, len(messages), tail)
        key: tuple[str, str, int] = ("", "", 0)
        if idempotency is not None:
            key = (idempotency.key, idempotency.digest, max(1, int(idempotency.seconds * 1_000)))
        self.arguments: Arguments = [*key, note, len(self.groups), len(ends), *singles, *several]
        self.groups += ends

    def settle(self, outcome: dict[str, Since] | Exception | None) -> None:
        if self.outcome.done():  # who waited for it has gone
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)

    def read(self, answer: Any) -> dict[str, Since] | Exception | None:
        """Where the groups ended, None if it is a repeat, or why it was not published."""
        match answer:
            case b"repeated":
                return None
            case b"reused":
                return IdempotencyConflict()
            case b"streams":
                return LimitReached("streams")
            case b"keys":
                return LimitReached("keys")
            case hiredis.ReplyError():
                return ResponseError(str(answer))
        epoch, seqs = answer[0].decode(), answer[1:]
        places = {group: Since(epoch, seq) for group, seq in zip(self.groups, seqs, strict=False)}
        others = seqs[len(self.groups) :]
        for index, own in zip(others[::2], others[1::2], strict=True):
            group = self.groups[index]
            places[group] = places[group]._replace(epoch=own.decode())
        return places


class _Call:
    """A script call for some batches, which is given up at a time on the loop's clock."""

    def __init__(
        self, batches: Sequence[_Batch], head: Sequence[bytes | str | int], link: Link, give_up: float
    ) -> None:
        self._batches = batches
        self._head = head
        """The prefix of all keys, and the script's settings."""
        self._link = link
        self._clock = asyncio.get_running_loop().time
        self._sent = 0.0
        self._wanted: list[_Batch] = []
        self.latest = give_up - (PUBLISH_SECONDS - EXECUTE_SECONDS)

    def arguments(self) -> Sequence[Any]:
        """What the script is told if it is sent now."""
        self._sent = self._clock()
        self._wanted = [batch for batch in self._batches if not batch.outcome.done()]  # the others have been given up
        arguments = [argument for batch in self._wanted for argument in batch.arguments]
        prefix, *options = self._head
        return (prefix, self._link.run_id, int(self._link.clock.at(self.latest) * 1_000), *options, *arguments)

    def stands(self, reply: list[Any]) -> bool:
        """Not, if by our own clock there was time left: Redis's has jumped, and is known better now."""
        received = self._clock()
        self._link.clock.learn(self._sent, received, reply[0] / 1_000)
        return reply[1:] != [b"late"] or received >= self.latest

    def outcomes(self, reply: Sequence[Any]) -> Iterator[tuple[_Batch, dict[str, Since] | Exception | None]]:
        """What became of each batch."""
        _, *answers = reply
        if answers == [b"late"]:
            raise RedisConnectionError("Redis came to the batch too late.")
        for batch, answer in zip(self._wanted, answers, strict=True):
            outcome = batch.read(answer)
            yield batch, outcome
            if isinstance(outcome, ResponseError):
                self._link.refused(outcome)


class Publications:
    """Publishes over ``way`` with ``script``, whose settings are ``options``; ``refusals`` are told what failed."""

    def __init__(
        self,
        way: Way,
        script: Script,
        prefix: str,
        options: Sequence[bytes | str | int],
        refusals: Refusals,
        *,
        convoy: Convoy | None = None,
    ) -> None:
        """``convoy``: what comes while something is under way waits for the end of that, not for the next turn."""
        self._way = way
        self._convoy = convoy
        self._script = script
        self._head: Arguments = [prefix, *options]
        self._refusals = refusals
        self._calls = 0
        """How many are under way."""
        self._gathering: list[list[_Batch]] = []
        """What goes with the calls that are about to be made, each in the next turn of the loop."""
        self._is_crowded = False
        self._waiting: set[asyncio.Task[None]] = set()
        """Calls that could not be made at once."""

    def publish(
        self, groups: Mapping[str, list[bytes]], idempotency: Idempotency | None, note: bytes
    ) -> asyncio.Future[dict[str, Since] | None]:
        """Publishes and keeps the messages of each group, all or none: where they ended; None if it is a repeat.

        It begins at once, and batches are published in the order of their calls. :class:`BusUnavailable` if Redis does
        not do it.
        """
        batch = _Batch(groups, idempotency, note)
        if self._gathering or (batch.size < _MOST and self._is_busy):
            self._gather(batch)
        else:
            self._commit([batch])
        return batch.outcome

    @property
    def _is_busy(self) -> bool:
        return bool(self._calls) or self._is_crowded or (self._convoy is not None and self._convoy.is_busy)

    def _gather(self, batch: _Batch) -> None:
        last = self._gathering[-1] if self._gathering else []
        if last and sum(one.size for one in last) + batch.size <= _MOST:
            last.append(batch)
            return
        self._gathering.append([batch])
        if self._convoy is None:
            asyncio.get_running_loop().call_soon(self._commit_gathered)
        elif len(self._gathering) == 1 and not self._calls:
            self._convoy.join(self._commit_gathered)

    def _commit_gathered(self) -> None:
        batches = self._gathering.pop(0)
        self._is_crowded = len(batches) > 1
        self._commit(batches)

    def _commit(self, batches: Sequence[_Batch]) -> None:
        self._calls += 1
        calls: list[_Call] = []

        def begin(link: Link, give_up: float) -> asyncio.Future[Any]:
            calls.append(call := _Call(batches, self._head, link, give_up))
            return link.begin(self._script, call.arguments, call.stands, call.latest)

        if self._waiting or (reply := self._way.begin(begin)) is None:
            task = asyncio.get_running_loop().create_task(self._perform(batches))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
        else:
            reply.add_done_callback(partial(self._replied, batches, calls[0]))

    def _ended(self) -> None:
        self._calls -= 1
        if self._convoy is not None and self._gathering and not self._calls:
            self._convoy.join(self._commit_gathered)

    def _replied(self, batches: Sequence[_Batch], call: _Call, reply: asyncio.Future[Any]) -> None:
        self._ended()
        try:
            value = reply.result()
            if isinstance(value, hiredis.ReplyError):
                raise ResponseError(str(value))
            self._settle(call, value)
        except (RedisError, OSError) as error:
            self._fail(batches, error)

    async def _perform(self, batches: Sequence[_Batch]) -> None:
        """Makes a call when there is a connection for it."""

        async def evaluate(link: Link, give_up: float) -> None:
            call = _Call(batches, self._head, link, give_up)
            self._settle(call, await link.evaluate(self._script, call.arguments, call.stands, call.latest))

        try:
            await self._way.perform(evaluate)
        except (RedisError, OSError) as error:
            self._fail(batches, error)
        finally:
            self._ended()

    def _settle(self, call: _Call, reply: Sequence[Any]) -> None:
        for batch, outcome in call.outcomes(reply):
            if isinstance(outcome, ResponseError):
                self._fail([batch], outcome)
                continue
            batch.settle(outcome)
            if not isinstance(outcome, Exception):
                self._refusals.over()

    def _fail(self, batches: Sequence[_Batch], error: Exception) -> None:
        for batch in batches:
            if not batch.outcome.done():
                refusal = self._refusals.refusal(error)
                refusal.__cause__ = error
                batch.settle(refusal)
