"""Sees to it that connections last no longer than what their grants stand on.

Each process reads twice a second which keys, users, groups and sessions have changed, and at once when the bus says
that there is something to read. Grants that stand on one of them are renewed, once for all connections that have the
same, and each connection is given what is left of its grant. So nothing depends on a message that may be lost, and a
Redis that is away delays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import count, islice
from typing import Any, Final, NamedTuple, Protocol

from channels.layers import get_channel_layer
from structlog.contextvars import bind_contextvars

from bus.contract import BusUnavailable
from bus.loops import once_a_loop
from gateway.edge import roster
from gateway.fanout.outbox import Outbox
from gateway.protocol.codes import EXPIRED, REVOKED, Closure
from ticks import lookups
from ticks.access import changes
from ticks.access.grant import NOBODY, Grant
from ticks.access.users import EntitlementsUnavailable

__all__ = ["Connection", "Standing", "Watch", "Watching", "get_watch"]

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
COMPARE_SECONDS: Final = 5.0
"""How often what connections stand on is compared with what it was, for changes that nobody noted."""
_PRUNE_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 1.0
_RECENT_SECONDS: Final = 30.0
"""Longer than a handshake takes from the lookup on."""
_AT_A_TIME: Final = 4
_CHUNK: Final = 500


class Connection(Protocol):
    """A socket that was let in."""

    grant: Grant
    scope: dict[str, Any]
    outbox: Outbox
    ticks: int
    """How many it published."""

    def symbols(self) -> Collection[str]:
        """What it is subscribed to."""

    def rates(self) -> Collection[float | None]:
        """At most how many ticks a second it wants of each; None is every tick."""

    def close_with(self, closure: Closure) -> None:
        """Ends; what it has under way is finished first."""

    @property
    def is_publisher(self) -> bool:
        """Whether it publishes: such are cut first of all."""

    def regrant(self, grant: Grant, closure: Closure = REVOKED) -> None:
        """Goes on with what is left of its grant; if nothing is, ends with ``closure``."""


class Standing(NamedTuple):
    """A connection's number in its process, and when it was let in."""

    number: int
    since: float


class Watch:
    """The connections of one process."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)
        self.connections: dict[Connection, Standing] = {}
        self.publishers: dict[Connection, None] = {}
        """Those of them that publish."""
        self._numbers = count(1)
        self._by_subject: dict[str, dict[Connection, None]] = defaultdict(dict)
        self._recent: dict[str, float] = {}
        self._due: dict[Connection, None] = {}
        self._expiring: dict[Connection, None] = {}
        self._fingerprints: dict[str, Any] = {}
        self._reader = changes.Reader()
        self._nudge = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.revoked = self.changed = 0
        changes.changed.connect(self._changed, dispatch_uid=f"watch {id(self)}")
        self._running = self._loop.create_task(self._run())
        self._listening = self._loop.create_task(self._listen())

    # Connections

    def add(self, connection: Connection) -> None:
        """Watches over a connection."""
        standing = self.connections[connection] = Standing(next(self._numbers), time.time())
        bind_contextvars(connection_id=f"{self.name}:{standing.number}")  # as the list of connections names it
        if connection.is_publisher:
            self.publishers[connection] = None
        self._index(connection)
        if not connection.grant.stands_on.isdisjoint(self._recent):  # it may have changed between the lookup and now
            self._due[connection] = None
            self._nudge.set()

    def discard(self, connection: Connection) -> None:
        """The connection has ended."""
        self.connections.pop(connection, None)
        self.publishers.pop(connection, None)
        self._due.pop(connection, None)
        self._unindex(connection)

    def give(self, connection: Connection, grant: Grant, closure: Closure = REVOKED) -> None:
        """Puts another grant in place of the one that a connection has; ``closure``: how it ends if nothing is left."""
        self._unindex(connection)
        connection.regrant(grant, closure)
        self._index(connection)

    def _index(self, connection: Connection) -> None:
        for subject in connection.grant.stands_on:
            self._by_subject[subject][connection] = None
        if connection.grant.expires is not None:
            self._expiring[connection] = None

    def _unindex(self, connection: Connection) -> None:
        self._expiring.pop(connection, None)
        for subject in connection.grant.stands_on:
            of_subject = self._by_subject[subject]
            of_subject.pop(connection, None)
            if not of_subject:
                del self._by_subject[subject]

    # Changes

    def _changed(self, **_: Any) -> None:
        """In any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._nudge.set)

    async def _listen(self) -> None:
        """Waits for the bus to say that there is something to read, or to ask who is connected."""
        layer = get_channel_layer()
        while True:
            try:
                channel = await layer.new_channel()
                await layer.group_add(changes.GROUP, channel)
                while True:
                    if not await roster.heed(self, await layer.receive(channel)):
                        self._nudge.set()
            except BusUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:
                logger.exception("A message to all gateways could not be handled")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _run(self) -> None:
        compared = pruned = self._loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._nudge.wait()
            self._nudge.clear()
            self._expire()
            if not self._by_subject and not changes.has_cached():
                continue  # nobody here stands on anything, and a gateway without keys and users needs no database
            try:
                subjects = await lookups.ask(self._reader.read)
                now = self._loop.time()
                if now - compared > COMPARE_SECONDS:
                    subjects |= await self._compare()
                    compared = now
                if now - pruned > _PRUNE_SECONDS:
                    pruned = now
                    await lookups.ask(self._reader.prune)
                self._mark(subjects)
            except lookups.DatabaseUnavailable:
                pass  # logged, once; until it answers things stay as they are
            except Exception:
                logger.exception("Could not read what has changed of keys and users")
            await self._renew()

    def _mark(self, subjects: Collection[str]) -> None:
        now = self._loop.time()
        for subject in [subject for subject, at in self._recent.items() if now - at > _RECENT_SECONDS]:
            del self._recent[subject]
        for subject in subjects:
            self._recent[subject] = now
            self._due |= self._by_subject.get(subject, {})

    async def _compare(self) -> set[str]:
        """What is not as it was although nobody noted a change."""
        subjects = iter(list(self._by_subject))
        found: dict[str, Any] = {}
        while chunk := list(islice(subjects, _CHUNK)):
            found |= await lookups.ask(changes.fingerprints, chunk)
        before, self._fingerprints = self._fingerprints, found
        changed = {one for one, was in before.items() if one in self._by_subject and found.get(one) != was}
        changes.apply(changed)
        return changed

    def _expire(self) -> None:
        now = time.time()
        for connection in list(self._expiring):
            if (connection.grant.expires or now) <= now:
                self.revoked += 1
                self.give(connection, NOBODY, EXPIRED)

    async def _renew(self) -> None:
        """Renews the grants that are due, those of publishers first."""
        due, self._due = self._due, {}
        alike: dict[Any, list[Connection]] = defaultdict(list)
        for connection in sorted(due, key=lambda connection: not connection.is_publisher):
            if connection in self.connections and connection.grant.renew is not None:
                alike[connection.grant.renew].append(connection)
        renewals = iter(alike.items())
        while some := list(islice(renewals, _AT_A_TIME)):
            await asyncio.gather(*[self._renew_all(renew, connections) for renew, connections in some])

    async def _renew_all(self, renew: Callable[[], Grant | None], connections: Iterable[Connection]) -> None:
        try:
            grant = await lookups.ask(renew)
        except (lookups.DatabaseUnavailable, EntitlementsUnavailable):
            self._due |= dict.fromkeys(connections)  # they keep what they have until somebody knows
            return
        except Exception:
            logger.exception("Could not renew what some connections may do")
            self._due |= dict.fromkeys(connections)
            return
        for connection in connections:
            is_open = connection in self.connections and connection.grant.renew == renew
            if is_open and grant != connection.grant:
                self.revoked += grant is None
                self.changed += grant is not None
                self.give(connection, grant or NOBODY)

    async def close(self) -> None:
        """Stops; connections are watched over no more."""
        self._running.cancel()
        self._listening.cancel()
        await asyncio.wait([self._running, self._listening])


@once_a_loop
def get_watch() -> Watch:
    """The watch of the running event loop."""
    return Watch()


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Watching:
    """ASGI middleware that has the watch run from the first request on: it looks after caches of grants too."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        get_watch()
        return self._application(scope, receive, send)  # a coroutine of its own would stay as long as the client
