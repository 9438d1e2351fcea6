"""What the head of a request must be, beyond what Twisted, Daphne and Autobahn ask: one meaning, for every reader.

A proxy in front that reads a head in another way than the server behind it can be made to let something pass that it
should not. So whatever is read in two ways is refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from twisted.web.http_headers import Headers

__all__ = ["has_one_coding", "split_target", "why_no_websocket"]


def has_one_coding(headers: Headers, coding: bytes) -> bool:
    """Whether a Transfer-Encoding may join ``headers``: a request has one, which is chunked, and no Content-Length."""
    is_first = not headers.hasHeader(b"transfer-encoding") and not headers.hasHeader(b"content-length")
    return is_first and coding.lower() == b"chunked"


def split_target(target: bytes) -> tuple[bytes, bytes] | None:
    """The host of a request's target in absolute form, and the rest as a path; None for any other form.

    ``ValueError`` if it is absolute and has no host, or is not the target of a web server.
    """
    scheme, separator, _ = target.partition(b"://")
    if not separator or target.startswith(b"/"):
        return None
    parts = urlsplit(target)
    if scheme.lower() not in (b"http", b"https") or not parts.hostname or b"@" in parts.netloc:
        raise ValueError("not an address of this server")
    return parts.netloc, target[len(scheme) + 3 + len(parts.netloc) :] or b"/"


def why_no_websocket(version: bytes, headers: Headers, has_body: bool) -> str | None:
    """What is wrong with a handshake that Daphne or Autobahn would take, or fail at; None if nothing is."""
    if version != b"HTTP/1.1":
        return "A WebSocket needs HTTP/1.1"
    if has_body:
        return "A WebSocket handshake has no body"
    if not all(value.isascii() for value in headers.getRawHeaders(b"sec-websocket-protocol", [])):
        return "Sec-WebSocket-Protocol is not ASCII"
    return None
