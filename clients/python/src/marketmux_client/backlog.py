"""What waits for a consumer that is slow: of each symbol the newest price, and what must be known before it. No I/O.

What is left out is counted, so that the books of the consumer go on balancing:

    next.seq - last.seq - 1  =  sum of Conflated.skipped  +  sum of Gap.missed

Events of the same kind and reason are added up, so what waits is bounded by the number of symbols.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeAlias

from .events import Conflated, Event, Gap, Quote, Snapshot, Tick

__all__ = ["Backlog"]

Note: TypeAlias = Conflated | Gap


class Notes:
    """Receipts and gaps in a row. A gap of unknown size parts them: it ends the account that those before belong to."""

    __slots__ = ("_after", "_before", "_break")

    def __init__(self) -> None:
        self._before: dict[tuple[type[Note], str], Note] = {}
        self._break: Gap | None = None
        self._after: dict[tuple[type[Note], str], Note] = {}

    def add(self, note: Note) -> None:
        if isinstance(note, Gap) and note.missed is None:
            for earlier in self._after.values():
                _add_up(self._before, earlier)
            self._break, self._after = note, {}
        else:
            _add_up(self._after, note)

    def __iter__(self) -> Iterator[Note]:
        if self._break is None:
            yield from self._after.values()
        else:
            yield from self._before.values()
            yield self._break
            yield from self._after.values()


def _add_up(notes: dict[tuple[type[Note], str], Note], note: Note) -> None:
    key = (type(note), note.reason)
    old = notes.get(key)
    match old, note:
        case Conflated(), Conflated():
            note = Conflated(note.symbol, old.skipped + note.skipped, note.reason)
        case Gap(), Gap():
            note = Gap(note.symbol, (old.missed or 0) + (note.missed or 0), note.reason, note.seq, note.epoch)
    notes[key] = note


class Parked:
    """What waits of one symbol. ``turn``: how many events of all symbols had come when it was put in line."""

    __slots__ = ("_after", "_before", "_quote", "turn")

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self._before = Notes()
        self._quote: Quote | None = None
        self._after = Notes()

    def add(self, event: Quote | Note) -> bool:
        """Returns whether an older price was left out for it."""
        if isinstance(event, Conflated | Gap):
            (self._before if self._quote is None else self._after).add(event)
            return False
        was_there = self._quote is not None
        if was_there:
            self._before.add(Conflated(event.symbol, 1, "slow"))
            for note in self._after:
                self._before.add(note)
            self._after = Notes()
        self._quote = event
        return was_there

    def events(self) -> list[Event]:
        return [*self._before, *([] if self._quote is None else [self._quote]), *self._after]


class Backlog:
    """Events in the order in which they are due; each symbol, and each kind of the others, has one place.

    A symbol keeps its place when a newer price comes, so that all have their turn. It goes to the end where a
    connection, say, was lost in between: the consumer must not take the price for one from before.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[str | type[Event], Parked | Event] = OrderedDict()
        self._turn = 0
        self.skipped = 0
        """Prices that were left out for newer ones, in all."""

    def __bool__(self) -> bool:
        return bool(self._places)

    def put(self, event: Event) -> None:
        if not isinstance(event, Tick | Snapshot | Conflated | Gap):
            self._turn += 1
            self._places[type(event)] = event
            self._places.move_to_end(type(event))
            return
        parked = self._places.get(event.symbol)
        if not isinstance(parked, Parked):
            parked = self._places[event.symbol] = Parked(self._turn)
        elif parked.turn != self._turn:
            parked.turn = self._turn
            self._places.move_to_end(event.symbol)
        self.skipped += parked.add(event)

    def take(self) -> list[Event]:
        """What is due next, at least one event; IndexError or KeyError if nothing waits."""
        _, place = self._places.popitem(last=False)
        return place.events() if isinstance(place, Parked) else [place]

    def purge(self, is_unwanted: Callable[[str], bool]) -> None:
        """Takes out the symbols that are no longer wanted."""
        for symbol in [name for name in self._places if isinstance(name, str) and is_unwanted(name)]:
            del self._places[symbol]

    def clear(self) -> None:
        self._places.clear()
