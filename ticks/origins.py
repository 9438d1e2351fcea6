"""Origins: which web pages may use the gateway. One list, for WebSockets and for the HTTP API alike.

An origin is scheme, host and port of a page, as browsers send it. ``MARKETMUX_ALLOWED_ORIGINS`` lists those whose pages
may, beside the gateway's own; ``MARKETMUX_PUBLIC_URL`` is the gateway's own where it is set.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ticks.conf import conf

__all__ = ["Origin", "is_listed", "parse", "public"]

_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """``host`` in lower case, of IPv6 in brackets. The port is there even where it goes without saying."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """Host and port as they stand in a URL."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def parse(text: str) -> Origin | None:
    """A web page's origin; None if ``text``, in lower case, is none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if (
        parts.scheme not in _PORTS
        or not parts.hostname
        or "@" in parts.netloc
        or text != f"{parts.scheme}://{parts.netloc}"
    ):
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Origin(parts.scheme, host, port or _PORTS[parts.scheme])


def public() -> Origin | None:
    """The gateway's own origin, where ``MARKETMUX_PUBLIC_URL`` says what it is."""
    return parse(conf.MARKETMUX_PUBLIC_URL)


def is_listed(origin: str) -> bool:
    """Whether pages of this origin may use the gateway: listed, in whichever spelling, or the public URL's."""
    text = origin.lower()
    allowed = [entry.lower().rstrip("/") for entry in (*conf.MARKETMUX_ALLOWED_ORIGINS, conf.MARKETMUX_PUBLIC_URL)]
    if "*" in allowed or (text and text in allowed):
        return True
    asked = parse(text)
    return asked is not None and asked in map(parse, allowed)
