"""How many TCP connections an address may open in a second, before anything is read of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from ticks.access.shares import Buckets, limited
from ticks.address import UNIX, parse_proxies, share_of

__all__ = ["Arrivals"]

_BURST_SECONDS: Final = 10
"""As of handshakes: all clients behind one address come back at once when a gateway is replaced."""

_THIS_MACHINE: Final = ("127.0.0.1", "::1", UNIX)
"""What runs beside the gateway is no stranger: a proxy that nobody named, a load test, a probe."""

_ADDRESSES: Final = 4_096


class Arrivals:
    """Says of each address whether it may open another connection to this worker: at most ``rate`` a second.

    Exempt are this machine and ``proxies``, behind whose addresses are those of many clients.
    """

    def __init__(self, rate: int, proxies: Iterable[str]) -> None:
        self._buckets = Buckets(rate, _BURST_SECONDS * rate)
        self._exempt = parse_proxies([*proxies, *_THIS_MACHINE])
        self._share_of = lru_cache(maxsize=_ADDRESSES)(self._find_share)

    def __call__(self, address: str) -> bool:
        """Counts a connection of the address; False if it is one too many."""
        share = self._share_of(address)
        if not share or not self._buckets.take(share):
            return True
        limited["tcp_connections"] += 1
        return False

    def _find_share(self, address: str) -> str:
        return "" if self._exempt.include(address) else share_of(address)
