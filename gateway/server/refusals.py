"""WebSocket handshakes that were refused: all are counted, and one a second is logged, whatever a stranger sends."""

from __future__ import annotations

import logging
import time

__all__ = ["RefusedHandshakes", "refusals"]

logger = logging.getLogger(__name__)


class RefusedHandshakes:
    """Counts refused handshakes."""

    def __init__(self) -> None:
        self.count = 0
        self._logged_at = float("-inf")
        self._unlogged = 0

    def add(self, client: str, reason: str) -> None:
        self.count += 1
        now = time.monotonic()
        if now - self._logged_at < 1:
            self._unlogged += 1
            return
        others = f" ({self._unlogged} others since the last line)" if self._unlogged else ""
        logger.warning("Refused a WebSocket handshake of %s: %s%s", client, reason, others)
        self._logged_at, self._unlogged = now, 0


refusals = RefusedHandshakes()
"""Those of this process."""
