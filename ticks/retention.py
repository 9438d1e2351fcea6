"""An end of recorded ticks that are old: in slices, each of which holds the database for a moment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import subprocess
import sys
import time
from datetime import datetime
from typing import Final

from django.db import DatabaseError

from bus.contract import BusUnavailable
from bus.layers import get_bus
from ticks.conf import conf
from ticks.models import RecordedTick

__all__ = ["prune", "run"]

logger = logging.getLogger(__name__)

_SLICE: Final = 1_000
_LONGEST: Final = 0.05
"""Seconds that a slice should take: for as long SQLite lets nobody else write."""
_PAUSE: Final = 1.0
_TRIES: Final = 30

_PERIOD: Final = 3_600.0
_LOOK: Final = 300.0
_FIRST: Final = 30.0
_NICE: Final = 10


def prune(before: datetime, seconds: float | None = None) -> int:
    """Deletes the ticks of before a time, the oldest first: how many. It rests as long as it works."""
    ends = time.monotonic() + (float("inf") if seconds is None else seconds)
    pruned, most, failed = 0, _SLICE, 0
    while time.monotonic() < ends:
        began = time.monotonic()
        try:
            found = RecordedTick.objects.prune(before, most)
        except DatabaseError:
            failed += 1
            if failed == _TRIES:
                raise
            time.sleep(_PAUSE)
            continue
        pruned += found
        if found < most:
            break
        took = time.monotonic() - began
        most = max(100, min(_SLICE, int(most * _LONGEST / max(took, 0.001))))
        time.sleep(took)
        failed = 0
    return pruned


async def run() -> None:
    """Has what is older than ``MARKETMUX_RECORD_DAYS`` deleted once an hour, by one worker of all gateways.

    A process of low priority does it: which rows are meant is found in the database, and that takes processor time.
    """
    days = conf.MARKETMUX_RECORD_DAYS
    rest = _FIRST
    while days:
        await asyncio.sleep(rest * random.uniform(0.8, 1.2))  # noqa: S311
        rest = _LOOK
        try:
            is_mine = not await get_bus().spend("prune_ticks", 1, 1, _PERIOD)
        except BusUnavailable:
            continue
        if is_mine:
            await _prune_beside(f"{days * 86_400:.0f}s")


async def _prune_beside(length: str) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - ourselves, and it returns at once
        [
            *(sys.executable, "-m", "django", "prune_ticks", "--skip-checks"),
            *(f"--older-than={length}", f"--seconds={_PERIOD / 2:.0f}"),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is for the gateway alone
    )
    with contextlib.suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    try:
        while process.poll() is None:  # noqa: ASYNC110 - a child watcher of asyncio's would be a thread for each
            await asyncio.sleep(0.5)
    finally:
        process.kill()
    if process.returncode:
        logger.error("Old ticks could not be deleted: the process ended with status %d", process.returncode)
