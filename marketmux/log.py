"""The log's way to standard error, which holds up nobody.

A pipe that nobody reads is full after 64 KB, and a writer to it then waits: the event loop, or the supervisor, in
the middle of a line of the log. So lines are put into a bounded queue, and a thread writes them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import Final

__all__ = ["BackgroundHandler"]

_MOST_WAITING: Final = 10_000
_EXIT_SECONDS: Final = 1.0


class BackgroundHandler(logging.Handler):
    """Writes lines to a file ``descriptor`` from a thread. What does not fit is dropped, and the log says how many."""

    def __init__(self, descriptor: int = 2, most: int = _MOST_WAITING) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        self._most = most
        self._dropped = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called under the handler's lock, which the thread does not take."""
        try:
            line = self.format(record)
            if len(self._lines) >= self._most:
                self._dropped += 1
                return
            self._lines.append(line)
            if self._thread is None or not self._thread.is_alive():  # the first line, or the first after a fork
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        except Exception:
            self.handleError(record)
        self._wake.set()

    def flush(self) -> None:
        """Waits until all is written, for a bounded time: the process ends."""
        until = time.monotonic() + _EXIT_SECONDS
        while self._lines and time.monotonic() < until:
            time.sleep(0.001)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                self._write(self._lines[0])
                if self._dropped and len(self._lines) == 1:
                    dropped, self._dropped = self._dropped, 0
                    self._lines.append(f"{dropped} lines of the log were dropped: nobody read it")
                self._lines.popleft()

    def _write(self, line: str) -> None:
        rest = f"{line}\n".encode(errors="backslashreplace")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # nobody is there any more, and there is nowhere to say so
            pass
