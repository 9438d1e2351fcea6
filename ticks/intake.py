"""What came in from publishers: counted by way (http, websocket, feed) and by what became of it."""

from __future__ import annotations

from collections import Counter
from time import time
from typing import Final

from bus.histogram import FINE_SECONDS, Histogram
from ticks.age import Seconds
from ticks.tick import Tick

__all__ = ["age", "arrived", "publications", "received_bytes", "ticks"]

ticks: Final[Counter[str]] = Counter(
    {f"{way}|{result}": 0 for way in ("http", "websocket", "feed") for result in ("published", "repeated", "refused")}
)
"""Ticks that were to be published, by way and result."""

publications: Final[Counter[str]] = Counter(
    {f"{way}|{result}": 0 for way in ("http", "websocket") for result in ("published", "repeated")}
)
"""Requests and messages of publishers, by way and result, which may be the code of an error."""

received_bytes: Final[Counter[str]] = Counter({"http": 0, "websocket": 0})
"""Of their bodies, by way."""

age: Final = Histogram(FINE_SECONDS)
"""Of the last tick of each publication, by its own timestamp."""

_seconds: Final = Seconds()


def arrived(last: Tick) -> None:
    """A publication has come in."""
    age.add(time() - _seconds.of(last.timestamp))
