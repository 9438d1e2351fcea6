"""The way from a batch of ticks to the channel layer, and back to the last tick of each symbol.

Works on whatever the ``default`` channel layer is, as long as it has the ``batches`` extension (gateway/layers.py has
the two layers that do; a system check says so if another is configured).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from ticks import recorder
from ticks.tick import GROUP_PREFIX, Tick, TickMessage, group_name, symbol_of

__all__ = ["BATCHES", "BUS_ERRORS", "BatchLayer", "BusUnavailable", "latest_of", "publish", "symbols"]

BUS_ERRORS = (RedisError, OSError)
"""What a channel layer raises when its Redis cannot be reached or does not answer."""

BATCHES = "batches"
"""The name under which a channel layer lists this extension in ``extensions``."""


class BatchLayer(Protocol):
    """What ticks ask of a channel layer beyond the standard: batches, and the last message of each group."""

    async def group_send_batch(self, batch: Sequence[tuple[str, TickMessage]]) -> None:
        """Sends each message to its group, all or none, in one round trip, and retains the last one of each group."""

    async def retained(self, groups: Sequence[str]) -> dict[str, Any]:
        """The last message of each of the groups that have one."""

    async def retained_groups(self) -> list[str]:
        """The groups that have a last message, in no order."""


class BusUnavailable(Exception):
    """The bus could not be reached, or did not answer in time."""


async def publish(ticks: Sequence[Tick]) -> None:
    """Publishes the batch in one round trip; :class:`BusUnavailable` if that failed."""
    with _bus_errors():
        await _layer().group_send_batch([(group_name(tick.symbol), tick.message()) for tick in ticks])
    recorder.offer(ticks)


async def symbols() -> list[str]:
    """Every symbol that ever ticked, in alphabetical order."""
    with _bus_errors():
        groups = await _layer().retained_groups()
    return sorted(symbol_of(group) for group in groups if group.startswith(GROUP_PREFIX))


async def latest_of(symbols: Iterable[str]) -> dict[str, Tick]:
    """The last tick of each of ``symbols`` that has one."""
    groups = [group_name(symbol) for symbol in symbols]
    with _bus_errors():
        messages = await _layer().retained(groups) if groups else {}
    return {tick.symbol: tick for tick in map(Tick.from_message, messages.values())}


@contextmanager
def _bus_errors() -> Iterator[None]:
    """What the layer's Redis raises is one thing to whoever uses the bus."""
    try:
        yield
    except BUS_ERRORS as error:
        raise BusUnavailable(str(error)) from error


def _layer() -> BatchLayer:
    return cast(BatchLayer, get_channel_layer())
