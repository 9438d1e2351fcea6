"""Where a client connects to, and how."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl as ssl_module
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import websockets
from websockets.proxy import parse_proxy
from websockets.uri import parse_uri

from .arguments import header_fields, text
from .closures import closure
from .errors import Refused

__all__ = ["Proxy", "Target", "reason_of", "retry_after"]

Proxy: TypeAlias = str | Literal[True] | None
"""The URL of a proxy; True for the one that the environment names, if any; None for none."""

_ERRNO: Final = re.compile(r"\[Errno (\d+)\] (?:Connect call failed )?")


class Target(NamedTuple):
    """``proxy`` is never the environment's for a host of this machine."""

    url: str
    headers: Mapping[str, str]
    ssl: ssl_module.SSLContext | None
    proxy: Proxy

    @classmethod
    def checked(
        cls, url: Any, key: Any, headers: Mapping[str, str] | None, ssl: ssl_module.SSLContext | None, proxy: Any
    ) -> Target:
        """Raises TypeError, ValueError, or Refused for a URL that is none."""
        try:
            uri = parse_uri(text("url", url))
            uri.port.to_bytes(2, "big")
        except (websockets.InvalidURI, ValueError, OverflowError) as error:
            raise Refused(None, str(error)) from error
        if ssl is not None and not isinstance(ssl, ssl_module.SSLContext):
            raise TypeError(f"ssl is an SSLContext, not {type(ssl).__name__}")
        if ssl is not None and not uri.secure:
            raise ValueError(f"ssl is for wss://, not for {url}")
        known = header_fields({} if headers is None else headers)
        if key is not None:
            known |= header_fields({"Authorization": f"Api-Key {text('key', key)}"})
        return cls(url, known, ssl, _proxy(proxy, uri.host))

    def asking(self, query: str) -> Target:
        """The same with more in the query of its URL."""
        return self._replace(url=f"{self.url}{'&' if '?' in self.url else '?'}{query}")


def _proxy(proxy: Any, host: str) -> Proxy:
    if proxy is None:
        return None
    if proxy is True:
        return None if _is_loopback(host) else True
    url = text("proxy", proxy)
    try:
        parse_proxy(url)
    except websockets.InvalidProxy as error:
        raise ValueError(str(error)) from error
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def retry_after(error: BaseException) -> float:
    """For how many seconds the gateway asked not to be troubled; a minute at most, 0 if it did not say."""
    if isinstance(error, websockets.ConnectionClosed):  # in place of the welcome
        return closure(error.rcvd.code).wait if error.rcvd is not None else 0.0
    if not isinstance(error, websockets.InvalidStatus):
        return 0.0
    text = error.response.headers.get("Retry-After", "")
    return min(60.0, float(text)) if text.isascii() and text.isdigit() else 0.0


def reason_of(error: BaseException) -> str:
    """Why an attempt to connect failed, for people."""
    if isinstance(error, Refused):
        return error.reason
    if isinstance(error, socket.gaierror):
        return f"the name of the host is not known: {error.strerror}"
    if isinstance(error, websockets.InvalidStatus):
        return f"HTTP {error.response.status_code}"
    if isinstance(error, websockets.InvalidProxyStatus):
        return f"the proxy answered HTTP {error.response.status_code}"
    # asyncio says "[Errno 111] Connect call failed ('127.0.0.1', 1)", once for each address of a name.
    known = _ERRNO.sub(lambda match: f"{os.strerror(int(match[1]))} ", str(error)).strip()
    return known or type(error).__name__
