"""Publishes for a Django project's own code: its views, tasks, signals and commands. No key is asked for.

Ticks are what the HTTP API takes, as Python values, with the same rules and limits. On Redis they reach all gateways
from any process. The in-memory layer reaches the clients of this process alone, and from another process none.

All threads share one event loop a process: the gateway's own where this process is one, else one in a thread that is
started with the first publication. So there is one set of connections to Redis, however many threads publish.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from django.db import transaction

from bus.layers import is_shared
from ticks import publish as bus
from ticks.decode import decode
from ticks.errors import InvalidIdempotencyKey
from ticks.grammar import now
from ticks.tick import Tick, symbol_of

__all__ = ["Published", "apublish", "publish", "publish_on_commit", "use_this_loop"]

T = TypeVar("T")
Ticks = Mapping[str, Any] | Iterable[Mapping[str, Any]]

_OWNER: Final = "project"
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class Position(NamedTuple):
    """Where the last tick of a symbol stands in its stream."""

    seq: int
    epoch: str


class Published(NamedTuple):
    """What became of a batch: how many ticks were accepted, whether they were a repeat, and each symbol's position.

    A repeat, under a ``key`` that was used before, is accepted as over HTTP; its positions are not known.
    """

    accepted: int
    repeated: bool
    positions: dict[str, Position]


async def apublish(ticks: Ticks, *, key: str | None = None) -> Published:
    """Publishes one tick, or up to 1,000, all or none of them.

    ``key``: an Idempotency-Key; ticks that come again under the same key are published once.

    :class:`~ticks.errors.InvalidTicks` names each mistake, :class:`~bus.contract.BusUnavailable` says that nothing was
    published and nothing will be, :class:`~bus.contract.IdempotencyConflict` that the key was used for other ticks, and
    :class:`~bus.contract.LimitReached` that the bus keeps as much as it may.
    """
    received = now()
    return await _placed(_read(ticks, received), key, received)


def publish(ticks: Ticks, *, key: str | None = None) -> Published:
    """The same from code that is not asynchronous, in any thread; it waits for the answer."""
    received = now()
    return _wait(_publish(_read(ticks, received), key, received))


def publish_on_commit(ticks: Ticks, *, key: str | None = None, using: str | None = None) -> None:
    """The same once the transaction that is open has been committed, and never if it is rolled back.

    Ticks are checked at once. Where none is open they are published at once. ``using``: the database.
    """
    received = now()
    read = _read(ticks, received)
    transaction.on_commit(lambda: _wait(_publish(read, key, received)), using=using)


def _read(ticks: Ticks, received: str) -> list[Tick]:
    batch = ticks if isinstance(ticks, Mapping) else list(ticks)
    return decode(_encoder.encode(batch), received=received)


async def _placed(ticks: list[Tick], key: str | None, received: str) -> Published:
    """Publishes on the loop that this process publishes on."""
    here = asyncio.get_running_loop()
    home = _home.current()
    if home is here or (home is None and not is_shared()):
        return await _publish(ticks, key, received)
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_publish(ticks, key, received), _home.get()))


async def _publish(ticks: list[Tick], key: str | None, received: str) -> Published:
    idempotency = None
    if key is not None:
        if (name := bus.key_of(key)) is None:
            raise InvalidIdempotencyKey
        idempotency = bus.idempotency(name, _OWNER, ticks, received)
    places = await bus.place(ticks, idempotency)
    positions = {symbol_of(group): Position(end.seq, end.epoch) for group, end in (places or {}).items()}
    return Published(len(ticks), places is None, positions)


def _wait(publication: Coroutine[Any, Any, T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run_coroutine_threadsafe(publication, _home.get()).result()
    publication.close()
    raise RuntimeError("This thread runs an event loop, which would stand still: await apublish() there.")


def use_this_loop() -> None:
    """From here on this process publishes on the loop that runs: a gateway's."""
    _home.settle(asyncio.get_running_loop())


class _Home:
    """The event loop that this process publishes on."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a process that was forked: its parent's threads are not there, and one of them may have held the lock."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_a_gateways = False

    def current(self) -> asyncio.AbstractEventLoop | None:
        loop = self._loop
        return loop if loop is not None and loop.is_running() else None

    def settle(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if self.current() is None or not self._is_a_gateways:
                self._loop, self._is_a_gateways = loop, True

    def get(self) -> asyncio.AbstractEventLoop:
        """The loop; one in a thread of its own where there is none."""
        with self._lock:
            loop = self.current()
            if loop is None:
                loop = self._loop = _in_a_thread()
                self._is_a_gateways = False
        return loop


def _in_a_thread() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    runs = threading.Event()
    loop.call_soon(runs.set)
    threading.Thread(target=loop.run_forever, name="marketmux-publish", daemon=True).start()
    runs.wait()
    return loop


_home: Final = _Home()
os.register_at_fork(after_in_child=_home.forget)
