"""What makes it safe to publish again what may have been published already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from ticks.tick import Tick

__all__ = ["MAX_KEY_LENGTH", "Idempotency", "IdempotencyConflict", "digest", "is_key"]

MAX_KEY_LENGTH = 255


class Idempotency(NamedTuple):
    """Marks a batch: a second one with the same key within ``seconds`` is not published.

    ``digest`` tells a repeat from another batch, which must not come under the same key.
    """

    key: str
    digest: str
    seconds: float


class IdempotencyConflict(Exception):
    """The key was used for another batch; nothing was published."""


def is_key(text: str) -> bool:
    """True for 1 to 255 visible ASCII characters."""
    return 0 < len(text) <= MAX_KEY_LENGTH and all("!" <= character <= "~" for character in text)


def digest(ticks: Sequence[Tick], received: str) -> str:
    """Equal for equal ticks, however they were written; a tick without a time of its own has that of its receipt."""
    bodies = (tick.json() for tick in ticks)
    own = "\n".join(body.replace(f'"timestamp":"{received}"', "", 1) for body in bodies)
    return hashlib.sha256(own.encode()).hexdigest()
