"""Batches on their way to one Redis: those of one turn of the event loop go there in one script call.

Of what Redis does with a lone tick the call and its packet are most. So while a call is under way, or the one before
had several batches, what is to be published waits for the next turn of the loop, and goes with all that has come until
then. A batch that finds nothing under way goes at once. Batches are sent in the order in which they came.

In its call each batch stands for itself: it is published as a whole or not at all, and has its own idempotency key and
its own answer. What they share is the time until which Redis may come to them, which begins when the call is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from bus.contract import Idempotency, IdempotencyConflict, LimitReached, Since
from bus.redis.link import Link, Script
from bus.redis.packing import pack
from bus.redis.pipe import Way

__all__ = ["EXECUTE_SECONDS", "PUBLISH_SECONDS", "Publications"]

PUBLISH_SECONDS: Final = 0.8
"""How long Redis may take to acknowledge a batch before the publisher is told that it is unavailable."""

EXECUTE_SECONDS: Final = 0.6
"""How long after it was handed in a batch may still be executed: the rest is for the reply to come back."""

_MOST: Final = 256
"""Messages of several batches in one call: Redis does nothing else meanwhile. A batch may have more by itself."""

Arguments = list[bytes | str | int]


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


class Publications:
    """Publishes over ``way`` with ``script``, whose settings are ``options``."""

    def __init__(self, way: Way, script: Script, prefix: str, options: Sequence[bytes | str | int]) -> None:
        self._way = way
        self._script = script
        self._prefix = prefix
        self._options = options
        self._calls = 0
        """How many are under way."""
        self._gathering: list[list[_Batch]] = []
        """What goes with the calls that are about to be made, each by a task of its own."""
        self._is_crowded = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish(
        self, groups: Mapping[str, list[bytes]], idempotency: Idempotency | None, note: bytes
    ) -> dict[str, Since] | None:
        """Publishes and keeps the messages of each group, all or none: where they ended; None if it is a repeat.

        redis-py's errors, or ``OSError``, if Redis does not do it.
        """
        batch = _Batch(groups, idempotency, note)
        if self._gathering or (batch.size < _MOST and (self._calls or self._is_crowded)):
            self._gather(batch)
        else:
            await self._commit([batch])
        return await batch.outcome

    def _gather(self, batch: _Batch) -> None:
        last = self._gathering[-1] if self._gathering else []
        if last and sum(one.size for one in last) + batch.size <= _MOST:
            last.append(batch)
            return
        self._gathering.append([batch])
        task = asyncio.get_running_loop().create_task(self._commit_gathered())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _commit_gathered(self) -> None:
        batches = self._gathering.pop(0)
        self._is_crowded = len(batches) > 1
        await self._commit(batches)

    async def _commit(self, batches: Sequence[_Batch]) -> None:
        self._calls += 1
        try:
            await self._way.perform(partial(self._call, batches))
        except (RedisError, OSError) as error:
            for batch in batches:
                batch.settle(error)
        finally:
            self._calls -= 1

    async def _call(self, batches: Sequence[_Batch], link: Link, give_up: float) -> None:
        clock = asyncio.get_running_loop().time
        latest = give_up - (PUBLISH_SECONDS - EXECUTE_SECONDS)
        sent = 0.0
        wanted: list[_Batch] = []

        def timed() -> Sequence[Any]:
            nonlocal sent, wanted
            sent = clock()
            wanted = [batch for batch in batches if not batch.outcome.done()]  # the others have been given up
            arguments = [argument for batch in wanted for argument in batch.arguments]
            return (self._prefix, link.run_id, int(link.clock.at(latest) * 1_000), *self._options, *arguments)

        def stands(reply: list[Any]) -> bool:
            """No, if by our own clock there was time left: Redis's has jumped, and is known better now."""
            received = clock()
            link.clock.learn(sent, received, reply[0] / 1_000)
            return reply[1:] != [b"late"] or received >= latest

        _, *answers = await link.evaluate(self._script, timed, stands, latest)
        if answers == [b"late"]:
            raise RedisConnectionError("Redis came to the batch too late.")
        for batch, answer in zip(wanted, answers, strict=True):
            outcome = batch.read(answer)
            batch.settle(outcome)
            if isinstance(outcome, ResponseError):
                link.refused(outcome)
