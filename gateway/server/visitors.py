"""Who is connected to the server, by what they have shown, and who goes when there is no room for another connection.

A connection is *idle* until its application says otherwise: nothing was sent, half a request, a handshake that is not
done, a WebSocket that has asked for nothing, a connection that waits for its next request. Idle connections have a
budget. Who comes on top of it, or when there is no room at all, takes the place of an idle one: of the address that has
most of them the oldest. So a newcomer has time to show a credential, however many connections others leave idle.

*Guests* make use of their connection without having shown a credential. They never get the last part of the room, which
is kept for those who are *known*. Where guests fill the rest, the address that has most gives way to one that has
fewer. Nobody takes the place of who is known.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

__all__ = ["STANDING", "Crowd", "Standing", "Visitors", "stand", "turned_away"]

STANDING: Final = "marketmux.standing"
"""An ASGI extension, and the message by which an application says what becomes of its connection."""

_RESERVED: Final = 8
"""One of so many connections is kept for those who are known."""

turned_away: Counter[str] = Counter({"no_room": 0, "idle": 0, "guests": 0})
"""Connections that this process refused or ended because others needed the room, by reason."""


class Standing(StrEnum):
    """What an application knows of a connection."""

    IDLE = "idle"
    GUEST = "guest"
    KNOWN = "known"


async def stand(scope: dict[str, Any], send: Any, standing: Standing, address: str = "") -> None:
    """Tells the server, if it wants to know. ``address``: the client's, if it is not the peer's."""
    if STANDING in scope.get("extensions", {}):
        await send({"type": STANDING, "standing": standing, "address": address})


class Crowd:
    """Connections by address, each address's in the order in which they came; all in constant time."""

    def __init__(self) -> None:
        self._address_of: dict[Any, str] = {}
        self._members: dict[str, OrderedDict[Any, None]] = {}
        self._sizes: dict[int, OrderedDict[str, None]] = {}
        """The addresses by how many members they have."""
        self.most = 0
        """How many members the largest address has."""

    def __len__(self) -> int:
        return len(self._address_of)

    def count(self, address: str) -> int:
        return len(self._members.get(address, ()))

    def add(self, member: Any, address: str) -> None:
        """Makes it the youngest of its address."""
        self.remove(member)
        members = self._members.setdefault(address, OrderedDict())
        members[member] = None
        self._address_of[member] = address
        self._resize(address, len(members) - 1, len(members))

    def remove(self, member: Any) -> None:
        address = self._address_of.pop(member, None)
        if address is None:
            return
        members = self._members[address]
        del members[member]
        self._resize(address, len(members) + 1, len(members))
        if not members:
            del self._members[address]

    def oldest(self) -> Any:
        """Of the address that has most."""
        return next(iter(self._largest()))

    def youngest(self) -> Any:
        return next(reversed(self._largest()))

    def _largest(self) -> OrderedDict[Any, None]:
        return self._members[next(iter(self._sizes[self.most]))]

    def _resize(self, address: str, before: int, after: int) -> None:
        if before:
            del self._sizes[before][address]
            if not self._sizes[before]:
                del self._sizes[before]
        if after:
            self._sizes.setdefault(after, OrderedDict())[address] = None
        if after > self.most or (before == self.most and before not in self._sizes):
            self.most = after


class Visitors:
    """The connections of a server. ``room`` is how many there may be, ``most_idle`` how many of them may be idle.

    ``end`` ends a connection: at once, or in good order where the second argument says that there is time.
    """

    def __init__(self, most_idle: int, end: Callable[[Any, bool], None]) -> None:
        self.room = sys.maxsize
        self.open = 0
        self.idle = Crowd()
        self.guests = Crowd()
        self._ending: OrderedDict[Any, None] = OrderedDict()
        """Those that were told to go, and have not gone yet."""
        self._most_idle = most_idle
        self._end = end

    @property
    def _shared(self) -> int:
        """What those have together who are not known."""
        return self.room - self.room // _RESERVED

    def arrived(self) -> bool:
        """Counts a connection that was accepted; False if there is no room for it."""
        if self.open >= self.room:
            if self._ending:
                self._end(self._ending.popitem(last=False)[0], False)
            elif len(self.idle):
                self._end(self._turned_away(self.idle.oldest(), "idle"), False)
            else:
                turned_away["no_room"] += 1
                return False
        elif len(self.idle) >= min(self._most_idle, self._shared):
            self._send_away(self.idle.oldest(), "idle")
        self.open += 1
        return True

    def left(self, connection: Any) -> None:
        self.open -= 1
        self._ending.pop(connection, None)
        self.forget(connection)

    def forget(self, connection: Any) -> None:
        """It is neither idle nor a guest: it is served, or known."""
        self.idle.remove(connection)
        self.guests.remove(connection)

    def rests(self, connection: Any, address: str) -> None:
        """It is idle from now on."""
        if connection not in self._ending:
            self.idle.add(connection, address)

    def welcome(self, connection: Any, address: str) -> None:
        """It is a guest from now on. One guest too many goes: this one, unless another address has more of them."""
        if connection in self._ending:
            return
        self.idle.remove(connection)
        self.guests.add(connection, address)
        if len(self.guests) > self._shared:
            is_largest = self.guests.count(address) == self.guests.most
            self._send_away(connection if is_largest else self.guests.youngest(), "guests")

    def _send_away(self, connection: Any, reason: str) -> None:
        self._ending[self._turned_away(connection, reason)] = None
        self._end(connection, True)

    def _turned_away(self, connection: Any, reason: str) -> Any:
        self.forget(connection)
        turned_away[reason] += 1
        return connection
