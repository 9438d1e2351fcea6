"""Commands that name symbols, filled up to the length that the gateway takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .books import Position
from .errors import CommandRefused

__all__ = ["EVERYTHING", "Command", "Options", "encode", "subscribe", "unsubscribe"]

EVERYTHING: Final = "*"
"""Every symbol, also those to come."""

_ID_BYTES: Final = len(',"id":') + 20


class Options(NamedTuple):
    """How symbols are wanted: ``max_rate`` in ticks a second, None for every tick."""

    max_rate: float | None = None
    snapshot: bool = True
    trace: bool = False


class Command(NamedTuple):
    """``fields``: the message without its id. ``since`` is what of it says where to resume."""

    fields: Mapping[str, Any]
    symbols: tuple[str, ...] = ()
    since: Mapping[str, Position] = {}


def encode(fields: Mapping[str, Any]) -> str:
    """One byte a character: JSON escapes what is not ASCII."""
    return json.dumps(fields, separators=(",", ":"))


def subscribe(
    symbols: Iterable[str],
    options: Options,
    since: Callable[[str], Position | None],
    others: Callable[[], Iterable[str]],
    limit: int,
) -> Command:
    """A command of at most ``limit`` bytes for as many of ``symbols`` as it holds, from the first on.

    Each is resumed where ``since`` says. Every symbol (``"*"``) goes alone: its room is for the positions of all
    ``others()``. Symbols that find none start over, and what they missed is a gap.
    """
    fields: dict[str, Any] = {"action": "subscribe"}
    if options.max_rate is not None:
        fields["max_rate"] = options.max_rate
    if not options.snapshot:
        fields["snapshot"] = False
    if options.trace:
        fields["trace"] = True
    room = limit - len(encode({**fields, "symbols": [], "since": {}})) - _ID_BYTES
    wanted = list(symbols)
    if wanted[0] == EVERYTHING:
        taken = [EVERYTHING]
        places = dict(_places(others(), since, room - len(json.dumps(EVERYTHING))))
    else:
        taken, places = _fill((symbol for symbol in wanted if symbol != EVERYTHING), since, room)
    fields["symbols"] = taken
    if places:
        fields["since"] = {symbol: place._asdict() for symbol, place in places.items()}
    return Command(fields, tuple(taken), places)


def unsubscribe(symbols: Iterable[str], limit: int) -> Command:
    """As :func:`subscribe`."""
    room = limit - len(encode({"action": "unsubscribe", "symbols": []})) - _ID_BYTES
    taken, _ = _fill(symbols, lambda _: None, room)
    return Command({"action": "unsubscribe", "symbols": taken}, tuple(taken))


def _fill(
    symbols: Iterable[str], since: Callable[[str], Position | None], room: int
) -> tuple[list[str], dict[str, Position]]:
    taken: list[str] = []
    places: dict[str, Position] = {}
    for symbol in symbols:
        room -= len(json.dumps(symbol)) + 1
        place = since(symbol)
        size = _size(symbol, place)
        if room < size and taken:
            break
        if room < 0:
            raise CommandRefused("invalid_symbol", f"Too long for a message to the gateway: {symbol[:40]!r}", [symbol])
        taken.append(symbol)
        if place is not None and size <= room:
            places[symbol] = place
            room -= size
    return taken, places


def _places(
    symbols: Iterable[str], since: Callable[[str], Position | None], room: int
) -> Iterator[tuple[str, Position]]:
    for symbol in symbols:
        place = since(symbol)
        if place is None:
            continue
        room -= _size(symbol, place)
        if room < 0:
            return
        yield symbol, place


def _size(symbol: str, place: Position | None) -> int:
    """Bytes of a member of ``since``, with a comma."""
    return 0 if place is None else len(encode({symbol: place._asdict()})) - 1
