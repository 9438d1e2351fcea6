"""What became of the ticks that a publisher was given.

offered  =  accepted + refused + unknown + unsent + dropped + waiting
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Account", "RefusedTick"]


class RefusedTick(NamedTuple):
    """A tick that the gateway does not take. ``code``, ``message``: as in docs/reference/api.md.

    ``json``: the tick as it was sent. ``field``: the one that is wrong, empty where it is not about one.
    """

    symbol: str
    json: str
    code: str
    message: str
    field: str = ""


class Account(NamedTuple):
    """Numbers of ticks.

    - ``accepted``: the gateway has them; ``repeated`` of them were known to it already when they were sent again
      (only HTTP says so).
    - ``refused``: it does not take them; ``reasons`` has how many for each code.
    - ``unknown``: they were sent, and no answer came: they were published or not.
    - ``unsent``: they were never sent, since there was no going on.
    - ``dropped``: left out for newer ones, by the queue's rule ``drop_oldest``.
    - ``waiting``: in the queue, or under way.
    """

    offered: int
    accepted: int
    refused: int
    unknown: int
    unsent: int
    dropped: int
    waiting: int
    repeated: int
    reasons: Mapping[str, int]
