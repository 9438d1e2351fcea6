"""The way from a batch of ticks to the channel layer, and back to the last tick of each symbol.

Works on whatever the ``default`` channel layer is, as long as it has the ``batches`` extension (bus/layers.py has
the two layers that do; a system check says so if another is configured).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

from ticks import recorder
from ticks.idempotency import Idempotency, digest
from ticks.tick import GROUP_PREFIX, Tick, TickMessage, group_name, symbol_of

__all__ = [
    "BATCHES",
    "BUS_ERRORS",
    "BatchLayer",
    "BusUnavailable",
    "Latest",
    "idempotency",
    "latest_of",
    "publish",
    "symbols",
]
if TYPE_CHECKING:
    from ticks.models import ApiKey

BUS_ERRORS = (RedisError, OSError)
"""What a channel layer raises when its Redis cannot be reached or does not answer."""

BATCHES = "batches"
"""The name under which a channel layer lists this extension in ``extensions``."""


class Place(Protocol):
    """Where a group's stream is: its epoch, the seq of its last message (0 if there is none), and that message."""

    @property
    def epoch(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def message(self) -> Any | None: ...


class BatchLayer(Protocol):
    """What ticks ask of a channel layer beyond the standard: batches, and the last message of each group."""

    async def group_send_batch(
        self, batch: Sequence[tuple[str, TickMessage]], idempotency: Idempotency | None = None
    ) -> bool:
        """Sends each message to its group, all or none, in one round trip, and retains the last one of each group.

        False, and nothing is sent, if it is a repeat of a batch; ``IdempotencyConflict`` if its key was another's.
        """

    async def positions(self, groups: Sequence[str]) -> Mapping[str, Place]:
        """Where the stream of each of the groups is."""

    async def retained_groups(self) -> list[str]:
        """The groups that have a last message, in no order."""


class BusUnavailable(Exception):
    """The bus could not be reached, or did not answer in time."""


class Latest(NamedTuple):
    """A symbol's last tick, and its place in the symbol's sequence."""

    tick: Tick
    seq: int
    epoch: str


async def publish(ticks: Sequence[Tick], idempotency: Idempotency | None = None) -> bool:
    """Publishes the batch in one round trip; false if it is a repeat, of which nothing is published.

    :class:`BusUnavailable` if that failed: then it is not published later either.
    :class:`~ticks.idempotency.IdempotencyConflict` if the key was used for other ticks.
    """
    with _bus_errors():
        is_published = await _layer().group_send_batch(
            [(group_name(tick.symbol), tick.message()) for tick in ticks], idempotency
        )
    if is_published:
        recorder.offer(ticks)
    return is_published


def idempotency(key: str, publisher: ApiKey | None, ticks: Sequence[Tick], received: str) -> Idempotency:
    """Marks the ticks as those that ``publisher`` publishes under ``key``; None is whoever has no key.

    ``received``: the timestamp of ticks that have none of their own.
    """
    scope = "anonymous" if publisher is None else str(publisher.pk)
    return Idempotency(f"{scope}:{key}", digest(ticks, received), settings.MARKETMUX_IDEMPOTENCY_SECONDS)


async def symbols() -> list[str]:
    """Every symbol that ever ticked, in alphabetical order."""
    with _bus_errors():
        groups = await _layer().retained_groups()
    return sorted(symbol_of(group) for group in groups if group.startswith(GROUP_PREFIX))


async def latest_of(symbols: Iterable[str]) -> dict[str, Latest]:
    """The last tick of each of ``symbols`` that has one."""
    groups = [group_name(symbol) for symbol in symbols]
    with _bus_errors():
        places = await _layer().positions(groups) if groups else {}
    latest = [
        Latest(Tick.from_message(place.message), place.seq, place.epoch)
        for place in places.values()
        if place.message is not None
    ]
    return {entry.tick.symbol: entry for entry in latest}


@contextmanager
def _bus_errors() -> Iterator[None]:
    """What the layer's Redis raises is one thing to whoever uses the bus."""
    try:
        yield
    except BUS_ERRORS as error:
        raise BusUnavailable(str(error)) from error


def _layer() -> BatchLayer:
    return cast(BatchLayer, get_channel_layer())
