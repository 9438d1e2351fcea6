"""The publishing side without asyncio."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar

from .account import Account, RefusedTick
from .arguments import Number
from .errors import ClientClosed
from .outgoing import TickLike, outgoing
from .portal import Portal
from .publisher import Publisher

__all__ = ["SyncPublisher"]

SyncPublisherT = TypeVar("SyncPublisherT", bound="SyncPublisher")


class SyncPublisher:
    """A Publisher in a thread of its own. Every call may be made from any thread. ``options``: as for a Publisher.

    with SyncPublisher("ws://127.0.0.1:8000/ws/publish", key="mmx_...") as publisher:
        publisher.publish({"symbol": "AAPL", "price": "150.250"})
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._publisher = Publisher(url, **options)
        self._portal: Portal | None = None

    def open(self) -> None:
        if self._portal is not None:
            raise RuntimeError("a publisher is opened once")
        self._portal = Portal("marketmux publisher")
        self._portal.call(self._publisher.open())

    def publish(self, *ticks: TickLike) -> None:
        """Puts ticks in the queue, waiting for room if that is the rule. Raises as Publisher.publish."""
        portal = self._opened()
        for tick in ticks:
            known = outgoing(tick)
            if not self._publisher.offer(known):
                portal.call(self._publisher.put(known))

    def flush(self, timeout: Number | None = None) -> Account:
        """Returns when it is known of all that was published before what became of it. Raises as Publisher.flush."""
        return self._opened().call(self._publisher.flush(timeout))

    def close(self) -> Account:
        """Ends at once, without a flush."""
        portal = self._opened()
        try:
            return portal.call(self._publisher.close())
        except ClientClosed:
            return self._publisher.account
        finally:
            portal.close()

    @property
    def account(self) -> Account:
        return self._publisher.account

    @property
    def refused(self) -> Sequence[RefusedTick]:
        """The last ticks that were refused, a thousand at most."""
        return self._publisher.refused

    def __enter__(self: SyncPublisherT) -> SyncPublisherT:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        portal = self._opened()
        try:
            portal.call(self._publisher.__aexit__(kind, error, trace))
        except ClientClosed:
            pass
        finally:
            portal.close()

    def _opened(self) -> Portal:
        if self._portal is None:
            raise RuntimeError("the publisher was not opened")
        return self._portal
