"""The publishing side: ticks in, batches to the gateway, one after the other, and an account of what became of each."""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, SupportsIndex, TypeVar

from .account import Account, RefusedTick
from .arguments import Number, above_zero, count, not_negative
from .backoff import Backoff, Refusals
from .delivery import Delivery
from .errors import ClientClosed, ClientError
from .outgoing import Outgoing, TickLike, outgoing
from .target import Proxy
from .timeouts import timeout as within
from .tokens import Token, Tokens
from .waiting import POLICIES, Policy
from .ways import way

__all__ = ["Publisher"]

logger = logging.getLogger(__name__)

PublisherT = TypeVar("PublisherT", bound="Publisher")

_MOST_TICKS: Final = 1000
"""As many as the gateway takes in a batch."""
_PAUSE: Final = 500
"""After so many ticks the loop has a turn."""
_NOTHING: Final = Account(0, 0, 0, 0, 0, 0, 0, 0, {})


class Publisher:
    """Sends ticks to a gateway, in the order in which they were given, and comes back when it was away.

    One batch is under way at a time: the next one fills up meanwhile, and no retry can overtake, or be overtaken by, a
    newer price. Every batch has a key of its own, under which the gateway publishes it once, however often it is sent.
    An asynchronous context manager; it belongs to the event loop in which it was opened.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        token: Token | None = None,
        max_batch: SupportsIndex = 500,
        linger: Number = 0.01,
        max_queue: SupportsIndex = 100_000,
        when_full: Policy = "wait",
        retry_for: Number = 300.0,
        refused_for: Number = 60.0,
        close_timeout: Number = 10.0,
        on_refused: Callable[[RefusedTick], object] | None = None,
        headers: Mapping[str, str] | None = None,
        ssl: ssl_module.SSLContext | None = None,
        backoff: Backoff | None = None,
        proxy: Proxy = True,
    ) -> None:
        """
        Args:
            url: ``ws://host:port/ws/publish``, or ``http://host:port`` for the HTTP API; ``wss://`` and ``https://``.
            key: the API key.
            token: in place of a key, as for a Client.
            max_batch: ticks in a batch at most, up to 1000.
            linger: how many seconds a batch that is not full waits for more.
            max_queue: ticks that may wait to be sent.
            when_full: what happens to one more. ``"wait"``: ``publish`` waits for room. ``"drop_oldest"``: the oldest
                waiting tick of the same symbol is left out; where none waits, that of a symbol with a newer one, or
                else the oldest of all. ``"raise"``: ``publish`` raises QueueFull.
            retry_for: for how many seconds a batch is sent again before it is given up. The gateway knows a key for
                MARKETMUX_IDEMPOTENCY_SECONDS (600): beyond that a retry could be a duplicate.
            refused_for: for how many seconds of nothing but refusals a publisher that was welcome before tries again.
            close_timeout: how long the end of ``async with`` waits for what is not sent yet.
            on_refused: called with each tick that is refused.
            headers, ssl, backoff, proxy: as for a Client. Over HTTP no proxy is used.

        Raises TypeError or ValueError for what it cannot use, Refused for a URL that is none.
        """
        if when_full not in POLICIES:
            raise ValueError(f"when_full is one of {', '.join(POLICIES)}, not {when_full!r}")
        if not isinstance(backoff, Backoff | None):
            raise TypeError(f"backoff is a Backoff, not {type(backoff).__name__}")
        if key is not None and token is not None:
            raise ValueError("a publisher shows a key or a token, not both")
        self._options: dict[str, Any] = {
            "max_batch": min(_MOST_TICKS, count("max_batch", max_batch)),
            "linger": not_negative("linger", linger),
            "max_queue": count("max_queue", max_queue),
            "when_full": when_full,
            "retry_for": above_zero("retry_for", retry_for),
            "refusals": Refusals(not_negative("refused_for", refused_for), time.monotonic),
            "backoff": backoff or Backoff(),
            "on_refused": on_refused,
        }
        self._close_timeout = not_negative("close_timeout", close_timeout)
        self._way = way(url, key, Tokens(token), headers=headers, ssl=ssl, proxy=proxy)
        self._delivery: Delivery | None = None
        self._runner: asyncio.Task[None] | None = None
        self._end: BaseException | None = None
        self._since_pause = 0

    async def open(self) -> None:
        """Begins. The connection is made when there is something to send; ``flush`` says whether that worked."""
        if self._runner is not None:
            raise RuntimeError("a publisher is opened once")
        self._delivery = Delivery(self._way, **self._options)
        self._runner = asyncio.create_task(self._run(self._delivery), name=f"marketmux publisher to {self._way.url}")

    async def close(self) -> Account:
        """Ends at once: what waits is never sent, and what is under way is unknown. Call ``flush`` before."""
        if self._end is None:
            self._end = ClientClosed()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})
        return self.account

    async def publish(self, *ticks: TickLike) -> None:
        """Puts ticks in the queue: mappings of the fields that the HTTP API has, or a client's ticks.

        Numbers are int, Decimal, str or float (its shortest digits); ``timestamp`` is a string or a datetime.

        Raises:
            TypeError, ValueError: that is no tick; those before it are in the queue.
            QueueFull: there is no room, and that is the rule.
            ClientError: there is no going on.
        """
        self._checked()
        for tick in ticks:
            await self.put(outgoing(tick))

    async def flush(self, timeout: Number | None = None) -> Account:
        """Returns when it is known of all that was published before what became of it.

        Raises TimeoutError, and ClientError if there is no going on; that of a refused key, for instance.
        """
        delivery = self._checked()
        last = delivery.waiting.last
        async with within(None if timeout is None else not_negative("timeout", timeout)):
            while not delivery.is_settled(last):
                await delivery.moved()
        self._checked()
        return self.account

    async def drink(self, source: AsyncIterable[TickLike]) -> Account:
        """Publishes what an upstream adapter yields, an asynchronous generator of ticks say, and flushes at its end.

        It takes the next tick when there is room for it. What the source raises is raised, after a flush.
        """
        try:
            async for tick in source:
                await self.publish(tick)
        except Exception:
            with suppress(ClientError):
                await self.flush()
            raise
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()
        return await self.flush()

    @property
    def account(self) -> Account:
        """What became of the ticks so far."""
        return _NOTHING if self._delivery is None else self._delivery.account

    @property
    def refused(self) -> Sequence[RefusedTick]:
        """The last ticks that were refused, a thousand at most."""
        return () if self._delivery is None else tuple(self._delivery.refused)

    async def __aenter__(self: PublisherT) -> PublisherT:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._end is None and not isinstance(error, asyncio.CancelledError):
                await self.flush(self._close_timeout)
        except (TimeoutError, ClientError):
            if error is None:
                raise
        finally:
            await self.close()

    def offer(self, tick: Outgoing) -> bool:
        """Puts it in the queue if there is room; from any thread. Raises as ``publish``."""
        return self._checked().waiting.put(tick)

    async def put(self, tick: Outgoing) -> None:
        """Puts it in the queue when there is room."""
        delivery = self._checked()
        while not delivery.waiting.put(tick):
            await delivery.moved()
            self._checked()
        self._since_pause += 1
        if self._since_pause >= _PAUSE:  # or a loop that never waits would keep it from being sent
            self._since_pause = 0
            await asyncio.sleep(0)

    def _checked(self) -> Delivery:
        if self._end is not None:
            raise self._end
        if self._delivery is None:
            raise RuntimeError("the publisher was not opened")
        return self._delivery

    async def _run(self, delivery: Delivery) -> None:
        try:
            await delivery.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.warning("Nothing more is published to %s: %s", self._way.url, error)
            self._end = self._end or error
        finally:
            delivery.release()
