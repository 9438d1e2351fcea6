"""The gateway under test: where it is and how to address it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from gateway.loadtest.options import LoadTestError

__all__ = ["Address", "Target"]

Address = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Target:
    """``host`` is the Host header, ``prefix`` the path before ``/ws`` and ``/api``, ``key`` an API key or empty."""

    family: socket.AddressFamily
    address: Address
    host: str
    prefix: str
    key: str

    @classmethod
    def from_url(cls, url: str, key: str = "") -> Target:
        parts, port = _split(url)
        family, address = _resolve(parts.hostname or "", port)
        return cls(family, address, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), _check_key(key))

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.address[0].partition("%")[0]).is_loopback

    @property
    def is_ipv4_loopback(self) -> bool:
        return self.family == socket.AF_INET and self.is_loopback

    def request(self, method: str, path: str, *headers: str) -> bytes:
        """The head of an HTTP request, up to and with the empty line."""
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", f"Host: {self.host}", *headers]
        if self.key:
            lines.append(f"Authorization: Api-Key {self.key}")
        return "\r\n".join([*lines, "", ""]).encode()


def _split(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise LoadTestError(f"Not a URL: {url} ({error})") from None
    if parts.scheme != "http" or not parts.hostname or not url.isascii() or " " in url:
        raise LoadTestError(f"The URL must look like http://host:port (no TLS), not {url}")
    return parts, port


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LoadTestError(f"The host {host} cannot be resolved: {error}") from None
    # Servers that listen on one family only mostly listen on IPv4.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, address  # type: ignore[return-value]


def _check_key(key: str) -> str:
    if key and not (key.isascii() and key.isprintable()):
        raise LoadTestError("The key holds characters that no API key has.")
    return key
