"""A sampled profile of this worker: where the event loop's thread spends its time, for some seconds.

pyinstrument's hook is on the thread of the event loop while a profile is taken, and only then. It is called at each
call and return, so that samples are not drawn to where the interpreter lock is given up, as those of a sampling thread
are. Other threads are not in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.server.exchange import Answering

if TYPE_CHECKING:
    from pyinstrument.frame import Frame
    from pyinstrument.session import Session

__all__ = ["ANSWERING", "BAR_HEIGHT", "BUSY", "MOST_SECONDS", "PROFILE", "SPEEDSCOPE", "WIDTH", "Profile", "state"]

logger = logging.getLogger(__name__)

PROFILE: Final = "profile"
SPEEDSCOPE: Final = "speedscope"
MOST_SECONDS: Final = 30
BUSY: Final = b"busy"
"""The answer while another profile is taken."""

WIDTH: Final = 1200
"""Of a flame graph."""
BAR_HEIGHT: Final = 18
_LETTER: Final = 7
"""Width of one, about."""
_NARROWEST: Final = 1
_INTERVAL: Final = 0.002
"""Seconds between two samples."""


class Bar(msgspec.Struct):
    """A function in a flame graph, above the one that called it."""

    x: float
    y: int
    width: float
    name: str
    """As much of it as fits."""
    title: str


class Profile(msgspec.Struct):
    """A profile that is being taken, or the last one."""

    at: float
    seconds: int
    is_running: bool = True
    failed: bool = False
    bars: list[Bar] = []
    speedscope: bytes = b""


class _Taking:
    """What this process takes and has taken."""

    def __init__(self) -> None:
        self.profile: Profile | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, seconds: int) -> bool:
        """Whether it began: one profile at a time."""
        if self.profile is not None and self.profile.is_running:
            return False
        self.profile = Profile(time.time(), seconds)
        self._task = asyncio.get_running_loop().create_task(self._take(self.profile))
        return True

    async def _take(self, profile: Profile) -> None:
        try:
            session = await _sampled(profile.seconds)
            # Some tenths of a second of Python, which the loop need not wait for.
            profile.bars, profile.speedscope = await asyncio.to_thread(_rendered, session)
        except Exception:
            profile.failed = True
            logger.exception("A profile could not be taken")
        finally:
            profile.is_running = False


_taking: Final = _Taking()


def state() -> Profile | None:
    """The profile that is being taken, or the last one, without its file."""
    profile = _taking.profile
    return None if profile is None else msgspec.structs.replace(profile, speedscope=b"")


async def _start(text: bytes) -> bytes:
    return b"" if _taking.start(min(MOST_SECONDS, max(1, int(text)))) else BUSY


async def _speedscope(_: bytes) -> bytes:
    return b"" if _taking.profile is None else _taking.profile.speedscope


ANSWERING: Final[Mapping[str, Answering]] = {PROFILE: _start, SPEEDSCOPE: _speedscope}
"""What a worker answers, by topic: it starts a profile, or gives the last one as a file."""


async def _sampled(seconds: int) -> Session:
    """What ran on this thread meanwhile; tasks are not told apart."""
    # It takes a while to import, which the loop need not wait for, nor a worker that nobody looks at.
    await asyncio.to_thread(import_module, "pyinstrument.renderers")
    from pyinstrument import Profiler  # noqa: PLC0415 - as said

    profiler = Profiler(interval=_INTERVAL, async_mode="disabled")
    profiler.start()
    try:
        await asyncio.sleep(seconds)
    finally:
        session = profiler.stop()
    return session


def _rendered(session: Session) -> tuple[list[Bar], bytes]:
    from pyinstrument.processors import aggregate_repeated_calls  # noqa: PLC0415 - imported by then
    from pyinstrument.renderers import SpeedscopeRenderer  # noqa: PLC0415 - the same

    # All functions: what a worker that waits most of the time does is less than the share that is left out otherwise.
    speedscope = SpeedscopeRenderer(processor_options={"filter_threshold": 0}).render(session).encode()
    root = aggregate_repeated_calls(session.root_frame(), {})
    if root is None or not root.time:
        return [], speedscope
    bars = list(_bars(root, root.time))
    top = max(bar.y for bar in bars)
    for bar in bars:
        bar.y = top - bar.y
    return bars, speedscope


def _bars(root: Frame, whole: float) -> Iterable[Bar]:
    """The bars that can be seen, the lowest at 0."""
    waiting = [(root, 0.0, 0)]
    while waiting:
        frame, x, y = waiting.pop()
        width = frame.time / whole * WIDTH
        if width < _NARROWEST:
            continue
        if not frame.is_synthetic:
            yield _bar(frame, x, y, width, whole)
        for child in frame.children:
            waiting.append((child, x, y + BAR_HEIGHT))
            x += child.time / whole * WIDTH


def _bar(frame: Frame, x: float, y: int, width: float, whole: float) -> Bar:
    place = f"{Path(frame.file_path or '').name}:{frame.line_no}"
    title = f"{frame.function} ({place}): {frame.time:.3f} s, {frame.time / whole:.1%}"
    letters = int(width / _LETTER)
    return Bar(round(x, 1), y, round(width, 1), frame.function[:letters] if letters > 2 else "", title)
