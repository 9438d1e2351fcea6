"""The client's address: whom limits, logs and the throttle of passwords count a request for.

Behind a proxy the peer of every connection is the proxy, and the client's address is in ``X-Forwarded-For``, to which
each proxy appends whom it heard from. Whatever stands left of what our own proxies appended may be made up. So the list
is read from the right, and the first address that is not one of ``MARKETMUX_TRUSTED_PROXIES`` is the client's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple

from django.http import HttpRequest

from ticks.conf import conf

__all__ = ["UNIX", "Proxies", "address_of_request", "client_address", "is_trusted", "parse_proxies", "share_of"]

UNIX: Final = "unix"
"""The entry that stands for clients over a Unix socket, which have no address."""

_MOST_HOPS: Final = 32
"""How many entries of ``X-Forwarded-For`` are read; what stands left of them is nobody's proxy."""

_SHARE_BITS: Final = 64
"""What one customer of an IPv6 provider has at least, and can draw new addresses from without end."""

Address = IPv4Address | IPv6Address


class Proxies(NamedTuple):
    """The peers whose ``X-Forwarded-`` headers are believed."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    def include(self, peer: str) -> bool:
        """Whether the peer of a connection is one of them; ``""`` is one without an address."""
        address = _parse(peer)
        if address is None:
            return self.unix and not peer
        return any(address in network for network in self.networks)


def client_address(scope: dict[str, Any]) -> str:
    """The address of the client behind an ASGI scope, HTTP or WebSocket.

    IPv4 in dots, IPv6 as RFC 5952 writes it; without port, brackets or zone, and IPv4 mapped into IPv6 as IPv4. Empty
    where there is none: over a Unix socket whose other end says nothing.
    """
    proxies = _trusted()
    peer = _peer(scope)
    if proxies.include(peer):
        return _right_most(peer, _entries(_forwarded_for(scope["headers"])), proxies)
    return _normal(peer)


def address_of_request(request: HttpRequest) -> str:
    """The same for a Django request."""
    scope = getattr(request, "scope", None)
    if scope is not None:
        return client_address(scope)
    meta = request.META
    peer, proxies = meta.get("REMOTE_ADDR", ""), _trusted()
    if proxies.include(peer):
        return _right_most(peer, _entries([meta.get("HTTP_X_FORWARDED_FOR", "")]), proxies)
    return _normal(peer)


def is_trusted(scope: dict[str, Any]) -> bool:
    """Whether the peer of this connection is one of ``MARKETMUX_TRUSTED_PROXIES``."""
    return _trusted().include(_peer(scope))


@lru_cache(maxsize=4_096)
def share_of(address: str) -> str:
    """Who a limit per address is for: the address, or of IPv6 its network of 64 bits, which is one customer's."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _SHARE_BITS), strict=False))
    return address


def parse_proxies(words: Iterable[str]) -> Proxies:
    """Reads addresses, networks (``10.0.0.0/8``) and ``unix``; ValueError if a word is none of them."""
    words = list(words)
    return Proxies(tuple(_network(word) for word in words if word != UNIX), UNIX in words)


def _network(word: str) -> IPv4Network | IPv6Network:
    network = ip_network(word)
    if network.prefixlen == 0:
        raise ValueError(f"{word} is everybody: then clients could make up any address")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{word}: write IPv4 in dots")
    return network


def _trusted() -> Proxies:
    return _proxies(tuple(conf.MARKETMUX_TRUSTED_PROXIES))


_proxies = lru_cache(maxsize=8)(parse_proxies)


def _peer(scope: dict[str, Any]) -> str:
    client: Sequence[Any] | None = scope.get("client")
    return client[0] if client and isinstance(client[0], str) else ""


def _forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [value.decode("latin1") for name, value in headers if name == b"x-forwarded-for"]


def _entries(values: Sequence[str]) -> Iterator[str]:
    """The entries of all headers, the last one first. A header that was sent twice is one list."""
    return reversed(",".join(values).rsplit(",", _MOST_HOPS))


def _right_most(peer: str, entries: Iterator[str], proxies: Proxies) -> str:
    """The first address from the right that is no proxy of ours.

    Where an entry is no address, what appended it is as far as one can see; where all are proxies, so is the first.
    """
    hop = _normal(peer)
    for entry in entries:
        address = _parse(_without_port(entry.strip()))
        if address is None:
            return hop
        hop = str(address)
        if not proxies.include(hop):
            return hop
    return hop


def _without_port(text: str) -> str:
    """Of ``1.2.3.4:80``, ``[::1]:80`` and ``[::1]`` the address; anything else as it is."""
    if text.startswith("["):
        address, bracket, _ = text[1:].partition("]")
        return address if bracket else text
    head, colon, _ = text.partition(":")
    return head if colon and text.count(":") == 1 else text


@lru_cache(maxsize=4_096)
def _normal(peer: str) -> str:
    address = _parse(peer)
    return str(address) if address is not None else ""


@lru_cache(maxsize=4_096)
def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
