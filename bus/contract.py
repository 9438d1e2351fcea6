"""What a bus is: it gives each message its place in the stream of its group, and brings it to every process.

The messages of a group are numbered, and the last one and a short history are kept. The numbers count within an
*epoch*, which ends when the bus has lost its memory. A process joins groups, and one :class:`Tap` gets what is
published there. A message is any mapping; what it means is not the bus's business.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol

__all__ = [
    "HISTORY_SECONDS",
    "HISTORY_TICKS",
    "Bus",
    "BusUnavailable",
    "Held",
    "Idempotency",
    "IdempotencyConflict",
    "LimitReached",
    "Limits",
    "Losses",
    "Packet",
    "Position",
    "Reason",
    "Refusal",
    "Since",
    "Tap",
    "Wish",
]

logger = logging.getLogger(__name__)

HISTORY_TICKS: Final = 500
HISTORY_SECONDS: Final = 300.0


class Reason(StrEnum):
    """Why the bus cannot be used. A value never changes its meaning: docs/reference/api.md has them all."""

    sentence: str
    """What the reason is, for who asked."""

    def __new__(cls, value: str, sentence: str) -> Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    AWAY = "bus_unavailable", "The bus cannot be reached, or did not answer in time."
    OUT_OF_MEMORY = "bus_out_of_memory", "The bus is out of memory (OOM)."
    READ_ONLY = "bus_read_only", "The bus is a replica, which takes nothing (READONLY)."
    TOO_FEW_REPLICAS = "bus_too_few_replicas", "The bus has too few replicas to take anything (NOREPLICAS)."
    DISK_FAILED = "bus_disk_failed", "The bus cannot save to its disk, and takes nothing (MISCONF)."
    FORBIDDEN = "bus_forbidden", "The bus does not grant the gateway what it needs (NOPERM)."
    UNAUTHORIZED = "bus_unauthorized", "The bus does not know the gateway's password (WRONGPASS, NOAUTH)."
    LOADING = "bus_loading", "The bus has been started and is still loading (LOADING)."
    PRIMARY_DOWN = "bus_primary_down", "The bus is a replica without its primary (MASTERDOWN)."
    CLUSTER = "bus_is_cluster", "The bus is a Redis Cluster, and named as if it were one Redis (CROSSSLOT, MOVED)."
    BUSY = "bus_busy", "The bus is held up by a script (BUSY)."
    FULL = "bus_full", "The bus takes no more connections."
    OUTDATED = "bus_outdated", "The bus is too old."
    REFUSED = "bus_refused", "The bus refused."


class Refusal(Exception):
    """Something was not done. On a bus of several hosts it may be a part of what was asked for."""

    groups: Collection[str] = ()
    """Those that it is about; empty for all, on a bus of one host."""
    places: Mapping[str, Since] = MappingProxyType({})
    """Where the other groups of the batch ended, which were published all the same."""


class BusUnavailable(Refusal):
    """The bus could not be reached, did not answer in time, or refused. Nothing is published later.

    ``reason`` is for who asked, the text for the log: it has the bus's own words.
    """

    def __init__(self, text: str = "", reason: Reason = Reason.AWAY) -> None:
        super().__init__(text)
        self.reason = reason


class IdempotencyConflict(Refusal):
    """The key was used for another batch; nothing was published."""


class LimitReached(Refusal):
    """There are as many ``what`` (streams, keys) as there may be; nothing was published."""

    def __init__(self, what: Literal["streams", "keys"]) -> None:
        super().__init__(f"there are as many {what} as there may be")
        self.what = what


class Limits(NamedTuple):
    """How much the bus keeps: streams in all, and idempotency keys that come in the time that they are kept.

    A stream goes that has had no message for so many ``seconds``; 0 is never. One that begins again is in a new epoch.
    """

    streams: int = 100_000
    keys: int = 1_000_000
    seconds: float = 604_800.0


class Held(NamedTuple):
    """What the bus keeps: streams, idempotency keys at most, and about how many bytes the streams take."""

    streams: int
    keys: int
    bytes: int


class Packet(NamedTuple):
    """Consecutive messages of one group: ``seq`` is the first one's.

    A message that was sent by Channels' own ``group_send`` has no place in a stream: its epoch is empty and its seq 0.
    A message that cannot be read is None, and keeps its place. A packet without messages, at seq 0, says that the
    stream was dropped: what comes next is in a new epoch.

    ``at``: when the bus gave them their place, in microseconds since 1970 by its clock; 0 if that is not known.
    ``note``: what the publisher of the batch gave along with it.
    """

    group: str
    epoch: str
    seq: int
    messages: Sequence[Any]
    at: int = 0
    note: bytes = b""


class Position(NamedTuple):
    """Where a group's stream is: the seq of its last message, 0 if it has none in this epoch, and that message."""

    epoch: str
    seq: int
    message: Any | None


class Since(NamedTuple):
    """A place in a stream: up to where somebody read it, or where a batch ended."""

    epoch: str
    seq: int


class Idempotency(NamedTuple):
    """Marks a batch: a second one with the same key within ``seconds`` is not published.

    ``digest`` tells a repeat from another batch, which must not come under the same key.
    """

    key: str
    digest: str
    seconds: float


class Wish(NamedTuple):
    """How much a worker wants of what has a limit for all workers together; ``spare``: more, where there is some."""

    name: str
    limit: int
    amount: int
    spare: bool = True


class Tap(Protocol):
    """What a bus tells the process that taps it. Called on the event loop; must not block."""

    def arrived(self, packets: Sequence[Packet]) -> None:
        """Packets of joined groups, all that arrived at once."""

    def bus_lost(self, host: int) -> None:
        """The listening connection to a host is known to be dead: what is published there does not arrive any more."""

    def bus_restored(self, host: int) -> None:
        """It is there at last, or again, with all joined groups subscribed; what was published meanwhile was missed."""


class Losses:
    """Counts messages that did not get where they should, and logs the first of each kind: more follow as a rule."""

    def __init__(self) -> None:
        self.malformed = 0
        """Messages that could not be read, or that no consumer could have handled."""
        self.overflowed = 0
        """Messages that met the full queue of an ordinary consumer."""

    def refuse(self, where: str, error: object) -> None:
        self.malformed += 1
        if self.malformed == 1:
            logger.warning("Ignored a message on %s, and will ignore others like it: %s", where, error)

    def overflow(self, channel: str) -> None:
        self.overflowed += 1
        if self.overflowed == 1:
            logger.warning("Dropped a message for %s, whose queue is full, and will drop others like it.", channel)


class Bus(Protocol):
    """All methods that wait for the bus raise :class:`BusUnavailable`.

    The groups are shared out between ``hosts``, which are numbered from 0. Where some of them are away the others are
    asked all the same, and the error is raised only if nothing is left of what was asked for.
    """

    @property
    def hosts(self) -> int: ...

    @property
    def away(self) -> Collection[int]:
        """The hosts of which nothing arrives. One of another process is away before it has been heard."""

    def host_of(self, group: str) -> int:
        """Where a group is."""

    @property
    def losses(self) -> Losses: ...

    @property
    def refused(self) -> Mapping[Reason, int]:
        """How often it could not be used, by reason."""

    def tap(self, tap: Tap) -> None:
        """Tells ``tap`` what arrives in joined groups, and how the bus is: it begins to connect if it has to.

        ``tap.bus_restored`` follows for each host that is away.
        """

    async def join(self, groups: Sequence[str]) -> None:
        """Makes the process a member of groups; ``ticks.*`` is all that begin so. Joins all or, on an error, none.

        Nobody waits for a host that is away while others are there: what is joined of it arrives once it is restored.
        """

    async def leave(self, groups: Sequence[str]) -> None: ...

    async def publish(
        self, batch: Mapping[str, Sequence[Any]], idempotency: Idempotency | None = None, note: bytes = b""
    ) -> Mapping[str, Since] | None:
        """Publishes the messages of each group, all or none, in one round trip: the places of the last ones, by group.

        ``note``: at most 255 bytes that come with each packet of the batch.

        None, and nothing is published, if it is a repeat; ``IdempotencyConflict`` if its key was another batch's, and
        :class:`LimitReached` if it would make one stream too many, or its key is one too many.

        Over several hosts it is all or none on each of them, and each knows the key of what it was given. The error
        has what was not published. A repeat publishes that alone, and the answer has no other groups.
        """

    async def positions(self, groups: Sequence[str]) -> Mapping[str, Position]:
        """Where the streams of the groups are; without those of hosts that are away."""

    async def history(self, since: Mapping[str, Since]) -> Mapping[str, list[Packet] | None]:
        """What came after a place of each group; None where it cannot be had whole."""

    async def names(self) -> list[str]:
        """The groups that have a stream, in no order."""

    async def page(self, first: int, most: int, after: str = "") -> tuple[int, list[str]]:
        """How many groups have a stream, and ``most`` of them by name: behind the name ``after`` or, without one, from
        the place ``first`` on. Those of hosts that are ``away`` when it is called are left out.
        """

    async def lease(self, worker: str, wishes: Sequence[Wish], seconds: float) -> tuple[int, list[int]]:
        """How many workers have leases, and how much this one may have of each for so long.

        All leases of a name are together at no time more than its limit. What is not renewed goes back by itself.
        """

    async def spend(self, account: str, amount: int, most: int, seconds: float) -> float:
        """Takes an amount from the ``most`` that may be spent in so many seconds from the first one on.

        0 if it was taken, else, and nothing is, in how many seconds they are over.
        """

    async def announce(self, worker: str, record: bytes, seconds: float) -> None:
        """Keeps what a worker says of itself for so long, in place of what it said before."""

    async def announced(self) -> Mapping[str, bytes]:
        """What workers have said of themselves and is still kept, by worker."""

    async def held(self, seconds: float) -> Held:
        """What is kept on the hosts that are not ``away``. ``seconds``: how long idempotency keys are."""

    async def ping(self) -> Reason | None:
        """Publishes in a group of its own, on each host: None if that can be done, or why not where some hosts can."""

    async def check(self, patterns: Sequence[str] = ()) -> Sequence[str]:
        """Asks for all that is needed, as before a start: what is odd about the bus, a sentence each.

        ``patterns``: those that will be joined.

        The text of the :class:`BusUnavailable` that it raises says what to do.
        """
