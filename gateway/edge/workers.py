"""The workers of this gateway: a question to all of them, or to one (gateway/server/exchange.py has the way).

Under another server than ``serve`` there is this process alone, which then is worker 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.edge import inspection, metrics, profiling
from gateway.server.exchange import ALL, FIGURES, Answering, Line, Place

__all__ = ["ANSWERING", "ask", "connect", "number"]

ANSWERING: Final[Mapping[str, Answering]] = {
    FIGURES: metrics.answer,
    **inspection.ANSWERING,
    **profiling.ANSWERING,
}
"""What a worker answers, by topic."""

_lines: list[Line] = []


def connect(line: Line) -> None:
    """``line`` is the way to the others from now on."""
    _lines[:] = [line]


def number() -> int:
    """This worker's own."""
    return _lines[0].number if _lines else 0


async def ask(topic: str, text: bytes = b"", *, seconds: float, worker: int = ALL) -> list[Place]:
    """What the workers answer within so many ``seconds``; ``TimeoutError`` if the supervisor does not."""
    if _lines:
        return await _lines[0].ask(topic, text, seconds=seconds, worker=worker)
    return [Place(0, [await ANSWERING[topic](text)], [])]
