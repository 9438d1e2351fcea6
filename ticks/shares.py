"""What each owner's limits leave of ticks, connections and symbols, over all workers.

Ticks are counted in the worker. Twice a second, in the background, it leases its part of each limit from the bus, as
much as it was asked for lately and some of what nobody wants. So no tick waits for Redis, and one busy worker among
idle ones gets nearly all. Before the first lease, and while the bus is away, a worker has an equal part: the limit
divided by the workers that it knows of.

Connections and symbols are held for long and taken rarely: the bus is asked for each that is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from bus.contract import BusUnavailable, Wish
from bus.layers import get_bus
from bus.loops import once_a_loop
from ticks.access.grant import Grant
from ticks.access.shares import Flow, OverShare
from ticks.address import share_of
from ticks.conf import conf
from ticks.tick import Tick, group_name

__all__ = [
    "Held",
    "Shares",
    "check_new",
    "get_shares",
    "hold",
    "is_limited",
    "knows",
    "let_go",
    "most",
    "rate_limit",
    "take",
]

logger = logging.getLogger(__name__)

_WINDOWS: Final = {"ticks": ";w=1", "new_symbols": ";w=86400", "handshakes": ";w=1"}
LEASE_SECONDS: Final = 0.5
"""How often leases are renewed."""
_LASTS_SECONDS: Final = 2.0
_IDLE_SECONDS: Final = 10.0
_DAY: Final = 86_400.0


_SETTINGS: Final = {
    "ticks_per_second": "MARKETMUX_MAX_TICKS_PER_SECOND",
    "connections": "MARKETMUX_MAX_CONNECTIONS",
    "symbols": "MARKETMUX_MAX_OWNER_SYMBOLS",
    "new_symbols": "MARKETMUX_MAX_NEW_SYMBOLS",
}


def most(grant: Grant, what: str) -> int | None:
    """The limit of a grant's owner: its own, else that of the settings; None if there is none."""
    own: int | None = getattr(grant.limits, what)
    return own if own is not None else getattr(conf, _SETTINGS[what]) or None


class Held:
    """What one owner holds in this worker of one kind."""

    __slots__ = ("count", "limit", "lock", "users")

    def __init__(self) -> None:
        self.count = 0
        self.users = 0
        """Who is about to take some."""
        self.limit = 0
        self.lock = asyncio.Lock()


class Shares:
    """The limited owners of one process."""

    def __init__(self) -> None:
        self.worker = secrets.token_hex(8)
        self.workers = 1
        """How many share the limits, as far as is known."""
        self.flows: dict[str, Flow] = {}
        self.held: dict[str, Held] = {}
        self._known: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()

    # Ticks

    def take(self, owner: str, limit: int, count: int) -> Flow:
        """Counts ticks that an owner wants to publish. :class:`OverShare`, and none is counted."""
        now = self._loop.time()
        flow = self.flows.get(owner)
        if flow is None or flow.limit != limit:
            flow = self.flows[owner] = Flow(limit, limit / self.workers, now)
            self._wake()
        wait = flow.take(count, now)
        if wait:
            raise OverShare("ticks", limit, f"More than {limit} ticks a second; nothing was published.", wait)
        return flow

    async def check_new(self, owner: str, limit: int, symbols: Iterable[str]) -> None:
        """Counts those of the symbols that never ticked before. :class:`OverShare`, and none is counted.

        What the worker knows to exist is not new; of the others the bus is asked.
        """
        unknown = list(set(symbols) - self._known)
        if not unknown:
            return
        positions = await get_bus().positions([group_name(symbol) for symbol in unknown])
        new = [symbol for symbol in unknown if positions[group_name(symbol)].message is None]
        if new:
            wait = await get_bus().spend(f"new:{owner}", len(new), limit, _DAY)
            if wait:
                message = f"More than {limit} new symbols a day; nothing was published."
                raise OverShare("new_symbols", limit, message, wait)
        if len(self._known) > conf.MARKETMUX_MAX_STREAMS:
            self._known.clear()
        self._known.update(unknown)

    def knows(self, symbols: Iterable[str]) -> bool:
        """Whether the worker knows that all of the symbols have ticked."""
        return self._known.issuperset(symbols)

    # What is held

    async def hold(self, owner: str, limit: int, what: str, count: int) -> None:
        """Takes some of what an owner may hold. :class:`OverShare`, and nothing is held."""
        name = f"{what}:{owner}"
        held = self.held.setdefault(name, Held())
        held.limit = limit
        held.users += 1
        self._wake()
        try:
            async with held.lock:
                if held.count + count > await self._leased(name, limit, held.count + count):
                    raise OverShare(what, limit, f"More than {limit} {what} of the same owner.", 1.0)
                held.count += count
        finally:
            held.users -= 1

    def let_go(self, owner: str, what: str, count: int) -> None:
        held = self.held.get(f"{what}:{owner}")
        if held is not None:
            held.count = max(0, held.count - count)
            self._nudge.set()

    async def _leased(self, name: str, limit: int, wanted: int) -> int:
        try:
            self.workers, leases = await get_bus().lease(
                self.worker, [Wish(name, limit, wanted, spare=False)], _LASTS_SECONDS
            )
        except BusUnavailable:
            return math.ceil(limit / self.workers)
        return leases[0]

    # Leases

    def _wake(self) -> None:
        self._nudge.set()
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        """As long as there is a limited owner that is not idle."""
        before = self._loop.time() - LEASE_SECONDS
        while self.flows or self.held:
            self._nudge.clear()
            now = self._loop.time()
            try:
                await self._renew(now, max(now - before, 1e-3))
            except Exception:
                logger.exception("Could not lease the limits of owners; they stay as they are")
            before = now
            await asyncio.sleep(0.05)  # those who come meanwhile go together
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_SECONDS):
                    await self._nudge.wait()
        self._task = None

    async def _renew(self, now: float, seconds: float) -> None:
        for owner in [owner for owner, flow in self.flows.items() if now - flow.used_at > _IDLE_SECONDS]:
            del self.flows[owner]
        flows = list(self.flows.items())
        wishes = [Wish(f"ticks:{owner}", flow.limit, flow.wish(seconds)) for owner, flow in flows]
        # Who is about to take some asks itself: what is asked here must not take it back.
        settled = [(name, held) for name, held in self.held.items() if not held.users]
        idle = [name for name, held in settled if not held.count]
        wishes += [Wish(name, held.limit, held.count, spare=False) for name, held in settled]
        leases: list[int] = []
        try:
            if wishes:
                self.workers, leases = await get_bus().lease(self.worker, wishes, _LASTS_SECONDS)
        except BusUnavailable:
            leases = [math.ceil(flow.limit / self.workers) for _, flow in flows]
        for name in idle:  # the bus knows it now
            if not self.held[name].count and not self.held[name].users:
                del self.held[name]
        now = self._loop.time()
        for (_, flow), lease in zip(flows, leases, strict=False):
            flow.lease(lease, now)


@once_a_loop
def get_shares() -> Shares:
    """Those of the running event loop."""
    return Shares()


def is_limited(grant: Grant) -> bool:
    """Whether its owner publishes within limits."""
    return most(grant, "ticks_per_second") is not None or most(grant, "new_symbols") is not None


def take(grant: Grant, count: int) -> Mapping[str, str]:
    """Counts ticks that are to be published; the headers that say what is left. :class:`OverShare`."""
    limit = most(grant, "ticks_per_second")
    if limit is None:
        return {}
    return rate_limit("ticks", limit, get_shares().take(_sharer(grant.owner), limit, count).left(), 1)


async def check_new(grant: Grant, ticks: Iterable[Tick]) -> None:
    """Counts the symbols among those of ticks that never ticked before. :class:`OverShare`."""
    limit = most(grant, "new_symbols")
    if limit is not None:
        await get_shares().check_new(_sharer(grant.owner), limit, (tick.symbol for tick in ticks))


def knows(grant: Grant, ticks: Iterable[Tick]) -> bool:
    """Whether :func:`check_new` need not ask anybody about the ticks, and counts none of them."""
    return most(grant, "new_symbols") is None or get_shares().knows(tick.symbol for tick in ticks)


async def hold(grant: Grant, what: str, count: int = 1) -> int:
    """Takes connections or symbols; returns how many to let go of in the end. :class:`OverShare`."""
    limit = most(grant, what)
    if limit is None or not count:
        return 0
    await get_shares().hold(_sharer(grant.owner), limit, what, count)
    return count


def let_go(owner: str, what: str, count: int) -> None:
    """Gives back what was held."""
    if count:
        get_shares().let_go(_sharer(owner), what, count)


def _sharer(owner: str) -> str:
    """Who a limit is for: of IPv6 addresses without a credential all of a network."""
    kind, _, address = owner.partition(":")
    return f"{kind}:{share_of(address)}" if kind == "anonymous" else owner


def rate_limit(what: str, limit: int, left: int, seconds: float) -> Mapping[str, str]:
    """The headers of draft-ietf-httpapi-ratelimit-headers."""
    window = _WINDOWS.get(what, "")
    return {
        "RateLimit-Policy": f'"{what}";q={limit}{window}',
        "RateLimit": f'"{what}";r={left};t={math.ceil(seconds)}',
    }
