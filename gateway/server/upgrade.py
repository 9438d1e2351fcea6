"""Plain handshakes of WebSockets, which came in one read: read at a tenth of what Twisted, Daphne and Autobahn take.

What is taken has one meaning, to every reader: a target of plain characters, each header once and on one line, all that
RFC 6455 asks for in the spelling that clients use. Whatever else comes goes to Twisted as it came, and is taken, or
refused, there. So nothing is refused here, and nothing is read in another way than there.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import Any, Final, NamedTuple

__all__ = ["Upgrade", "addresses_of", "upgrade_in"]

_HEAD: Final = re.compile(
    rb"GET (/(?!/)[\w/.~-]*)(?:\?([\w=&.~%*,:+-]*))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z][A-Za-z0-9-]*: ?[!-~](?:[ -~]*[!-~])?\r\n){5,64})\r\n"
)
_HOST: Final = re.compile(rb"[A-Za-z0-9.-]+(?::\d{1,5})?")
_ORIGIN: Final = re.compile(rb"https?://[A-Za-z0-9.-]+(?::[1-5]?\d{1,4})?")
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_SUBPROTOCOLS: Final = re.compile(rb"[\w.~!#$&'*+^`|-]+(?:, ?[\w.~!#$&'*+^`|-]+)*", re.ASCII)
_EXTENSIONS: Final = re.compile(rb"permessage-deflate(?:; ?client_max_window_bits)?")
"""What browsers and libraries offer. It is not taken up (docs/explanation/performance.md)."""

_NOT_PLAIN: Final = frozenset([b"transfer-encoding", b"content-length", b"expect", b"daphne-root-path"])

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of RFC 6455."""


class Upgrade(NamedTuple):
    """A handshake."""

    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    """With names in small letters, as ASGI has them."""
    key: bytes
    subprotocols: list[str]

    def answer(self, server: str, subprotocol: str | None) -> bytes:
        """The head with which it is accepted, as Autobahn writes it. ``subprotocol``: one of those offered."""
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ValueError(f"The subprotocol {subprotocol} was not offered")
        accept = b64encode(sha1(self.key + _MAGIC, usedforsecurity=False).digest()).decode()
        chosen = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
        return (
            f"HTTP/1.1 101 Switching Protocols\r\nServer: {server}\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
            f"{chosen}Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ).encode()

    def scope(self, client: Any, server: Any, root_path: str) -> dict[str, Any]:
        """Of ASGI, as Daphne makes it."""
        return {
            "type": "websocket",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": root_path,
            "headers": self.headers,
            "query_string": self.query,
            "client": client,
            "server": server,
            "subprotocols": self.subprotocols,
        }


def addresses_of(transport: Any) -> tuple[list[Any] | None, list[Any] | None]:
    """Of the client and of the server, as ASGI has them; None for those of a Unix socket."""
    peer, host = transport.getPeer(), transport.getHost()
    if not hasattr(peer, "host"):
        return None, None
    return [str(peer.host), peer.port], [str(host.host), host.port]


def upgrade_in(data: bytes) -> Upgrade | None:
    """The handshake that ``data`` is, from its first to its last byte; None for whatever else it may be."""
    head = _HEAD.fullmatch(data)
    if head is None:
        return None
    path, query, lines = head.groups()
    headers = []
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.lstrip()))
    named = dict(headers)
    if len(named) != len(headers) or not _NOT_PLAIN.isdisjoint(named):
        return None
    subprotocols = _subprotocols(named)
    if subprotocols is None or not _is_plain(named):
        return None
    return Upgrade(path.decode(), query or b"", headers, named[b"sec-websocket-key"], subprotocols)


def _is_plain(named: dict[bytes, bytes]) -> bool:
    origin, extensions = named.get(b"origin"), named.get(b"sec-websocket-extensions")
    return (
        named.get(b"upgrade", b"").lower() == b"websocket"
        and b"upgrade" in [each.strip() for each in named.get(b"connection", b"").lower().split(b",")]
        and named.get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(named.get(b"sec-websocket-key", b"")) is not None
        and _HOST.fullmatch(named.get(b"host", b"")) is not None
        and (origin is None or _ORIGIN.fullmatch(origin) is not None)
        and (extensions is None or _EXTENSIONS.fullmatch(extensions) is not None)
    )


def _subprotocols(named: dict[bytes, bytes]) -> list[str] | None:
    """What is offered; None for what is offered twice, or in another way than all do."""
    offered = named.get(b"sec-websocket-protocol")
    if offered is None:
        return []
    if _SUBPROTOCOLS.fullmatch(offered) is None:
        return None
    names = [name.strip() for name in offered.decode().split(",")]
    return names if len(set(names)) == len(names) else None
