"""Publishes batches of ticks on the bus, and reads the last tick of each symbol back from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Final

from django.conf import settings

from bus import stall
from bus.contract import BusUnavailable, Idempotency, Since
from bus.layers import get_bus
from ticks import recorder
from ticks.tick import GROUP_PREFIX, Placed, Tick, TickMessage, group_name, symbol_of

__all__ = ["MAX_KEY_LENGTH", "digest", "idempotency", "is_key", "latest_of", "page", "publish"]
if TYPE_CHECKING:
    from ticks.models import ApiKey

MAX_KEY_LENGTH: Final = 255


async def publish(ticks: Sequence[Tick], idempotency: Idempotency | None = None) -> bool:
    """Publishes the batch in one round trip; false if it is a repeat, of which nothing is published.

    :class:`~bus.contract.BusUnavailable` if that failed: then it is not published later either.
    :class:`~bus.contract.IdempotencyConflict` if the key was used for other ticks.
    """
    if stall.is_waking():
        raise BusUnavailable("This process stood still, and the batch may have waited for it.")
    batch: dict[str, list[TickMessage]] = {}
    for tick in ticks:
        group = group_name(tick.symbol)
        if group in batch:
            batch[group].append(tick.message())
        else:
            batch[group] = [tick.message()]
    places = await get_bus().publish(batch, idempotency)
    if places is None:
        return False
    recorder.offer(_placed(ticks, batch, places))
    return True


def _placed(ticks: Iterable[Tick], batch: Mapping[str, Sized], ends: Mapping[str, Since]) -> Iterator[Placed]:
    """The ticks of a batch with their places, which the bus gives for the last one of each group."""
    seqs = {group: ends[group].seq - len(messages) for group, messages in batch.items()}
    for tick in ticks:
        group = group_name(tick.symbol)
        seqs[group] += 1
        yield Placed(tick, seqs[group], ends[group].epoch)


def idempotency(key: str, publisher: ApiKey | None, ticks: Sequence[Tick], received: str) -> Idempotency:
    """Marks the ticks as those that ``publisher`` publishes under ``key``; None is for all who have no API key.

    ``received``: the timestamp of ticks that have none of their own.
    """
    scope = "anonymous" if publisher is None else str(publisher.pk)
    return Idempotency(f"{scope}:{key}", digest(ticks, received), settings.MARKETMUX_IDEMPOTENCY_SECONDS)


def is_key(text: str) -> bool:
    """True for 1 to 255 visible ASCII characters."""
    return 0 < len(text) <= MAX_KEY_LENGTH and all("!" <= character <= "~" for character in text)


def digest(ticks: Sequence[Tick], received: str) -> str:
    """Equal for equal ticks, however they were written; a tick without a time of its own has that of its receipt."""
    bodies = (tick.json() for tick in ticks)
    own = "\n".join(body.replace(f'"timestamp":"{received}"', "", 1) for body in bodies)
    return hashlib.sha256(own.encode()).hexdigest()


async def page(first: int, most: int, after: str = "") -> tuple[int, list[str]]:
    """How many symbols have ticked, and ``most`` of them in the order of their groups' names: from the place ``first``
    on, or behind the symbol ``after``.
    """
    total, groups = await get_bus().page(first, most, after and group_name(after))
    return total, [symbol_of(group) for group in groups if group.startswith(GROUP_PREFIX)]


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
