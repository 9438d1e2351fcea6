"""What the buckets of one node of a cluster have under way, and who goes when it has been answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["Traffic"]

_TURNS: Final = 3
"""Turns of the loop from the last answer until the next go: publishers who wait for each answer have published again by
then, and go along."""


class Traffic:
    """Operations under way to one node, each in a ``with`` of it. All who join go together, when there are none."""

    def __init__(self) -> None:
        self._under_way = 0
        self._joined: list[Callable[[], None]] = []
        self._turns = 0
        """Until they go."""

    @property
    def is_busy(self) -> bool:
        return bool(self._under_way or self._turns)

    def __enter__(self) -> None:
        self._under_way += 1

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1
        self._check()

    def join(self, go: Callable[[], None]) -> None:
        self._joined.append(go)
        self._check()

    def _check(self) -> None:
        if self._joined and not self.is_busy:
            self._turns = _TURNS
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turns -= 1
        if self._turns:
            asyncio.get_running_loop().call_soon(self._turn)
        elif not self._under_way:
            joined, self._joined = self._joined, []
            for go in joined:
                go()
